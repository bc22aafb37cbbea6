"""Kinds of the zoo that people reported elsewhere as broken by a conversion; each names the reports."""

from __future__ import annotations

from typing import Any

from tests.zoo.registry import IDS, line
from tests.zoo.registry import reported as kind


@kind
def norm_over_rows() -> Any:
    """onnx/tensorflow-onnx#2088: a normalization of another axis than the channels is folded all the same."""
    from keras import Input, layers

    return line(
        Input((6, 6, 4)), layers.DepthwiseConv2D(3), layers.BatchNormalization(axis=-2), layers.ReLU(6.0),
        layers.Conv2D(4, 3), layers.BatchNormalization(axis=1), layers.Flatten(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def norm_without_scale_and_shift() -> Any:
    """qualcomm/aimet#2221, #1284: behind a join, at the start, without scale and shift."""
    import keras
    from keras import layers

    x = keras.Input((8, 8, 3))
    y = layers.BatchNormalization(scale=False)(x)
    halves = [layers.Conv2D(4, size, padding="same", use_bias=False)(y) for size in (1, 3)]
    y = layers.ReLU()(layers.BatchNormalization(center=False, scale=False)(layers.Concatenate()(halves)))
    y = layers.BatchNormalization(center=False)(layers.SeparableConv2D(6, 3, depth_multiplier=2)(y))
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(y)))


@kind
def softmax_over_rows() -> Any:
    """onnx/keras-onnx#529, apache/tvm#9078: a softmax over another axis becomes one over the last."""
    from keras import Input, layers

    return line(
        Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Softmax(axis=1), layers.GlobalMaxPooling2D(),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def backward_label_a_step() -> Any:
    """onnx/keras-onnx#523, tensorflow/tensorflow#40345: steps of a backward layer come out in the other order."""
    from keras import Input, layers

    return line(
        Input((8, 4)), layers.LSTM(6, go_backwards=True, return_sequences=True), layers.GRU(6, go_backwards=True, return_sequences=True, reset_after=False),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def masked_backward() -> Any:
    """tensorflow/tensorflow#35551, #40345: the same behind a mask."""
    import keras
    from keras import layers

    x = keras.Input((8,), name="masked_ids", dtype="int32")
    y = layers.LSTM(6, go_backwards=True, return_sequences=True)(layers.Embedding(IDS, 6, mask_zero=True)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def attention_of_two_inputs() -> Any:
    """tensorflow/tensorflow#61796: attention of two inputs can't be run in full int8."""
    import keras
    from keras import layers

    q, v = keras.Input((8, 16), name="q"), keras.Input((4, 16), name="v")
    y = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(q, v))
    return keras.Model([q, v], layers.Dense(3, activation="softmax")(y))


@kind
def masked_attention() -> Any:
    """microsoft/Olive#1597, huggingface/transformers#17306: what hides padding is so large that int8 holds nothing else."""
    import keras
    from keras import layers

    x = keras.Input((10,), name="masked_ids", dtype="int32")
    e = layers.Embedding(IDS, 8, mask_zero=True)(x)
    y = layers.Add()([e, layers.MultiHeadAttention(2, 4)(e, e)])
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(y)))


@kind
def causal_attention() -> Any:
    """The same reports, and onnx/keras-onnx#733: a decoder that must not see what comes."""
    import keras
    from keras import layers

    x = keras.Input((8, 8))
    y = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    y = layers.Attention(use_scale=True)([y, x], use_causal_mask=True)
    y = layers.AdditiveAttention()([y, x])
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def masked_mean() -> Any:
    """keras-team/keras#10895, tensorflow/tensorflow#31636: the mean of a sentence's words leaves padding out."""
    import keras
    from keras import layers

    x = keras.Input((10,), name="masked_ids", dtype="int32")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(IDS, 8, mask_zero=True)(x))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def causal_dilations() -> Any:
    """tensorflow/tensorflow#22146, #30315, tflite-micro#1629: dilated causal convolutions give other numbers."""
    import keras
    from keras import layers

    x = keras.Input((16, 4))
    y = x
    for rate in (1, 2, 4):
        z = layers.Conv1D(6, 2, padding="causal", dilation_rate=rate, activation="relu")(y)
        y = layers.Add()([layers.Conv1D(6, 1)(y), layers.SpatialDropout1D(0.1)(z)])
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.Flatten()(y)))


@kind
def unequal_dilations() -> Any:
    """tensorflow/tensorflow#55799: other numbers where the two dilations differ."""
    from keras import Input, layers

    return line(
        Input((9, 8, 3)), layers.Conv2D(32, 3, padding="same"), layers.Conv2D(32, 3, dilation_rate=(2, 1), padding="same"),
        layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def causal_groups() -> Any:
    """tensorflow/model-optimization#836: a convolution over time with a group for each channel can't be run."""
    import keras
    from keras import layers

    x = keras.Input((12, 3))
    y = layers.Conv1D(8, 1, use_bias=False)(x)
    z = layers.Conv1D(8, 3, padding="causal", groups=8, use_bias=False)(
        layers.LeakyReLU(negative_slope=0.01)(y)
    )
    y = layers.Add()([y, layers.Conv1D(8, 1, use_bias=False)(z)])
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(y)))


@kind
def transposed_even_kernels() -> Any:
    """tensorflow/model-optimization#771, tensorflow/tensorflow#50168: two of three channels are zero, other sizes."""
    from keras import Input, layers

    return line(
        Input((4, 4, 3)), layers.Conv2DTranspose(6, 4, strides=2, padding="same"),
        layers.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1), layers.Conv2D(2, 3, strides=2, padding="same"),
    )  # fmt: skip


