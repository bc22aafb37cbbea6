"""What part of each global batch every place should get, so that all end together.

A place takes ``seconds * (samples + overhead)`` for its part of a step: the overhead, in samples, is what a step costs
however small the part is. All ranks wait for the slowest, so the best cut makes the largest of these times least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lepton_kit.data.sharding import cut

GAIN = 0.05
"""A new cut has to promise this much more throughput, or more where times scatter so much that less would be chance."""
LOOKS = 3
"""So many looks in a row have to agree on that; as many are waited after a change."""
LONGEST_WAIT = 96
"""Looks after a change that made it worse: the wait doubles up to here."""
PROBE_LOOKS = 32
"""A place that gets nothing is tried again after so many looks, then after twice as many …"""
LONGEST_PROBE_LOOKS = 256
SMOOTHING = 0.1
"""Least weight of the newest look in what is known of a place; the first looks are averaged."""
JUMP = 0.25
"""Two looks in a row that are so far off in one direction are a change of the place, and what was known is forgotten."""
UNEVEN, UNEVEN_LOOKS = 0.2, 12
"""Places that take so much longer than others, for so many looks, where nothing better is seen: the overheads are wrong."""
SCATTER = 0.05
"""What times are taken to scatter, relative, before that was seen."""


@dataclass(frozen=True)
class Pace:
    """How fast a place computes: seconds for a further sample, and samples that a step's fixed cost stands for.

    >>> Pace(0.001, overhead=20).time(80)
    0.1
    """

    seconds: float
    overhead: float = 0.0

    def time(self, samples: float) -> float:
        """Seconds for so many samples; a place without any computes nothing."""
        return self.seconds * (samples + self.overhead) if samples > 0 else 0.0


def best_shares(batch: int, paces: Sequence[Pace], most: Sequence[float] | None = None) -> list[float]:
    """Samples of each place, as real numbers, with which all that take part end together and soonest.

    ``most`` are the samples that each has memory for. A place whose overhead alone takes as long gets nothing.
    Raises `ValueError` if all together have no room for the batch.

    >>> best_shares(90, [Pace(0.001), Pace(0.002)])
    [60.0, 30.0]
    >>> best_shares(90, [Pace(0.001), Pace(0.001, overhead=200)])
    [90.0, 0.0]
    """
    seconds = np.array([pace.seconds for pace in paces])
    overhead = np.array([pace.overhead for pace in paces])
    room = np.full(len(paces), float(batch)) if most is None else np.minimum(np.asarray(most, float), batch)
    if room.sum() < batch:
        raise ValueError(
            f"most: room for {room.sum():g} samples in all; expected at least the batch of {batch}"
        )

    def parts(time: float) -> np.ndarray:
        found: np.ndarray = np.clip(time / seconds - overhead, 0.0, room)
        return found

    # The sum of the parts grows with the time, and is straight between the times where a place starts or is full.
    bends = np.unique(np.concatenate([seconds * overhead, seconds * (overhead + room)]))
    sums = [float(parts(time).sum()) for time in bends]
    after = min(int(np.searchsorted(sums, batch)), len(sums) - 1)
    if after == 0 or sums[after] == batch:
        return [float(part) for part in parts(bends[after])]
    before = after - 1
    along = (batch - sums[before]) / (sums[after] - sums[before])
    found = parts(bends[before] + along * (bends[after] - bends[before]))
    return [float(part) for part in found]


@dataclass(frozen=True)
class Change:
    """A new cut: ``weights`` for `sharding.cut`, and by how much it should raise throughput (0.4: 40 % more)."""

    weights: tuple[float, ...]
    gain: float


@dataclass(frozen=True)
class _Place:
    """What is known of a place. ``rate`` is seconds by samples and overhead; None: it has computed nothing yet."""

    rate: float | None = None
    looks: int = 0
    scatter: float = SCATTER
    off: int = 0
    """Whether the last look was far off: 1 slower, -1 faster."""
    overhead: float | None = None
    samples: int = 0
    """Of its last look."""
    before: tuple[float, float] | None = None
    """(samples, seconds) with the cut before this one."""

    @property
    def weight(self) -> float:
        """Of the newest look in the rate."""
        return max(SMOOTHING, 1.0 / max(1, self.looks))

    @property
    def doubt(self) -> float:
        """How far, relative, the rate may be off by chance (three standard errors)."""
        return 3.0 * self.scatter * math.sqrt(self.weight / (2.0 - self.weight))

    def looked(self, samples: int, seconds: float, overhead: float) -> _Place:
        """With one look more; one without samples tells nothing."""
        if samples == 0 or seconds <= 0:
            return self
        rate = seconds / (samples + overhead)
        seen = replace(self, samples=samples, looks=self.looks + 1)
        if self.rate is None:
            return replace(seen, rate=rate, off=0)
        away = math.log(rate / self.rate)
        off = int(math.copysign(1, away)) if abs(away) > max(JUMP, 3.0 * self.scatter) else 0
        if off and off == self.off:
            return replace(seen, rate=rate, looks=1, off=0)
        if off:  # it may be chance: the next look tells
            return replace(seen, off=off, looks=self.looks)
        scatter = self.scatter + SMOOTHING * (1.25 * abs(away) - self.scatter)
        return replace(seen, rate=self.rate * math.exp(seen.weight * away), scatter=scatter, off=0)

    def recut(self, usual: float) -> _Place:
        """From now on it gets another part; what it took for the one until now is kept, to compare."""
        taken = None if self.rate is None else (self.samples, self.rate * (self.samples + usual))
        return replace(self, before=taken, looks=0, off=0)

    def compared(self, usual: float, batch: int) -> _Place:
        """With the overhead that its times before and after a new cut show, if they show one; ``usual`` was in use."""
        settled = replace(self, before=None)
        if self.before is None or self.rate is None:
            return settled
        (x, t), y = self.before, self.samples
        u = self.rate * (y + usual)
        told = abs(x - y) > 0.15 * max(x, y) and abs(t - u) > 2.0 * self.scatter * max(t, u)
        if not told or (t - u) * (x - y) <= 0:
            return settled
        found = min(max(0.0, (x * u - y * t) / (t - u)), 2.0 * batch)
        return replace(settled, overhead=found if self.overhead is None else (self.overhead + found) / 2)

    def reckoned(self, usual: float, now: float) -> _Place:
        """The same times with another overhead."""
        if self.rate is None:
            return self
        return replace(self, rate=self.rate * (self.samples + usual) / (self.samples + now))


class Shares:
    """Follows the speeds of the places of one ring, and says when another cut is worth it.

    `look` is called at equal times, about four a second, with what the ranks took for their parts. No change is proposed
    for less than `GAIN`, nor before `LOOKS` looks agree; one that made things worse makes the next ones wait longer.

    >>> shares = Shares(100, 2)
    >>> for _ in range(2):
    ...     assert shares.look([50, 50], [0.05, 0.15]) is None
    >>> change = shares.look([50, 50], [0.05, 0.15])
    >>> cut(100, change.weights), round(change.gain, 3)
    ((75, 25), 1.0)
    """

    def __init__(self, batch: int, places: int, most: Sequence[float] | None = None):
        self._batch, self._most = batch, most
        self._places = [_Place() for _ in range(places)]
        self._agreeing = self._idle = self._uneven = 0
        self._wait, self._patience, self._probe, self._doubts_after = 0, LOOKS, PROBE_LOOKS, UNEVEN_LOOKS
        self._before: float | None = None
        self.measured: float | None = None
        """By how much the last change raised throughput, as soon as that is known."""

    @property
    def paces(self) -> list[Pace | None]:
        """What is known of each place; None: it has computed nothing yet."""
        return [
            None if one.rate is None else Pace(one.rate, overhead)
            for one, overhead in zip(self._places, self._overheads(), strict=True)
        ]

    def look(self, samples: Sequence[int], seconds: Sequence[float]) -> Change | None:
        """Samples that each rank had a step, and the seconds that it computed for them; a change if one is worth it."""
        self._places = [
            one.looked(x, t, overhead)
            for one, x, t, overhead in zip(self._places, samples, seconds, self._overheads(), strict=True)
        ]
        slowest = max(seconds)
        if self._wait > 0:
            self._wait -= 1
            if self._wait == 0:
                self._judge(slowest)
            return None
        paces = [pace for pace in self.paces if pace is not None]
        if len(paces) < len(samples):
            return self._probed(samples, slowest)
        now = max(pace.time(x) for pace, x in zip(paces, samples, strict=True))
        wanted = best_shares(self._batch, paces, self._most)
        then = max(pace.time(x) for pace, x in zip(paces, cut(self._batch, wanted), strict=True))
        gain = now / then - 1
        worth = gain >= max(GAIN, *(one.doubt for one in self._places))
        self._agreeing = self._agreeing + 1 if worth else 0
        if self._agreeing >= LOOKS:
            return self._changed(wanted, gain, slowest)
        self._doubt([pace.time(x) for pace, x in zip(paces, samples, strict=True) if x > 1])
        self._idle = self._idle + 1 if 0 in samples else 0
        if self._idle >= self._probe:
            self._probe = min(2 * self._probe, LONGEST_PROBE_LOOKS)
            return self._probed(samples, slowest)
        return None

    def _doubt(self, times: Sequence[float]) -> None:
        """With the best cut all who take part end together. Where they don't for long, overheads are learned anew.

        A place that changed its speed just when the cut changed may have told a wrong one.
        """
        scatter = max(one.scatter for one in self._places)
        uneven = len(times) > 1 and max(times) > (1 + max(UNEVEN, 3 * scatter)) * min(times)
        self._uneven = self._uneven + 1 if uneven else 0
        if self._uneven >= self._doubts_after:
            self._uneven, self._doubts_after = 0, min(2 * self._doubts_after, LONGEST_PROBE_LOOKS)
            used = self._overheads()
            self._places = [
                replace(one.reckoned(usual, 0.0), overhead=None)
                for one, usual in zip(self._places, used, strict=True)
            ]

    def _overheads(self) -> list[float]:
        """Those of the places; one of which none is known yet has the others', since it is one model."""
        known = [one.overhead for one in self._places if one.overhead is not None]
        usual = float(np.median(known)) if known else 0.0
        return [usual if one.overhead is None else one.overhead for one in self._places]

    def _changed(self, weights: Sequence[float], gain: float, slowest: float) -> Change:
        self._places = [one.recut(usual) for one, usual in zip(self._places, self._overheads(), strict=True)]
        self._before, self.measured = slowest, None
        self._agreeing = self._idle = self._uneven = 0
        self._wait = self._patience
        return Change(tuple(float(one) for one in weights), float(gain))

    def _probed(self, samples: Sequence[int], slowest: float) -> Change:
        """A small part for each place that gets nothing, to see how fast it is now."""
        part = max(1.0, 0.02 * self._batch)
        change = self._changed([part if x == 0 else float(x) for x in samples], 0.0, slowest)
        self._places = [
            replace(one, rate=None, before=None) if x == 0 else one
            for one, x in zip(self._places, samples, strict=True)
        ]
        self._before = None  # it promised no improvement
        return change

    def _judge(self, slowest: float) -> None:
        """What a change has brought, and what it tells of the places' overheads."""
        before, self._before = self._before, None
        used = self._overheads()
        self._places = [
            one.compared(usual, self._batch) for one, usual in zip(self._places, used, strict=True)
        ]
        self._places = [
            one.reckoned(usual, now)
            for one, usual, now in zip(self._places, used, self._overheads(), strict=True)
        ]
        if before is None:
            return
        self.measured = before / slowest - 1 if slowest > 0 else None
        worse = self.measured is not None and self.measured < 0
        self._patience = min(2 * self._patience, LONGEST_WAIT) if worse else LOOKS
