"""Every Keras loss, reductions, parts of the loss that layers add, and losses that look at the whole batch."""

from __future__ import annotations

import keras

from tests.conformance import own
from tests.conformance.makers import (
    ALONE,
    BINARY,
    CLASSES,
    FEATURES,
    IMAGES,
    LABELS,
    MASKS,
    MULTILABEL,
    ONE_HOT,
    PICTURES,
    PIXELS,
    SELF,
    SERIES,
    SHARES,
    SIGNS,
    TWO,
    TWO_LIST,
    TWO_LOSSES,
    VALUES,
    VECTORS,
    K,
    L,
    O,
    ce,
    classes,
    data,
    mlp,
    one_hot,
    regressor,
    shares,
    stack,
    two_outputs,
    whole,
)
from tests.conformance.table import Data, exact

TITLE = "Losses"
N = keras.losses
WORDS = data((SERIES.x, SERIES.vx), (whole(4, 37, 5) + 1, whole(4, 15, 5) + 1))

# fmt: off
KINDS = {
    "BinaryCrossentropy": (BINARY, lambda loss: mlp(loss, 1, "sigmoid")),
    "BinaryFocalCrossentropy": (BINARY, lambda loss: mlp(loss, 1, "sigmoid")),
    "CTC": (WORDS, lambda loss: stack(L.Dense(6), shape=(10, 4), loss=loss, optimizer=O.SGD(0.01))),
    "CategoricalCrossentropy": (ONE_HOT, lambda loss: mlp(loss, 3, "softmax")),
    "CategoricalFocalCrossentropy": (ONE_HOT, lambda loss: mlp(loss, 3, "softmax")),
    "CategoricalGeneralizedCrossEntropy": (CLASSES, lambda loss: mlp(loss, 3, "softmax")),
    "CategoricalHinge": (ONE_HOT, lambda loss: mlp(loss, 3)),
    "Circle": (CLASSES, lambda loss: stack(L.Dense(6), L.UnitNormalization(), loss=loss, optimizer=O.SGD(1e-3))),
    "CosineSimilarity": (VECTORS, lambda loss: regressor(loss, 3)),
    "Dice": (MASKS, lambda loss: segmenter(loss)),
    "Hinge": (SIGNS, lambda loss: mlp(loss, 1)),
    "Huber": (VALUES, lambda loss: regressor(loss)),
    "KLDivergence": (SHARES, lambda loss: mlp(loss, 3, "softmax")),
    "LogCosh": (VALUES, lambda loss: regressor(loss)),
    "MeanAbsoluteError": (VALUES, lambda loss: regressor(loss)),
    "MeanAbsolutePercentageError": (SHARES, lambda loss: mlp(loss, 3, optimizer=O.SGD(1e-5))),
    "MeanSquaredError": (VALUES, lambda loss: regressor(loss)),
    "MeanSquaredLogarithmicError": (SHARES, lambda loss: mlp(loss, 3, "softplus")),
    "Poisson": (SHARES, lambda loss: mlp(loss, 3, "softplus")),
    "SparseCategoricalCrossentropy": (CLASSES, lambda loss: mlp(loss, 3, "softmax")),
    "SquaredHinge": (SIGNS, lambda loss: mlp(loss, 1)),
    "Tversky": (MASKS, lambda loss: segmenter(loss)),
}
# fmt: on
"""Every class of keras.losses, with targets that it takes."""


def segmenter(loss, out=1, act="sigmoid", **options):
    """Pixels in, one number or some logits per pixel out."""
    return stack(
        L.Conv2D(4, 3, padding="same", activation="tanh"),
        L.Conv2D(out, 1, activation=act),
        shape=(8, 8, 1),
        loss=loss,
        **options,
    )


def _two_losses():
    return two_outputs(
        TWO_LOSSES, metrics={"a": ["accuracy"], "b": ["mae"]}, loss_weights={"a": 0.3, "b": 2.0}
    )


IGNORED = PIXELS.y.copy(), PIXELS.vy.copy()
for part in IGNORED:
    part[::3] = 2
    part[::3, 0, 0] = 0
ONE_LEFT = data(IMAGES, IGNORED)
NOTHING = PIXELS.y.copy()
NOTHING[::2] = 2

