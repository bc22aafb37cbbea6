"""Kinds of layers: what is exact, and what must be named because it looks at other rows or draws at random."""

from __future__ import annotations

import keras

import lepton_kit as lk
from tests.conformance import own
from tests.conformance.makers import (
    CLASSES,
    LABELS,
    PICTURES,
    SERIES,
    TOKENS,
    K,
    L,
    O,
    ce,
    compiled,
    data,
    functional,
    normal,
    rows,
    stack,
)
from tests.conformance.table import exact, explained, refused

TITLE = "Layers"
CUBES = data(rows(normal, 4, 4, 4, 1), LABELS)
FILM = data(rows(normal, 3, 6, 6, 1), LABELS)


def image(*layers, **options):
    return stack(*layers, L.Flatten(), L.Dense(3), shape=(8, 8, 1), **options)


def series(*layers, **options):
    return stack(*layers, L.Dense(3), shape=(10, 4), **options)


def features(*layers, **options):
    return stack(L.Dense(12, activation="tanh", use_bias=False), *layers, L.Dense(3), **options)


def norm(**options):
    return features(L.BatchNormalization(**options), L.Activation("tanh"))


def frozen():
    layer = L.BatchNormalization()
    layer.trainable = False
    return features(layer)


def synchronized():
    return lk.models.synchronize_batch_normalization(norm())


def residual():
    inputs = keras.Input((8,))
    x = L.Dense(8, activation="tanh")(inputs)
    return functional(inputs, L.Dense(3)(L.Add()([x, L.Dense(8, activation="softplus")(x)]) * 0.5), ce())


def shared():
    inputs, layer = keras.Input((8,)), L.Dense(8, activation="tanh", name="shared")
    return functional(inputs, L.Dense(3)(layer(layer(inputs))), ce())


def siamese():
    tower = keras.Sequential([keras.Input((4,)), L.Dense(6, activation="tanh")])
    inputs = keras.Input((8,))
    return functional(inputs, L.Dense(3)(K.abs(tower(inputs[:, :4]) - tower(inputs[:, 4:]))), ce())


def nested():
    inner = keras.Sequential([keras.Input((8,)), L.Dense(8, activation="tanh")], name="inner")
    return stack(
        keras.Sequential([keras.Input((8,)), inner, L.Dense(6, activation="tanh")], name="outer"), L.Dense(3)
    )


def half_frozen():
    base = keras.Sequential(
        [keras.Input((8,)), L.Dense(8, activation="tanh"), L.BatchNormalization()], name="base"
    )
    base.trainable = False
    return stack(base, L.Dense(3))


def transformer():
    inputs = keras.Input((10,), dtype="int32")
    x = L.Embedding(20, 8)(inputs) + L.Embedding(10, 8)(K.arange(10))
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True))
    x = L.LayerNormalization()(x + L.Dense(8)(L.Dense(16, activation="gelu")(x)))
    return functional(inputs, L.Dense(3)(x[:, -1]), ce(), O.Adam(1e-2))


def seq2seq():
    inputs = keras.Input((10, 4))
    encoded, state = L.GRU(6, return_state=True)(inputs)
    decoded = L.GRU(6)(L.RepeatVector(3)(encoded), initial_state=state)
    return functional(inputs, L.Dense(3)(decoded), ce())


def attention(kind):
    inputs = keras.Input((10, 4))
    x = L.Dense(6)(inputs)
    return functional(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(kind([x, x]))), ce())


def queries():
    inputs = keras.Input((10, 4))
    x = L.GroupQueryAttention(4, 4, 2)(inputs, inputs)
    return functional(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)), ce())


