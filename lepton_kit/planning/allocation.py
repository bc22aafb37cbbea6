"""Who gets how many workers of a shared machine: one pure function that every run of a pool computes for itself."""

from __future__ import annotations

import functools
import heapq
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lepton_kit.errors import ConfigError
from lepton_kit.planning.speedups import rates

PRIORITY_FACTOR = 4.0
"""A priority more counts as four times the weight, so that nobody waits for ever for those above; our choice, 2026-11."""
LEAST_PRIORITY, MOST_PRIORITY = -9, 9
SHORT_EXPONENT, SHORT_BOUND = 0.5, 4.0
"""Of the share of a run that has less left than is typical, and the most that this gives or takes; `benchmarks/scheduling.py`
compares 0, 0.5 and 1."""
TYPICAL_SECONDS = 300.0
"""What a run has left, on one worker, where that is known of none."""
HORIZON_SECONDS = 300.0
"""How long an allocation is taken to last; the pause of a change has to pay within that time, or the run's end."""
PAUSE_SECONDS = 1.0
"""What a change costs a run of which none was measured."""
LEAST_GAIN = 0.05
"""A further worker that would do less than this share of a worker's work is not given."""
STAY = 2.0
"""A run that could be suspended goes on unless one that waits is so much more urgent."""


@dataclass(frozen=True)
class Request:
    """What a run asks for. Raises `ConfigError` naming the field that can't be.

    ``arrived`` is in seconds of the same clock for all, ``waited`` the seconds that it stands in line; ``held`` are the workers that it has now, and ``left`` the
    samples that it has yet to train on (None: not known). ``pause_seconds``: how long it stood still at its last change
    (None: not measured). ``worker_bytes`` is the memory of a worker, ``run_bytes`` what a run takes beside them. One that is ``suspendable`` may lose all its workers again, now or in ``keeps_seconds`` (None: not known).

    >>> Request("a", least=2).most
    2
    """

    run: str
    arrived: float = 0.0
    waited: float = 0.0
    least: int = 1
    most: int = 0
    weight: float = 1.0
    priority: int = 0
    held: int = 0
    left: float | None = None
    pause_seconds: float | None = None
    worker_bytes: int = 0
    run_bytes: int = 0
    suspendable: bool = False
    keeps_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.most == 0:
            object.__setattr__(self, "most", self.least)
        for name, given, rule, fine in (
            ("least", self.least, "at least 1", self.least >= 1),
            ("most", self.most, f"at least the least ({self.least})", self.most >= self.least),
            ("weight", self.weight, "between 1e-6 and 1e6", 1e-6 <= self.weight <= 1e6),
            (
                "priority",
                self.priority,
                f"between {LEAST_PRIORITY} and {MOST_PRIORITY}",
                LEAST_PRIORITY <= self.priority <= MOST_PRIORITY,
            ),
            ("held", self.held, "at least 0", self.held >= 0),
            ("waited", self.waited, "at least 0", self.waited >= 0),
        ):
            if not fine:
                raise ConfigError(f"{self.run}: {name}", given=given, rule=rule)

    def bytes_for(self, workers: int) -> int:
        """Memory that it takes with so many workers."""
        return self.run_bytes + workers * self.worker_bytes if workers else 0


@dataclass(frozen=True)
class Capacity:
    """What there is to give: workers, and memory in bytes (None: plenty)."""

    workers: int
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Grant:
    """What a run gets: its workers; or how many stand before it in line, and the seconds that it may wait (None: unknown)."""

    run: str
    workers: int
    before: int | None = None
    wait_seconds: float | None = None
    why: str = ""


