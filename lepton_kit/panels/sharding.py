"""The sharding panel: how many workers, how large the global batch, and who gets which part of it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from lepton_kit.config import MOST_BATCH
from lepton_kit.data.sharding import cut
from lepton_kit.errors import ConfigError
from lepton_kit.hosts import HostSpec
from lepton_kit.machine.devices import usable_cores
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import Panel, card, field, framed, note, on_change, set_html
from lepton_kit.panels.telling import cut_bar


def explain_cut(global_batch: int, workers: int, samples: int | None = None) -> tuple[tuple[int, ...], str]:
    """The parts of a step for equal workers, and what they mean in words; ``samples`` is the size of the training split.

    Raises `ConfigError` for a batch or a training split that leaves a worker without samples.

    >>> explain_cut(128, 3)[0]
    (43, 43, 42)
    >>> explain_cut(128, 1, samples=300)[1]
    'Each step trains on 128 samples in one process; the last step of an epoch on the 44 that are left.'
    """
    if global_batch < max(1, workers):
        raise ConfigError(
            "global_batch", given=global_batch, rule=f"at least one sample for each of {workers} workers"
        )
    if samples is not None and samples < workers:
        raise ConfigError("workers", given=workers, rule=f"at most the {samples} training samples")
    taken = global_batch if samples is None else min(global_batch, samples)
    left = 0 if samples is None else samples % taken
    parts = cut(taken, [1.0] * workers)
    many = "sample" if taken == 1 else "samples"
    every = f"all {taken} training {many}" if taken != global_batch else f"the next {taken} {many}"
    if workers == 1:
        every = every.removeprefix("the next ")
        tail = f"; the last step of an epoch on the {left} that {_are(left)} left." if left else "."
        return parts, f"Each step trains on {every} in one process{tail}"
    shares = " + ".join(str(part) for part in parts[:8]) + (" + …" if len(parts) > 8 else "")
    tail = f" The last step of an epoch takes the {left} that {_are(left)} left." if left else ""
    return parts, (
        f"Each step takes {every} and cuts them into {shares}, one part a rank. An allreduce sums the gradients, "
        f"each weighted by its share, so a step equals one process on all of them.{tail}"
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


class ShardingPanel(Panel):
    """Workers and global batch. While a run trains, the workers slider asks that run for more or fewer."""

    def __init__(self, workers: int = 2, global_batch: int = 128, max_workers: int | None = None):
        super().__init__()
        most = max_workers or max(4, usable_cores())
        self.workers = field(
            Number, "Workers", "processes that train together; during a run the slider changes it live",
            value=min(workers, most), min=1, max=most, whole=True, slided=True,
        )  # fmt: skip
        self.global_batch = field(
            Number, "Global batch", "samples per step, over all workers together", value=global_batch, min=1,
            max=MOST_BATCH, whole=True,
        )  # fmt: skip
        self.workers.add_class("lk-workers-slider")
        self.samples: int | None = None
        self.picture_of_cut = widgets.HTML("", layout=widgets.Layout(margin="4px 0 0 0"))
        self.explanation = note()
        self.observed = note()
        self.observed.add_class("lk-observed")
        self.places = note()
        self._slots, self._here = 0, (0, 0)
        """Slots of the hosts that are chosen; and workers, with their bound, without hosts."""
        for widget in (self.workers, self.global_batch):
            on_change(widget, lambda _: self.refresh())
        self.refresh()
        self.view = framed(
            card(
                "Workers", self.workers, self.global_batch, self.places, self.picture_of_cut, self.explanation,
                self.observed,
                self.problem,
            )
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<ShardingPanel: {self.workers.value} workers, global batch {self.global_batch.value}>"

    def know(self, samples: int | None) -> None:
        """Take the size of the training split into account; None: it is not known."""
        if samples != self.samples:
            self.samples = samples
            self.refresh()

    def refresh(self) -> None:
        """Draw the cut of the chosen numbers, or say beside the field why there is none."""
        self.workers.problem = self.global_batch.problem = ""
        try:
            parts, text = explain_cut(self.global_batch.value, self.workers.value, self.samples)
        except ConfigError as failure:
            getattr(self, failure.field).problem = str(failure)
            parts, text = (), ""
        set_html(self.picture_of_cut, cut_bar(parts) if parts else "")
        set_html(self.explanation, text)

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.launch` that this panel chooses."""
        return {"workers": self.workers.value, "global_batch": self.global_batch.value} | (
            {"max_workers": int(self.workers.max)}
            if not self._slots and self.workers.max > usable_cores()
            else {}
        )

    def use(self, options: dict[str, Any]) -> None:
        """Set what a plan advises, as a user would; the slider reaches as far as it has to."""
        self.workers.max = max(int(self.workers.max), options["workers"])
        self.workers.value, self.global_batch.value = options["workers"], options["batch_size"]

    def stand_on(self, hosts: Sequence[HostSpec]) -> None:
        """Have workers take the slots of these hosts, one a slot at first; none: this machine's, as many as before."""
        slots = sum(host.slots for host in hosts)
        named = ", ".join(f"{host.name} ({host.slots})" for host in hosts)
        set_html(self.places, f"On {html.escape(named)}: {slots} slot{'s' * (slots != 1)}" if hosts else "")
        if slots == self._slots:
            return
        if not self._slots:
            self._here = int(self.workers.value), int(self.workers.max)
        value, most = (slots, slots) if slots else self._here
        self._slots = slots
        self.workers.max = max(most, self.workers.value)
        self.workers.value = value
        self.workers.max = most

    def show_run(self, config: Any, wanted: int | None) -> None:
        """Show the global batch of a run, and the workers that it wants."""
        count = config.workers.count
        if (workers := wanted or (count if isinstance(count, int) else None)) is not None:
            self.show_workers(workers)
        self.global_batch.show(config.training.global_batch)

    def show_workers(self, workers: int) -> None:
        """Put the slider where a run's workers are; it reaches as far as it has to."""
        if self.workers.value != workers and self.workers.min <= workers:
            self.workers.show(workers)

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
