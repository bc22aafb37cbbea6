"""The runs panel: what was trained in a folder, found, sorted, compared, labelled, deleted and brought back."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.panels import still
from lepton_kit.panels.compare import ComparePanel
from lepton_kit.panels.parts import Panel, button, card, column, framed, note, on_change, row, set_html
from lepton_kit.panels.runs_table import RunsTable

SHOWN = 50
"""Rows that a page gets at once, and with each `Show more`."""
STILL_ROWS = 20
"""Rows in the picture that a saved notebook keeps."""
SEARCH = "words, and conditions such as  val_accuracy>0.9  tag=baseline  status=finished  time>2min"


class RunsPanel(Panel):
    """The runs of a folder as a table; what is selected in it can be attached, compared, labelled or deleted.

    ``query``, ``table.sort`` and ``table.selected`` say what is shown and chosen; every button does what a script does
    with `lepton_kit.runs`, `lepton_kit.compare` and the methods of a run.
    """

    def __init__(self, runs_dir: str | Path | None = None, *, on_attach: Callable[[Any], None] | None = None):
        super().__init__()
        self.runs_dir = runs_dir
        self.run: Any = None
        self._on_attach = on_attach
        self._found: Any = ()
        self._shown: Any = ()
        self._rows: list[dict[str, Any]] = []
        self._most = SHOWN
        self._deleted: list[Any] = []
        self._editing: Any = None
        self.table = RunsTable(self._show, self._chosen, self._look, self._more)
        self._make_widgets()
        self._connect()
        self.view = framed(
            card("Runs", row(self.query, self.reload, self.csv, self.trash), self.problem, self.table.widget,
                 row(self.telling, self.attach, self.compare, self.delete, self.restore), self.sure, self.undone, self.labels,
                 note="A run lives on without this page: attach to it from any notebook, at any time."),
            self.comparison.view,
        )  # fmt: skip
        self.view.layout.grid_gap = "10px"
        self.refresh()

    def __repr__(self) -> str:
        return f"<RunsPanel: {len(self._found)} runs>"

    def _make_widgets(self) -> None:
        wide = widgets.Layout(width="auto", min_width="min(220px, 100%)", max_width="560px", flex="1 1 320px")
        self.query = widgets.Text(
            placeholder=SEARCH, description="Find", tooltip=SEARCH, continuous_update=False, layout=wide,
            style={"description_width": "40px"},
        )  # fmt: skip
        self.reload = button("Refresh", "read the folder again", "", "refresh", "100px")
        self.csv = button("CSV", "save the runs that are found as a table", "", "download", "80px")
        self.trash = widgets.ToggleButton(
            description="Trash",
            tooltip="show the deleted runs",
            icon="trash",
            layout=widgets.Layout(width="90px"),
        )
        self.telling = note()
        self.attach = button("Attach", "show this run in the live view", "info", "eye", "100px")
        self.compare = button("Compare", "put the selected runs beside each other", "", "columns", "110px")
        self.delete = button("Delete", "move the selected runs into the trash", "", "trash-o", "100px")
        self.restore = button("Restore", "bring the selected runs back", "", "undo", "110px")
        self.question = note()
        self.yes = button("Yes, delete", "move them into the trash", "danger", "", "110px")
        self.no = button("Keep", "leave them where they are", "", "", "80px")
        self.sure = row(self.question, self.yes, self.no)
        self.said = note()
        self.undo = button("Undo", "bring the deleted runs back", "", "undo", "90px")
        self.undone = row(self.said, self.undo)
        label = {"description_width": "50px"}
        self.name = widgets.Text(description="Name", style=label, layout=widgets.Layout(width="300px"))
        self.tags = widgets.Text(
            description="Tags",
            placeholder="words, separated by spaces",
            style=label,
            layout=widgets.Layout(width="340px"),
        )
        self.note = widgets.Textarea(
            description="Note",
            rows=2,
            style=label,
            layout=widgets.Layout(width="auto", max_width="648px", flex="1 1 300px"),
        )
        self.save = button("Save", "write name, tags and note on the run", "", "check", "90px")
        self.labels = column(row(self.name, self.tags), row(self.note, self.save), gap="6px")
        self.comparison = ComparePanel()
        self.comparison.view.layout.display = "none"
        for hidden in (self.sure, self.undone, self.labels):
            hidden.layout.display = "none"

    def _connect(self) -> None:
        on_change(self.query, lambda _: self._show())
        on_change(self.trash, lambda _: self._switch())
        for pressed, act in (
            (self.reload, self.refresh), (self.csv, self._save_csv), (self.attach, self._attach),
            (self.compare, self._compare), (self.delete, self._ask), (self.yes, self._delete), (self.no, self._keep),
            (self.undo, self._undo), (self.restore, self._restore), (self.save, self._label),
        ):  # fmt: skip
            pressed.on_click(lambda _, act=act: act())

    @property
    def selected(self) -> list[Any]:
        """The chosen runs that are shown, in the order in which they were chosen."""
        shown = {run.id: run for run in self._shown}
        return [shown[name] for name in self.table.selected if name in shown]

    def refresh(self) -> None:
        """Read the folder again."""
        with self.reporting():
            self._read()

    def still(self) -> dict[str, str]:
        """The first rows of the table in words: its widget has none of its own."""
        columns = [column["title"] for column in self.table.widget.columns]
        rows = [
            " · ".join(cell for cell in line["cells"] if cell) for line in self.table.widget.rows[:STILL_ROWS]
        ]
        told = [self.telling.value, " · ".join(columns), *rows] if rows else [self.table.widget.empty]
        return still.drawn_words("Runs", told)

    def still_mark(self) -> Any:
        """What a still picture depends on: while it is the same the picture need not be drawn again."""
        return self.table.widget.rows[:STILL_ROWS]

    def close(self) -> None:
        """Close the comparison and the widgets."""
        self.comparison.close()
        super().close()

    def _read(self) -> None:
        import lepton_kit as lk

        runs = self._found.refresh() if self._found else lk.runs(self.runs_dir, trash=bool(self.trash.value))
        self._found = runs
        self._draw()

    def _draw(self) -> None:
        """Find, sort and send; raises what is wrong with the query."""
        self._shown = self._found.sort_by(self.table.sort).find(self.query.value)
        self._rows = self._shown.rows()
        fitting = (
            "No run fits."
            if len(self._found)
            else "The trash is empty."
            if self.trash.value
            else "No run yet."
        )
        self.table.show(self._rows, self._most, fitting)
        self._chosen()

    def _show(self) -> None:
        with self.reporting():
            self._draw()

    def _look(self) -> None:
        """The page asks for news; what is wrong with the query stays told until it is changed."""
        if not self.complaint:
            with self.reporting():
                self._read()

    def _more(self) -> None:
        self._most += SHOWN
        self._show()

    def _switch(self) -> None:
        """Between the folder and its trash."""
        self._found, self._shown, self._most = (), (), SHOWN
        self.table.selected = []
        self.refresh()

    def _chosen(self) -> None:
        """Bring buttons and fields in line with what is selected."""
        chosen, buried = self.selected, bool(self.trash.value)
        count = f"{len(self._shown)} of {len(self._found)} runs" if len(self._shown) < len(self._found) else (
            f"{len(self._found)} run{'' if len(self._found) == 1 else 's'}"
        )  # fmt: skip
        set_html(self.telling, f"{count}, {len(chosen)} selected")
        self.attach.disabled = len(chosen) != 1
        self.compare.disabled = len(chosen) < 2
        self.delete.disabled = self.restore.disabled = not chosen
        for widget, there in ((self.attach, not buried), (self.compare, not buried), (self.restore, buried)):
            widget.layout.display = "" if there else "none"
        self.delete.description = "Remove for good" if buried else "Delete"
        self.delete.layout.width = "150px" if buried else "100px"
        self.csv.disabled = not len(self._shown)
        if not chosen:
            self.sure.layout.display = "none"
        self._edit(chosen[0] if len(chosen) == 1 and not buried else None)

    def _edit(self, run: Any) -> None:
        """Show the labels of a run in the fields; what is being written there is left alone."""
        self.labels.layout.display = "none" if run is None else ""
        if run is None or (self._editing is not None and run.id == self._editing.id):
            self._editing = run
            return
        self._editing = run
        labels = run.labels
        self.name.value, self.tags.value, self.note.value = run.name, " ".join(labels.tags), labels.note

    def _label(self) -> None:
        with self.reporting():
            run = self._editing
            run.name = self.name.value.strip() or None
            run.tags = self.tags.value.replace(",", " ").split()
            run.note = self.note.value
            self._draw()

    def _attach(self) -> None:
        with self.reporting():
            (self.run,) = self.selected
            _ = self.run.config  # one that can't be read is told here
            if self._on_attach is not None:
                self._on_attach(self.run)

    def _compare(self) -> None:
        import lepton_kit as lk

        with self.reporting():
            self.comparison.show(lk.compare(self.selected))
            self.comparison.view.layout.display = ""

    def _save_csv(self) -> None:
        with self.reporting():
            self.table.download("runs.csv", self._shown.table().to_csv(index=False))

    def _ask(self) -> None:
        """Nothing is deleted by one press."""
        chosen = self.selected
        what = _named(chosen)
        if self.trash.value:
            text = f"Remove {what} for good? Nothing brings back what is removed."
        else:
            text = f"Move {what} into the trash?"
        set_html(self.question, html.escape(text))
        self.yes.description = "Yes, remove" if self.trash.value else "Yes, delete"
        self.sure.layout.display = ""

    def _keep(self) -> None:
        self.sure.layout.display = "none"

    def _delete(self) -> None:
        self.sure.layout.display = "none"
        buried = bool(self.trash.value)
        with self.reporting():
            gone = []
            try:
                for run in self.selected:
                    run.delete(forever=buried)
                    gone.append(run)
            finally:  # what was deleted before one that is refused can be undone too
                self._deleted = [] if buried else gone
                told = "removed" if buried else "moved into the trash"
                set_html(self.said, html.escape(f"{_named(gone)} {told}.") if gone else "")
                self.undo.layout.display = "none" if buried else ""
                self.undone.layout.display = "" if gone else "none"
                self._read()

    def _undo(self) -> None:
        with self.reporting():
            for run in self._deleted:
                run.restore()
            self._deleted = []
            self.undone.layout.display = "none"
            self._read()

    def _restore(self) -> None:
        with self.reporting():
            chosen = self.selected
            for run in chosen:
                run.restore()
            set_html(self.said, html.escape(f"{_named(chosen)} brought back."))
            self.undo.layout.display, self.undone.layout.display = "none", ""
            self._read()


def _named(runs: Sequence[Any]) -> str:
    """Runs in a sentence.

    >>> _named([]), _named(["a"] * 3)
    ('nothing', '3 runs')
    """
    if len(runs) == 1:
        return f"run {runs[0].name}"
    return f"{len(runs)} runs" if runs else "nothing"
