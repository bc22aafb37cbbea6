"""The zoo: one small model of each kind that people build in Keras, with samples to judge it by."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

TRAIN, HELD = 100, 24
KINDS: dict[str, Callable[[], Any]] = {}
"""Name -> a function that builds the model, not yet compiled."""


def kind(build: Callable[[], Any]) -> Callable[[], Any]:
    """Put a builder under its name, with spaces, into `KINDS`."""
    KINDS[build.__name__.replace("_", " ")] = build
    return build


@functools.cache
def made(name: str) -> tuple[Any, Any, Any, Any]:
    """(compiled model, samples, held-out samples, targets of all); samples in the form that the model takes.

    Its weights are drawn, not trained, wide enough for answers that differ.
    """
    import keras

    keras.utils.set_random_seed(7)
    model = KINDS[name]()
    random = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" not in weight.path and "normalization" not in weight.path and len(weight.shape) > 1:
            weight.assign(weight.numpy() * 2)
        elif "batch_normalization" in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    x = _samples(model)
    y = _targets(model, x)
    losses = [_loss(model, place) for place in range(len(model.outputs))]
    model.compile("adam", losses if isinstance(y, list) else losses[0])
    held = keras.tree.map_structure(lambda a: a[TRAIN:], x)
    return model, keras.tree.map_structure(lambda a: a[:TRAIN], x), held, y


def custom(model: Any) -> dict[str, Any]:
    """The classes of a model that Keras does not bring itself."""
    own = {type(layer).__name__: type(layer) for layer in model.layers}
    return {name: one for name, one in own.items() if not one.__module__.startswith("keras.")}


OPEN = 12
"""What stands for an open dimension."""
IDS = 20


def _samples(model: Any) -> Any:
    random = np.random.default_rng(3)
    found = {}
    for tensor in model.inputs:
        shape = (TRAIN + HELD, *(size or OPEN for size in tensor.shape[1:]))
        if "ids" in tensor.name:
            found[tensor.name] = random.integers(1, IDS, shape).astype(tensor.dtype)
            if "masked" in tensor.name:
                for row in found[tensor.name]:
                    row[random.integers(3, len(row)) :] = 0
        elif tensor.dtype == "uint8":
            found[tensor.name] = random.integers(0, 256, shape).astype("uint8")
        else:
            found[tensor.name] = random.normal(size=shape).astype("float32")
    return next(iter(found.values())) if len(found) == 1 else found


def _targets(model: Any, x: Any) -> Any:
    """Something that can be learned from the samples, in the shape of each output."""
    parts = list(x.values()) if isinstance(x, dict) else [x]
    flat = np.concatenate([part.reshape(len(part), -1).astype("float32") for part in parts], axis=1)
    flat = (flat - flat.mean(0)) / (flat.std(0) + 1e-6)
    random = np.random.default_rng(5)
    made = []
    for tensor in model.outputs:
        shape = tuple(size or OPEN for size in tensor.shape[1:])
        wide = flat @ random.normal(size=(flat.shape[1], int(np.prod(shape)))).astype("float32")
        wide = (wide / np.sqrt(flat.shape[1])).reshape(len(flat), *shape)
        if _softmax(model, tensor):
            made.append(wide.argmax(-1))
        else:
            made.append((wide > 0).astype("float32") if _sigmoid(model, tensor) else wide)
    return made[0] if len(made) == 1 else made


def _activation(tensor: Any) -> str:
    return getattr(getattr(tensor._keras_history.operation, "activation", None), "__name__", "")


def _softmax(model: Any, tensor: Any) -> bool:
    return _activation(tensor) == "softmax"


def _sigmoid(model: Any, tensor: Any) -> bool:
    return _activation(tensor) == "sigmoid"


def _loss(model: Any, place: int) -> str:
    tensor = model.outputs[place]
    if _softmax(model, tensor):
        return "sparse_categorical_crossentropy"
    return "binary_crossentropy" if _sigmoid(model, tensor) else "mse"


def _line(*layers: Any, name: str = "line") -> Any:
    import keras

    return keras.Sequential(list(layers), name=name)


# ------------------------------------------------------------------------------------------- dense
@kind
def dense_softmax() -> Any:
    from keras import Input, layers

    return _line(Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(3, activation="softmax"))


@kind
def dense_sigmoid() -> Any:
    from keras import Input, layers

    return _line(Input((8,)), layers.Dense(16, activation="tanh"), layers.Dense(1, activation="sigmoid"))


@kind
def several_labels() -> Any:
    from keras import Input, layers

    return _line(Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(4, activation="sigmoid"))


@kind
def regression() -> Any:
    from keras import Input, layers

    return _line(Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(2))


@kind
def normalized_columns() -> Any:
    import keras
    from keras import layers

    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(2, 3, (100, 6)).astype("float32"))
    return _line(
        keras.Input((6,)), norm, layers.Dense(8, activation="relu"), layers.Dense(3, activation="softmax")
    )


@kind
def batch_norm_and_dropout() -> Any:
    from keras import Input, layers

    return _line(
        Input((8,)), layers.Dense(16), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2),
        layers.GaussianNoise(0.1), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def layer_norm() -> Any:
    from keras import Input, layers

    return _line(
        Input((8,)), layers.Dense(16), layers.LayerNormalization(), layers.Dense(3, activation="softmax")
    )


def _activated(name: str) -> Any:
    from keras import Input, layers

    return _line(Input((8,)), layers.Dense(16, activation=name), layers.Dense(3, activation="softmax"))


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

    return _line(Input((8,)), layers.Dense(16), layers.PReLU(), layers.Dense(3, activation="softmax"))


@kind
def leaky_relu() -> Any:
    from keras import Input, layers

    return _line(Input((8,)), layers.Dense(16), layers.LeakyReLU(), layers.Dense(3, activation="softmax"))


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

    return _line(keras.Input((8,)), Scaled(16), keras.layers.Dense(3, activation="softmax"))


@kind
def mixed_precision() -> Any:
    import keras
    from keras import layers

    policy = "mixed_float16"
    return _line(
        keras.Input((8, 8, 3)), layers.Conv2D(8, 3, activation="relu", dtype=policy), layers.Flatten(dtype=policy),
        layers.Dense(16, activation="relu", dtype=policy), layers.Dense(3, activation="softmax", dtype="float32"),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- images
def _image(*layers: Any, size: tuple[Any, ...] = (8, 8, 3)) -> Any:
    import keras

    kl = keras.layers
    return _line(keras.Input(size), *layers, kl.GlobalAveragePooling2D(), kl.Dense(3, activation="softmax"))


@kind
def convolutions() -> Any:
    from keras import layers

    return _image(
        layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D(),
        layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6"),
    )  # fmt: skip


@kind
def convolutions_of_bytes() -> Any:
    import keras
    from keras import layers

    return _line(
        keras.Input((8, 8, 3), dtype="uint8"), layers.Rescaling(1 / 255), layers.Conv2D(8, 3, activation="relu"),
        layers.Flatten(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def depthwise_convolution() -> Any:
    from keras import layers

    return _image(layers.Conv2D(8, 1), layers.DepthwiseConv2D(3, activation="relu"), layers.Conv2D(8, 1))


@kind
def separable_convolution() -> Any:
    from keras import layers

    return _image(layers.SeparableConv2D(8, 3, activation="relu"), layers.SeparableConv2D(8, 3))


@kind
def dilated_convolution() -> Any:
    from keras import layers

    return _image(layers.Conv2D(8, 3, dilation_rate=2, activation="relu", padding="same"))


@kind
def grouped_convolution() -> Any:
    from keras import layers

    return _image(layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(8, 3, groups=2, activation="relu"))


@kind
def transposed_convolution() -> Any:
    from keras import Input, layers

    return _line(
        Input((8, 8, 1)), layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu"), layers.Conv2D(2, 1, activation="softmax"),
    )  # fmt: skip


@kind
def u_net() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8, 8, 1))
    first = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    deep = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(first))
    up = layers.Concatenate()([layers.UpSampling2D()(deep), first])
    return keras.Model(x, layers.Conv2D(1, 1, activation="sigmoid")(up))


@kind
def bilinear_upsampling() -> Any:
    from keras import Input, layers

    return _line(
        Input((8, 8, 1)), layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.UpSampling2D(interpolation="bilinear"), layers.Conv2D(1, 1, activation="sigmoid"),
    )  # fmt: skip


@kind
def residual() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8, 8, 3))
    a = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    b = layers.Conv2D(8, 3, padding="same")(a)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([a, b])))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def squeeze_and_excite() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8, 8, 3))
    a = layers.Conv2D(8, 3, padding="same", activation="swish")(x)
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(a))
    y = layers.GlobalMaxPooling2D()(layers.Multiply()([a, gate]))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def padding_and_cropping() -> Any:
    from keras import layers

    return _image(layers.ZeroPadding2D(1), layers.Conv2D(8, 3, activation="relu"), layers.Cropping2D(1))


@kind
def average_pooling_and_shapes() -> Any:
    from keras import Input, layers

    return _line(
        Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same", activation="relu"), layers.AveragePooling2D(2),
        layers.Permute((2, 1, 3)), layers.Reshape((16, 4)), layers.GlobalMaxPooling1D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def flatten_channels_first() -> Any:
    from keras import Input, layers

    return _line(
        Input((6, 6, 3)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(data_format="channels_first"),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def open_image_size() -> Any:
    from keras import layers

    return _image(layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(8, 3), size=(None, None, 3))


@kind
def augmentation_inside() -> Any:
    from keras import layers

    return _image(
        layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1), layers.RandomContrast(0.1),
        layers.Conv2D(8, 3, activation="relu"),
    )  # fmt: skip


@kind
def group_norm() -> Any:
    from keras import layers

    return _image(layers.Conv2D(8, 3), layers.GroupNormalization(4), layers.ReLU())


@kind
def Conv3D() -> Any:
    from keras import Input, layers

    return _line(
        Input((6, 6, 6, 1)), layers.Conv3D(4, 3, activation="relu"), layers.GlobalAveragePooling3D(),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- sequences
@kind
def Conv1D() -> Any:
    from keras import Input, layers

    return _line(
        Input((12, 4)), layers.Conv1D(8, 3, padding="causal", activation="relu"), layers.MaxPooling1D(),
        layers.GlobalAveragePooling1D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def open_length() -> Any:
    from keras import Input, layers

    return _line(
        Input((None, 4)),
        layers.Conv1D(8, 3, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(3, activation="softmax"),
    )


def _recurrent(layer: Any, shape: tuple[Any, ...] = (8, 4), *before: Any) -> Any:
    import keras

    return _line(keras.Input(shape), *before, layer, keras.layers.Dense(3, activation="softmax"))


@kind
def LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8))


@kind
def GRU() -> Any:
    from keras import layers

    return _recurrent(layers.GRU(8))


@kind
def simple_RNN() -> Any:
    from keras import layers

    return _recurrent(layers.SimpleRNN(8))


@kind
def stacked_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8), (8, 4), layers.LSTM(8, return_sequences=True))


@kind
def bidirectional_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.Bidirectional(layers.LSTM(6)))


@kind
def RNN_of_cells() -> Any:
    from keras import layers

    return _recurrent(layers.RNN([layers.GRUCell(6), layers.GRUCell(6)]))


@kind
def long_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8), (100, 2))


@kind
def open_LSTM() -> Any:
    from keras import layers

    return _recurrent(layers.LSTM(8), (None, 4))


@kind
def stateful_LSTM() -> Any:
    import keras
    from keras import layers

    x = keras.Input(batch_shape=(24, 8, 4))
    return keras.Model(
        x, layers.Dense(3, activation="softmax")(layers.LSTM(8, stateful=True, name="memory")(x))
    )


@kind
def time_distributed() -> Any:
    from keras import Input, layers

    return _line(
        Input((5, 8, 8, 1)), layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
        layers.TimeDistributed(layers.GlobalAveragePooling2D()), layers.LSTM(6), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def label_a_step() -> Any:
    from keras import Input, layers

    return _line(
        Input((8, 4)), layers.Bidirectional(layers.GRU(6, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(3, activation="softmax")),
    )  # fmt: skip


@kind
def masked_LSTM() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="masked_ids", dtype="int32")
    y = layers.LSTM(8)(layers.Embedding(IDS, 8, mask_zero=True)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def nested_recurrent() -> Any:
    import keras
    from keras import layers

    inner = _line(keras.Input((8, 4)), layers.LSTM(8), name="inner")
    return _line(keras.Input((8, 4)), inner, layers.Dense(3, activation="softmax"))


@kind
def embedding() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="ids", dtype="int32")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(IDS, 8)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def embedding_of_float_ids() -> Any:
    import keras
    from keras import layers

    x = keras.Input((10,), name="float_ids")
    y = layers.Conv1D(8, 3, activation="relu")(layers.Embedding(IDS, 8)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling1D()(y)))


@kind
def attention() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,), name="ids", dtype="int32")
    e = layers.Embedding(IDS, 8)(x)
    a = layers.LayerNormalization()(layers.Add()([e, layers.MultiHeadAttention(2, 4)(e, e)]))
    f = layers.Dense(8)(layers.Dense(16, activation="gelu")(a))
    y = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(layers.Add()([a, f])))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


# ------------------------------------------------------------------------------------------- graphs
@kind
def several_inputs() -> Any:
    import keras
    from keras import layers

    image, columns = keras.Input((8, 8, 1), name="image"), keras.Input((5,), name="columns")
    y = layers.Concatenate()([layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image)), columns])
    return keras.Model({"image": image, "columns": columns}, layers.Dense(3, activation="softmax")(y))


@kind
def several_outputs() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,))
    y = layers.Dense(16, activation="relu")(x)
    return keras.Model(
        x, [layers.Dense(3, activation="softmax", name="which")(y), layers.Dense(1, name="much")(y)]
    )


@kind
def several_of_both() -> Any:
    import keras
    from keras import layers

    a, ids = keras.Input((6,), name="a"), keras.Input((4,), name="ids", dtype="int32")
    y = layers.Concatenate()(
        [layers.Dense(8, activation="relu")(a), layers.Flatten()(layers.Embedding(IDS, 4)(ids))]
    )
    return keras.Model(
        [a, ids],
        [layers.Dense(1, name="z_first")(y), layers.Dense(4, activation="softmax", name="a_second")(y)],
    )


@kind
def shared_layer() -> Any:
    import keras
    from keras import layers

    a, b = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    shared = layers.Dense(8, activation="relu")
    y = layers.Subtract()([shared(a), shared(b)])
    return keras.Model([a, b], layers.Dense(1, activation="sigmoid")(y))


@kind
def nested_model() -> Any:
    import keras
    from keras import layers

    inner = _line(
        keras.Input((8, 8, 3)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), name="inner"
    )
    return _line(keras.Input((8, 8, 3)), inner, layers.Dense(3, activation="softmax"))


@kind
def operations_in_the_graph() -> Any:
    import keras
    from keras import layers

    x = keras.Input((8,))
    y = keras.ops.concatenate([keras.ops.sin(x), x**2, keras.ops.mean(x, axis=-1, keepdims=True)], axis=-1)
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.Dense(16, activation="relu")(y)))
