"""What is wanted of a run: at first what its configuration says, then what its clients ask for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.errors import ConfigError
from lepton_kit.machine.devices import usable_cores
from lepton_kit.models.footprint import WORKER_BYTES
from lepton_kit.rundir import Status
from lepton_kit.runtime.coordinator import Wanted

MOST_WORKERS = 64
"""No request goes above this many, or above the count at the start, unless workers.max_workers allows it."""


class Wishes:
    """The wanted number of workers and the other settings that change while a run goes on.

    Nothing here starts or waits for anything. ``cores`` are those that this machine lets the run use.
    """

    def __init__(self, config: RunConfig, cores: int):
        count = config.workers.count
        self._config = config
        self.auto = count == "auto"
        first = (config.workers.slots or cores) if count == "auto" else int(count)
        self._limit = most_workers(config, cores)
        self.workers = max(1, min(first, self._limit))
        self.paused = False
        self.stopping_since: float | None = None
        self.interrupted = False
        """Whether it is to stop because its machine or its job ends, not because somebody wants it to."""
        self.suspending = False
        """It stops to let others go first, and goes on later."""
        self.log_seconds = config.training.log_seconds
        self.learning_rate: float | None = None
        self._worker_bytes, self._origin = WORKER_BYTES, "estimated"

    @property
    def wanted(self) -> Wanted:
        """What decisions are made from. Where slots are counted, standbys have those that workers leave."""
        standby, slots = self._config.workers.standby, self._config.workers.slots
        if slots is not None:
            standby = max(0, min(standby, slots - self.workers))
        return Wanted(self.workers, standby, self.paused, self.stopping_since is not None)

    @property
    def most(self) -> int:
        """No ring of this run ever has more ranks."""
        return max(self._limit, self.workers)

    @property
    def worker_bytes(self) -> int:
        """Memory that a worker needs, estimated or measured."""
        return self._worker_bytes

    def recall(self, requests: Iterable[dict[str, Any]]) -> None:
        """Take up what was granted before an earlier driver died: the number of workers and the settings."""
        for request in requests:
            if request.get("accepted") and request["verb"] in ("scale", "set"):
                self.apply(request["verb"], request, free_bytes=None)

    def apply(self, verb: str, arguments: dict[str, Any], free_bytes: int | None) -> str | None:
        """Take a valid request; returns why not, if it can't be granted. ``free_bytes`` None: memory is not asked."""
        if verb == "scale":
            return self._scale(arguments["workers"], free_bytes)
        if verb in ("pause", "resume"):
            self.paused = verb == "pause"
        elif verb == "stop":
            self.stop()
        elif verb == "interrupt":
            self.interrupt()
        else:
            try:
                self._config.check_rate(arguments.get("learning_rate"))
            except ConfigError as failure:
                return str(failure)
            self.log_seconds = arguments.get("log_seconds", self.log_seconds)
            self.learning_rate = arguments.get("learning_rate", self.learning_rate)
        return None

    def note_need(self, estimated: int) -> None:
        """What a worker needs, by the sizes of the model that the first one has built."""
        if self._origin == "estimated":
            self._worker_bytes = estimated

    def note_use(self, measured: int) -> None:
        """What a worker that trains uses. The most that was seen counts, if it is more than was estimated."""
        if measured > self._worker_bytes:
            self._worker_bytes, self._origin = measured, "measured"

    def stop(self) -> None:
        """Note that the run is to stop; the first time counts."""
        self.suspending = False
        self.stopping_since = self.stopping_since or time.monotonic()

    def interrupt(self) -> None:
        """Note that the run is to stop for now; one that was asked to stop before is stopped."""
        self.interrupted = self.interrupted or self.stopping_since is None
        self.stop()

    def ended(self, status: Status, cause: str | None) -> tuple[Status, str | None]:
        """How a run has ended: one that stopped because its machine or its job ends may go on later."""
        if status is not Status.STOPPED or not self.interrupted:
            return status, cause
        return Status.INTERRUPTED, f"its machine or its job ends{f' ({cause})' if cause else ''}"

    def suspend(self) -> None:
        """Stop, to go on when it is the run's turn again; a user's stop counts for more."""
        if self.stopping_since is None:
            self.stop()
            self.suspending = True

    def _scale(self, workers: int | str, free_bytes: int | None) -> str | None:
        if workers == "auto":
            self.auto = True
            if not self._config.workers.divided:
                self.workers = self._limit  # all that it was given is its own
            return None
        assert isinstance(workers, int)
        if workers > self._limit:
            return f"workers: got {workers}; expected at most {self._limit} {self._reason_of_limit()}"
        more = workers - self.workers
        needed = more * self._worker_bytes
        if free_bytes is not None and more > 0 and needed > free_bytes:
            return (
                f"workers: got {workers}; {more} more need about {needed / 1e9:.1f} GB of memory "
                f"({self._worker_bytes / 1e9:.2f} GB each, {self._origin}), {free_bytes / 1e9:.1f} GB are free"
            )
        self.auto, self.workers = False, workers
        return None

    def _reason_of_limit(self) -> str:
        if self._limit == self._config.training.global_batch:
            return "(one sample of the global batch each)"
        if self._config.workers.places is not None and not self._config.workers.max_workers:
            return "(the places that were chosen)"
        if self._limit == self._config.workers.slots:
            return "(the slots of the hosts)"
        return (
            "(workers.max_workers)"
            if self._config.workers.max_workers
            else "(set workers.max_workers for more)"
        )

    def take(self, workers: int) -> None:
        """With ``auto``: what the pool gives, within the limits."""
        if self.auto:
            self.workers = max(1, min(workers, self._limit))


def most_workers(config: RunConfig, cores: int) -> int:
    """How many workers a run may have: none without a sample of the global batch."""
    count, slots = config.workers.count, config.workers.slots
    if slots is not None:
        return min(config.workers.max_workers or slots, slots, config.training.global_batch)
    usual = cores if count == "auto" else max(int(count), MOST_WORKERS)
    return min(config.workers.max_workers or usual, config.training.global_batch)


def default_threads(config: RunConfig) -> int:
    """TensorFlow threads per worker: the cores, shared by the workers that the run starts with."""
    count = config.workers.count
    cores = usable_cores()
    return max(1, cores // (cores if count == "auto" else int(count)))
