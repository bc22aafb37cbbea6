"""Kinds of the zoo: networks for images."""

from __future__ import annotations

from typing import Any

from tests.zoo.registry import kind, line


def _image(*layers: Any, size: tuple[Any, ...] = (8, 8, 3)) -> Any:
    import keras

    kl = keras.layers
    return line(keras.Input(size), *layers, kl.GlobalAveragePooling2D(), kl.Dense(3, activation="softmax"))


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

    return line(
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

    return line(
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

    return line(
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

    return line(
        Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same", activation="relu"), layers.AveragePooling2D(2),
        layers.Permute((2, 1, 3)), layers.Reshape((16, 4)), layers.GlobalMaxPooling1D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def flatten_channels_first() -> Any:
    from keras import Input, layers

    return line(
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

    return line(
        Input((6, 6, 6, 1)), layers.Conv3D(4, 3, activation="relu"), layers.GlobalAveragePooling3D(),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip
