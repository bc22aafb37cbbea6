"""Kinds of the zoo: dense networks, their activations and normalizations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.zoo.registry import kind, line


@kind
def dense_softmax() -> Any:
    from keras import Input, layers

    return line(Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(3, activation="softmax"))


@kind
def dense_sigmoid() -> Any:
    from keras import Input, layers

    return line(Input((8,)), layers.Dense(16, activation="tanh"), layers.Dense(1, activation="sigmoid"))


@kind
def several_labels() -> Any:
    from keras import Input, layers

    return line(Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(4, activation="sigmoid"))


@kind
def regression() -> Any:
    from keras import Input, layers

    return line(Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(2))


@kind
def normalized_columns() -> Any:
    import keras
    from keras import layers

    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(2, 3, (100, 6)).astype("float32"))
    return line(
        keras.Input((6,)), norm, layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")
    )


@kind
def batch_norm_and_dropout() -> Any:
    from keras import Input, layers

    return line(
        Input((8,)), layers.Dense(16), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2),
        layers.GaussianNoise(0.1), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def layer_norm() -> Any:
    from keras import Input, layers

    return line(
        Input((8,)), layers.Dense(16), layers.LayerNormalization(), layers.Dense(3, activation="softmax")
    )


def _activated(name: str) -> Any:
    from keras import Input, layers

    return line(Input((8,)), layers.Dense(16, activation=name), layers.Dense(3, activation="softmax"))


@kind
def swish() -> Any:
    return _activated("swish")


@kind
def gelu() -> Any:
    return _activated("gelu")


@kind
def elu() -> Any:
    return _activated("elu")


@kind
def selu() -> Any:
    return _activated("selu")


@kind
def softplus() -> Any:
    return _activated("softplus")


@kind
def mish() -> Any:
    return _activated("mish")


@kind
def hard_swish() -> Any:
    return _activated("hard_silu")


@kind
def hard_sigmoid() -> Any:
    return _activated("hard_sigmoid")


@kind
def prelu() -> Any:
    from keras import Input, layers

    return line(Input((8,)), layers.Dense(16), layers.PReLU(), layers.Dense(3, activation="softmax"))


@kind
def leaky_relu() -> Any:
    from keras import Input, layers

    return line(Input((8,)), layers.Dense(16), layers.LeakyReLU(), layers.Dense(3, activation="softmax"))


@kind
def own_layer_with_build() -> Any:
    import keras

    class Scaled(keras.layers.Layer):
        def __init__(self, units: int, **more: Any):
            super().__init__(**more)
            self.units = units

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="glorot_uniform")

        def call(self, x: Any) -> Any:
            return keras.ops.relu(keras.ops.matmul(x, self.kernel))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    return line(keras.Input((8,)), Scaled(16), keras.layers.Dense(3, activation="softmax"))


@kind
def registered_own_layer() -> Any:
    import keras

    @keras.saving.register_keras_serializable(package="zoo")
    class Squared(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * x

    return line(
        keras.Input((8,)), keras.layers.Dense(16), Squared(), keras.layers.Dense(3, activation="softmax")
    )


@kind
def mixed_precision() -> Any:
    import keras
    from keras import layers

    policy = "mixed_float16"
    return line(
        keras.Input((8, 8, 3)), layers.Conv2D(8, 3, activation="relu", dtype=policy), layers.Flatten(dtype=policy),
        layers.Dense(16, activation="relu", dtype=policy), layers.Dense(3, activation="softmax", dtype="float32"),
    )  # fmt: skip
