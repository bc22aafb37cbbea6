"""What rank 0 tells the driver of the steps, so that the log holds each of them once: losses, proofs, metrics, load."""

from __future__ import annotations

import time

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.training import logged, messages
from lepton_kit.training.agreement import Agreement
from lepton_kit.training.channel import Channel
from lepton_kit.training.clocks import Spent
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
        self._reported, self._spent = join.reported_step, Spent.nothing(self._size)
        self._norms: list[list[float]] = []
        self.own_norm()  # what an earlier generation has left

    def formed(self, step: int) -> None:
        """Training goes on at this step, which may be before what the log has."""
        self._reported = min(self._reported, step)
        self._last = self._until = time.monotonic()

    def weigh(self, weights: list[float]) -> None:
        """Batches are cut by other speeds from now on; all before has been told."""
        self._weights = weights

    def own_norm(self) -> float:
        """The squared norm of this rank's own gradients in the last block, for the agreement after it."""
        small, self._large, self._measured = self._job.step.norms.take()
        return small

    def note(self, agreed: Agreement, until: float) -> None:
        """Where each rank's time went in a block, see `Spent.add`, and the norms of their gradients.

        All time ``until`` then is booked, of the monotonic clock: what an agreement takes is of the block after it.
        """
        self._spent.add(agreed.figures)
        self._until = until
        if not self._measured or self._rank != 0:
            return
        last = self._job.step.position - 1
        batch = self._job.batch_size(last)
        ranks = sum(part > 0 for part in sharding.cut(batch, self._weights))
        found = [float(agreed.norms.sum(dtype=np.float64)), self._large]
        if ranks > 1 and np.all(np.isfinite(found)):
            self._norms.append([last, batch, ranks, self._measured, *(float(f"{one:.9g}") for one in found)])

    def beside_steps(self) -> None:
        """The time since the last block is in the next report too, and booked on no rank: a validation, say."""
        self._until = time.monotonic()

    def tell(self, desired: Desired, *, force: bool = False) -> None:
        """Send what the log lacks, if it is time for it or by ``force``; what log and checkpoints have is forgotten."""
        if self._rank != 0 or (not force and self._until - self._last < desired.log_seconds):
            return
        fields = self._history.report(self._reported, self._weights)
        if fields is None:
            return
        told = logged.Steps(
            generation=self._generation,
            world_size=self._size,
            metrics={name: finite(value) for name, value in self._job.step.metrics().items()},
            seconds=round(self._until - self._last, 4),
            busy=_rounded(self._spent.computed),
            data=_rounded(self._spent.data),
            waited=_rounded(self._spent.waited),
            communicated=round(self._spent.communicated, 4),
            learning_rate=self._job.learning_rate(),
            norms=self._norms,
            accumulated=self._job.accumulated,
            **fields,
        )
        self._channel.send(told)
        self._spent, self._norms = Spent.nothing(self._size), []
        self._reported, self._last = fields["last"], self._until
        each = self._job.length.steps_per_epoch
        self._history.forget(min(self._reported - each - MAX_BLOCK_STEPS, desired.durable_step))


def _rounded(seconds: np.ndarray) -> list[float]:
    return [round(float(one), 4) for one in seconds]