def allocate(
    requests: Iterable[Request],
    capacity: Capacity,
    speeds: Mapping[str, Mapping[int, float]],
) -> dict[str, Grant]:
    """Who gets what, by run. ``speeds`` has the samples/s that were measured, by run and number of workers.

    1. Whoever has begun and can't be suspended keeps its ``least``. Then the others get theirs, the most urgent first: weight ×
       4^priority × (time waited + size) / size, where the size is the time that it has left (the response ratio of Hansen
       1971; it grows without bound, so each comes to its turn). Those who have workers count `STAY` times. Nobody overtakes
       one whose least is not free yet.
    2. What remains is given worker by worker to the run whose weighted logarithm of speed it raises most (proportional
       fairness, Kelly 1997): equal shares where all scale alike, and less for a run that scales less. Runs with little left count
       for more, up to `SHORT_BOUND` times.
    3. A change has to win more than its pause costs. The answer doesn't depend on the order of the requests.

    Never more than the capacity, unless those who have begun hold more than that at the least.

    >>> found = allocate([Request("a", most=4), Request("b", 1.0, most=4)], Capacity(4), {})
    >>> found["a"].workers, found["b"].workers
    (2, 2)
    >>> allocate([Request("a", held=1), Request("b", 1.0)], Capacity(1), {})["b"].before
    0
    """
    wanted = sorted(requests, key=lambda one: one.run)
    if len({one.run for one in wanted}) < len(wanted):
        raise ConfigError("requests", given=[one.run for one in wanted], rule="each run once")
    known = {one.run: rates(speeds.get(one.run, {}), one.most) for one in wanted}
    sizes = Sizes(wanted, speeds, known)
    granted, line, short = _least(wanted, capacity, sizes)
    given = _grow(wanted, granted, capacity, known, sizes)
    waits = _waits(wanted, given, line, capacity, sizes) if line else {}
    found = {}
    for one in wanted:
        if one.run in given:
            found[one.run] = Grant(one.run, given[one.run], why=_why(one, given[one.run], known[one.run]))
        else:
            before = line.index(one.run)
            why = "waits for memory" if one.run == short else "waits in line"
            found[one.run] = Grant(one.run, 0, before, waits.get(one.run), why)
    return found


class Sizes:
    """How long runs have left, in seconds on one worker, with the typical time where that is not known."""

    def __init__(
        self,
        requests: Sequence[Request],
        speeds: Mapping[str, Mapping[int, float]],
        known: Mapping[str, Sequence[float]],
    ):
        self._rates = known
        self._alone: dict[str, float] = {}
        for one in requests:
            measured = {n: rate for n, rate in speeds.get(one.run, {}).items() if rate > 0}
            if one.left is not None and measured:
                n = min(measured)
                single = measured[n] / known[one.run][min(n, one.most) - 1]
                self._alone[one.run] = max(one.left / single, 1e-3)
        self.typical = statistics.median(self._alone.values()) if self._alone else TYPICAL_SECONDS
        self.measured = bool(self._alone)

    def knows(self, run: str) -> bool:
        """Whether it was measured."""
        return run in self._alone

    def alone(self, run: str) -> float:
        """Seconds left on one worker."""
        return self._alone.get(run, self.typical)

    def seconds(self, run: str, workers: int) -> float:
        """Seconds left with so many workers."""
        found = self._rates[run]
        return self.alone(run) / found[min(workers, len(found)) - 1]


def _importance(one: Request) -> float:
    return float(one.weight * PRIORITY_FACTOR**one.priority)


def _size(one: Request, sizes: Sizes) -> float:
    """Seconds left on its least; of one that has not run, which may be short, not too many."""
    size = sizes.seconds(one.run, one.least)
    return size if sizes.knows(one.run) else min(size, TYPICAL_SECONDS)


def _urgency(one: Request, sizes: Sizes) -> float:
    size = _size(one, sizes)
    stay = STAY if one.held else 1.0
    return stay * _importance(one) * (one.waited + size) / size


