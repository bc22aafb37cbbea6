"""What is worth waking somebody: a straggler, a stall, a loss that is no number, a full disk. Pure, but for what it is fed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lepton_kit.rundir.status import Status
from lepton_kit.rundir.view import RunView

STALL_SECONDS = 120.0
"""A run that trains and reports no step, epoch or ring for so long has stalled; large models validate for minutes."""
FREE_BYTES = 500_000_000
"""Less than this free where the run's folder lies is a full disk: a checkpoint of a large model takes as much."""
STRAGGLER_SECONDS = 10.0
"""A rank is worth a word once it has held the others up for so long."""
Kind = Literal["straggler", "stall", "nan", "disk"]


@dataclass(frozen=True)
class Alert:
    """Something that is wrong with a run, in one sentence."""

    run: str
    kind: Kind
    text: str


class Watch:
    """Says each thing once until it is over; then it may come again."""

    def __init__(self, run: str, stall_seconds: float = STALL_SECONDS):
        self._run, self._stall_seconds = run, stall_seconds
        self._said: set[Kind] = set()
        self._mark: tuple[int, ...] = ()
        self._moved = self._calm = 0.0

    def look(self, view: RunView, now: float, free_bytes: int | None) -> list[Alert]:
        """What is new at ``now`` (seconds of a clock that never goes back); ``free_bytes`` None: the disk is not known."""
        wrong: dict[Kind, str] = dict(self._wrong(view, now, free_bytes))
        new = [Alert(self._run, kind, text) for kind, text in wrong.items() if kind not in self._said]
        self._said = set(wrong)
        return new

    def _wrong(self, view: RunView, now: float, free_bytes: int | None) -> Iterator[tuple[Kind, str]]:
        mark = (view.step, len(view.epochs), len(view.generations))
        training = view.status is Status.RUNNING and len(view.generations) > 0
        if mark != self._mark or not training:
            self._mark, self._moved = mark, now
        if now - self._moved > self._stall_seconds:
            yield "stall", f"no step for {now - self._moved:.0f} s; the last was {view.step}"
        slow = view.ranks.told() if training else None
        if slow is None:
            self._calm = now
        elif now - self._calm > STRAGGLER_SECONDS:
            yield "straggler", slow
        if len(view.loss) and not math.isfinite(view.loss[-1]):
            yield "nan", f"the loss is {view.loss[-1]} at step {view.step - 1}"
        elif view.status is Status.FAILED and "the loss became" in (view.cause or ""):
            yield "nan", str(view.cause)
        if free_bytes is not None and free_bytes < FREE_BYTES:
            yield "disk", f"{free_bytes / 1e6:,.0f} MB are free where the run's folder lies"
