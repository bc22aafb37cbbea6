"""Squared norms of gradients, each rank's own and that of their sum: what the gradient noise scale is estimated from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

EVERY, EVERY_WITH_SLICES = 16, 64
"""One step of so many is measured: a norm reads each gradient once more, and rows of slices have to be put together first."""


class Norms:
    """Sums over the steps that were measured since `take`; ``small`` is |g|² of a rank's own mean gradient times its
    share of the batch, ``large`` that of the whole batch. Both are of gradients before any clipping, without a loss scale.
    """

    def __init__(self) -> None:
        import tensorflow as tf

        self._sums = tf.Variable(tf.zeros([3]), trainable=False)

    def note(
        self,
        own: Sequence[Any],
        summed: Sequence[Any],
        share: Any,
        optimizer: Any,
        *,
        position: Any = 0,
        steps: float = 1.0,
    ) -> None:
        """Measure if it is time; ``own`` gradients are weighted by the rank's share of the batch, as they are summed.

        A rank that has all samples measures nothing. ``steps`` counts what was measured: 0 for a further part of a step.
        """
        import tensorflow as tf

        if (
            not summed
        ):  # nothing is trained; a rank without samples has no gradients of its own, and measures the sum
            return
        sliced = any(isinstance(one, tf.IndexedSlices) for one in summed)
        due = tf.equal(tf.math.floormod(position, EVERY_WITH_SLICES if sliced else EVERY), 0)
        due = tf.logical_and(due, share < 1.0)

        def measure() -> Any:
            small = tf.math.divide_no_nan(squared(own), share)
            scale = tf.square(tf.cast(optimizer.scale_loss(tf.constant(1.0)), tf.float32))
            found = tf.stack([small / scale, squared(summed) / scale, tf.constant(steps)])
            return self._sums.assign_add(found)

        tf.cond(due, measure, lambda: self._sums.value())

    def count(self, share: Any) -> None:
        """A step whose parts were all noted with 0 ``steps``."""
        import tensorflow as tf

        self._sums.assign_add(tf.stack([0.0, 0.0, tf.cast(share < 1.0, tf.float32)]))

    def take(self) -> tuple[float, float, int]:
        """Means of small and large, and of how many steps, since this was asked last."""
        small, large, steps = (float(one) for one in self._sums.numpy())
        self._sums.assign(np.zeros(3, np.float32))
        return small / max(steps, 1.0), large / max(steps, 1.0), int(steps)


def squared(gradients: Sequence[Any]) -> Any:
    """The squared norm of all gradients together, 0 of none; rows of slices with the same index are added up first."""
    import tensorflow as tf

    if not gradients:
        return tf.constant(0.0)
    return 2.0 * tf.add_n([tf.nn.l2_loss(_rows(one)) for one in gradients])


def _rows(gradient: Any) -> Any:
    import tensorflow as tf

    if not isinstance(gradient, tf.IndexedSlices):
        return tf.cast(gradient, tf.float32)
    places, group = tf.unique(gradient.indices)
    return tf.math.unsorted_segment_sum(tf.cast(gradient.values, tf.float32), group, tf.size(places))
