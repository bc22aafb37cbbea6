"""Reads a split piece by piece, as `Split.rows` gives it, so that its samples need not be in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.prepared import Split
from lepton_kit.data.structure import items, joined
from lepton_kit.data.writing import allocated

ROWS = 1024
SAMPLED = 10_000
"""Training targets that a baseline is made from, of a split that is read from elsewhere."""


def pieces(split: Split, rows: int = ROWS) -> Iterator[tuple[Any, Any]]:
    """(samples, targets) of all rows in order.

    >>> [x.tolist() for x, _ in pieces(Split(np.arange(3)), 2)]
    [[0, 1], [2]]
    """
    for start in range(0, len(split), rows):
        yield split.rows(np.arange(start, min(start + rows, len(split))))[:2]


def first_rows(split: Split, count: int) -> Any:
    """The first samples."""
    return split.rows(np.arange(min(count, len(split))))[0]


def targets(split: Split, whole: bool = True) -> Any:
    """The targets as arrays in memory; of samples that lie elsewhere and not ``whole``, of an even choice of them."""
    if getattr(split, "source", None) is None:
        return split.y
    if whole:
        parts = [dict(items(y)) for _, y in pieces(split)]
        return joined({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    return split.rows(np.unique(np.linspace(0, len(split) - 1, SAMPLED).astype(np.int64)))[1]


def store_samples(split: Split, home: Path) -> list[list[Any]]:
    """Write all samples as ``.npy`` files into a folder; returns [input's name or place, path] of each."""
    found, opened = [], {}
    for place, (key, array) in enumerate(items(split.x)):
        path = home / f"held-{place}.npy"
        opened[key] = allocated(path, array.shape, array.dtype)
        found.append([key, str(path)])
    start = 0
    for x, _ in pieces(split):
        for key, part in items(x):
            opened[key][start : start + len(part)] = part
            stop = start + len(part)
        start = stop
    for array in opened.values():
        array.flush()
    return found
