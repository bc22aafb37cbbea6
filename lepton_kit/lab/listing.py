"""What the sidebar lists: runs of the folders that notebooks here use, those under way first; read-only."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from lepton_kit.client.table import Runs
from lepton_kit.errors import ConfigError
from lepton_kit.rundir import Status
from lepton_kit.rundir.paths import RUNS_DIR

ENDED_SHOWN = 8
"""Runs that have ended which a folder shows beside those under way, the newest."""


class Listing:
    """Lists runs for one server; keeps the handles, so that no log is read twice. May be asked by several threads."""

    def __init__(self, root: Path):
        self.root = root.resolve()
        self._lock = threading.Lock()
        self._known: dict[Path, Runs] = {}

    def folders(self, beside: str = "") -> list[Path]:
        """The folders of runs: what ``$LEPTON_RUNS_DIR`` names, or ``runs`` at the root and beside a notebook.

        ``beside`` is the notebook's folder below the root. Raises `ConfigError` for one outside it.
        """
        place = (self.root / beside.lstrip("/")).resolve()
        if not place.is_relative_to(self.root):
            raise ConfigError("beside", given=beside, rule="a folder below the root of this server")
        named = os.environ.get(RUNS_DIR)
        found = [Path(named).resolve()] if named else [self.root / "runs"]
        return list(dict.fromkeys([*found, place / "runs"]))

    def read(self, beside: str = "") -> list[dict[str, Any]]:
        """One entry a folder that has runs: its path, its name for people, and its runs. See `shown`.

        ``named`` says that the environment names it, so that kernels of this server find its runs by id alone.
        """
        with self._lock:
            found = []
            for folder in self.folders(beside):
                runs = self._known.get(folder, Runs((), folder)).refresh()
                self._known[folder] = runs
                if runs:
                    named = folder == Path(os.environ.get(RUNS_DIR) or os.devnull).resolve()
                    entry = {"folder": str(folder), "name": self._name(folder), "named": named}
                    found.append(entry | {"runs": shown(runs.rows())})
            return found

    def _name(self, folder: Path) -> str:
        return str(folder.relative_to(self.root)) if folder.is_relative_to(self.root) else str(folder)


def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that a sidebar has room for, the newest first, those under way before those that have ended.

    >>> [row["id"] for row in shown([{"id": "a", "status": "running"}, {"id": "b", "status": "finished"}])]
    ['a', 'b']
    """
    newest = [_entry(row) for row in reversed(rows)]
    live = [row for row in newest if row["live"]]
    return live + [row for row in newest if not row["live"]][:ENDED_SHOWN]


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "name", "status", "step", "total_steps", "workers")
    live = Status(row["status"]).is_active
    return {name: row.get(name) for name in names} | {"live": live}
