"""The report panel: compress a finished run, read what it cost and gained, and choose along the front."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.compression.quantization.formats import PRECISIONS
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.compress import CompressionJob
from lepton_kit.deploy.subject import compresses
from lepton_kit.errors import CompressionError
from lepton_kit.panels.background import Background
from lepton_kit.panels.card_text import (
    OLDER,
    WAITING_FOR_RUN,
    WITH_MODEL,
    card_table,
    describe_row,
    downloads,
    layer_choices,
    plot,
)
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import (
    Panel,
    button,
    card,
    column,
    columns,
    field,
    framed,
    note,
    on_change,
    row,
    set_html,
)
from lepton_kit.panels.still import bundle_of
from lepton_kit.rundir.view import RunView

COSTS = {
    "latency, batch 1": "latency_1_one",
    "energy": "energy",
    "file size": "file_bytes",
    "gzip size": "gzip_bytes",
}
CHOSEN = "the variants chosen here"
SEARCH = "a search for the cheapest inside a bound"
TARGET = "a search for the best score that meets a target"
FORMATS = {"float16": True, "dynamic_int8": False, "int8": True, "int4": False}
BITS = {"off": None, "8 bits": "qat8", "4 bits": "qat4", "3 bits": "qat3", "2 bits": "qat2"}
PLAIN_RUN = "this run neither pruned nor rounded while it trained"


def greyed(kind: str, trains: bool, compressed: bool) -> dict[str, str]:
    """Why an option can't be chosen: {option: reason}.

    ``trains``: something is removed or rounded, so that it is fine-tuned; ``compressed``: the run itself did so.

    >>> greyed(CHOSEN, trains=True, compressed=True)
    {'drop': 'only a search for the cheapest has a bound', 'target': 'only a search for the best score has a target'}
    """
    reasons = {} if compressed else {"control": PLAIN_RUN}
    if kind != SEARCH:
        reasons["drop"] = "only a search for the cheapest has a bound"
    if kind != TARGET:
        reasons["target"] = "only a search for the best score has a target"
    if kind != CHOSEN:
        return reasons | dict.fromkeys(("structured", "sparsity"), "the search chooses it")
    if not trains:
        reasons["epochs"] = "nothing is removed or rounded, so nothing is trained"
    return reasons


class ReportPanel(Panel):
    """After a run: variants of its model, each measured on this machine, and a slider along those worth having."""

    def __init__(self, run: Any = None):
        super().__init__()
        self.run: Any = None
        self.card: ReportCard | None = None
        self.designs: list[Any] = []
        self._under_way: CompressionJob | None = None
        self._looked_at: str | None = None
        self._offered: tuple[Any, RunView | None] | None = None  # while a compression works, for its end
        self.kind = field(
            widgets.Dropdown, "Try", "which variants to build", options=[CHOSEN, SEARCH, TARGET]
        )
        self.formats = {
            name: widgets.Checkbox(
                value=ticked, description=name, tooltip=PRECISIONS[name].explanation, indent=False,
                layout=widgets.Layout(width="auto", margin="0 12px 0 0"),
            )
            for name, ticked in FORMATS.items()
        }  # fmt: skip
        self.structured = field(
            Number, "Remove channels", "share of filters and units taken out: smaller and faster; fine-tuned after",
            value=0.0, max=0.875, step=0.125, factor=100, unit=" %", slided=True,
        )  # fmt: skip
        self.sparsity = field(
            Number, "Zeros", "share of weights made zero: a smaller gzip file, no gain in speed; fine-tuned after",
            value=0.0, max=0.99, step=0.05, factor=100, unit=" %", slided=True,
        )  # fmt: skip
        self.bits = field(
            widgets.Dropdown, "Fine-tune for", "train on with weights rounded to so many bits, so that they bear it",
            options=list(BITS),
        )  # fmt: skip
        self.keep_float = field(
            Number, "Keep in float", "so many layers, those that lose most, stay float beside an int8 rest ('mixed')",
            value=0, max=5, whole=True, slided=True,
        )  # fmt: skip
        self.layers = field(
            widgets.SelectMultiple, "Layers in float", "the layers that stay float beside an int8 rest ('mixed'); Ctrl picks several",
            options=[], rows=5, layout=widgets.Layout(width="98%", max_width="460px", display="none"),
        )  # fmt: skip
        self.measure_layers = button(
            "Measure layers", "round one layer at a time to int8 and see what the score loses", icon="search"
        )
        self.losses = note()
        self.control = widgets.Checkbox(
            value=True, description="Control of the run first", indent=False,
            tooltip="the same run without pruning and rounding, as long: what the card compares it with",
        )  # fmt: skip
        self.epochs = field(
            Number, "Extra epochs", "of fine-tuning, and of an uncompressed control; with fewer channels as many more as are affordable",
            value=3, min=1, max=1000, whole=True,
        )  # fmt: skip
        self.drop = field(
            widgets.Text, "May lose", "what the cheapest model may lose of the score: 0.01 in its unit, 1% of the float model's, or "
            "auc=0.01 for a metric of the model", value="0.5%", placeholder="0.5% · 0.005 · auc=0.01",
        )  # fmt: skip
        self.target = field(
            widgets.Text, "Target", "what the best model has to meet: its latency for one sample on this machine, or its file's size",
            value="size <= 50 kB", placeholder="latency <= 0.02 ms · size <= 50 kB",
        )  # fmt: skip
        self.explanation, self.reason = note(), note()
        self.compress = button(
            "Compress and measure",
            "build small variants of this run's model and time them",
            "info",
            "compress",
            "200px",
        )
        self.cancel = button("Cancel", "end the compression that is under way", icon="stop")
        self.state, self.result = note(WAITING_FOR_RUN), note()
        self.plot, self.save = note(), note()
        self.cost = field(widgets.Dropdown, "Front over", "what a variant costs", options=list(COSTS))
        self.choice = field(
            widgets.Dropdown,
            "Along the front",
            "from the cheapest to the most accurate variant",
            options=["–"],
        )
        self.chosen = note()
        self.front_box = widgets.VBox(
            [self.cost, self.plot, self.choice, self.chosen, self.save], layout=widgets.Layout(display="none")
        )
        self.compress.disabled = self.cancel.disabled = self.measure_layers.disabled = True
        self.measure_layers.on_click(lambda _: self._measure_layers())
        self._looking = Background(self._look, self._show_layers)
        self.compress.on_click(lambda _: self._start())
        self.cancel.on_click(lambda _: self._cancel())
        for widget in (
            self.kind,
            self.structured,
            self.sparsity,
            self.bits,
            self.keep_float,
            self.layers,
            *self.formats.values(),
        ):
            on_change(widget, lambda _: self.refresh())
        on_change(self.cost, lambda _: self._draw_front())
        on_change(self.choice, lambda _: self._tell_choice())
        self._job = Background(self._work, self._show)
        self.refresh()
        formats = column(
            self.kind, row(*self.formats.values()), self.explanation,
            self.keep_float, note("int8 but for so many layers, those that lose most; or choose them:"),
            row(self.measure_layers), self.layers, self.losses,
            self.bits, note("train on with weights rounded to so many bits"), gap="0",
        )  # fmt: skip
        network = column(
            self.structured, note("whole filters and units go: smaller and faster"),
            self.sparsity, note("single weights become zero: only the gzip file shrinks"),
            self.epochs, self.drop, self.target, self.control, self.reason, gap="0",
        )  # fmt: skip
        self.view = framed(
            card(
                "Report card", columns(formats, network), row(self.compress, self.cancel, self.state), self.problem, self.result,
                self.front_box, note="Compression of a finished or stopped run, every variant measured on this machine.",
            )
        )  # fmt: skip
        if run is not None:
            self.offer(run, run.view())

    def __repr__(self) -> str:
        return "<ReportPanel: " + ("measured>" if self.card is not None else "nothing measured>")

    def refresh(self) -> None:
        """Explain the chosen options and grey out what can't be chosen beside them."""
        trains = any((self.structured.value, self.sparsity.value, BITS[self.bits.value]))
        reasons = greyed(self.kind.value, trains, compresses(self.run))
        for name in ("structured", "sparsity", "epochs", "drop", "target", "control"):
            getattr(self, name).disabled = name in reasons
        told = [f"<b>{getattr(self, name).description}</b>: {reason}" for name, reason in reasons.items()]
        set_html(self.reason, "<br>".join(told))
        lines = [f"<b>{name}</b>: {html.escape(PRECISIONS[name].explanation)}" for name in self._precisions()]
        set_html(self.explanation, "<br>".join(lines))

    def _precisions(self) -> tuple[str, ...]:
        chosen = [name for name, box in self.formats.items() if box.value]
        chosen += ["mixed"] * bool(self.keep_float.value or self.layers.value)
        trained = BITS[self.bits.value]
        return (*chosen, trained) if trained is not None else tuple(chosen)

    def offer(self, run: Any, view: RunView | None) -> None:
        """Take a run as the one to compress, once it has a model; the card that it has already is shown."""
        ready = run is not None and view is not None and view.status in WITH_MODEL
        self.compress.disabled = not ready or self._job.busy
        self.measure_layers.disabled = not ready or self._looking.busy
        if self._job.busy:
            self._offered = (run, view)
            return
        if not ready:
            self.run = None
            set_html(self.state, WAITING_FOR_RUN)
        elif self.run is None or self.run.id != run.id:
            self.run = run
            self._clear()
        self.refresh()

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.compress` that this panel chooses."""
        chosen: dict[str, Any] = {"quantize": self._precisions()}
        if self.layers.value:
            chosen["keep_float"] = self.layers.value
        if compresses(self.run) and not self.control.value:
            chosen["control"] = False
        if self.kind.value != CHOSEN:
            wanted = {"max_drop": self.drop} if self.kind.value == SEARCH else {"target": self.target}
            searched = {name: widget.value.strip() for name, widget in wanted.items()}
            return chosen | searched | {"fine_tune_epochs": self.epochs.value}
        shares = {"structured": self.structured.value, "sparsity": round(self.sparsity.value, 4)}
        chosen |= {name: share for name, share in shares.items() if share}
        if not self.epochs.disabled:
            chosen["fine_tune_epochs"] = self.epochs.value
        return chosen

    def present(self, found: ReportCard) -> None:
        """Show a `ReportCard`, from a file or another notebook too."""
        for design in self.designs:
            found = design.added_to(found)
        self.card = found
        set_html(self.result, card_table(found))
        set_html(self.save, downloads(found, self.run.id if self.run is not None else "report-card"))
        self._draw_front()

    def add(self, design: Any) -> None:
        """Put an FPGA design beside the variants: at once, or when there is a card."""
        self.designs = [other for other in self.designs if other.name != design.name] + [design]
        if self.card is not None:
            self.present(self.card)

    def still(self) -> dict[str, str]:
        """A picture of what the panel shows now, with words, as a bundle of MIME types."""
        picture = None if self.card is None else self.card.picture(COSTS[self.cost.value])
        return super().still() if picture is None else bundle_of(picture.text, svg=picture.svg)

    def close(self) -> None:
        """End what works in the background, and the widgets."""
        self._job.join()
        self._looking.join()
        super().close()

    def _clear(self) -> None:
        self.card, self.designs = None, []
        self.complain(None)
        for text in (self.state, self.result, self.chosen, self.losses):
            set_html(text, "")
        self.layers.options, self.layers.layout.display = [], "none"
        self.front_box.layout.display = "none"
        folder = Path(self.run.directory) / "compression"
        if (folder / "card.json").is_file():
            with self.reporting():
                self.present(ReportCard.load(folder))
            model = self.run.paths.final_model
            if model.exists() and model.stat().st_mtime > (folder / "card.json").stat().st_mtime:
                set_html(self.state, OLDER)
        job = CompressionJob(folder)
        if job.running:  # begun by another notebook, or by this one before its kernel restarted
            self._follow(lambda: job)

    def _start(self) -> None:
        if self.run is not None and not self._job.busy:
            self._follow(partial(self._begin, self.run, self.settings(), self.keep_float.value))

    def _measure_layers(self) -> None:
        if self.run is not None and not self._looking.busy:
            self.measure_layers.disabled = True
            self.complain(None)
            set_html(self.losses, "rounding one layer at a time …")
            self._looked_at = self.run.id
            self._looking.start(self.run)

    def _look(self, run: Any) -> Any:
        import lepton_kit as lk

        return lk.sensitivity(run)

    def _show_layers(self, found: Any, failure: BaseException | None) -> None:
        self.measure_layers.disabled = self.run is None
        if self.run is None or self.run.id != self._looked_at:
            return  # another run is here now, whose model has layers of its own
        set_html(self.losses, "")
        self.complain(failure)
        if failure is None:
            self.layers.options = layer_choices(found)
            self.layers.layout.display = ""
            set_html(self.losses, plot(found.picture()))

    def _follow(self, begin: Callable[[], CompressionJob]) -> None:
        self.compress.disabled = True
        self.complain(None)
        set_html(self.state, "starting …")
        self._job.start(begin)

    def _cancel(self) -> None:
        self.cancel.disabled = True
        if self._under_way is not None:
            self._under_way.cancel()

    def _begin(self, run: Any, settings: dict[str, Any], kept: int) -> CompressionJob:
        import lepton_kit as lk

        if kept and "keep_float" not in settings:
            self._tell("looking which layers lose most in int8")
            settings["keep_float"] = lk.sensitivity(run).worst(kept)
            if not settings["keep_float"]:
                raise CompressionError("Keep in float: no layer loses anything in int8; set it to 0")
        result: CompressionJob = lk.compress(run, wait=False, **settings)
        return result

    def _work(self, begin: Callable[[], CompressionJob]) -> ReportCard:
        self._under_way = begin()
        self.cancel.disabled = False
        return self._under_way.result(self._tell)

    def _tell(self, text: str) -> None:
        set_html(self.state, html.escape(text))

    def _show(self, result: Any, failure: BaseException | None) -> None:
        self.compress.disabled, self.cancel.disabled = self.run is None, True
        self._under_way = None
        set_html(self.state, "")
        self.complain(failure)
        if failure is None:
            with self.reporting():
                self.present(result)
        measured = self.run
        if self._offered is not None:
            offered, self._offered = self._offered, None
            self.offer(*offered)
        if failure is None and self.run not in (None, measured):
            set_html(self.state, f"{html.escape(measured.id)} is measured: its card stands with that run")

    def _draw_front(self) -> None:
        if self.card is None:
            return
        with self.reporting():
            cost = COSTS[self.cost.value]
            said = self.card.saving() if cost == "energy" else None
            told = f"<p>{html.escape(said)}</p>" if said else ""
            set_html(self.plot, f"{plot(self.card.picture(cost))}{told}")
            front = self.card.front(cost)
            self.front_box.layout.display = "" if front else "none"
            if front:
                self.choice.options = [line.name for line in front]
                self.choice.value = front[0].name
                self._tell_choice()

    def _tell_choice(self) -> None:
        if self.card is not None and self.choice.value != "–":
            set_html(self.chosen, describe_row(self.card, self.card[self.choice.value]))
