"""Tells the driver what ranks take for their parts of a batch, where it is to cut the batches by that."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.training import messages
from lepton_kit.training.channel import Channel

EVERY_SECONDS = 0.25


class Pacing:
    """Adds up what the ranks of one generation took for steps of whole batches; rank 0 tells, four times a second.

    A smaller batch is told of by itself, as often.
    """

    def __init__(self, channel: Channel, generation: int, batch: int):
        self._channel, self._generation, self._batch = channel, generation, batch
        self._told_aside = -math.inf
        self._begin()

    def _begin(self) -> None:
        self._steps, self._seconds, self._since = 0, np.zeros(1), time.monotonic()

    def note(self, figures: np.ndarray, steps: int, batch: int, weights: Sequence[float]) -> None:
        """A block of so many steps with batches of this size; ``figures`` as `Spent.add` takes them."""
        if steps == 0:
            return
        seconds = np.asarray(figures[:, 0] + figures[:, 1])
        if batch != self._batch:
            if time.monotonic() - self._told_aside >= EVERY_SECONDS:
                self._told_aside = time.monotonic()
                self._tell(batch, seconds / steps, weights)
            return
        self._seconds = self._seconds + seconds
        self._steps += steps
        if time.monotonic() - self._since < EVERY_SECONDS:
            return
        self._tell(batch, self._seconds / self._steps, weights)
        self._begin()

    def _tell(self, batch: int, seconds: np.ndarray, weights: Sequence[float]) -> None:
        each = [round(float(one), 6) for one in seconds]
        samples = list(sharding.cut(batch, weights))
        self._channel.send(messages.Paced(generation=self._generation, samples=samples, seconds=each))

    def restart(self) -> None:
        """The cut changes: what was added up is of another one."""
        self._begin()
