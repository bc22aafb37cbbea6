"""Thin out a curve for the screen without losing its peaks: a pure min-max selection of points."""

from __future__ import annotations

import numpy as np


def keep(values: np.ndarray, limit: int) -> np.ndarray:
    """Positions of at most ``limit`` values that draw the same picture: first, last, and each bucket's extremes.

    ``values`` has shape ``(n,)`` and may hold NaN, which is never chosen as an extreme. The positions are sorted and
    unique, int64. The largest and smallest values are always among them. ``limit`` must be at least 4.

    >>> keep(np.array([0.0, 1.0, 9.0, 1.0, 0.0, 0.0, -5.0, 0.0, 0.0]), limit=6)
    array([0, 2, 4, 5, 6, 8])
    """
    if limit < 4:
        raise ValueError(f"limit: got {limit}; expected at least 4 points")
    count = len(values)
    if count <= limit:
        return np.arange(count)
    buckets = limit // 2 - 1
    inner = np.asarray(values[1:-1], np.float64)
    width = -(-len(inner) // buckets)
    buckets = -(-len(inner) // width)
    padded = np.full(buckets * width, np.nan)
    padded[: len(inner)] = inner
    table = padded.reshape(buckets, width)
    missing = np.isnan(table)
    starts = np.arange(buckets) * width + 1
    lowest = starts + np.where(missing, np.inf, table).argmin(axis=1)
    highest = starts + np.where(missing, -np.inf, table).argmax(axis=1)
    return np.unique(np.concatenate([[0], lowest, highest, [count - 1]]))


def thin(x: np.ndarray, y: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The points of a curve that are worth sending: two arrays of at most ``limit`` values.

    >>> x, y = thin(np.arange(10_000), np.sin(np.arange(10_000)), limit=100)
    >>> len(x) <= 100
    True
    """
    x, y = np.asarray(x), np.asarray(y)
    chosen = keep(y, limit)
    return x[chosen], y[chosen]