# fmt: off
PLAIN = {
    "Conv1D, dilated and causal": (SERIES, lambda: series(L.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="tanh"), L.GlobalAveragePooling1D())),
    "Conv2D with strides and groups": (PICTURES, lambda: image(L.Conv2D(4, 3, activation="tanh"), L.Conv2D(4, 3, strides=2, groups=2, activation="tanh"))),
    "Conv3D": (CUBES, lambda: stack(L.Conv3D(3, 2, activation="tanh"), L.GlobalAveragePooling3D(), L.Dense(3), shape=(4, 4, 4, 1))),
    "Conv2DTranspose and UpSampling2D": (PICTURES, lambda: image(L.Conv2DTranspose(2, 3, strides=2, activation="tanh"), L.AveragePooling2D(2), L.UpSampling2D(2, interpolation="bilinear"))),
    "SeparableConv2D": (PICTURES, lambda: image(L.SeparableConv2D(4, 3, activation="tanh"))),
    "DepthwiseConv2D": (PICTURES, lambda: image(L.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh"))),
    "Max pooling": (PICTURES, lambda: image(L.Conv2D(4, 3, activation="tanh"), L.MaxPooling2D())),
    "SimpleRNN": (SERIES, lambda: series(L.SimpleRNN(6))),
    "LSTM": (SERIES, lambda: series(L.LSTM(6))),
    "GRU, reset_after=False": (SERIES, lambda: series(L.GRU(6, reset_after=False))),
    "Bidirectional, stacked": (SERIES, lambda: series(L.Bidirectional(L.GRU(4, return_sequences=True)), L.Bidirectional(L.LSTM(4), merge_mode="sum"))),
    "Stacked cells in one RNN": (SERIES, lambda: series(L.RNN([L.LSTMCell(4), L.GRUCell(4)]))),
    "ConvLSTM2D": (FILM, lambda: stack(L.ConvLSTM2D(2, 3), L.Flatten(), L.Dense(3), shape=(3, 6, 6, 1))),
    "TimeDistributed": (SERIES, lambda: series(L.TimeDistributed(L.Dense(5, activation="tanh")), L.Flatten())),
    "Encoder and decoder with states": (SERIES, seq2seq),
    "Attention": (SERIES, lambda: attention(L.Attention())),
    "AdditiveAttention": (SERIES, lambda: attention(L.AdditiveAttention())),
    "GroupQueryAttention": (SERIES, queries),
    "A small transformer": (TOKENS, transformer),
    "LayerNormalization": (CLASSES, lambda: features(L.LayerNormalization())),
    "GroupNormalization": (PICTURES, lambda: image(L.Conv2D(4, 3), L.GroupNormalization(2))),
    "RMSNormalization and UnitNormalization": (CLASSES, lambda: features(L.RMSNormalization(), L.UnitNormalization())),
    "SpectralNormalization": (CLASSES, lambda: stack(L.SpectralNormalization(L.Dense(16, activation="tanh")), L.Dense(3))),
    "EinsumDense": (SERIES, lambda: series(L.EinsumDense("abc,cd->abd", (10, 5), bias_axes="d", activation="tanh"), L.Flatten())),
    "PReLU with learnt slopes": (CLASSES, lambda: features(L.PReLU(alpha_initializer="ones"))),
    "Softmax, ELU, LeakyReLU layers": (CLASSES, lambda: features(L.ELU(), L.LeakyReLU(0.9), L.Softmax())),
    "Reshape, Permute, Cropping, ZeroPadding": (SERIES, lambda: series(L.Permute((2, 1)), L.Reshape((4, 10, 1)), L.ZeroPadding2D(1), L.Cropping2D(1), L.Flatten())),
    "Resizing and CenterCrop": (PICTURES, lambda: image(L.Resizing(6, 6), L.CenterCrop(5, 5))),
    "Residual connections, operators": (CLASSES, residual),
    "One layer used twice": (CLASSES, shared),
    "One tower used twice": (CLASSES, siamese),
    "Models in models": (CLASSES, nested),
    "A dropout of rate 0": (CLASSES, lambda: features(L.Dropout(0.0))),
    "BatchNormalization that is frozen": (CLASSES, frozen),
    "A frozen base with BatchNormalization, a new head": (CLASSES, half_frozen),
    "Own layer with a counter that it assigns in call": (CLASSES, lambda: features(own.Counted())),
    "BatchNormalization of lepton_kit over all ranks": (CLASSES, synchronized),
    "Kernel in LoRA": (CLASSES, lambda: _lora()),
}

# fmt: on
FAST = ("SpectralNormalization", "BatchNormalization that is frozen")

# fmt: off
SITUATIONS = [
    *[exact(name, make, given, fast=name in FAST) for name, (given, make) in PLAIN.items()],
    explained("BatchNormalization", "BatchNormalization", norm, CLASSES, fast=True),
    explained("BatchNormalization with Keras' synchronized=True", "BatchNormalization", lambda: norm(synchronized=True), CLASSES),
    explained("Dropout", "Dropout", lambda: features(L.Dropout(0.3)), CLASSES),
    explained("SpatialDropout1D", "SpatialDropout1D", lambda: series(L.SpatialDropout1D(0.3), L.Flatten()), SERIES),
    explained("AlphaDropout", "AlphaDropout", lambda: features(L.AlphaDropout(0.2)), CLASSES),
    explained("GaussianNoise, GaussianDropout", "Gaussian", lambda: features(L.GaussianNoise(0.1), L.GaussianDropout(0.1)), CLASSES),
    explained("LSTM with dropout", "lstm", lambda: series(L.LSTM(6, dropout=0.2, recurrent_dropout=0.1)), SERIES),
    explained("Attention with dropout", "attention", lambda: attention(L.Attention(dropout=0.2)), SERIES),
    explained("Random augmentation in the model", "RandomTranslation", lambda: image(L.RandomTranslation(0.2, 0.2)), PICTURES),
    explained("Own layer that draws from a SeedGenerator", "Noisy", lambda: features(own.Noisy()), CLASSES),
    explained("Own layer that takes away the batch's mean", "BatchMean", lambda: features(own.BatchMean()), CLASSES),
    refused("A stateful RNN, whose state belongs to places in the batch", "stateful", lambda: compiled(_stateful(), ce()), SERIES, fast=True),
]
# fmt: on


def _stateful():
    return keras.Sequential([keras.Input(batch_shape=(12, 10, 4)), L.SimpleRNN(6, stateful=True), L.Dense(3)])


def _lora():
    model = features(L.Dense(12, activation="tanh", name="adapted"))
    model.get_layer("adapted").enable_lora(2)
    return compiled(model, ce())
