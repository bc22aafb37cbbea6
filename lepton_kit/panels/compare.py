"""The compare panel: curves of several runs in one plot, and the tables of what differs."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as widgets

from lepton_kit.client.tradeoff import of_runs
from lepton_kit.errors import LeptonError
from lepton_kit.panels import still
from lepton_kit.panels.card_text import plot
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import Panel, button, card, framed, on_change, row, set_html

AXES = (("steps", "step"), ("epochs", "epoch"), ("seconds", "seconds"))


class ComparePanel(Panel):
    """Draws what `lepton_kit.compare` returns: choose a quantity, smooth it, make an axis logarithmic.

    ``show(comparison)`` fills it; ``quantity``, ``x``, ``smoothing``, ``log_x`` and ``log_y`` are the arguments of
    `Comparison.picture`; `Comparison.figure` is the same for exploring.
    """

    def __init__(self, comparison: Any = None):
        super().__init__()
        self.comparison: Any = None
        self.drawn: Any = None
        label = {"description_width": "70px"}
        self.quantity = widgets.Dropdown(
            options=["loss"], description="Quantity", style=label, layout=widgets.Layout(width="230px")
        )
        self.x = widgets.Dropdown(
            options=AXES,
            description="over",
            style={"description_width": "36px"},
            layout=widgets.Layout(width="140px"),
        )
        self.smoothing = Number(
            value=0.0, max=0.98, step=0.02, slided=True, description="Smoothing", tooltip="share of a point that comes from those before it",
            layout=widgets.Layout(width="340px"),
        )  # fmt: skip
        self.log_x = widgets.Checkbox(
            False, description="log x", indent=False, layout=widgets.Layout(width="70px")
        )
        self.log_y = widgets.Checkbox(
            False, description="log y", indent=False, layout=widgets.Layout(width="70px")
        )
        self.hide = button("Close", "take the comparison off the page", "", "times", "90px")
        self.plot = widgets.HTML(layout=widgets.Layout(width="100%", overflow="hidden"))
        self.plot.add_class("lk-compared")
        self.plane = widgets.HTML(layout=widgets.Layout(width="100%", overflow="hidden"))
        self.tables = widgets.HTML()
        self.controls = (self.quantity, self.x, self.smoothing, self.log_x, self.log_y)
        for control in self.controls:
            on_change(control, lambda _: self._draw())
        self.view = framed(
            card("Comparison", row(*self.controls, self.hide), self.problem, self.plot, self.plane, self.tables,
                 note="Dashed curves are of validation samples. Under a smoothed curve the plain one is faint.")
        )  # fmt: skip
        self.hide.on_click(lambda _: self._hide())
        if comparison is not None:
            self.show(comparison)

    def __repr__(self) -> str:
        return f"<ComparePanel: {', '.join(self.comparison.names)}>" if self.comparison else "<ComparePanel>"

    def show(self, comparison: Any) -> None:
        """Show other runs, with the choices made before where they fit."""
        self.comparison = None  # the fields change below, and nothing is to be drawn twice
        chosen = self.quantity.value
        known = [name for name in comparison.quantities if f"val_{name.removeprefix('val_')}" != name]
        self.quantity.options = known
        self.quantity.value = chosen if chosen in known else known[0]
        self.comparison = comparison
        self._draw()
        set_html(self.plane, _plane(comparison))
        set_html(self.tables, comparison.to_html())

    def still(self) -> dict[str, str]:
        """The plot that is shown, with its words."""
        if self.drawn is None:
            return super().still()
        return still.bundle_of(self.drawn.text, svg=self.drawn.svg)

    def still_mark(self) -> Any:
        """What a still picture depends on: while it is the same the picture need not be drawn again."""
        return self.plot.value

    def _draw(self) -> None:
        if self.comparison is None:
            return
        with self.reporting():
            self.drawn = self.comparison.picture(
                self.quantity.value, x=self.x.value, smoothing=self.smoothing.value,
                log_x=self.log_x.value, log_y=self.log_y.value,
            )  # fmt: skip
            set_html(self.plot, self.drawn.svg)

    def _hide(self) -> None:
        self.view.layout.display = "none"


def _plane(comparison: Any) -> str:
    """The runs on a plane of accuracy and energy, where both are known of all of them."""
    try:
        found = of_runs(comparison)
    except LeptonError:
        return ""
    return f"<p>{html.escape(found.sentence)}</p>{plot(found.picture())}"
