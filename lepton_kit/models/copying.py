"""Weights from one model or layer to its copy, with what Keras derives from them while it reads a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def give_weights(copy: Any, weights: Sequence[Any]) -> None:
    """Set all weights of a model or layer.

    Keras' ``set_weights`` leaves a `Normalization` computing with the mean and variance that it had before.
    """
    import keras

    copy.set_weights(list(weights))
    for layer in copy._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
