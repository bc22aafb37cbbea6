"""What was set for a whole process in Keras and TensorFlow and changes results: what the notebook set, its workers do."""

from __future__ import annotations

import sys
from typing import Any

from lepton_kit.specs import Arithmetic

EPSILON = 1e-7
"""Keras' own."""


def now() -> Arithmetic | None:
    """What was set in this process; None: nothing, or it has loaded neither Keras nor TensorFlow."""
    found: dict[str, Any] = {}
    keras, tensorflow = sys.modules.get("keras"), sys.modules.get("tensorflow")
    if (config := getattr(keras, "config", None)) is not None:
        found["epsilon"] = None if config.epsilon() == EPSILON else config.epsilon()
        found["flash_attention"] = config.is_flash_attention_enabled()
    if getattr(tensorflow, "config", None) is not None:
        from tensorflow.python.framework import config as settings

        found["tensor_float_32"] = None if settings.tensor_float_32_execution_enabled() else False
        found["deterministic"] = True if settings.is_op_determinism_enabled() else None
    told = Arithmetic(**found)
    return None if told == Arithmetic() else told


def take(told: Arithmetic) -> None:
    """Set the same in this process; what is None stays as it is."""
    import keras
    import tensorflow as tf

    if told.epsilon is not None:
        keras.config.set_epsilon(told.epsilon)
    if told.flash_attention is not None:
        word = "enable" if told.flash_attention else "disable"
        getattr(keras.config, f"{word}_flash_attention")()
    if told.tensor_float_32 is not None:
        tf.config.experimental.enable_tensor_float_32_execution(told.tensor_float_32)
    if told.deterministic:
        tf.config.experimental.enable_op_determinism()
