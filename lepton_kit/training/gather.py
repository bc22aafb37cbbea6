"""Rows of a global batch that lie on several ranks, put together on every rank, with a gradient for the own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

LARGEST_INDEX = 1 << 24
"""Whole numbers travel as float32, which holds them exactly up to here."""


@dataclass(frozen=True)
class Cut:
    """A rank's part of one global batch, as tensors: rows ``offset`` to ``offset + rows`` of ``total``.

    ``scale`` is ``rows / total`` (float32). A rank without rows brings one row along that counts for nothing; where it is
    known to be ``idle`` while a graph is traced, nothing in that graph depends on this row.
    """

    scale: Any
    offset: Any
    rows: Any
    total: Any
    idle: bool = False

    def pad(self, part: Any, each: int = 1) -> Any:
        """The own rows (``each`` entries a row) at their place in a batch whose other rows are zero."""
        import tensorflow as tf

        if self.idle:
            return zeros([each * self.total, *lengths(part)[1:]], part.dtype)
        before, own = each * self.offset, each * self.rows
        after = each * self.total - before - own
        rest = [[0, 0]] * (len(part.shape) - 1)
        return tf.pad(part[:own], [[before, after], *rest])

    def own(self, whole: Any, like: Any) -> Any:
        """The own rows of a whole batch, in the shape of ``like``, which may hold one row that does not count."""
        import tensorflow as tf

        rows = whole[self.offset : self.offset + self.rows]
        missing = tf.shape(like)[0] - self.rows
        return tf.pad(rows, [[0, missing], *[[0, 0]] * (len(like.shape) - 1)])


class Part(NamedTuple):
    """What a graph is told of a rank's part of a batch: `Cut`, and whose it is. Numbers outside the graph, tensors within."""

    scale: Any
    rank: Any
    offset: Any
    rows: Any
    total: Any

    @classmethod
    def signature(cls) -> Part:
        """The types of all, for ``tf.function``."""
        import tensorflow as tf

        return cls(tf.TensorSpec([], tf.float32), *[tf.TensorSpec([], tf.int32)] * 4)

    def cut(self, *, idle: bool = False) -> Cut:
        """The part without its rank."""
        return Cut(self.scale, self.offset, self.rows, self.total, idle)


def lengths(tensor: Any) -> list[Any]:
    """Of the axes of a tensor: whole numbers where they are fixed, so that nothing has to be computed for them."""
    import tensorflow as tf

    return [tf.shape(tensor)[axis] if length is None else length for axis, length in enumerate(tensor.shape)]


def zeros(shape: list[Any], kind: Any) -> Any:
    """Zeros; axes whose length is a tensor stay open."""
    import tensorflow as tf

    found = tf.zeros(shape, kind)
    found.set_shape([length if isinstance(length, int) else None for length in shape])
    return found


def gather(collective: Any, cut: Cut, parts: Sequence[Any]) -> list[Any]:
    """Every rank's rows of each tensor, in rank order: tensors of ``(total, ...)`` in the types of the parts.

    The step scales its loss by ``rows / total`` before it takes gradients, and sums these over ranks. What comes out
    of here is the whole batch already, on every rank, so its gradient is divided by that scale on the way back.
    """
    import tensorflow as tf

    real = [part for part in parts if part.dtype.is_floating]
    other = [part for part in parts if not part.dtype.is_floating]

    @tf.custom_gradient
    def together(*tensors: Any) -> tuple[list[Any], Any]:
        def backward(*upstream: Any) -> list[Any]:
            share = tf.math.divide_no_nan(1.0, cut.scale)
            return [cut.own(gradient * share, like) for gradient, like in zip(upstream, tensors, strict=True)]

        return collective.sum([], [cut.pad(tensor) for tensor in tensors], tf.constant(1.0)), backward

    floats = iter(together(*[tf.cast(part, tf.float32) for part in real]) if real else [])
    fixed = [cut.pad(tf.cast(part, tf.float32)) for part in other]
    wholes = iter(collective.sum([], fixed, tf.constant(1.0)) if fixed else [])
    found = []
    for part in parts:
        whole = next(floats) if part.dtype.is_floating else tf.round(next(wholes))
        whole = tf.cast(whole, part.dtype)
        whole.set_shape([None, *part.shape[1:]])
        found.append(whole)
    return found


def gather_structure(collective: Any, cut: Cut, value: Any) -> Any:
    """`gather` for any structure of tensors, with the masks that Keras hangs on them; None stays None."""
    import tensorflow as tf
    from keras.src import backend

    if value is None:
        return None
    leaves = tf.nest.flatten(value)
    masks = {k: mask for k, leaf in enumerate(leaves) if (mask := backend.get_keras_mask(leaf)) is not None}
    wholes = gather(collective, cut, [*map(tf.convert_to_tensor, leaves), *masks.values()])
    for whole, place in zip(wholes[len(leaves) :], masks, strict=True):
        backend.set_keras_mask(wholes[place], whole)
    return tf.nest.pack_sequence_as(value, wholes[: len(leaves)])


def gather_slices(collective: Any, cut: Cut, slices: Any, each: int) -> Any:
    """The gradient of an embedding, ``each`` entries a sample, as one process has it: every rank's slices in turn.

    Summing them first would be another update: adaptive optimizers square repeated rows one by one.
    """
    import tensorflow as tf

    values = cut.pad(tf.cast(slices.values, tf.float32), each)
    places = cut.pad(tf.cast(slices.indices, tf.float32), each)
    values, places = collective.sum([], [values, places], tf.constant(1.0))
    values.set_shape([None, *slices.values.shape[1:]])
    return tf.IndexedSlices(
        tf.cast(values, slices.values.dtype),
        tf.cast(tf.round(places), slices.indices.dtype),
        slices.dense_shape,
    )
