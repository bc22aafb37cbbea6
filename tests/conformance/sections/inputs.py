"""What people bring as inputs and targets: types, shapes, structures, text, ragged rows, inputs alone."""

from __future__ import annotations

import keras
import numpy as np

from tests.conformance import own
from tests.conformance.makers import (
    ALONE,
    BOTH,
    BOTH_LIST,
    CLASSES,
    FEATURES,
    HELD,
    LABELS,
    RNG,
    ROWS,
    TWO,
    TWO_LOSSES,
    VALUES,
    K,
    L,
    O,
    ce,
    classes,
    compiled,
    data,
    functional,
    mlp,
    normal,
    regressor,
    rows,
    stack,
    two_inputs,
    two_outputs,
    whole,
)
from tests.conformance.table import Data, exact, refused

TITLE = "Inputs and targets"

AGES = data(FEATURES, (RNG.integers(18, 90, ROWS), RNG.integers(18, 90, HELD)))
VOCABULARY = ["apple", "pear", "plum", "cherry"]
FRUIT = tuple(np.array([*VOCABULARY, "unknown"])[part][:, None] for part in classes(5))
TEXTS = tuple(
    np.array([" ".join(np.array(VOCABULARY)[RNG.integers(0, 4, 5)]) for _ in range(n)]) for n in (ROWS, HELD)
)
BYTES = tuple(RNG.integers(0, 256, (n, 8, 8, 1)).astype("uint8") for n in (ROWS, HELD))
NEXT = data(classes(30, 6), None)
WIDE = Data(
    RNG.integers(0, 3000, (ROWS, 6)),
    RNG.integers(0, 3000, ROWS),
    vx=RNG.integers(0, 3000, (HELD, 6)),
    vy=RNG.integers(0, 3000, HELD),
)
RAGGED = [list(map(int, RNG.integers(1, 20, RNG.integers(2, 9)))) for _ in range(ROWS)]
ENDED = np.array([row + [0] * (max(map(len, RAGGED)) - len(row)) for row in RAGGED])


def slow(loss="mse", out=1, **options):
    return regressor(loss, out, optimizer=O.SGD(1e-3), **options)


def text_model():
    vectorize = L.TextVectorization(max_tokens=10, output_sequence_length=5)
    vectorize.adapt(np.array([" ".join(VOCABULARY)]))
    return stack(
        vectorize, L.Embedding(10, 4), L.GlobalAveragePooling1D(), L.Dense(3), shape=(), dtype="string"
    )


def lookup_model():
    return stack(
        L.StringLookup(vocabulary=VOCABULARY, output_mode="one_hot"), L.Dense(3), shape=(1,), dtype="string"
    )


def normalized():
    layer = L.Normalization()
    layer.adapt(np.asarray(FEATURES[0]))
    return stack(layer, L.Dense(8, activation="tanh"), L.Dense(3))


def mixed():
    """A number, a class number and a word into one model."""
    number, kind, word = (
        keras.Input((8,), name="number"),
        keras.Input((1,), dtype="int32", name="kind"),
        keras.Input((1,), dtype="string", name="word"),
    )
    parts = [
        L.Dense(6, activation="tanh")(number),
        L.CategoryEncoding(num_tokens=3, output_mode="one_hot")(kind),
        L.StringLookup(vocabulary=VOCABULARY, output_mode="multi_hot")(word),
    ]
    return functional(
        {"number": number, "kind": kind, "word": word}, L.Dense(3)(L.Concatenate()(parts)), ce()
    )


MIXED = [{"number": FEATURES[k], "kind": LABELS[k][:, None], "word": FRUIT[k]} for k in (0, 1)]

