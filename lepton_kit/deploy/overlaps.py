"""How well maps of classes overlap (Dice, IoU), with intervals that resample whole samples: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

RESAMPLES, AT_ONCE = 1000, 50
Rule = Callable[..., np.ndarray]
"""(right, told, are), classes in the last axis, to a figure."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Places of each class in each sample, shape ``(samples, classes)``, int64: ``right`` ones, those that the answer
    marks (``told``), and those that the truth marks (``are``)."""

    right: np.ndarray
    told: np.ndarray
    are: np.ndarray

    def resampled(self, value: Rule) -> np.ndarray:
        """``value(right, told, are)`` of sums over samples drawn with replacement, one row a draw.

        Whole samples are drawn, because places of one sample are no independent observations (Field and Welsh 2007,
        doi:10.1111/j.1467-9868.2007.00593.x).
        """
        return value(*self._drawn)

    @cached_property
    def _drawn(self) -> tuple[np.ndarray, ...]:
        samples, generator = len(self.right), np.random.default_rng(0)
        parts = []
        for _ in range(0, RESAMPLES, AT_ONCE):  # a row of numbers a sample and draw would not fit in memory
            times = generator.multinomial(samples, np.full(samples, 1 / samples), size=AT_ONCE)
            parts.append([times @ each for each in (self.right, self.told, self.are)])
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def counts(truth: np.ndarray, told: np.ndarray, classes: int) -> Counts:
    """The counts of maps of class numbers, shapes ``(samples, …)``.

    >>> counts(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]), 2).told.tolist()
    [[2, 1]]
    """
    truth, told = truth.reshape(len(truth), -1), told.reshape(len(told), -1)
    numbers = range(classes)
    return Counts(
        right=np.stack([((truth == k) & (told == k)).sum(axis=1) for k in numbers], axis=1),
        told=np.stack([(told == k).sum(axis=1) for k in numbers], axis=1),
        are=np.stack([(truth == k).sum(axis=1) for k in numbers], axis=1),
    )


def dice(right: np.ndarray, told: np.ndarray, are: np.ndarray) -> np.ndarray:
    """The Dice coefficient (1945, doi:10.2307/1932409), classes in the last axis: of two classes that of the second, of
    more the mean over those that occur. 1 where nothing is marked.

    >>> float(dice(np.array([1, 1]), np.array([2, 1]), np.array([1, 2])).round(4))
    0.6667
    """
    marked = np.asarray(told + are, np.float64)
    each = np.where(marked > 0, 2 * right / np.maximum(marked, 1), np.nan)
    if each.shape[-1] <= 2:
        return np.nan_to_num(each[..., -1], nan=1.0)
    result: np.ndarray = np.where(marked > 0, each, 0).sum(axis=-1) / np.maximum((marked > 0).sum(axis=-1), 1)
    return result


def iou(right: np.ndarray, told: np.ndarray, are: np.ndarray) -> np.ndarray:
    """Intersection over union, the mean over the classes that occur.

    >>> float(iou(np.array([1, 1]), np.array([2, 1]), np.array([1, 2])))
    0.5
    """
    union = told + are - right
    there = union > 0
    result: np.ndarray = np.where(there, right / np.maximum(union, 1), 0).sum(axis=-1) / np.maximum(
        there.sum(axis=-1), 1
    )
    return result


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of resampled values; those that are no numbers are left out."""
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)
