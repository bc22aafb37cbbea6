"""Ten kinds of models for the benchmarks, each small enough for two cores, with the shape of a sample; ten classes all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SAMPLES = 8192
CLASSES = 10


def _dense() -> list[Any]:
    from keras import layers

    return [layers.Dense(512, activation="relu"), layers.Dense(512, activation="relu")]


def _convolutional() -> list[Any]:
    from keras import layers

    return [
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
    ]


def _normalized() -> list[Any]:
    from keras import layers

    block = [layers.Conv2D(16, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    again = [layers.Conv2D(32, 3, strides=2, use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    return [*block, *again, layers.GlobalAveragePooling2D()]


def _separable() -> list[Any]:
    from keras import layers

    stack: list[Any] = [layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")]
    for width in (32, 64, 64):
        stack += [
            layers.SeparableConv2D(width, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
        ]
        stack += [layers.ReLU(6.0)]
    return [*stack, layers.GlobalAveragePooling2D()]


def _waves() -> list[Any]:
    from keras import layers

    return [
        layers.Conv1D(32, 7, strides=2, activation="relu"),
        layers.Conv1D(64, 5, strides=2, activation="relu"),
        layers.GlobalAveragePooling1D(),
    ]


def _words() -> list[Any]:
    from keras import layers

    return [layers.Embedding(5_000, 64), layers.GlobalAveragePooling1D(), layers.Dense(64, activation="relu")]


def _residual(inputs: Any) -> Any:
    from keras import layers

    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for width, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        beside = layers.Conv2D(width, 1, strides=strides)(y)
        y = layers.Conv2D(width, 3, strides=strides, padding="same", use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        x = layers.Add()([layers.Conv2D(width, 3, padding="same")(y), beside])
    return layers.GlobalAveragePooling2D()(x)


def _attentive(inputs: Any) -> Any:
    from keras import layers

    x = layers.Dense(64)(inputs)
    y = layers.MultiHeadAttention(4, 16)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(64)(layers.Dense(128, activation="gelu")(x))
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(layers.Add()([x, y])))


def _long_memory() -> list[Any]:
    from keras import layers

    return [layers.LSTM(64)]


def _gated() -> list[Any]:
    from keras import layers

    return [layers.Bidirectional(layers.GRU(32, return_sequences=True)), layers.GlobalMaxPooling1D()]


KINDS: dict[str, tuple[tuple[int, ...], Callable[..., Any]]] = {
    "mlp": ((784,), _dense),
    "cnn": ((28, 28, 1), _convolutional),
    "batchnorm": ((28, 28, 1), _normalized),
    "separable": ((28, 28, 1), _separable),
    "residual": ((28, 28, 1), _residual),
    "waves": ((400, 4), _waves),
    "words": ((60,), _words),
    "attention": ((32, 16), _attentive),
    "lstm": ((100, 16), _long_memory),
    "gru": ((50, 16), _gated),
}


def samples(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs, ``(8192, ...)`` of float32 (of words: their numbers), and classes as int32."""
    generator = np.random.default_rng(0)
    shape = (SAMPLES, *KINDS[kind][0])
    x = (
        generator.random(shape, np.float32)
        if kind != "words"
        else generator.integers(0, 5_000, shape).astype(np.int32)
    )
    return x, generator.integers(0, CLASSES, SAMPLES).astype(np.int32)


def keras_model(kind: str) -> Any:
    """The model, not compiled, with equal weights at every call."""
    import keras

    keras.utils.set_random_seed(0)
    shape, make = KINDS[kind]
    inputs = keras.Input(shape, dtype="int32" if kind == "words" else "float32")
    if make in (_residual, _attentive):
        outputs = make(inputs)
    else:
        outputs = inputs
        for layer in make():
            outputs = layer(outputs)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(outputs))
