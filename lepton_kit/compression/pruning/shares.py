"""Which share of its channels each layer loses, where layers that work at many places shall lose more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_TAKEN = ("GRU", "LSTM", "SimpleRNN", "Conv1DTranspose", "Conv2DTranspose")
"""Kinds whose kernel acts at every place of what comes in; that of all others acts at every place of what goes out."""


def places(layer: Any) -> int:
    """At how many places of one sample a layer's kernel acts: multiplications a weight, which is time without bytes.

    An open dimension counts as one place.

    >>> import keras
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((28, 28, 1)),
    ...         keras.layers.Conv2D(8, 3),
    ...         keras.layers.Flatten(),
    ...         keras.layers.Dense(4),
    ...     ]
    ... )
    >>> places(model.layers[0]), places(model.layers[2])
    (676, 1)
    """
    import keras

    tensor = layer.input if type(layer).__name__ in _TAKEN else layer.output
    shape = keras.tree.flatten(tensor)[0].shape
    return math.prod(size or 1 for size in shape[1:-1])


def leaning(widths: Mapping[str, int], at: Mapping[str, int], share: float, lean: float) -> dict[str, float]:
    """Layer -> share of its channels to remove, so that ``share`` of all channels goes.

    What a layer keeps falls with the places where it works to the power of ``lean``, and no layer keeps more than all.

    >>> leaning({"conv": 32, "dense": 32}, {"conv": 100, "dense": 1}, 0.75, 0.25)
    {'conv': 0.87..., 'dense': 0.62...}
    """
    names = list(widths)
    if not names:
        return {}
    wide = np.array([widths[name] for name in names], float)
    weight = np.array([float(max(1, at[name])) ** -lean for name in names])
    kept = _level(wide, weight, (1 - share) * wide.sum())
    return {name: float(1 - one) for name, one in zip(names, kept, strict=True)}


def _level(wide: np.ndarray, weight: np.ndarray, wanted: float) -> np.ndarray:
    """Shares ``min(1, s * weight)`` of ``wide`` that come to ``wanted`` in all."""
    low, high = 0.0, 1 / weight.min()
    for _ in range(60):
        middle = (low + high) / 2
        enough = (wide * np.minimum(1, middle * weight)).sum() >= wanted
        low, high = (low, middle) if enough else (middle, high)
    found: np.ndarray = np.minimum(1, high * weight)
    return found
