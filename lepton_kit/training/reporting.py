"""What rank 0 tells the driver of the steps, so that the log holds each of them once: losses, proofs, metrics, load."""

from __future__ import annotations

import time

import numpy as np

from lepton_kit.training import logged, messages
from lepton_kit.training.channel import Channel
from lepton_kit.training.desired import Desired
from lepton_kit.training.history import History, finite
from lepton_kit.training.job import Job
from lepton_kit.training.step import MAX_BLOCK_STEPS


class Reports:
    """Reports of one worker, generation after generation; any rank could give them, since all know the global loss."""

    def __init__(self, job: Job, history: History, channel: Channel):
        self._job, self._history, self._channel = job, history, channel

    def begin(self, join: messages.Join) -> None:
        """A generation forms; the driver's log ends at ``join.reported_step``."""
        self._generation, self._size = join.membership.generation, join.membership.world_size
        self._rank, self._weights = join.membership.rank, join.weights
        self._reported, self._busy = join.reported_step, np.zeros(self._size)

    def formed(self, step: int) -> None:
        """Training goes on at this step, which may be before what the log has."""
        self._reported = min(self._reported, step)
        self._last = time.monotonic()

    def note_busy(self, seconds: np.ndarray) -> None:
        """How long each rank computed in a block, and did not wait for others."""
        self._busy += seconds

    def tell(self, desired: Desired, *, force: bool = False) -> None:
        """Send what the log lacks, if it is time for it or by ``force``; what log and checkpoints have is forgotten."""
        now = time.monotonic()
        if self._rank != 0 or (not force and now - self._last < desired.log_seconds):
            return
        fields = self._history.report(self._reported, self._weights)
        if fields is None:
            return
        told = logged.Steps(
            generation=self._generation,
            world_size=self._size,
            metrics={name: finite(value) for name, value in self._job.step.metrics().items()},
            seconds=round(now - self._last, 4),
            busy=[round(float(seconds), 4) for seconds in self._busy],
            learning_rate=self._job.learning_rate(),
            **fields,
        )
        self._channel.send(told)
        self._busy[:] = 0
        self._reported, self._last = fields["last"], now
        each = self._job.length.steps_per_epoch
        self._history.forget(min(self._reported - each - MAX_BLOCK_STEPS, desired.durable_step))
