"""A table of runs on a page: which columns and cells it has, and the widget that shows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lepton_kit.panels.telling import number
from lepton_kit.planning.energy import shown as joules
from lepton_kit.rundir import Status
from lepton_kit.rundir.told import duration
from lepton_kit.rundir.view import main_metric

NOT_MEASURED = "not measured"
UNKNOWN = "the run's log says nothing of it: it was trained by an older version, or did not train"
NOTE_SHOWN = 60
PAUSE_SHARE = 0.02
"""A look at the folder that cost c seconds is followed by c / PAUSE_SHARE seconds without one."""
Column = dict[str, Any]
Row = dict[str, Any]


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The columns that a page shows of these rows: those of every run, the loss and the main metric.

    >>> [column["title"] for column in columns_of([{"loss": 1.0, "accuracy": 0.5, "val_accuracy": 0.4}])][3:6]
    ['step', 'loss', 'accuracy']
    """
    known = dict.fromkeys(name for row in rows for name in row)
    metric = main_metric(
        [
            name
            for name in known
            if name not in _FIXED and not name.startswith("val_") and name in _numbers(rows)
        ]
    )
    figures = [
        name for name in ("loss", metric, "val_loss", f"val_{metric}") if name == "loss" or name in known
    ]
    return [
        _column("name", "run", "its name; its id on hover", text=True),
        _column("status", "state", "what it does now", text=True),
        _column("workers", "workers", "that train, or trained last"),
        _column("step", "step", "steps done, of all"),
        *(_column(str(name), _title(str(name)), _about(str(name))) for name in figures),
        _column("seconds", "time", "from its start to its last word"),
        _column("began", "began", "local time"),
        _column("tags", "tags", "given by you", text=True),
        _column("note", "note", "written by you", text=True),
        _column("energy_joules", "energy", "its part of what its machines took; ≈ where that is estimated"),
    ]


_FIXED = ("id", "name", "status", "workers", "step", "total_steps", "seconds", "energy_joules", "energy_origin", "began", "tags", "note",
          "problem", "cause", "no_energy")  # fmt: skip


def _numbers(rows: Sequence[Row]) -> set[str]:
    return {name for row in rows for name, value in row.items() if isinstance(value, int | float)}


def _column(name: str, title: str, tooltip: str, text: bool = False) -> Column:
    return {"name": name, "title": title, "tooltip": f"sort by this: {tooltip}", "number": not text}


def _title(name: str) -> str:
    return name.replace("val_", "val. ").replace("_", " ")


def _about(name: str) -> str:
    split = "on the validation split" if name.startswith("val_") else "on the training split"
    return f"of the last epoch, {split}"


def line_of(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    """A run as the page shows it."""
    return {
        "id": row["id"],
        "name": row["name"],
        "cause": row.get("problem") or row.get("cause"),
        "why": {"energy_joules": str(row.get("no_energy") or UNKNOWN)}
        if row.get("energy_joules") is None or row.get("energy_origin") == "estimated"
        else {},
        "cells": [_cell(row, column["name"]) for column in columns],
    }


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    if name in ("name", "status", "tags"):
        return str(value or "")
    if name == "note":
        text = " ".join(str(value or "").split())
        return text if len(text) <= NOTE_SHOWN else f"{text[: NOTE_SHOWN - 1]}…"
    if name == "energy_joules":
        if value is None:
            return NOT_MEASURED
        return f"{'≈ ' if row.get('energy_origin') == 'estimated' else ''}{joules(value)}"
    if value is None or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if name == "step":
        total = row.get("total_steps")
        return f"{value:,} of {total:,}" if isinstance(total, int) else f"{value:,}"
    if name == "seconds":
        return duration(value)
    if name == "began":
        return time.strftime("%d %b %H:%M", time.localtime(value))
    return f"{value:,}" if name == "workers" else number(value)


def is_live(row: Row) -> bool:
    """Whether a run may change by itself."""
    return Status(row["status"]).is_active


class RunsTable:
    """The widget: ``sort`` and ``selected`` are the page's, rows are set with `show`.

    The page asks now and then whether there is news, only while it shows the table, and waits for the answer: so a
    table that nobody looks at costs nothing, and a busy kernel is asked once. ``on_look`` answers.
    """

    def __init__(self, on_sort: Callable[[], None], on_select: Callable[[], None], on_look: Callable[[], None],
                 on_more: Callable[[], None]):  # fmt: skip
        import anywidget
        import traitlets

        class Table(anywidget.AnyWidget):
            _esm = Path(__file__).with_suffix(".js")
            columns: Any = traitlets.List([]).tag(sync=True)
            rows: Any = traitlets.List([]).tag(sync=True)
            selected: Any = traitlets.List([]).tag(sync=True)
            sort = traitlets.Unicode("-began").tag(sync=True)
            empty = traitlets.Unicode("No run yet.").tag(sync=True)
            more = traitlets.Int(0).tag(sync=True)

        self.widget: Any = Table()
        self._on = {"look": on_look, "more": on_more}
        self.widget.observe(lambda _: on_sort(), names="sort")
        self.widget.observe(lambda _: on_select(), names="selected")
        self.widget.on_msg(lambda _widget, content, _buffers: self.hear(content))

    @property
    def sort(self) -> str:
        """The column of the order, with ``-`` before it for downwards."""
        return str(self.widget.sort)

    @sort.setter
    def sort(self, column: str) -> None:
        self.widget.sort = column

    @property
    def selected(self) -> list[str]:
        """The ids of the chosen runs, in the order in which they were chosen."""
        return list(self.widget.selected)

    @selected.setter
    def selected(self, ids: Sequence[str]) -> None:
        self.widget.selected = list(ids)

    def show(self, rows: Sequence[Row], most: int, empty: str) -> None:
        """Bring the page up to date; what has not changed is not sent."""
        columns = columns_of(rows)
        values = {
            "columns": columns,
            "rows": [line_of(row, columns) for row in rows[:most]],
            "more": max(0, len(rows) - most),
            "empty": empty,
        }
        with self.widget.hold_sync():
            for name, value in values.items():
                if getattr(self.widget, name) != value:
                    setattr(self.widget, name, value)

    def download(self, name: str, text: str) -> None:
        """Have the page save a text as a file."""
        self.widget.send({"kind": "csv", "name": name, "text": text})

    def hear(self, content: dict[str, Any]) -> None:
        """A word of the page."""
        act = self._on.get(content.get("kind", ""))
        if act is None:
            return
        before = time.thread_time()
        try:
            act()
        finally:
            if content["kind"] == "look":
                cost = time.thread_time() - before
                self.widget.send({"kind": "looked", "pause_ms": round(1000 * cost / PAUSE_SHARE)})
