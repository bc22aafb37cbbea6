"""Where the time of a rank's last block went: told to all with the next agreement, and booked on the steps of that block."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lepton_kit.training.agreement import Agreement, Agrees
from lepton_kit.training.clocks import Clock
from lepton_kit.training.pacing import Pacing
from lepton_kit.training.reporting import Reports


class Booking:
    """The books of one rank in one generation. ``pacing`` is rank 0's where batches are cut by speed, else None."""

    def __init__(self, clock: Clock, reports: Reports, pacing: Pacing | None, rank: int, size: int):
        self._clock, self._reports, self._pacing = clock, reports, pacing
        self._rank, self._size = rank, size
        self._block = (0, 0)
        self._taken = time.monotonic()

    def begin(self, steps: int, batch: int) -> None:
        """A block of so many steps, each of a batch of this size, is trained next."""
        self._block = (steps, batch)

    def said(self) -> Agreement:
        """What this rank says of its last block."""
        said, self._taken = Agreement(self._size), time.monotonic()
        said.figures[self._rank], said.norms[self._rank] = self._clock.take(), self._reports.own_norm()
        return said

    def book(self, agreed: Agreement, weights: Sequence[float]) -> None:
        """What all ranks say of it; ``weights`` are those by which it was cut."""
        self._reports.note(agreed, self._taken)
        if self._pacing is not None:
            self._pacing.note(agreed.figures, *self._block, weights)
        self._block = (0, 0)

    def settle(self, collective: Agrees, weights: Sequence[float]) -> None:
        """Book the last block now: a report comes before the agreement that would. All ranks do so together."""
        if self._block[0]:
            self.book(self.said().by(collective), weights)

    def skip(self) -> None:
        """What has passed since then is in the next report, and booked on no rank: a validation, say."""
        self._clock.skip()
        self._reports.beside_steps()

    def restart(self) -> None:
        """What paces have seen is over: the cut changes, or the ring has rested."""
        if self._pacing is not None:
            self._pacing.restart()