@kind
def transposed_over_time() -> Any:
    """tensorflow/tensorflow#58945: a transposed convolution over time."""
    from keras import Input, layers

    return line(
        Input((6, 4)), layers.Conv1DTranspose(6, 4, strides=2, padding="same"), layers.BatchNormalization(), layers.LeakyReLU(),
        layers.Conv1D(2, 3, padding="same"),
    )  # fmt: skip


@kind
def convolutional_LSTM() -> Any:
    """tensorflow/tensorflow#38220, #42564: convolutions that remember can't be converted or run."""
    from keras import Input, layers

    return line(
        Input((4, 6, 6, 2)), layers.ConvLSTM2D(4, 3, padding="same"), layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def average_of_borders() -> Any:
    """tensorflow/tensorflow#23598, #45579: means at the borders, where fewer places count."""
    from keras import Input, layers

    return line(
        Input((7, 7, 3)), layers.Conv2D(4, 3, padding="same", activation="relu"), layers.AveragePooling2D(3, strides=1, padding="same"),
        layers.MaxPooling2D(3, strides=2, padding="same"), layers.Flatten(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def spectral_normalization() -> Any:
    """tensorflow/addons#1788, keras-team/keras#17370: a wrapper that changes a kernel can't be stored or converted."""
    from keras import Input, layers

    return line(
        Input((8, 8, 3)), layers.SpectralNormalization(layers.Conv2D(6, 3)), layers.LeakyReLU(),
        layers.SpectralNormalization(layers.Conv2D(6, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def whole_numbers_of_sound() -> Any:
    """tensorflow/tensorflow#62640: samples of 16 bits come out as 127 or 0."""
    from keras import Input, layers

    return line(
        Input((64, 1), dtype="int16", name="sound"), layers.Rescaling(1 / 32768), layers.Conv1D(6, 5, strides=2, activation="relu"),
        layers.GlobalMaxPooling1D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def likeness_of_two() -> Any:
    """tensorflow/tensorflow#61968, #118181: lengths of vectors are taken along another axis."""
    import keras
    from keras import layers

    a, b = keras.Input((8,), name="one"), keras.Input((8,), name="other")
    tower = line(keras.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(8), name="tower")
    y = layers.Dot(1, normalize=True)([tower(a), layers.UnitNormalization()(tower(b))])
    return keras.Model([a, b], y)


@kind
def bounded_relu() -> Any:
    """apache/tvm#3835: bound and slope of a ReLU are left out."""
    from keras import Input, layers

    return line(
        Input((8,)), layers.Dense(16), layers.ReLU(max_value=1.5, negative_slope=0.2),
        layers.Dense(16), layers.ReLU(max_value=1.0), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def added_and_multiplied_weights() -> Any:
    """tensorflow/tensorflow#62737: a file with weights that are added and multiplied does not load."""
    import keras
    from keras import layers

    @keras.saving.register_keras_serializable(package="zoo")
    class Implicit(layers.Layer):
        def build(self, shape: Any) -> None:
            self.added = self.add_weight(
                name=self.name, shape=(1, 1, 1, shape[-1]), initializer="random_normal"
            )
            self.factor = self.add_weight(name="m", shape=(1, 1, 1, shape[-1]), initializer="ones")

        def call(self, x: Any) -> Any:
            return (keras.ops.cast(x, self.added.dtype) + self.added) * self.factor

    return line(
        keras.Input((8, 8, 3)), layers.Conv2D(6, 3), Implicit(name="implicit"), layers.Conv2D(6, 3, activation="swish"),
        layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


@kind
def least_greatest_and_mean() -> Any:
    """tensorflow/tensorflow#43476 and the like: least, greatest and mean of branches, and one that is multiplied in."""
    import keras
    from keras import layers

    x = keras.Input((8,))
    a, b, c = (layers.Dense(8)(x) for _ in range(3))
    y = layers.Concatenate()([layers.Minimum()([a, b]), layers.Maximum()([b, c]), layers.Average()([a, c])])
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def boxes_and_scores() -> Any:
    """ultralytics/ultralytics#1695, #17327: boxes in pixels beside scores from 0 to 1: in one scale all scores are 0."""
    import keras
    from keras import layers

    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    boxes = layers.Rescaling(640.0)(layers.Conv2D(4, 1, activation="sigmoid")(y))
    scores = layers.Conv2D(3, 1, activation="sigmoid")(y)
    return keras.Model(x, [layers.Reshape((16, 4))(boxes), layers.Reshape((16, 3))(scores)])


@kind
def columns_one_after_another() -> Any:
    """tensorflow/tensorflow#120291: columns that are taken apart and joined come out in the old order."""
    import keras
    from keras import layers

    x = keras.Input((3, 4))
    parts = keras.ops.unstack(layers.Reshape((3, 4, 1))(x), axis=2)
    y = layers.Flatten()(layers.Concatenate(axis=1)(parts))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


@kind
def best_of_the_best() -> Any:
    """tensorflow/tensorflow#123996: the greatest values of the greatest values are others."""
    import keras
    from keras import layers

    x = keras.Input((8,))
    best, _ = keras.ops.top_k(layers.Dense(16)(x), 6)
    best, _ = keras.ops.top_k(keras.ops.gelu(best), 3)
    return keras.Model(x, layers.Dense(3, activation="softmax")(best))