# fmt: off
SITUATIONS = [
    exact("float64 inputs and targets", lambda: regressor(), Data(FEATURES[0].astype("float64"), VALUES.y.astype("float64"), vx=FEATURES[1], vy=VALUES.vy)),
    exact("Pictures of bytes with Rescaling", lambda: stack(L.Rescaling(1 / 255.0), L.Conv2D(4, 3, activation="tanh"), L.Flatten(), L.Dense(3), shape=(8, 8, 1)), data(BYTES, LABELS)),
    exact("Whole-number features", lambda: stack(L.Dense(3)), data(tuple(part.astype("int64") for part in classes(5, 8)), LABELS)),
    exact("bool features", lambda: stack(L.Dense(3)), data(tuple(part > 0 for part in FEATURES), LABELS)),
    exact("Whole-number targets of a regression", lambda: slow(), AGES),
    exact("Whole-number targets of a regression, (n, 1)", lambda: slow(), data(FEATURES, (AGES.y[:, None], AGES.vy[:, None]))),
    exact("-1 and +1 with hinge", lambda: mlp("hinge", 1), data(FEATURES, (RNG.choice([-1, 1], ROWS), RNG.choice([-1, 1], HELD)))),
    exact("Targets of shape (n,) with one output", lambda: regressor(), data(FEATURES, (VALUES.y[:, 0], VALUES.vy[:, 0]))),
    exact("0 and 1 in whole numbers with binary cross-entropy", lambda: mlp("binary_crossentropy", 1, "sigmoid", metrics=["accuracy"]), data(FEATURES, classes(2))),
    exact("bool targets", lambda: mlp("binary_crossentropy", 1, "sigmoid"), data(FEATURES, tuple(part > 0 for part in classes(2)))),
    exact("Labels as float", lambda: mlp(), data(FEATURES, tuple(part.astype("float32") for part in LABELS))),
    exact("One class only, with two logits", lambda: mlp(out=2), data(FEATURES, (np.zeros(ROWS, "int32"), np.zeros(HELD, "int32")))),
    exact("Labels that skip a class", lambda: mlp(out=5), data(FEATURES, tuple(part * 2 for part in LABELS))),
    exact("Next token out of 3000", lambda: stack(L.Embedding(3000, 4), L.Flatten(), L.Dense(3000), shape=(6,), dtype="int32"), WIDE),
    exact("Next token at every place", lambda: stack(L.Embedding(30, 4), L.SimpleRNN(6, return_sequences=True), L.Dense(30), shape=(6,), dtype="int32", metrics=["accuracy"]), data((NEXT.x, NEXT.vx), classes(30, 6))),
    exact("(n, 1) whole-number targets and an own loss class", lambda: regressor(own.SquaredError()), data(FEATURES, classes(2, 1))),
    exact("Two inputs as a dictionary", lambda: two_inputs(), BOTH),
    exact("Two inputs as a list", lambda: two_inputs(list), BOTH_LIST),
    exact("Two inputs as a tuple", lambda: two_inputs(list), Data(tuple(BOTH_LIST.x), VALUES.y, vx=tuple(BOTH_LIST.vx), vy=VALUES.vy)),
    exact("A dictionary into a model with a list of named inputs", lambda: two_inputs(list), BOTH),
    exact("Targets as a dictionary for a list of outputs", lambda: two_outputs(TWO_LOSSES, kind=list), TWO),
    exact("Words: TextVectorization inside the model", text_model, data(TEXTS, LABELS), fast=True),
    exact("Words: StringLookup inside the model", lookup_model, data(FRUIT, LABELS)),
    exact("Words as NumPy objects", lookup_model, data(tuple(part.astype(object) for part in FRUIT), LABELS)),
    exact("Normalization, adapted before", normalized, CLASSES),
    exact("IntegerLookup and Hashing", lambda: _numbers(), data(classes(12, 1), LABELS)),
    exact("Discretization with given borders", lambda: stack(L.Discretization(bin_boundaries=[-1.0, 0.0, 1.0], output_mode="one_hot"), L.Flatten(), L.Dense(3)), CLASSES),
    exact("Numbers, classes and words together", mixed, Data(MIXED[0], LABELS[0], vx=MIXED[1], vy=LABELS[1])),
    exact("Inputs alone, loss from add_loss", lambda: own.autoencoder(None, reconstruct=True), ALONE),
    exact("Sequences of any length (None in the input's shape)", lambda: stack(L.SimpleRNN(6), L.Dense(3), shape=(None, 4)), data(rows(normal, 7, 4), LABELS)),
    exact("Ragged rows, padded with a mask", lambda: stack(L.Embedding(20, 6, mask_zero=True), L.SimpleRNN(6), L.Dense(3), shape=(None,), dtype="int32"), Data(ENDED, LABELS[0]), via="fit", given=lambda d: ((RAGGED, d.y), {"batch_size": 12}), word="padded"),
    exact("Python lists of numbers", lambda: regressor(), VALUES, via="fit", given=lambda d: ((d.x.tolist(), d.y.tolist()), {"batch_size": 12})),
    exact("TensorFlow tensors", lambda: mlp(), CLASSES, via="fit", given=lambda d: ((K.convert_to_tensor(d.x), K.convert_to_tensor(d.y)), {"batch_size": 12})),
    exact("No validation at all", lambda: mlp(metrics=["accuracy"]), Data(CLASSES.x, CLASSES.y)),
    refused("A label that is too large for the output", "label", lambda: mlp(), data(FEATURES, (whole(5, ROWS), LABELS[1])), fast=True),
    refused("A negative label for sparse cross-entropy", "label", lambda: mlp(), data(FEATURES, (LABELS[0] - 1, LABELS[1]))),
    refused("Inputs of another shape than the model's", "shape", lambda: mlp(), data(rows(normal, 7), LABELS)),
    refused("More inputs than targets", "y", lambda: mlp(), Data(CLASSES.x, CLASSES.y[:30])),
    refused("An input that the model has not", "middle", lambda: two_inputs(), Data({**BOTH.x, "middle": FEATURES[0]}, VALUES.y)),
    refused("A target for an output that is not there", "c", lambda: two_outputs(TWO_LOSSES), Data(FEATURES[0], {**TWO.y, "c": VALUES.y})),
    refused("Targets of a width that the loss can't take", "shape", lambda: regressor("mse", 3), data(FEATURES, rows(normal, 2))),
    refused("Words for a model of numbers", "text", lambda: stack(L.Dense(3), shape=(1,)), data(FRUIT, LABELS)),
    refused("No rows", "no samples", lambda: mlp(), Data(CLASSES.x[:0], CLASSES.y[:0])),
    refused("Compiled with a loss, but no targets", "y", lambda: regressor("mse", 8), ALONE),
]
# fmt: on


def _numbers():
    inputs = keras.Input((1,), dtype="int32")
    a = L.IntegerLookup(vocabulary=list(range(6)), output_mode="one_hot")(inputs)
    b = L.CategoryEncoding(num_tokens=4, output_mode="one_hot")(L.Hashing(num_bins=4)(inputs))
    return compiled(keras.Model(inputs, L.Dense(3)(L.Concatenate()([a, b]))), ce())
