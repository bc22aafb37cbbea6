"""The runs of a folder as a table: found, sorted, and read from small files where a run has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.client import finding
from lepton_kit.client.run import Run
from lepton_kit.errors import LeptonError
from lepton_kit.rundir import RunPaths, list_runs, lock
from lepton_kit.rundir.labels import Labels, first_name
from lepton_kit.rundir.paths import TRASH, runs_folder

if TYPE_CHECKING:
    import pandas as pd

FIRST = ("id", "name", "status", "workers", "step", "total_steps", "loss")
LAST = ("seconds", "energy_joules", "energy_origin", "began", "tags", "note", "work", "cause", "problem")
"""Columns before and after the metrics."""
SELDOM = ("work", "cause", "problem")
"""Columns that a table has only where a run has them."""
UNSEEN = ("no_energy",)
"""What rows say beside their columns."""


class Runs(list[Run]):
    """The runs of a folder, oldest first; shows as a table, is found in and sorted.

    >>> lk.runs().find("status=finished val_accuracy>0.9").sort_by("-val_accuracy").table()  # doctest: +SKIP
    """

    def __init__(self, found: Iterable[Run] = (), folder: Path | None = None):
        super().__init__(found)
        self.folder = folder

    def __repr__(self) -> str:
        return f"<Runs: {len(self)} in {self.folder}>"

    def find(self, query: str) -> Runs:
        """The runs that fit all words and conditions, such as ``"conv tag=baseline loss<0.2 time>2min"``.

        A word is looked for in id, name, status, tags, note and cause. A condition names a column of the table. Raises
        `ConfigError` for a column that is none.
        """
        return Runs((self[place] for place in finding.matching(self.rows(), query)), self.folder)

    def sort_by(self, column: str) -> Runs:
        """The runs in the order of a column, ``"-loss"`` downwards; unknown figures last. Raises `ConfigError`."""
        return Runs((self[place] for place in finding.ordered(self.rows(), column)), self.folder)

    def refresh(self) -> Runs:
        """What the folder holds now, with the handles that are known already; so their logs are not read again."""
        known = {run.paths.root: run for run in self}
        there = [known.get(paths.root) or Run(paths) for paths in list_runs(self.folder)]
        return Runs(there, self.folder)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a run, of plain values; ``began`` is in unix seconds. See `table`."""
        return [_row(run) | _work(run) for run in self]

    def table(self) -> pd.DataFrame:
        """One row a run: id, name, status, workers, step, total_steps, loss, metrics, seconds, energy, its tag, began, tags, note.

        Loss and metrics are those of the last epoch, on the training split and with ``val_`` on the validation split;
        before its end those of the last report. ``began`` is local time. A run whose files can't be read is
        ``unreadable``, and a column ``problem`` says why; ``cause`` says why runs ended early, ``work`` what is done
        with a run's model now. Figures that are not known are NaN; ``energy_joules`` is the run's part of what its
        machines took, and ``energy_origin`` says whether it is measured or estimated.
        """
        import pandas as pd

        rows = [{name: one for name, one in row.items() if name not in UNSEEN} for row in self.rows()]
        names = finding.columns(rows)
        middle = [name for name in names if name not in FIRST and name not in LAST]
        told = {name for row in rows for name in SELDOM if row.get(name)}
        last = [name for name in LAST if name in told or name not in SELDOM]
        table = pd.DataFrame(rows, columns=[*FIRST, *middle, *last])
        table["energy_joules"] = table["energy_joules"].astype("float64")
        table["began"] = [_local(row.get("began")) for row in rows]
        return table

    def _repr_html_(self) -> str:
        return str(self.table().to_html(max_rows=60, notebook=True))


def _row(run: Run) -> dict[str, Any]:
    """A run in a table; of one that has ended from its small files alone, and once as long as they stay the same."""
    stamp = tuple(_stamp(path) for path in (run.paths.status, run.paths.events, run.paths.labels))
    if run.listed is not None and run.listed[0] == stamp:
        return dict(run.listed[1])
    of_status, of_log, of_labels = stamp
    labels = run.labels if of_labels is not None else Labels()
    state, over = _state(run, of_log[1] if of_status is not None and of_log is not None else None)
    row = {"id": run.id, "name": labels.name or first_name(run.id)} | state
    row |= {name: row.get(name) for name in ("energy_joules", "energy_origin")}
    row |= {"tags": ", ".join(labels.tags), "note": labels.note}
    try:
        row["began"] = run.paths.config.stat().st_mtime
    except OSError:
        row["began"] = None
    run.listed = (stamp, dict(row)) if over else None
    return row


def _work(run: Run) -> dict[str, Any]:
    """What is under way in a run's folder beside its training: a compression keeps a lock as a run does."""
    return {"work": "compression"} if lock.held(RunPaths(run.paths.compression)) else {}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written anew or grows."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _state(run: Run, log_bytes: int | None) -> tuple[dict[str, Any], bool]:
    """The figures of a run whose log has so many bytes, and whether they are its last ones."""
    try:
        known = run.paths.read_summary(log_bytes) if log_bytes is not None else None
        over = known is not None
        if known is None:
            status, wanted = run.status, run.config.workers.count
            cause = run.cause or run.view().in_line
            known = {"status": status, "cause": cause, "workers": wanted, **run.view().summary()}
    except (LeptonError, OSError) as failure:
        return {"status": "unreadable", "problem": str(failure)}, False
    return {name: value for name, value in known.items() if name != "log_bytes"}, over


def _local(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def runs(runs_dir: str | Path | None = None, *, trash: bool = False) -> Runs:
    """All runs of a folder, oldest first; with ``trash`` those that were deleted, the last deleted one at the end.

    The folder is ``$LEPTON_RUNS_DIR`` where that is set, else ``runs`` in the current folder.
    """
    folder = runs_folder(runs_dir) / TRASH if trash else runs_folder(runs_dir)
    found = [Run(paths) for paths in list_runs(folder)]
    if trash:
        found.sort(key=lambda run: run.labels.deleted or 0.0)
    return Runs(found, folder)
