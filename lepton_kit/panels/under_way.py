"""Says which runs of a folder train now, with a button for each that attaches: what a cell that is run again offers."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.errors import LeptonError
from lepton_kit.panels.parts import Panel, button, framed, note, row
from lepton_kit.rundir import RunPaths, Status, list_runs, lock

MOST = 3
LOOKED_AT = 200
"""So many of the newest runs are looked at: each costs the reading of a small file."""


def runs_under_way(runs_dir: str | Path | None, most: int = MOST) -> list[tuple[str, str]]:
    """Ids and states of the newest runs of a folder whose driver lives, newest first."""
    found: list[tuple[str, str]] = []
    for paths in reversed(list_runs(runs_dir)[-LOOKED_AT:]):
        if len(found) == most:
            break
        state = _state(paths)
        if state is not None and lock.held(paths):
            found.append((paths.id, state))
    return found


def _state(paths: RunPaths) -> str | None:
    try:
        status = Status(paths.read_status()["status"])
    except (LeptonError, OSError, ValueError, KeyError):  # a folder that anybody may have written
        return None
    return None if status.is_over else str(status)


class UnderWay(Panel):
    """One line for each run that trains now, with *Attach*; nothing where none does."""

    def __init__(self, runs_dir: str | Path | None, on_attach: Callable[[Any], None]):
        super().__init__()
        self.runs_dir = runs_dir
        self._on_attach = on_attach
        self.found: list[tuple[str, str]] = []
        self.buttons: list[widgets.Button] = []
        self.lines = widgets.VBox([], layout=widgets.Layout(width="100%", overflow="hidden"))
        self.view = framed(self.lines, self.problem)
        self.view.add_class("lk-under-way")
        self.show(runs_under_way(runs_dir))

    def __repr__(self) -> str:
        return f"<UnderWay: {len(self.found)} runs>"

    def show(self, found: list[tuple[str, str]]) -> None:
        """Offer these runs, given as ids and states."""
        self.found, self.buttons = found, []
        lines = []
        for run_id, state in found:
            attach = button("Attach", f"show {run_id} here, with every point", "info", "eye", "96px")
            attach.on_click(lambda _, run_id=run_id: self._attach(run_id))
            self.buttons.append(attach)
            doing = "is training" if state == Status.RUNNING else f"is {state}"
            lines.append(
                row(note(f"<b>{html.escape(run_id)}</b> {doing}: attach to see and steer it"), attach)
            )
        self.lines.children = lines
        self.view.layout.display = "" if lines else "none"

    def _attach(self, run_id: str) -> None:
        import lepton_kit as lk

        with self.reporting():
            self._on_attach(lk.open_run(run_id, runs_dir=self.runs_dir))
