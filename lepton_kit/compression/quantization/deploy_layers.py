"""Keras layers that exist only while a model is converted."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class StaticFlatten(keras.layers.Layer):
    """Flatten to a size that is known beforehand, as one reshape; input ``(batch, …)``, output ``(batch, size)``."""

    def __init__(self, size: int, **keywords: Any):
        super().__init__(**keywords)
        self.size = size

    def call(self, inputs: Any) -> Any:
        """The same numbers in rows."""
        return tf.reshape(inputs, (-1, self.size))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """``(batch, size)``."""
        return (input_shape[0], self.size)


class LookupEmbedding(keras.layers.Embedding):
    """An embedding that becomes LiteRT's EMBEDDING_LOOKUP, which may hold its table in 4 bits; GATHER may not.

    The converter knows the operation by the attribute of the function, with these two arguments in this order
    (``PrepareCompositeFunctionsPass`` in TensorFlow's source).
    """

    def call(self, inputs: Any) -> Any:
        """Ids of shape ``(batch, length)`` to rows of shape ``(batch, length, output_dim)``."""
        table = tf.convert_to_tensor(self.embeddings)
        ids = tf.reshape(tf.cast(inputs, tf.int32), (-1,))
        signature = [tf.TensorSpec(table.shape, table.dtype), tf.TensorSpec((None,), tf.int32)]

        @tf.function(experimental_implements="embedding_matmul", input_signature=signature)
        def lookup(table: Any, ids: Any) -> Any:
            return tf.gather(table, ids)

        return tf.reshape(lookup(table, ids), (-1, *inputs.shape[1:], self.output_dim))


class FoldedTime(keras.layers.Layer):
    """A layer that is applied to every time step: the steps are put into the batch and back, as two reshapes."""

    def __init__(self, layer: Any, **keywords: Any):
        super().__init__(**keywords)
        self.layer = layer
        self.supports_masking = True

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """The inner layer sees no time."""
        self.layer.build((input_shape[0], *input_shape[2:]))

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Shape ``(batch, steps, …)`` to ``(batch, steps, …)``."""
        steps, inner = inputs.shape[1], tuple(inputs.shape[2:])
        found = self.layer(tf.reshape(inputs, (-1, *inner)))
        return tf.reshape(found, (-1, steps, *found.shape[1:]))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inner layer's shape with the steps before it."""
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (input_shape[0], input_shape[1], *inner[1:])


class Affine(keras.layers.Layer):
    """Scaling by constants: ``x * scale + offset``; what a normalization with known figures is."""

    def __init__(self, scale: Any, offset: Any, **keywords: Any):
        super().__init__(**keywords)
        self.scale, self.offset = scale, offset

    def call(self, inputs: Any) -> Any:
        """The same shape."""
        kind = self.compute_dtype
        return tf.cast(inputs, kind) * tf.constant(self.scale, kind) + tf.constant(self.offset, kind)


def gelu_of_erf(x: Any) -> Any:
    """GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415) by erf, which ONNX has; TensorFlow's own takes erfc."""
    return 0.5 * x * (1.0 + tf.math.erf(x * 0.7071067811865476))
