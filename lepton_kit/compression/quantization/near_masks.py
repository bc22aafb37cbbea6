"""Masks of attention in a form that int8 holds: what is hidden comes near to what is not, instead of infinitely far below."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

FAR = -1e4
"""Keras hides with -1e9, or with most of what float32 holds; no score of a model comes near either."""
BELOW = 10.0
"""So far below the least score: a hidden place gets less than 5e-5 of the weight of any other, and int8's step is 1/256."""

_WHERE, _ATTEND = tf.where, keras.layers.Attention._apply_scores


def where_near(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """`tf.where`, but what would become a number far below all others becomes one that is `BELOW` their least.

    All places of a tensor have one int8 step: with one of them at -1e9 all others would be the same number.

    >>> where_near([[True, False, True]], tf.constant([[1.0, 2.0, 3.0]]), -1e9).numpy().tolist()
    [[1.0, -9.0, 3.0]]
    """
    if x is None or y is None:
        return _WHERE(condition, x, y, name)
    scores, far = tf.convert_to_tensor(x), tf.get_static_value(tf.convert_to_tensor(y))
    rank = scores.shape.rank
    if far is not None and far.ndim == 0 and scores.dtype.is_floating and rank and far <= FAR:
        y = tf.reduce_min(scores, list(range(1, rank)), keepdims=True) - BELOW
    return _WHERE(condition, scores, y, name)


def _attend_near(layer: Any, scores: Any, value: Any, scores_mask: Any = None, training: bool = False) -> Any:
    """`keras.layers.Attention`, which subtracts 1e9 from what is hidden."""
    if scores_mask is not None:
        counts = keras.ops.expand_dims(scores_mask, -2) if len(scores_mask.shape) == 2 else scores_mask
        scores = where_near(counts, scores, 10 * FAR)
    return _ATTEND(layer, scores, value, None, training)


@contextlib.contextmanager
def masks_stay_near() -> Iterator[None]:
    """Meanwhile Keras' layers hide by `where_near`."""
    tf.where, keras.layers.Attention._apply_scores = where_near, _attend_near
    try:
        yield
    finally:
        tf.where, keras.layers.Attention._apply_scores = _WHERE, _ATTEND
