"""Kinds of the zoo: the blocks that keras.applications are made of, and a backbone with a new head."""

from __future__ import annotations

from typing import Any

from tests.zoo.registry import kind


@kind
def pre_activation() -> Any:
    """ResNetV2: normalises before it convolves, and once more behind the last sum; a dense head that does, too."""
    import keras
    from keras import layers

    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, padding="same")(x)
    z = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Add()([y, layers.Conv2D(8, 3, padding="same")(z)])
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(y)))
    y = layers.BatchNormalization()(layers.Dense(8, activation="relu")(y))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def dense_connections() -> Any:
    """DenseNet: every layer sees all before it."""
    import keras
    from keras import layers

    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, padding="same")(x)
    for _ in range(2):
        z = layers.Conv2D(8, 1, use_bias=False)(layers.ReLU()(layers.BatchNormalization()(y)))
        z = layers.Conv2D(4, 3, padding="same", use_bias=False)(layers.ReLU()(layers.BatchNormalization()(z)))
        y = layers.Concatenate()([y, z])
    y = layers.AveragePooling2D(2)(layers.Conv2D(6, 1)(layers.ReLU()(layers.BatchNormalization()(y))))
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(y)))


@kind
def channel_by_channel() -> Any:
    """ConvNeXt: convolutions in as many groups as channels, a scale for each channel, paths dropped while training."""
    import keras
    from keras import layers
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 2, strides=2)(x)
    for _ in range(2):
        z = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(8, 3, padding="same", groups=8)(y))
        z = layers.Dense(8)(layers.Dense(16, activation="gelu")(z))
        y = layers.Add()([y, StochasticDepth(0.1)(LayerScale(0.5, 8)(z))])
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(y)))


@kind
def inverted_bottleneck() -> Any:
    """MobileNetV3: hard sigmoids by operations of the graph, odd padding, a gate, the classes from a convolution."""
    import keras
    from keras import layers

    def bent(y: Any) -> Any:
        return layers.Multiply()([y, layers.ReLU(6.0)(y + 3.0) * (1.0 / 6.0)])

    x = keras.Input((9, 9, 3))
    y = bent(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)))
    z = layers.ZeroPadding2D(((0, 1), (0, 1)))(bent(layers.BatchNormalization()(layers.Conv2D(16, 1)(y))))
    z = bent(layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(z)))
    gate = layers.Conv2D(16, 1)(layers.GlobalAveragePooling2D(keepdims=True)(z))
    z = layers.Multiply()([z, layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)])
    y = layers.Conv2D(3, 1)(layers.GlobalAveragePooling2D(keepdims=True)(z))
    return keras.Model(x, layers.Softmax()(layers.Flatten()(y)))


@kind
def frozen_backbone() -> Any:
    """Transfer learning as tutorials have it: a cast, augmentation, a frozen backbone that rescales by itself, a new head."""
    import keras
    from keras import layers

    inner = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, strides=3, use_bias=False)(layers.Rescaling(1 / 127.5, -1)(inner))
    y = layers.ReLU()(layers.BatchNormalization()(y))
    backbone = keras.Model(inner, layers.ReLU()(layers.BatchNormalization()(y)), name="backbone")
    backbone.trainable = False
    x = keras.Input((8, 8, 3), dtype="uint8")
    augment = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)])
    y = backbone(augment(keras.ops.cast(x, "float32")), training=False)
    y = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(y))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def means_of_colours() -> Any:
    """preprocess_input of VGG and ResNet: colours in the other order, less their means."""
    import keras
    from keras import layers

    x = keras.Input((8, 8, 3), dtype="uint8")
    y = keras.applications.vgg16.preprocess_input(keras.ops.cast(x, "float32"))
    y = layers.Rescaling(0.02)(y)  # or the answers of drawn weights are all 0 or 1
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="relu")(y))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))