# fmt: off
SITUATIONS = [
    *[
        exact(f"Loss {kind}", lambda make=make, kind=kind: make(getattr(N, kind)()), given)
        for kind, (given, make) in KINDS.items()
    ],
    exact("Loss by name", lambda: regressor("huber"), VALUES),
    exact("Label smoothing", lambda: mlp(N.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)), ONE_HOT),
    exact("Balanced focal cross-entropy", lambda: mlp(N.BinaryFocalCrossentropy(apply_class_balancing=True), 1, "sigmoid"), BINARY),
    exact("Several labels per sample", lambda: mlp(N.BinaryCrossentropy(from_logits=True), 3, metrics=["binary_accuracy"]), MULTILABEL),
    exact("Dice over one axis", lambda: segmenter(N.Dice(axis=(1, 2, 3))), MASKS),
    exact('reduction="sum"', lambda: regressor(N.MeanSquaredError(reduction="sum"), optimizer=O.SGD(0.01)), VALUES),
    exact("reduction=\"none\"", lambda: regressor(N.MeanSquaredError(reduction="none"), optimizer=O.SGD(0.01)), VALUES),
    exact('reduction="mean"', lambda: regressor(N.MeanSquaredError(reduction="mean")), VALUES),
    exact('reduction="mean_with_sample_weight"', lambda: regressor(N.MeanSquaredError(reduction="mean_with_sample_weight")), VALUES.weighted(shares()[0])),
    exact('reduction="sum" with sample weights', lambda: regressor(N.MeanSquaredError(reduction="sum"), optimizer=O.SGD(0.01)), VALUES.weighted(shares()[0])),
    exact("ignore_class in a label map", lambda: segmenter(ce(ignore_class=2), 3, None, metrics=["accuracy"]), ONE_LEFT),
    exact("ignore_class where whole samples are ignored", lambda: segmenter(ce(ignore_class=2), 3, None), data(IMAGES, (NOTHING, PIXELS.vy))),
    exact("ignore_class -1", lambda: segmenter(ce(ignore_class=-1), 3, None), data(IMAGES, tuple(part - (part == 2) * 3 for part in IGNORED))),
    exact("Label map, pixel by pixel", lambda: segmenter(ce(), 3, None, metrics=["accuracy"]), PIXELS),
    exact("Two outputs, loss weights, metrics by output", _two_losses, TWO, fast=True),
    exact("Two outputs as a list", lambda: two_outputs([ce(), "mse"], kind=list, loss_weights=[0.3, 2.0], metrics=[["accuracy"], ["mae"]]), TWO_LIST),
    exact("A loss on one output only", lambda: two_outputs({"a": ce(), "b": None}), TWO),
    exact("Two outputs, a loss and a target for the first alone", lambda: two_outputs([ce(), None], kind=list), Data(FEATURES[0], CLASSES.y, vx=FEATURES[1], vy=CLASSES.vy)),
    exact("One loss for both outputs", lambda: two_outputs("mse"), Data(FEATURES[0], {"a": VECTORS.y, "b": VALUES.y}, vx=FEATURES[1], vy={"a": VECTORS.vy, "b": VALUES.vy})),
    exact("Kernel regularizers L1, L2 and orthogonal", lambda: stack(L.Dense(16, activation="tanh", kernel_regularizer=keras.regularizers.L1L2(0.01, 0.1)), L.Dense(8, activation="tanh", kernel_regularizer="orthogonal_regularizer"), L.Dense(3)), CLASSES),
    exact("Activity regularizer", lambda: stack(L.Dense(16, activation="tanh", activity_regularizer=keras.regularizers.L2(0.05)), L.Dense(3)), CLASSES),
    exact("ActivityRegularization layer", lambda: stack(L.Dense(16, activation="tanh"), L.ActivityRegularization(l2=0.05), L.Dense(3)), CLASSES),
    exact("Constraints on kernels", lambda: stack(L.Dense(16, activation="tanh", kernel_constraint=keras.constraints.MaxNorm(0.5)), L.Dense(3, kernel_constraint="unit_norm", bias_constraint="non_neg")), CLASSES),
    exact("add_loss beside a compiled loss", lambda: own.autoencoder("mse"), SELF),
    exact("add_loss alone, compiled without a loss", lambda: own.autoencoder(None, reconstruct=True), ALONE, fast=True),
    exact("add_loss alone, targets given and unused", lambda: own.autoencoder(None, reconstruct=True), SELF),
    exact("add_loss of the batch's sum", lambda: own.autoencoder("mse", reduce=K.sum, optimizer=O.SGD(1e-3)), SELF),
    exact("Autoencoder on its own input", lambda: regressor("mse", 8), SELF),
    exact("Contrastive loss over the whole batch", lambda: stack(L.Dense(8), loss=own.contrastive), VALUES, fast=True),
    exact("Loss that divides by the batch's own weights", lambda: mlp(own.balanced), CLASSES),
    exact("Loss of the batch's soft Dice, own function", lambda: segmenter(own.soft_dice), MASKS),
    exact("Loss that penalises the batch's mean", lambda: regressor(own.mean_gap), VALUES),
    exact("Loss with the batch's standard deviation", lambda: regressor(own.standardized), VALUES),
    exact("Own loss class, mean", lambda: regressor(own.Focal(4.0), optimizer=O.SGD(0.01)), VALUES),
    exact("Own loss class that overrides __call__", lambda: regressor(own.WholeBatch()), VALUES),
    exact("CTC with lengths by padding", lambda: KINDS["CTC"][1](N.CTC()), data((SERIES.x, SERIES.vx), tuple(part * (part != 1) for part in (WORDS.y, WORDS.vy)))),
    exact("Convolutional classifier", lambda: stack(L.Conv2D(4, 3, activation="tanh"), L.Flatten(), L.Dense(3), shape=(8, 8, 1), metrics=["accuracy"]), PICTURES),
    exact("Sparse labels of shape (n, 1)", lambda: mlp(metrics=["accuracy"]), data(FEATURES, tuple(part[:, None] for part in LABELS))),
    exact("One-hot targets of whole numbers", lambda: mlp(N.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"]), data(FEATURES, one_hot(LABELS, 3, "int32"))),
    exact("One-hot label maps", lambda: segmenter(N.CategoricalCrossentropy(from_logits=True), 3, None, metrics=["accuracy"]), data(IMAGES, one_hot(classes(3, 8, 8), 3))),
]
# fmt: on
