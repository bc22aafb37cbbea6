"""The part of the live view that shows each worker: where its time goes, who holds the others up, and buttons for a lesson."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from lepton_kit.panels import host_lines, ranks_told, telling
from lepton_kit.panels.parts import button, note, row, set_html
from lepton_kit.rundir.view import RunView

FACTOR = 3.0
"""How slow the button makes a worker."""


class WorkersView:
    """Bars, strip and table of the workers of a run; `slow` asks the run, `complain` shows what came of it."""

    def __init__(self, complain: Callable[[BaseException | None], None]):
        self._run: Any = None
        self._slowed: dict[int, dict[str, float]] = {}
        self._complain = complain
        self.bars, self.strip, self.table = widgets.HTML(), widgets.HTML(), note()
        self.table.add_class("lk-workers")
        self.rank = widgets.Dropdown(
            description="For a lesson",
            options=[],
            tooltip="the rank whose worker the buttons make slow",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="190px"),
        )
        self.slow = button(
            f"Slow this worker ×{FACTOR:g}", "have it rest before each sum, so that it computes three times as long",
        )  # fmt: skip
        self.undo = button("Undo", "let all workers that were made slow be as fast as they can again")
        self.slow.on_click(lambda _: self._act(lambda: self._run.slow_down(self.rank.value, FACTOR)))
        self.undo.on_click(lambda _: self._act(self._undo))
        self.lesson = row(self.rank, self.slow, self.undo)
        self.lesson.layout.display = "none"
        self.lesson.layout.margin = "8px 0 4px 0"
        style = widgets.HTML(ranks_told.STYLE, layout=widgets.Layout(display="none"))
        self.widget = widgets.VBox(
            [style, self.bars, self.strip, self.lesson, self.table],
            layout=widgets.Layout(width="100%", overflow="hidden"),
        )

    def show(self, view: RunView, run: Any) -> None:
        """Bring it up to date; sends only what has changed."""
        self._run = run
        set_html(self.bars, ranks_told.bars(view))
        set_html(self.strip, ranks_told.strip(view))
        set_html(self.table, host_lines.by_host(view) + telling.workers(view))
        training = {
            one["rank"]: one
            for one in ([] if view.done else view.workers)
            if one["state"] == "training" and one.get("rank") is not None
        }
        self.lesson.layout.display = "" if len(training) > 1 else "none"
        options = [(f"rank {rank}", rank) for rank in sorted(training)]
        if list(self.rank.options) != options:
            chosen = self.rank.value
            self.rank.options = options
            self.rank.value = chosen if chosen in training else next(iter(sorted(training)), None)
        self._slowed = {rank: one["slowed"] for rank, one in training.items() if one.get("slowed")}
        self.undo.disabled = not self._slowed

    def _undo(self) -> None:
        for rank, how in self._slowed.items():
            if "factor" in how:
                self._run.slow_down(rank, 1.0)
            if "data_seconds" in how:
                self._run.slow_data(rank, 0.0)

    def _act(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as failure:
            self._complain(failure)
        else:
            self._complain(None)
