"""Sample weights, class weights and masks: per sample, per time step, per pixel, per output, and together."""

from __future__ import annotations

import keras
import numpy as np

from tests.conformance.makers import (
    BINARY,
    CLASSES,
    LABELS,
    MASKS,
    ONE_HOT,
    PADDED,
    PADDED_LABELS,
    PADDED_TOKENS,
    PIXELS,
    RNG,
    SERIES,
    TWO,
    TWO_LIST,
    TWO_LOSSES,
    VALUES,
    L,
    O,
    ce,
    compiled,
    data,
    functional,
    mlp,
    regressor,
    shares,
    stack,
    two_outputs,
)
from tests.conformance.sections.losses import segmenter
from tests.conformance.table import Data, exact, refused

TITLE = "Sample weights, class weights, masks"

ONE, HELD = shares()
SOME = np.where(RNG.random(37) < 0.4, 0.0, ONE).astype("float32")
STEPS, HELD_STEPS = shares(10)
CELLS = shares(8, 8)[0]
TAGGED = data((SERIES.x, SERIES.vx), (PADDED.y, PADDED.vy))
MEAN = "mean_with_sample_weight"
BOTH_LOSSES = {"loss": TWO_LOSSES, "metrics": {"a": ["accuracy"]}}
EMPTY = PADDED.x.copy()
EMPTY[::3] = 0.0
CLASS_WEIGHT = {0: 1.0, 1: 5.0, 2: 0.5}


def tagger(*layers, **options):
    """Three logits for each time step, behind a mask of the zero steps."""
    inner = layers or (L.SimpleRNN(6, return_sequences=True),)
    return stack(L.Masking(), *inner, L.Dense(3), shape=(10, 4), **{"metrics": ["accuracy"], **options})


def words(*layers, **options):
    """Token ids with 0 as padding."""
    return stack(
        L.Embedding(20, 8, mask_zero=True),
        *layers,
        L.Dense(3),
        shape=(10,),
        dtype="int32",
        **{"metrics": ["accuracy"], **options},
    )


def attention():
    inputs = keras.Input((10,), dtype="int32")
    x = L.Embedding(20, 8, mask_zero=True)(inputs)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x))
    return functional(
        inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)), ce(), O.Adam(1e-2), metrics=["accuracy"]
    )


