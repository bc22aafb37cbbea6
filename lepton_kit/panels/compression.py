"""The compression panel: prune and quantize while training, then measure what it bought."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import Panel, card, field, framed, note, on_change, set_html

PATTERNS = {
    "none": "All weights stay.",
    "unstructured": "The smallest weights anywhere become zero: a smaller compressed file, no gain in speed by itself.",
    "2:4": "Two of every four weights become zero: a pattern that some GPUs run faster; CPUs don't.",
    "block": "Whole blocks of weights become zero: coarser, costs more accuracy at the same sparsity.",
}
BITS = {
    "off": "Weights train in float32; int8 after training usually costs nothing at 8 bits.",
    "8": "Rounds to 8 bits while training: rarely better than quantizing after training.",
    "4": "Rounds to 4 bits while training: recovers most of what 4-bit weights lose.",
    "3": "Rounds to 3 bits while training: needed, and worth it, below 4 bits.",
    "2": "Rounds to 2 bits while training: the smallest; expect to lose some accuracy.",
}


def impossible(pattern: str) -> dict[str, str]:
    """Why an option can't be chosen beside this pattern: {option: reason}.

    >>> impossible("2:4")
    {'sparsity': '2:4 fixes the share of zeros at 50 %'}
    """
    reasons = {}
    if pattern == "2:4":
        reasons["sparsity"] = "2:4 fixes the share of zeros at 50 %"
    if pattern == "none":
        reasons["sparsity"] = "nothing is pruned"
    return reasons


class CompressionPanel(Panel):
    """Pruning and quantization-aware training for the next run; impossible combinations are greyed out, with the reason."""

    def __init__(self) -> None:
        super().__init__()
        self.pattern = field(widgets.Dropdown, "Pruning", "which weights become zero", options=list(PATTERNS))
        self.sparsity = field(
            Number, "Share of zeros", "share of the weights that are zero at the end", value=0.8, max=0.99, step=0.05,
            factor=100, unit=" %", slided=True,
        )  # fmt: skip
        self.scope = field(
            widgets.Dropdown, "Compared", "weights compete within their layer, or over the whole network",
            options=[("within each layer", "layer"), ("over all layers", "global")],
        )  # fmt: skip
        self.frequency = field(
            Number,
            "Every … steps",
            "steps between two updates of the masks",
            value=20,
            min=1,
            max=1_000_000,
            whole=True,
        )
        self.bits = field(
            widgets.Dropdown, "Train for bits", "round weights while training, so that they bear it",
            options=[(f"{bits} bits" if bits != "off" else "off", bits) for bits in BITS],
        )  # fmt: skip
        self.pattern_note, self.bits_note, self.reason = note(), note(), note()
        for widget in (self.pattern, self.bits):
            on_change(widget, lambda _: self.refresh())
        self.locked = False
        self.refresh()
        self.view = framed(
            card(
                "Compression while training", self.pattern, self.pattern_note, self.sparsity, self.reason, self.scope,
                self.frequency, self.bits, self.bits_note, self.problem,
            )
        )  # fmt: skip

    def __repr__(self) -> str:
        pruning = "no pruning" if self.pattern.value == "none" else f"{self.pattern.value} pruning"
        bits = "float" if self.bits.value == "off" else f"{self.bits.value} bits"
        return f"<CompressionPanel: {pruning}, {bits}>"

    def refresh(self) -> None:
        """Explain the chosen options and grey out what can't be chosen beside them."""
        reasons = impossible(self.pattern.value)
        self.sparsity.disabled = self.locked or "sparsity" in reasons
        pruned = self.pattern.value != "none"
        for widget in (self.scope, self.frequency):
            widget.disabled = self.locked or not pruned
        set_html(self.pattern_note, PATTERNS[self.pattern.value])
        set_html(self.bits_note, BITS[self.bits.value])
        told = [f"{name}: {reason}" for name, reason in reasons.items() if pruned]
        set_html(self.reason, "; ".join(told))

    def show_run(self, config: Any) -> None:
        """Show how a run prunes and rounds while it trains."""
        pruning, bits = config.pruning, config.quantization_aware
        if pruning is not None:
            self.sparsity.show(pruning.sparsity)
            self.frequency.show(pruning.frequency)
            self.scope.value = pruning.scope
        pattern, rounded = (
            "none" if pruning is None else pruning.pattern,
            "off" if bits is None else str(bits.bits),
        )
        if pattern in PATTERNS:  # blocks are chosen in Python only
            self.pattern.value = pattern
        if rounded in BITS:
            self.bits.value = rounded

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.launch` that this panel chooses; nothing for a plain run."""
        chosen: dict[str, Any] = {}
        if self.pattern.value != "none":
            sparsity = 0.5 if self.pattern.value == "2:4" else round(self.sparsity.value, 4)
            chosen["pruning"] = {
                "sparsity": sparsity, "pattern": self.pattern.value, "scope": self.scope.value,
                "frequency": self.frequency.value,
            }  # fmt: skip
        if self.bits.value != "off":
            chosen["quantization_aware"] = int(self.bits.value)
        return chosen

    def lock(self, locked: bool) -> None:
        """A run that trains keeps its options."""
        self.locked = locked
        for widget in (self.pattern, self.bits):
            widget.disabled = locked
        self.refresh()