def _least(
    wanted: Sequence[Request], capacity: Capacity, sizes: Sizes
) -> tuple[dict[str, int], list[str], str | None]:
    """The minimum of those whose turn it is, the line of the others, and who is kept by memory alone."""
    begun = [one for one in wanted if one.held and not one.suspendable]
    granted = {one.run: one.least for one in begun}
    workers = capacity.workers - sum(one.least for one in begun)
    memory = _memory(capacity) - sum(one.bytes_for(one.least) for one in begun)
    others = [one for one in wanted if one.run not in granted]
    others.sort(key=lambda one: (-_urgency(one, sizes), one.arrived, one.run))
    line: list[str] = []
    short = None
    for one in others:
        fits = one.least <= workers and one.bytes_for(one.least) <= memory
        if line or not fits:
            if not line and one.least <= workers:
                short = one.run
            line.append(one.run)
            continue
        granted[one.run] = one.least
        workers -= one.least
        memory -= one.bytes_for(one.least)
    return granted, line, short


def _memory(capacity: Capacity) -> float:
    return float("inf") if capacity.memory_bytes is None else float(capacity.memory_bytes)


def _grow(
    wanted: Sequence[Request],
    granted: Mapping[str, int],
    capacity: Capacity,
    known: Mapping[str, Sequence[float]],
    sizes: Sizes,
) -> dict[str, int]:
    """What remains, worker by worker, to whom it helps most."""
    given = dict(granted)
    free = capacity.workers - sum(given.values())
    takers = [one for one in wanted if one.run in given and one.most > one.least]
    if free <= 0 or not takers:
        return given
    memory = _memory(capacity) - sum(one.bytes_for(given[one.run]) for one in wanted if one.run in given)
    curves = [_curve(tuple(known[one.run]), one.least) for one in takers]
    costs = [_cost(one, sizes) for one in takers]
    scales = [_importance(one) * _shortness(one, sizes) for one in takers]
    offers = [s * _slopes(one, *u, c) for one, u, c, s in zip(takers, curves, costs, scales, strict=True)]
    free, memory = _give(takers, offers, given, free, memory)
    changed = []
    for one, (gains, curve), cost, scale in zip(takers, curves, costs, scales, strict=True):
        workers, held = given[one.run], one.held
        if workers > held >= one.least and curve[workers - one.least] - cost < curve[held - one.least]:
            given[one.run] = held  # so little more doesn't pay for the pause
            free, memory = free + workers - held, memory + (workers - held) * one.worker_bytes
        elif workers != held:
            changed.append((one, scale * gains))
    if free > 0 and changed:  # whoever changes anyway may take the rest
        rest = [slopes[given[one.run] - one.least :] for one, slopes in changed]
        _give([one for one, _ in changed], rest, given, free, memory)
    return given


def _give(
    takers: Sequence[Request],
    offers: Sequence[np.ndarray],
    given: dict[str, int],
    free: int,
    memory: float,
) -> tuple[int, float]:
    """Hand out single workers, the best offers first; each run's own offers never rise."""
    slopes = np.concatenate(offers)
    owners = np.repeat(np.arange(len(takers)), [len(one) for one in offers])
    useful = np.flatnonzero(slopes > 0)
    order = useful[np.lexsort((owners[useful], -slopes[useful]))]
    blocked = set()
    for owner in owners[order].tolist():
        one = takers[owner]
        if free <= 0:
            break
        if owner in blocked or one.worker_bytes > memory:
            blocked.add(owner)
            continue
        given[one.run] += 1
        free, memory = free - 1, memory - one.worker_bytes
    return free, memory


def _cost(one: Request, sizes: Sizes) -> float:
    """The pause of a change as a share of the time for which it would last."""
    pause = PAUSE_SECONDS if one.pause_seconds is None else one.pause_seconds
    horizon = min(HORIZON_SECONDS, sizes.seconds(one.run, max(one.held, one.least)))
    return min(pause / max(horizon, 1e-9), 1e6)


def _shortness(one: Request, sizes: Sizes) -> float:
    ratio = (sizes.typical / sizes.alone(one.run)) ** SHORT_EXPONENT
    return float(min(max(ratio, 1 / SHORT_BOUND), SHORT_BOUND))


