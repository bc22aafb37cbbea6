"""The report panel: compress a finished run, read what it cost and gained, and choose along the front."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as widgets

from lepton_kit.panels.background import Background
from lepton_kit.panels.parts import (
    Markup,
    Panel,
    button,
    card,
    field,
    framed,
    note,
    on_change,
    row,
    set_html,
    table,
)
from lepton_kit.panels.telling import number, size
from lepton_kit.rundir.view import RunView

WAITING = "Finish a run first: its model is what gets compressed."
COSTS = {"latency, batch 1": "latency_1_one", "file size": "file_bytes", "gzip size": "gzip_bytes"}
SEARCHES = {
    "quantize only: float16, int8": {},
    "search structure and sparsity too": {"search": True},
}


def card_table(found: Any) -> str:
    """The rows of a `ReportCard` in short: score, sizes, latency, and the flags in words; tags as tooltips."""
    lines = []
    for line in found.rows:
        if line.error is not None:
            lines.append([line.name, line.precision, "–", "–", "–", "–", f"failed: {line.error}"])
            continue
        lines.append(
            [
                line.name,
                line.precision,
                _figure(line, "score", lambda value: number(value, 4)),
                _figure(line, "file_bytes", size),
                _figure(line, "gzip_bytes", size),
                _figure(line, "latency_1_one", _milliseconds),
                "; ".join(line.flags) or ("the choice of the search" if line.name == found.best else ""),
            ]
        )
    columns = ["variant", "numbers", found.metric, "file", "gzip", "latency, batch 1", "what to know"]
    return table(columns, lines, numbers=(2, 3, 4, 5))


def describe_row(found: Any, line: Any) -> str:
    """One variant of the front in a sentence."""
    drop = ""
    if found.reference is not None and line.get("score") is not None:
        points = 100 * (line.get("score") - found.reference.get("score"))
        drop = f", {points:+.2f} points against float LiteRT"
    return (
        f"<b>{html.escape(line.name)}</b>: {html.escape(found.metric)} {number(line.get('score'))}{drop}; "
        f"{size(line.get('file_bytes'))}; {_milliseconds(line.get('latency_1_one'))} for one sample on one thread (measured)."
        + (f" {html.escape('; '.join(line.flags))}." if line.flags else "")
    )


def _milliseconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g} ms"


def _figure(line: Any, key: str, tell: Any) -> Markup:
    figure = line.figures.get(key)
    if figure is None or figure.value is None:
        return Markup("–")
    return Markup(f'<span title="{html.escape(figure.origin)}">{html.escape(tell(figure.value))}</span>')


class ReportPanel(Panel):
    """After a run: variants of its model, each measured on this machine, and a slider along those worth having."""

    def __init__(self, run: Any = None):
        super().__init__()
        self.run = run
        self.card: Any = None
        self.kind = field(widgets.Dropdown, "Try", "which variants to build", options=list(SEARCHES))
        self.drop = field(
            widgets.FloatSlider, "May lose, points", "accuracy that the searched model may lose, in points of 100",
            value=0.5, min=0.0, max=5.0, step=0.1, readout_format=".1f", continuous_update=False, disabled=True,
        )  # fmt: skip
        self.compress = button(
            "Compress and measure",
            "build small variants of this run's model and time them",
            "info",
            "compress",
            "200px",
        )
        self.state = note(WAITING if run is None else "")
        self.result = note()
        self.cost = field(widgets.Dropdown, "Front over", "what a variant costs", options=list(COSTS))
        self.choice = field(
            widgets.SelectionSlider,
            "Along the front",
            "from the cheapest to the most accurate variant",
            options=["–"],
        )
        self.chosen = note()
        self.front_box = widgets.VBox(
            [self.cost, self.choice, self.chosen], layout=widgets.Layout(display="none")
        )
        self.compress.disabled = run is None
        self.compress.on_click(lambda _: self._start())
        on_change(self.kind, lambda kind: setattr(self.drop, "disabled", not SEARCHES[kind]))
        on_change(self.cost, lambda _: self._draw_front())
        on_change(self.choice, lambda _: self._tell_choice())
        self._job = Background(self._work, self._show)
        self.view = framed(
            card(
                "Report card", self.kind, self.drop, row(self.compress, self.state), self.problem, self.result,
                self.front_box, note="Compression of a finished run, every variant measured on this machine.",
            )
        )  # fmt: skip

    def __repr__(self) -> str:
        return "<ReportPanel: " + ("measured>" if self.card is not None else "nothing measured>")

    def offer(self, run: Any, view: RunView | None) -> None:
        """Take a run as the one to compress, once it has a model."""
        ready = view is not None and view.status == "finished"
        self.run = run if ready else None
        self.compress.disabled = not ready or self._job.busy
        if not self._job.busy and self.card is None:
            set_html(self.state, "" if ready else WAITING)

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.compress` that this panel chooses."""
        return {"max_accuracy_drop": round(self.drop.value / 100, 6)} if SEARCHES[self.kind.value] else {}

    def present(self, found: Any) -> None:
        """Show a `ReportCard`, from a file or another notebook too."""
        self.card = found
        set_html(self.result, card_table(found))
        self._draw_front()

    def close(self) -> None:
        self._job.join()
        super().close()

    def _start(self) -> None:
        if self.run is None or self._job.busy:
            return
        self.compress.disabled = True
        self.complain(None)
        set_html(self.state, "starting …")
        self._job.start((self.run, self.settings()))

    def _work(self, request: tuple[Any, dict[str, Any]]) -> Any:
        import lepton_kit as lk

        run, settings = request
        return lk.compress(
            run, tell=lambda text: set_html(self.state, html.escape(text)) and None, **settings
        )

    def _show(self, result: Any, failure: BaseException | None) -> None:
        self.compress.disabled = self.run is None
        set_html(self.state, "")
        self.complain(failure)
        if failure is None:
            self.present(result)

    def _draw_front(self) -> None:
        with self.reporting():
            front = self.card.front(COSTS[self.cost.value])
            self.front_box.layout.display = "" if front else "none"
            if front:
                self.choice.options = [line.name for line in front]
                self.choice.value = front[0].name
                self._tell_choice()

    def _tell_choice(self) -> None:
        if self.card is not None and self.choice.value != "–":
            set_html(self.chosen, describe_row(self.card, self.card[self.choice.value]))
