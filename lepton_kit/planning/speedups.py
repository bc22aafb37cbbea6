"""How much faster a run gets with more workers: from what was measured, and an estimate where nothing was."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence

PARALLEL_SHARE = 0.95
"""Of a step, as long as a run was measured at one number of workers only (Amdahl 1967); our choice, 2026-11."""


def rates(measured: Mapping[int, float], most: int) -> tuple[float, ...]:
    """Relative speed with 1, 2, … ``most`` workers: 1.0 for one; never falls, and each further worker adds less.

    ``measured`` has samples/s by number of workers. Between two measured numbers, and beyond the largest, the time of
    a step is taken as a + c/n; with fewer than two, `PARALLEL_SHARE` of it is taken to be shared by the workers. Numbers
    that are not positive and finite are passed over. Where a number of workers is slower than a smaller one, more add
    nothing.

    >>> [round(one, 2) for one in rates({1: 100.0, 2: 200.0}, 4)]
    [1.0, 2.0, 3.0, 4.0]
    >>> rates({1: 100.0, 2: 90.0}, 3)
    (1.0, 1.0, 1.0)
    """
    known = sorted((n, r) for n, r in measured.items() if n >= 1 and 0 < r < math.inf)
    return _rates(tuple(known), most)


@functools.lru_cache(maxsize=4096)
def _rates(known: tuple[tuple[int, float], ...], most: int) -> tuple[float, ...]:
    times = [_time(known, n) for n in range(1, most + 1)]
    best, logs = -math.inf, []
    for time in times:
        best = max(best, -math.log(time))
        logs.append(best)
    logs = concave(logs)
    return tuple(math.exp(one - logs[0]) for one in logs)


def _time(known: Sequence[tuple[int, float]], n: int) -> float:
    """Seconds per sample with n workers."""
    if not known:
        return _amdahl(n)
    if len(known) == 1 or n < known[0][0]:
        m, rate = known[0]
        return _amdahl(n) / _amdahl(m) / rate
    place = next((k for k in range(1, len(known)) if n <= known[k][0]), len(known) - 1)
    (m, low), (k, high) = known[place - 1], known[place]
    share = (1 / low - 1 / high) / (1 / m - 1 / k)
    share = min(max(share, 0.0), k / high)  # neither a part that grows with n, nor more than all of it
    return 1 / high + share * (1 / n - 1 / k) if n > k else _between(m, low, k, high, n)


def _between(m: int, low: float, k: int, high: float, n: int) -> float:
    weight = (1 / m - 1 / n) / (1 / m - 1 / k)
    return (1 - weight) / low + weight / high


def _amdahl(n: int) -> float:
    return 1 - PARALLEL_SHARE + PARALLEL_SHARE / n


def concave(values: Sequence[float]) -> list[float]:
    """The least concave values that are nowhere below these.

    >>> concave([0.0, 0.0, 2.0, 2.5])
    [0.0, 1.0, 2.0, 2.5]
    """
    hull: list[int] = []
    for place, value in enumerate(values):
        while len(hull) > 1:
            before, last = hull[-2], hull[-1]
            if (values[last] - values[before]) * (place - last) > (value - values[last]) * (last - before):
                break
            hull.pop()
        hull.append(place)
    found = list(values)
    for before, after in itertools.pairwise(hull):
        for place in range(before + 1, after):
            share = (place - before) / (after - before)
            found[place] = values[before] + share * (values[after] - values[before])
    return found
