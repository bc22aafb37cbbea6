"""How often each class occurs in training, and from when on accuracy alone says too little."""

from __future__ import annotations

from typing import Any

import numpy as np

UNBALANCED = 2.0
"""From this many times as many samples of the largest class as of the smallest, balanced accuracy is shown too."""


def class_counts(prepared: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """(class numbers, training samples of each); None where there is no one class a sample, or reading them costs much.

    >>> from types import SimpleNamespace as Some
    >>> data = Some(task="classification", train=Some(source=None, y=np.array([0, 1, 1])))
    >>> [part.tolist() for part in class_counts(data)]
    [[0, 1], [1, 2]]
    """
    y = prepared.train.y
    if prepared.task != "classification" or getattr(prepared.train, "source", None) is not None:
        return None
    if (
        not isinstance(y, np.ndarray)
        or y.dtype.kind not in "biu"
        or y.shape[1:] not in ((), (1,))
        or not len(y)
    ):
        return None
    kinds, counts = np.unique(y, return_counts=True)
    return kinds, counts


def is_unbalanced(prepared: Any) -> bool:
    """Whether one class has at least `UNBALANCED` times as many training samples as another."""
    found = class_counts(prepared)
    return found is not None and len(found[1]) > 1 and found[1].max() >= UNBALANCED * found[1].min()
