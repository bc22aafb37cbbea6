"""The FPGA panel: number format and reuse factor of a design, emulated bit by bit on the held-out samples."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from lepton_kit.deploy import fpga
from lepton_kit.panels.background import Background
from lepton_kit.panels.card_text import WAITING_FOR_RUN, WITH_MODEL
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import Panel, button, card, field, framed, note, on_change, row, set_html
from lepton_kit.rundir.view import RunView


def describe_format(bits: int, whole: int) -> str:
    """What numbers ``ap_fixed<bits,whole>`` holds, in words.

    >>> describe_format(16, 6)
    'ap_fixed<16,6>: from -32 to almost 32 in steps of 1/1024; what does not fit wraps around'
    """
    reach, step = 2.0 ** (whole - 1), 2 ** (bits - whole)
    return f"ap_fixed<{bits},{whole}>: from -{reach:g} to almost {reach:g} in steps of 1/{step}; what does not fit wraps around"


class FpgaPanel(Panel):
    """A finished run's model as a circuit: its accuracy measured by emulation, its size estimated."""

    def __init__(self, run: Any = None, *, on_design: Callable[[Any], None] | None = None):
        super().__init__()
        self.run: Any = None
        self.design: Any = None
        self._on_design = on_design
        self._offered: tuple[Any, RunView | None] | None = None  # while a design is built, for its end
        self.bits = field(Number, "Bits", "width of every number", value=16, min=2, max=32, whole=True)
        self.whole = field(
            Number, "Of them whole", "bits before the binary point, with the sign", value=6, min=1, max=32, whole=True,
        )  # fmt: skip
        self.reuse = field(
            Number, "Reuse factor", "how often one multiplier works per inference: more is smaller and slower",
            value=1, min=1, max=4096, whole=True,
        )  # fmt: skip
        self.estimate = widgets.Checkbox(
            value=True, description="estimate the circuit's size", tooltip="trace the design with alkaid", indent=False
        )  # fmt: skip
        self.explanation = note()
        self.emulate = button(
            "Emulate on FPGA", "build the design's C++ and run the held-out samples through it", "info", "microchip", "200px"
        )  # fmt: skip
        self.state, self.result = note(), note()
        self.missing = fpga.missing()
        self.emulate.disabled = True
        self.emulate.on_click(lambda _: self._start())
        for widget in (self.bits, self.whole):
            on_change(widget, lambda _: self._explain())
        self._job = Background(self._work, self._show)
        self._explain()
        set_html(self.state, html.escape(self.missing or WAITING_FOR_RUN))
        self.view = framed(
            card(
                "FPGA", self.bits, self.whole, self.explanation, self.reuse, self.estimate,
                row(self.emulate, self.state), self.problem, self.result,
                note="An inference target: accuracy measured by emulation, size estimated; no chip is needed.",
            )
        )  # fmt: skip
        if run is not None:
            self.offer(run, run.view())

    def __repr__(self) -> str:
        return f"<FpgaPanel: {self.settings()['precision']}, reuse factor {self.reuse.value}>"

    def offer(self, run: Any, view: RunView | None) -> None:
        """Take a run as the one to build, once it has a model."""
        ready = run is not None and view is not None and view.status in WITH_MODEL and self.missing is None
        self.emulate.disabled = not ready or self._job.busy
        if self._job.busy:
            self._offered = (run, view)
        if self._job.busy or self.missing is not None:
            return
        known = self.run
        self.run = run if ready else None
        if not ready:
            set_html(self.state, WAITING_FOR_RUN)
        elif known is None or known.id != run.id:
            self.design = None
            set_html(self.state, "")
            set_html(self.result, "")

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.deploy.fpga.convert` that this panel chooses."""
        return {
            "precision": f"ap_fixed<{self.bits.value},{self.whole.value}>",
            "reuse_factor": self.reuse.value,
            "estimate": self.estimate.value,
        }

    def close(self) -> None:
        """End what works in the background, and the widgets."""
        self._job.join()
        super().close()

    def _explain(self) -> None:
        fits = self.whole.value <= self.bits.value
        self.complain(
            None if fits else f"whole bits: got {self.whole.value}; expected at most {self.bits.value}"
        )
        set_html(
            self.explanation, html.escape(describe_format(self.bits.value, self.whole.value)) if fits else ""
        )

    def _start(self) -> None:
        if self.run is None or self._job.busy:
            return
        self.emulate.disabled = True
        self.complain(None)
        set_html(self.state, "building and emulating; some seconds to a minute …")
        self._job.start((self.run, self.settings()))

    def _work(self, request: tuple[Any, dict[str, Any]]) -> Any:
        run, settings = request
        return fpga.convert(run, **settings)

    def _show(self, result: Any, failure: BaseException | None) -> None:
        self.emulate.disabled = self.run is None
        set_html(self.state, "")
        self.complain(failure)
        built = self.run
        if self._offered is not None:
            offered, self._offered = self._offered, None
            self.offer(*offered)
        if failure is None and self.run in (None, built):
            self._tell(result)
        elif failure is None:  # another run is here now, with a card of its own
            set_html(self.state, f"the design of {html.escape(built.id)} is ready; choose that run to see it")

    def _tell(self, result: Any) -> None:
        self.design = result
        luts, cycles = result.figures["luts"], result.figures["cycles"]
        chip = (
            f"about {luts.value:,.0f} LUTs and {cycles.value:.0f} cycles ({luts.origin})"
            if luts.value is not None
            else "size not run"
        )
        told = [
            f"<b>{html.escape(result.name)}</b>: {html.escape(result.metric)} {result.score.value:.4f} (measured), "
            f"Keras {result.float_score.value:.4f}; {chip}",
            *(html.escape(text) for text in result.notes),
        ]
        set_html(self.result, "<br>".join(told))
        if self._on_design is not None:
            with self.reporting():
                self._on_design(result)
