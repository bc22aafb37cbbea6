"""What part of each global batch every place should get, so that all end together.

A place takes ``seconds * (samples + overhead)`` for its part of a step: the overhead, in samples, is what a step costs
however small the part is. All ranks wait for the slowest, so the best cut makes the largest of these times least.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from lepton_kit.data.sharding import cut

GAIN = 0.05
"""A new cut has to promise this much more throughput in the middle of the last looks, or more where chance could do that …"""
AGREEING = 0.75
"""… and has to have been better in this part of them."""
LOOKS = 4
"""So many looks are needed for a word on a place; as many are waited after a change."""
WINDOW = 16
"""So many last looks count, since the cut or the place has changed."""
LONGEST_WAIT = 96
"""Looks after a change that made it worse: the wait doubles up to here."""
PROBE_LOOKS = 32
"""A place that gets nothing is tried again after so many looks, then after twice as many …"""
LONGEST_PROBE_LOOKS = 256
"""… up to here; and at once where it follows the others' steps faster than in any look since it gets nothing."""
JUMP = 0.25
"""`LOOKS` in a row that are all so far off in one direction are a change of the place, and what was known is forgotten."""
UNEVEN, UNEVEN_LOOKS = 0.2, 12
"""Places that take so much longer than others, for so many looks, where nothing better is seen: the overheads are wrong."""
ASIDE = 0.5
"""A batch of at most this part of the usual ones shows overheads."""
SCATTER = 0.03
"""What times are taken to scatter at least, relative."""


@dataclass(frozen=True)
class Pace:
    """How fast a place computes: seconds for a further sample, and samples that a step's fixed cost stands for.

    >>> Pace(0.001, overhead=20).time(80)
    0.1
    """

    seconds: float
    overhead: float = 0.0
    idle: float = 0.0
    """Seconds of a step in which it has no samples, and only follows the others' update."""

    def time(self, samples: float) -> float:
        """Seconds for so many samples."""
        return self.seconds * (samples + self.overhead) if samples > 0 else self.idle


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
    undoes: bool = False
    """Whether it goes back to the cut before the last change, which was better."""


@dataclass(frozen=True)
class _Place:
    """What is known of a place: the ``times`` of its last looks with ``samples`` a step, newest last.

    Medians, as a place that another process disturbs for a moment takes many times as long, and is no slower for that.
    """

    samples: int = 0
    times: tuple[float, ...] = ()
    overhead: float | None = None
    before: tuple[int, float] | None = None
    """(samples, seconds) with the cut before this one."""
    idles: tuple[float, ...] = ()
    """The times of its last looks without samples."""

    @property
    def known(self) -> tuple[int, float] | None:
        """(samples, seconds) of late; None: it has computed nothing yet."""
        return (self.samples, median(self.times)) if self.times else self.before

    @property
    def scatter(self) -> float:
        """How far, relative, a look is off: from the middle half of them, as of normal ones (1.48 × their median distance)."""
        if len(self.times) < LOOKS:
            return SCATTER
        middle = median(self.times)
        return max(SCATTER, 1.48 * median(abs(one / middle - 1.0) for one in self.times))

    @property
    def doubt(self) -> float:
        """How far, relative, its median may be off by chance: two and a half standard errors (1.25 × those of a mean)."""
        return 2.5 * 1.25 * self.scatter / math.sqrt(max(1, len(self.times)))

    def looked(self, samples: int, seconds: float) -> _Place:
        """With one look more."""
        if seconds <= 0:
            return self
        if samples == 0:
            return replace(self, idles=(*self.idles, seconds)[-WINDOW:])
        times = (*self.times, seconds)[-WINDOW:] if samples == self.samples else (seconds,)
        last, past = times[-LOOKS:], times[:-LOOKS]
        if len(past) >= LOOKS:
            usual, low, high = median(past), min(last), max(last)
            if low > (1.0 + JUMP) * usual or high < usual / (1.0 + JUMP):
                off = 1.0 + 3.0 * replace(self, times=past).scatter
                times = last if low > off * usual or high < usual / off else times
        return replace(self, samples=samples, times=times, idles=self.idles[-LOOKS:])

    @property
    def fresher(self) -> bool:
        """Whether a place without samples has become faster: its last looks all took less than any before them.

        Enough of these, as a place that has just lost its samples still learns to do less.
        """
        last, past = self.idles[-LOOKS:], self.idles[:-LOOKS]
        return len(past) >= 2 * LOOKS and max(last) < min(past) / (1.0 + JUMP)

    def compared(self, usual: float, batch: int) -> _Place:
        """With the overhead that its times before and after a new cut show, if they show one; ``usual`` was in use."""
        if self.before is None or not self.times:
            return self  # one that gets nothing now is remembered by what it took before
        settled = replace(self, before=None)
        (x, t), (y, u) = self.before, (self.samples, median(self.times))
        told = abs(x - y) > 0.15 * max(x, y) and abs(t - u) > 2.0 * self.scatter * max(t, u)
        if not told or (t - u) * (x - y) <= 0:
            return settled
        found = min(max(0.0, (x * u - y * t) / (t - u)), 2.0 * batch)
        return replace(settled, overhead=found if self.overhead is None else (self.overhead + found) / 2)


