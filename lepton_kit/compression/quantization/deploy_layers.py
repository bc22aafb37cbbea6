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
