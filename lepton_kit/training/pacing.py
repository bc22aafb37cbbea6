"""Tells the driver what ranks take for their parts of a batch, where it is to cut the batches by that."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.training import messages
from lepton_kit.training.channel import Channel

EVERY_SECONDS = 0.25


class Pacing:
    """Adds up what the ranks of one generation took for steps of whole batches; rank 0 tells, four times a second."""

    def __init__(self, channel: Channel, generation: int, batch: int):
        self._channel, self._generation, self._batch = channel, generation, batch
        self._begin()

    def _begin(self) -> None:
        self._steps, self._seconds, self._since = 0, np.zeros(1), time.monotonic()

    def note(self, figures: np.ndarray, steps: int, batch: int, weights: Sequence[float]) -> None:
        """A block of so many steps with batches of this size; ``figures`` as `Spent.add` takes them."""
        if steps == 0 or batch != self._batch:
            return
        self._seconds = self._seconds + figures[:, 0] + figures[:, 1]
        self._steps += steps
        if time.monotonic() - self._since < EVERY_SECONDS:
            return
        each = [round(float(one), 6) for one in self._seconds / self._steps]
        samples = list(sharding.cut(batch, weights))
        self._channel.send(messages.Paced(generation=self._generation, samples=samples, seconds=each))
        self._begin()

    def restart(self) -> None:
        """The cut changes: what was added up is of another one."""
        self._begin()