class Shares:
    """Follows the speeds of the places of one ring, and says when another cut is worth it.

    `look` is called at equal times, about four a second, with what the ranks took for their parts. A change is proposed
    where the last looks agree that it is better, by `GAIN` in their middle. One that made things worse by as much is
    undone, and makes the next ones wait longer.

    >>> shares = Shares(100, 2)
    >>> for _ in range(3):
    ...     assert shares.look([50, 50], [0.05, 0.15]) is None
    >>> change = shares.look([50, 50], [0.05, 0.15])
    >>> cut(100, change.weights), round(change.gain, 3)
    ((75, 25), 1.0)
    """

    def __init__(self, batch: int, places: int, most: Sequence[float] | None = None):
        self._batch, self._most = batch, most
        self._places = [_Place() for _ in range(places)]
        self._idle = self._uneven = self._rest = 0
        self._wait, self._patience, self._probe, self._doubts_after = 0, LOOKS, PROBE_LOOKS, UNEVEN_LOOKS
        self._shown: deque[float] = deque(maxlen=2 * WINDOW)
        """Overheads that smaller batches have shown, of any place."""
        self._before: tuple[tuple[int, ...], float] | None = None
        """The cut before the last change, and what all waited for the slowest then."""
        self.measured: float | None = None
        """By how much the last change raised throughput, as soon as that is known."""

    @property
    def paces(self) -> list[Pace | None]:
        """What is known of each place; None: it has computed nothing yet."""
        found: list[Pace | None] = []
        for one, overhead in zip(self._places, self._overheads(), strict=True):
            known = one.known
            idle = median(one.idles) if one.idles else 0.0
            found.append(None if known is None else Pace(known[1] / (known[0] + overhead), overhead, idle))
        return found

    def look(self, samples: Sequence[int], seconds: Sequence[float]) -> Change | None:
        """Samples that each rank had a step, and the seconds that it computed for them; a change if one is worth it."""
        self._places = [one.looked(x, t) for one, x, t in zip(self._places, samples, seconds, strict=True)]
        if self._wait > 0:
            self._wait -= 1
            if self._wait > 0:
                return None
            if (undone := self._judge(samples)) is not None:
                return undone
        if any(one.fresher for one, x in zip(self._places, samples, strict=True) if x == 0):
            self._probe = PROBE_LOOKS
            return self._probed(samples)
        if self._rest > 0:
            self._rest -= 1
            return None
        paces = [pace for pace in self.paces if pace is not None]
        if len(paces) < len(samples):
            return self._probed(samples)
        wanted = best_shares(self._batch, paces, self._most)
        gains = self._gains(samples, cut(self._batch, wanted), paces)
        gain = median(gains.tolist()) if len(gains) >= LOOKS else 0.0
        least = max([GAIN, *(one.doubt for one in self._places if one.times)])
        if gain >= least and float(np.mean(gains > 0)) >= AGREEING:
            return self._changed(wanted, gain, samples)
        self._doubt([pace.time(x) for pace, x in zip(paces, samples, strict=True) if x > 1])
        self._idle = self._idle + 1 if 0 in samples else 0
        if self._idle >= self._probe:
            self._probe = min(2 * self._probe, LONGEST_PROBE_LOOKS)
            return self._probed(samples)
        return None

    def aside(self, samples: Sequence[int], seconds: Sequence[float]) -> None:
        """What the ranks took for a smaller batch, as the last one of an epoch: it shows what a step costs beside its samples.

        So the first new cut can be right, where a second one would otherwise have to show the overhead.
        """
        for one, x, t in zip(self._places, samples, seconds, strict=True):
            if len(one.times) < LOOKS or t <= 0 or not 0 < x <= ASIDE * one.samples:
                continue
            part = t / median(one.times[-LOOKS:])  # (x + overhead) / (samples + overhead)
            most = 2.0 * self._batch
            found = (part * one.samples - x) / (1.0 - part) if part < 1.0 else most
            self._shown.append(min(max(0.0, found), most))

    def _gains(self, samples: Sequence[int], then: Sequence[int], paces: Sequence[Pace]) -> np.ndarray:
        """By how much another cut would have been faster in each of the last looks, as far as all places tell of them."""
        times = self._times(samples)
        now = times.max(axis=0)
        other = np.zeros_like(now)
        for x, y, pace, took in zip(samples, then, paces, times, strict=True):
            other = np.maximum(other, took * (pace.time(y) / pace.time(x)) if x > 0 else pace.time(y))
        return np.asarray(now / np.maximum(other, 1e-12) - 1.0)

    def _times(self, samples: Sequence[int]) -> np.ndarray:
        """Seconds of the last looks that all places tell of, a row for each."""
        count = min(len(one.times) for one, x in zip(self._places, samples, strict=True) if x > 0)

        def last(told: tuple[float, ...]) -> tuple[float, ...]:
            padded = (0.0,) * count + told
            return padded[len(padded) - count :]

        return np.array(
            [last(one.times if x > 0 else one.idles) for one, x in zip(self._places, samples, strict=True)]
        )

    def _slowest(self, samples: Sequence[int]) -> float:
        """Seconds that all wait for the slowest, in the middle of the last looks."""
        times = self._times(samples)
        return median(times.max(axis=0).tolist()) if times.size else 0.0

    def _doubt(self, times: Sequence[float]) -> None:
        """With the best cut all who take part end together. Where they don't for long, overheads are learned anew.

        A place that changed its speed just when the cut changed may have told a wrong one.
        """
        scatter = max(one.scatter for one in self._places)
        uneven = len(times) > 1 and max(times) > (1 + max(UNEVEN, 3 * scatter)) * min(times)
        self._uneven = self._uneven + 1 if uneven else 0
        if self._uneven >= self._doubts_after:
            self._uneven, self._doubts_after = 0, min(2 * self._doubts_after, LONGEST_PROBE_LOOKS)
            self._places = [replace(one, overhead=None) for one in self._places]

    def _overheads(self) -> list[float]:
        """Those of the places; one of which none is known yet has the others', or what smaller batches showed: it is one model."""
        known = [one.overhead for one in self._places if one.overhead is not None]
        shown = median(self._shown) if len(self._shown) >= LOOKS else 0.0
        usual = median(known) if known else shown
        return [usual if one.overhead is None else one.overhead for one in self._places]

    def _changed(self, weights: Sequence[float], gain: float, samples: Sequence[int]) -> Change:
        slowest = self._slowest(samples)
        self._before, self.measured = ((tuple(samples), slowest) if slowest else None), None
        self._places = [replace(one, before=one.known, times=()) for one in self._places]
        self._idle = self._uneven = 0
        self._wait, self._rest = LOOKS, 0
        return Change(tuple(float(one) for one in weights), float(gain))

    def _probed(self, samples: Sequence[int]) -> Change:
        """A small part for each place that gets nothing, to see how fast it is now."""
        part = max(1.0, 0.02 * self._batch)
        change = self._changed([part if x == 0 else float(x) for x in samples], 0.0, samples)
        self._places = [
            replace(one, before=None) if x == 0 else one for one, x in zip(self._places, samples, strict=True)
        ]
        self._before = None  # it promised no improvement
        return change

    def _judge(self, samples: Sequence[int]) -> Change | None:
        """What a change has brought, and what it tells of the places' overheads; the way back if that was a loss."""
        before, self._before = self._before, None
        used = self._overheads()
        self._places = [
            one.compared(usual, self._batch) for one, usual in zip(self._places, used, strict=True)
        ]
        slowest = self._slowest(samples)
        if before is None or not slowest:
            return None
        cut_before, took = before
        self.measured = measured = took / slowest - 1
        self._patience = min(2 * self._patience, LONGEST_WAIT) if measured < 0 else LOOKS
        self._rest = self._patience - LOOKS
        if min(self._times(samples).max(axis=0)) < took * (1 + GAIN):  # it is a loss where every look says so
            return None
        change = self._changed([float(x) for x in cut_before], slowest / took - 1, samples)
        # What was measured is of the change that is undone; the way back is not judged.
        self.measured, self._before, self._rest = measured, None, self._patience
        return replace(change, undoes=True)
