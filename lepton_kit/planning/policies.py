"""Ways of sharing devices among jobs in a simulation: the pool's own, and those that it is compared with."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lepton_kit.planning.allocation import Capacity, Request, allocate
from lepton_kit.planning.traces import Job

LAS_THRESHOLD = 3600.0
"""Device seconds after which a job falls into the lower queue (discretized two-dimensional least attained service, Gu et
al., NSDI 2019, as Pollux's artifact has it)."""


@dataclass
class State:
    """A job in a simulation. ``done`` and `Job.work` are in seconds on one device, ``attained`` in device seconds."""

    job: Job
    done: float = 0.0
    devices: int = 0
    attained: float = 0.0
    paused_until: float = 0.0
    waited: float = 0.0
    started: float | None = None
    ended: float | None = None
    measured: dict[int, float] = field(default_factory=dict)
    """Speeds that it was seen to have, by number of devices."""

    @property
    def left(self) -> float:
        """Seconds on one device."""
        return self.job.work - self.done


Policy = Callable[[Sequence[State], int, float], Mapping[str, int]]
"""From the jobs that have arrived and not ended (in order of arrival), the devices and the time to devices by job."""


def fifo(jobs: Sequence[State], devices: int, now: float) -> dict[str, int]:
    """Each what it asked for, in order of arrival; nobody overtakes."""
    found, free = {}, devices
    for one in sorted(jobs, key=lambda one: (one.started is None, one.job.arrival, one.job.name)):
        if one.job.devices > free:
            break
        found[one.job.name] = one.job.devices
        free -= one.job.devices
    return found


def easy_backfill(jobs: Sequence[State], devices: int, now: float) -> dict[str, int]:
    """First come, first served; later ones go ahead if the first in line starts no later for it (Lifka 1995).

    It knows how long each job runs.
    """
    found, free = {}, devices
    running = [one for one in jobs if one.devices]
    for one in running:
        found[one.job.name] = one.job.devices
        free -= one.job.devices
    waiting = [one for one in jobs if not one.devices]
    while waiting and waiting[0].job.devices <= free:
        one = waiting.pop(0)
        running.append(one)
        found[one.job.name] = one.job.devices
        free -= one.job.devices
    if not waiting:
        return found
    spare, start = free, now
    for end, size in sorted(
        (now + one.left / one.job.speed(one.job.devices), one.job.devices) for one in running
    ):
        if spare >= waiting[0].job.devices:
            break
        spare, start = spare + size, end
    spare -= waiting[0].job.devices
    for one in waiting[1:]:
        if one.job.devices > free:
            continue
        ends = now + one.left / one.job.speed(one.job.devices)
        if ends <= start or one.job.devices <= spare:
            found[one.job.name] = one.job.devices
            free -= one.job.devices
            if ends > start:
                spare -= one.job.devices
    return found


def least_attained_service(jobs: Sequence[State], devices: int, now: float) -> dict[str, int]:
    """Like Tiresias: each what it asked for; jobs that have had little go first, and others are suspended for them."""
    found, free = {}, devices
    order = sorted(jobs, key=lambda one: (one.attained >= LAS_THRESHOLD, one.job.arrival, one.job.name))
    for one in order:
        if one.job.devices <= free:
            found[one.job.name] = one.job.devices
            free -= one.job.devices
    return found


def equal_share(jobs: Sequence[State], devices: int, now: float) -> dict[str, int]:
    """All the same, as far as it goes round; what a job asked for and how it scales count for nothing."""
    found: dict[str, int] = {}
    running = sorted(jobs, key=lambda one: (one.started is None, one.job.arrival, one.job.name))[:devices]
    free = devices
    heap = [(len(one.job.curve), place, one.job.name) for place, one in enumerate(running)]
    heapq.heapify(heap)
    while heap:
        most, _, name = heapq.heappop(heap)
        found[name] = max(1, min(most, free // (len(heap) + 1)))
        free -= found[name]
    return found


def pool(pause: float, *, suspendable: bool = False, sizes_known: bool = True, share: float = 1.0) -> Policy:
    """The function that the runs of a machine compute, with the speeds that were measured so far.

    ``sizes_known``: jobs say how much they have left, as runs do; ``share`` is what they take it for, of the truth.
    """

    def decide(jobs: Sequence[State], devices: int, now: float) -> dict[str, int]:
        requests = [
            Request(
                one.job.name,
                arrived=one.job.arrival,
                waited=one.waited,
                most=min(len(one.job.curve), devices),
                held=one.devices,
                left=one.left * share if sizes_known else None,
                pause_seconds=pause,
                suspendable=suspendable,
            )
            for one in jobs
        ]
        # A job that has not run is taken to be as fast as it is on one device: its size is then in seconds.
        speeds = {one.job.name: one.measured or {1: 1.0} for one in jobs}
        found = allocate(requests, Capacity(devices), speeds)
        return {name: grant.workers for name, grant in found.items() if grant.workers}

    return decide
