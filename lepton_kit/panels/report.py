"""The report panel: compress a finished run, and read what it cost and gained."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from lepton_kit.panels.background import Background
from lepton_kit.panels.parts import Panel, button, card, field, framed, note, row, set_html
from lepton_kit.runs.view import RunView


class ReportPanel(Panel):
    """After a run: variants of its model, each measured on this machine, and the front of those worth having."""

    def __init__(self, run: Any = None):
        super().__init__()
        self.run = run
        self.card: Any = None
        self.drop = field(
            widgets.FloatSlider, "May lose", "accuracy that a smaller model may lose, in points of 100", value=0.5, min=0.0,
            max=5.0, step=0.1, readout_format=".1f", continuous_update=False,
        )  # fmt: skip
        self.compress = button(
            "Compress and measure",
            "build small variants of this run's model and time them",
            "info",
            "compress",
            "190px",
        )
        self.state = note("Finish a run first: its model is what gets compressed.")
        self.result = widgets.VBox([], layout=widgets.Layout(width="100%", overflow="hidden"))
        self.compress.disabled = run is None
        self.compress.on_click(lambda _: self._start())
        self._job = Background(self._work, self._show)
        self.view = framed(
            card("Report card", self.drop, row(self.compress, self.state), self.problem, self.result)
        )

    def __repr__(self) -> str:
        return "<ReportPanel: " + ("measured>" if self.card is not None else "nothing measured>")

    def offer(self, run: Any, view: RunView | None) -> None:
        """Take a run as the one to compress, once it has a model."""
        ready = view is not None and view.status == "finished"
        self.run = run if ready else None
        self.compress.disabled = not ready or self._job.busy
        if not self._job.busy and self.card is None:
            set_html(self.state, "" if ready else "Finish a run first: its model is what gets compressed.")

    def _start(self) -> None:
        self.compress.disabled = True
        self.complain(None)
        set_html(self.state, "measuring … the page stays free")
        self._job.start((self.run, self.drop.value / 100))

    def _work(self, request: tuple[Any, float]) -> Any:
        import lepton_kit as lk

        run, drop = request
        return lk.compress(run, max_accuracy_drop=drop)

    def _show(self, result: Any, failure: BaseException | None) -> None:
        self.compress.disabled = self.run is None
        set_html(self.state, "")
        self.complain(failure)
        if failure is None:
            self.card = result
            self.result.children = (widgets.HTML(result.table().to_html(classes="lk-table", border=0)),)
