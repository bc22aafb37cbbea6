"""The sharding panel: how many workers, how large the global batch, and who gets which part of it."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from lepton_kit.data.sharding import cut
from lepton_kit.devices import usable_cores
from lepton_kit.errors import ConfigError
from lepton_kit.panels.parts import Panel, card, field, framed, note, on_change, set_html
from lepton_kit.panels.telling import cut_bar


def explain_cut(global_batch: int, workers: int) -> tuple[tuple[int, ...], str]:
    """The parts of a global batch for equal workers, and what they mean in a sentence.

    Raises `ConfigError` for a batch that leaves a worker without samples.

    >>> explain_cut(128, 3)[0]
    (43, 43, 42)
    """
    if global_batch < max(1, workers):
        raise ConfigError(
            "global_batch", given=global_batch, rule=f"at least one sample for each of {workers} workers"
        )
    parts = cut(global_batch, [1.0] * workers)
    shares = " + ".join(str(part) for part in parts[:8]) + (" + …" if len(parts) > 8 else "")
    if workers == 1:
        return parts, f"Each step trains on {global_batch} samples in one process."
    return parts, (
        f"Each step takes the next {global_batch} samples and cuts them into {shares}, one part a rank. An allreduce "
        f"sums the gradients, each weighted by its share, so a step equals one on all {global_batch} samples."
    )


class ShardingPanel(Panel):
    """Workers and global batch. While a run trains, the workers slider asks that run for more or fewer."""

    def __init__(self, workers: int = 2, global_batch: int = 128, max_workers: int | None = None):
        super().__init__()
        most = max_workers or max(4, usable_cores())
        self.workers = field(
            widgets.IntSlider, "Workers", "processes that train together; during a run the slider changes it live",
            value=min(workers, most), min=1, max=most, continuous_update=False,
        )  # fmt: skip
        self.global_batch = field(
            widgets.IntText, "Global batch", "samples per step, over all workers together", value=global_batch,
        )  # fmt: skip
        self.workers.add_class("lk-workers-slider")
        self.picture_of_cut = widgets.HTML("", layout=widgets.Layout(margin="4px 0 0 0"))
        self.explanation = note()
        self.observed = note()
        self.observed.add_class("lk-observed")
        for widget in (self.workers, self.global_batch):
            on_change(widget, lambda _: self.refresh())
        self.refresh()
        self.view = framed(
            card(
                "Workers", self.workers, self.global_batch, self.picture_of_cut, self.explanation, self.observed,
                self.problem,
            )
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<ShardingPanel: {self.workers.value} workers, global batch {self.global_batch.value}>"

    def refresh(self) -> None:
        """Draw the cut of the chosen numbers, or say why there is none."""
        with self.reporting():
            set_html(self.picture_of_cut, "")
            set_html(self.explanation, "")
            parts, text = explain_cut(self.global_batch.value, self.workers.value)
            set_html(self.picture_of_cut, cut_bar(parts))
            set_html(self.explanation, text)

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.launch` that this panel chooses."""
        return {"workers": self.workers.value, "global_batch": self.global_batch.value} | (
            {"max_workers": self.workers.max} if self.workers.max > usable_cores() else {}
        )

    def observe_counts(self, counts: dict[str, int] | None) -> None:
        """Say how many workers are wanted and observed; None while no run trains."""
        if counts is None:
            set_html(self.observed, "")
            return
        said = " · ".join(f"<b>{counts[name]}</b> {name}" for name in ("wanted", "starting", "training"))
        set_html(self.observed, f"This run: {said}")

    def lock(self, locked: bool) -> None:
        """The global batch of a run that trains can't change; its workers can."""
        self.global_batch.disabled = locked