@functools.lru_cache(maxsize=4096)
def _curve(known: tuple[float, ...], least: int) -> tuple[np.ndarray, np.ndarray]:
    """What each worker above the least adds to the logarithm of the speed, zero for next to nothing; and their sums."""
    gains = np.diff(np.log(np.asarray(known[least - 1 :])))
    numbers = np.arange(least, least + len(gains))
    gains = np.where(gains * numbers >= LEAST_GAIN, gains, 0.0)
    return gains, np.concatenate([[0.0], np.cumsum(gains)])


def _slopes(one: Request, gains: np.ndarray, curve: np.ndarray, cost: float) -> np.ndarray:
    """What each further worker above the least adds, where leaving the held number costs; never rising.

    These are the slopes of the least concave function above "curve, less the cost everywhere but at the held number".
    """
    place = one.held - one.least
    if not 0 <= place <= len(gains) or cost <= 0:
        return gains
    slopes = gains.copy()
    if place > 0:
        chords = (curve[place] - curve[:place] + cost) / np.arange(place, 0, -1)
        first = int(np.argmin(chords))
        slopes[first:place] = chords[first]
    if place < len(gains):
        chords = (curve[place + 1 :] - cost - curve[place]) / np.arange(1, len(gains) - place + 1)
        last = int(np.argmax(chords))
        slopes[place : place + last + 1] = chords[last]
    return slopes


def _why(one: Request, workers: int, known: Sequence[float]) -> str:
    if workers >= one.most:
        return "has all that it may use"
    gain = known[workers] / known[workers - 1] - 1
    if gain * workers < LEAST_GAIN:
        return "more workers would not make it faster"
    if workers == one.held:
        return "keeps what it has"
    return "its share" if workers > one.least else "its least; others need the rest"


def _waits(
    wanted: Sequence[Request],
    given: Mapping[str, int],
    line: Sequence[str],
    capacity: Capacity,
    sizes: Sizes,
) -> dict[str, float | None]:
    """Seconds until each of the line gets its least: as those who have workers end, or give way as its turn comes; nobody is overtaken.

    None where that can't be told, and so for all behind: nothing was measured, or the machine would have to have more.
    """
    by_run = {one.run: one for one in wanted}
    unknown = 0.0 if sizes.measured else math.inf
    ends = [(unknown + sizes.seconds(run, workers), run) for run, workers in given.items()]
    heapq.heapify(ends)
    there, yielding = set(given), [by_run[run] for run in given if _yields(by_run[run])]
    free = capacity.workers - sum(by_run[run].least for run in there)
    memory = _memory(capacity) - sum(by_run[run].bytes_for(by_run[run].least) for run in there)
    waits: dict[str, float | None] = dict.fromkeys(line)
    now = 0.0
    for one in (by_run[run] for run in line):
        turns = sorted(
            ((_turn(one, other, sizes), other.run) for other in yielding if other.run in there), reverse=True
        )
        while (ends or turns) and (one.least > free or one.bytes_for(one.least) > memory):
            soonest, gone = (
                turns.pop() if turns and (not ends or turns[-1] < ends[0]) else heapq.heappop(ends)
            )
            if gone in there:
                there.remove(gone)
                now = max(now, soonest)
                free += by_run[gone].least
                memory += by_run[gone].bytes_for(by_run[gone].least)
        if one.least > free or one.bytes_for(one.least) > memory or now == math.inf:
            break
        waits[one.run] = now
        free -= one.least
        memory -= one.bytes_for(one.least)
        there.add(one.run)
        heapq.heappush(ends, (now + unknown + sizes.seconds(one.run, one.least), one.run))
    return waits


def _yields(one: Request) -> bool:
    return one.suspendable or one.keeps_seconds is not None


def _turn(one: Request, other: Request, sizes: Sizes) -> float:
    """Seconds until one that waits is so much more urgent that another, which has workers, gives way."""
    kept = 0.0 if other.suspendable else other.keeps_seconds or 0.0
    size, ratio = _size(one, sizes), STAY * _importance(other) / _importance(one)
    return max(kept, size * (ratio - 1) - one.waited)
