"""The runs panel: what was trained in a folder of runs, and a button that attaches to any of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.panels.parts import Panel, button, card, chip, field, framed, note, row, set_html, table
from lepton_kit.panels.telling import number
from lepton_kit.rundir import RunPaths, list_runs

SHOWN = 8


def last_states(runs_dir: str | Path, most: int = 200) -> list[dict[str, Any]]:
    """Id, state and start of the runs of a folder, newest first, from their small status files alone."""
    found = []
    for paths in reversed(list_runs(runs_dir)[-most:]):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            found.append({"id": paths.id, **_state(paths), "began": paths.config.stat().st_mtime})
    return found


def _state(paths: RunPaths) -> dict[str, Any]:
    try:
        status = paths.read_status()
    except Exception as failure:
        return {"status": "unknown", "cause": str(failure), "step": None}
    return {
        "status": status.get("status", "unknown"),
        "cause": status.get("cause"),
        "step": status.get("step"),
    }


class RunsPanel(Panel):
    """All runs of a folder; Attach shows one in the live view with every point it ever logged."""

    def __init__(self, runs_dir: str | Path | None = None, on_attach: Callable[[Any], None] | None = None):
        super().__init__()
        self.runs_dir = runs_dir
        self.run: Any = None
        self._on_attach = on_attach
        self.choice = field(widgets.Dropdown, "Run", "a run of this folder", "44px", options=[])
        self.attach = button("Attach", "show this run in the live view", "info", "eye", "100px")
        self.reload = button("Refresh", "read the folder again", "", "refresh", "100px")
        self.listing = note()
        self.attach.on_click(lambda _: self._attach())
        self.reload.on_click(lambda _: self.refresh())
        self.view = framed(
            card("Runs", row(self.choice, self.attach, self.reload), self.problem, self.listing,
                 note="A run lives on without this page: attach to it from any notebook, at any time.")
        )  # fmt: skip
        self.refresh()

    def __repr__(self) -> str:
        return f"<RunsPanel: {len(self.choice.options)} runs>"

    def refresh(self) -> None:
        """Read the folder again."""
        with self.reporting():
            states = last_states(self.runs_dir)
            chosen = self.choice.value
            self.choice.options = [(f"{state['id']} · {state['status']}", state["id"]) for state in states]
            known = [state["id"] for state in states]
            if known:
                self.choice.value = chosen if chosen in known else known[0]
            self.attach.disabled = not states
            lines = [
                [state["id"], chip(state["status"]), time.strftime("%d %b %H:%M", time.localtime(state["began"])),
                 number(state["step"], 0), state["cause"] or ""]
                for state in states[:SHOWN]
            ]  # fmt: skip
            set_html(
                self.listing,
                table(["run", "state", "began", "step", "cause"], lines, (3,)) if lines else "No run yet.",
            )

    def _attach(self) -> None:
        import lepton_kit as lk

        with self.reporting():
            self.run = lk.open_run(self.choice.value, runs_dir=self.runs_dir)
            if self._on_attach is not None:
                self._on_attach(self.run)