# fmt: off
SITUATIONS = [
    exact("Weight per sample", lambda: mlp(metrics=["accuracy"]), CLASSES.weighted(ONE)),
    exact("Weight per sample, in validation too", lambda: mlp(metrics=["accuracy"]), CLASSES.weighted(ONE, HELD)),
    exact("Many samples of weight 0", lambda: mlp(), CLASSES.weighted(SOME)),
    exact("Weight per sample of shape (n, 1)", lambda: regressor(), VALUES.weighted(ONE[:, None])),
    exact("Weight per sample, loss normalised by weight", lambda: mlp(ce(reduction=MEAN)), CLASSES.weighted(ONE)),
    exact("Whole-number weights", lambda: mlp(), CLASSES.weighted(RNG.integers(1, 4, 37))),
    exact("class_weight", lambda: mlp(metrics=["accuracy"]), CLASSES, fit={"class_weight": CLASS_WEIGHT}),
    exact("class_weight with weighted_metrics", lambda: mlp(weighted_metrics=["accuracy"]), CLASSES, fit={"class_weight": CLASS_WEIGHT}),
    exact("class_weight of one-hot targets", lambda: mlp(keras.losses.CategoricalCrossentropy(from_logits=True)), ONE_HOT, fit={"class_weight": CLASS_WEIGHT}),
    exact("class_weight of (n, 1) yes or no", lambda: mlp("binary_crossentropy", 1, "sigmoid"), BINARY, fit={"class_weight": {0: 1.0, 1: 4.0}}),
    exact("class_weight without one of the classes", lambda: mlp(), CLASSES, fit={"class_weight": {0: 3.0, 2: 0.5}}),
    exact("Weight per time step", lambda: stack(L.SimpleRNN(6, return_sequences=True), L.Dense(3), shape=(10, 4)), TAGGED.weighted(STEPS, HELD_STEPS), fast=True),
    exact("Weight per time step, weighted metrics", lambda: stack(L.SimpleRNN(6, return_sequences=True), L.Dense(3), shape=(10, 4), weighted_metrics=["accuracy"]), TAGGED.weighted(STEPS)),
    exact("Weight per sample of shape (n, 1) for sequences", lambda: stack(L.SimpleRNN(6, return_sequences=True), L.Dense(3), shape=(10, 4)), TAGGED.weighted(ONE[:, None])),
    refused("Weight per sample of shape (n,) for sequences, as in Keras", "sample_weight", lambda: stack(L.SimpleRNN(6, return_sequences=True), L.Dense(3), shape=(10, 4)), TAGGED.weighted(ONE)),
    exact("Weight per pixel", lambda: segmenter(ce(), 3, None, metrics=["accuracy"]), PIXELS.weighted(CELLS)),
    exact("Weight per pixel of shape (n, h, w, 1)", lambda: segmenter("binary_crossentropy"), MASKS.weighted(CELLS[..., None])),
    exact("Weights of each output, as a dictionary", lambda: two_outputs(**BOTH_LOSSES), TWO.weighted({"a": ONE, "b": SOME})),
    exact("Weights of each output, as a list", lambda: two_outputs([ce(), "mse"], kind=list), TWO_LIST.weighted([ONE, SOME])),
    exact("One weight for two outputs", lambda: two_outputs(TWO_LOSSES), TWO.weighted(ONE)),
    exact("Masked sequences, simple RNN", lambda: tagger(), PADDED),
    exact("Masked sequences, two-way LSTM", lambda: tagger(L.Bidirectional(L.LSTM(6, return_sequences=True))), PADDED),
    exact("Masked sequences and weights per time step", lambda: tagger(weighted_metrics=["accuracy"]), PADDED.weighted(STEPS)),
    exact("Masked sequences and weights of shape (n, 1)", lambda: tagger(), PADDED.weighted(ONE[:, None])),
    exact("Sequences that are padding from end to end", lambda: tagger(), data((EMPTY, PADDED.vx), (PADDED.y, PADDED.vy))),
    exact("Masked sequences, last state only", lambda: stack(L.Masking(), L.GRU(6), L.Dense(3), shape=(10, 4), metrics=["accuracy"]), PADDED_LABELS),
    exact("mask_zero embedding, GRU", lambda: words(L.GRU(6)), data((PADDED_TOKENS.x, PADDED_TOKENS.vx), LABELS)),
    exact("mask_zero embedding, tags by time step", lambda: words(L.LSTM(6, return_sequences=True)), PADDED_TOKENS),
    exact("mask_zero embedding in Adam", lambda: words(L.SimpleRNN(6), optimizer=O.Adam(1e-2)), data((PADDED_TOKENS.x, PADDED_TOKENS.vx), LABELS)),
    exact("Masked attention and pooling", lambda: attention(), data((PADDED_TOKENS.x, PADDED_TOKENS.vx), LABELS)),
    exact("Masked loss normalised by weight", lambda: tagger(loss=ce(reduction=MEAN)), PADDED.weighted(STEPS)),
    exact('Masked loss with reduction="sum"', lambda: tagger(loss=ce(reduction="sum"), optimizer=O.SGD(0.003)), PADDED),
    exact("Masks on three workers", lambda: tagger(), PADDED, workers=3),
    exact("Weights on three workers, batches smaller than workers", lambda: mlp(ce(reduction=MEAN)), CLASSES.weighted(SOME), workers=3, batch=5),
    refused("class_weight and sample_weight together", "class_weight", lambda: mlp(), CLASSES.weighted(ONE), fit={"class_weight": CLASS_WEIGHT}),
    refused("Too few weights", "sample_weight", lambda: mlp(), CLASSES.weighted(ONE[:30])),
    refused("A weight that is not a number", "sample_weight", lambda: mlp(), CLASSES.weighted(np.where(np.arange(37) == 3, np.nan, ONE))),
    refused("class_weight for two outputs", "class_weight", lambda: two_outputs(TWO_LOSSES), TWO, fit={"class_weight": CLASS_WEIGHT}),
    exact("A mask that the model computes itself", lambda: compiled(_own_mask(), ce(), metrics=["accuracy"]), Data(PADDED.x, PADDED.y, vx=PADDED.vx, vy=PADDED.vy)),
]
# fmt: on


def _own_mask():
    inputs = keras.Input((10, 4))
    mask = keras.ops.any(keras.ops.not_equal(inputs, 0.0), axis=-1)
    return keras.Model(inputs, L.Dense(3)(L.SimpleRNN(6, return_sequences=True)(inputs, mask=mask)))
