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

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """``(batch, size)``."""
        return (input_shape[0], self.size)
