"""Every Keras metric and metrics of one's own, unweighted and weighted, on the training and the validation rows."""

from __future__ import annotations

import keras

from lepton_kit.models import Dice
from lepton_kit.models.metrics import BalancedAccuracy
from tests.conformance import own
from tests.conformance.makers import (
    BINARY,
    CLASSES,
    MASKS,
    MULTILABEL,
    ONE_HOT,
    PADDED,
    PIXELS,
    SHARES,
    SIGNS,
    TWO,
    TWO_LOSSES,
    VALUES,
    VECTORS,
    L,
    O,
    ce,
    mlp,
    regressor,
    shares,
    stack,
    two_outputs,
)
from tests.conformance.sections.losses import segmenter
from tests.conformance.table import exact

TITLE = "Metrics"
M = keras.metrics

BINARY_KINDS = ("AUC", "Precision", "Recall", "TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU")  # fmt: skip
TRADED_KINDS = (
    "PrecisionAtRecall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
)
VALUE_KINDS = ("MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError", "RootMeanSquaredError", "LogCoshError", "R2Score", "ConcordanceCorrelation", "PearsonCorrelation", "CosineSimilarity")  # fmt: skip
SHARE_KINDS = ("KLDivergence", "Poisson", "MeanSquaredLogarithmicError")
HOT_KINDS = (
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "TopKCategoricalAccuracy",
    "F1Score",
)
SPARSE_KINDS = ("SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy")
SIGN_KINDS = ("Hinge", "SquaredHinge")


def some(kinds, *arguments):
    """Metrics of these classes of keras.metrics."""
    return [getattr(M, kind)(*arguments) for kind in kinds]


def binary(**options):
    return mlp("binary_crossentropy", 1, "sigmoid", **options)


def hot(**options):
    return mlp("categorical_crossentropy", 3, "softmax", **options)


# fmt: off
SITUATIONS = [
    exact("Metrics of yes or no: " + ", ".join(BINARY_KINDS), lambda: binary(metrics=some(BINARY_KINDS)), BINARY),
    exact("Metrics of yes or no at a trade-off: " + ", ".join(TRADED_KINDS), lambda: binary(metrics=some(TRADED_KINDS, 0.5)), BINARY),
    exact("Metrics of numbers: " + ", ".join(VALUE_KINDS), lambda: regressor(out=3, metrics=some(VALUE_KINDS)), VECTORS),
    exact("Metrics of shares: " + ", ".join(SHARE_KINDS), lambda: mlp("poisson", 3, "softplus", metrics=some(SHARE_KINDS)), SHARES),
    exact("Metrics of one-hot targets: " + ", ".join(HOT_KINDS), lambda: hot(metrics=some(HOT_KINDS)), ONE_HOT),
    exact("Metrics of labels: " + ", ".join((*SPARSE_KINDS, "SparseCategoricalCrossentropy")), lambda: mlp("sparse_categorical_crossentropy", 3, "softmax", metrics=[*some(SPARSE_KINDS), M.SparseCategoricalCrossentropy(name="again")]), CLASSES),
    exact("Metrics of signs: " + ", ".join(SIGN_KINDS), lambda: mlp("hinge", 1, metrics=some(SIGN_KINDS)), SIGNS),
    exact("Metrics by name, short ones too", lambda: hot(metrics=["acc", "mse", "cosine_similarity"]), ONE_HOT),
    exact("AUC with many thresholds, PR curve", lambda: binary(metrics=[M.AUC(num_thresholds=500, curve="PR", name="pr")]), BINARY),
    exact("AUC of several labels", lambda: mlp("binary_crossentropy", 3, "sigmoid", metrics=[M.AUC(multi_label=True, num_labels=3)]), MULTILABEL),
    exact("AUC from logits", lambda: mlp(keras.losses.BinaryCrossentropy(from_logits=True), 1, metrics=[M.AUC(from_logits=True)]), BINARY),
    exact("Precision of one class, and of the best two", lambda: hot(metrics=[M.Precision(class_id=1), M.Recall(top_k=2)]), ONE_HOT),
    exact("Precision at several thresholds", lambda: binary(metrics=[M.Precision(thresholds=[0.3, 0.5, 0.7])]), BINARY),
    exact("F1Score per class, macro, micro, weighted; FBetaScore", lambda: hot(metrics=[M.F1Score(), M.F1Score("macro", name="macro"), M.F1Score("micro", name="micro"), M.F1Score("weighted", name="by_count"), M.FBetaScore(beta=2.0)]), ONE_HOT),
    exact("R2Score per output", lambda: regressor(out=3, metrics=[M.R2Score(class_aggregation=None)]), VECTORS),
    exact("MeanIoU, IoU on a label map", lambda: segmenter(ce(), 3, None, metrics=[M.MeanIoU(3, sparse_y_pred=False), M.IoU(3, [0, 2], sparse_y_pred=False)]), PIXELS),
    exact("lepton_kit.models.Dice of masks, with the loss Dice", lambda: segmenter("dice", metrics=[Dice()]), MASKS),
    exact("OneHotIoU, OneHotMeanIoU", lambda: hot(metrics=[M.OneHotIoU(3, [0, 1]), M.OneHotMeanIoU(3)]), ONE_HOT),
    exact("Accuracy of equal values", lambda: regressor(metrics=[M.Accuracy(), M.MeanMetricWrapper(own.within(0.5), name="within")]), VALUES),
    exact("Mean and Sum of own functions", lambda: regressor(metrics=[own.within(1.0), M.MeanMetricWrapper(keras.losses.huber, name="huber", delta=0.5)]), VALUES),
    exact("Per-output dictionary of metrics", lambda: two_outputs(TWO_LOSSES, metrics={"a": [M.SparseTopKCategoricalAccuracy(2, name="top2")], "b": ["mae", M.R2Score()]}), TWO),
    exact("Balanced accuracy, a default where classes differ much in size", lambda: mlp(metrics=["accuracy", BalancedAccuracy(3)], weighted_metrics=[BalancedAccuracy(3, name="weighted")]), CLASSES.weighted(*shares()), fast=True),
    exact("weighted_metrics without weights", lambda: mlp(weighted_metrics=["accuracy"]), CLASSES),
    exact("weighted_metrics with sample weights", lambda: mlp(metrics=["accuracy"], weighted_metrics=["accuracy", M.SparseCategoricalCrossentropy(from_logits=True, name="wce")]), CLASSES.weighted(*shares()), fast=True),
    exact("weighted AUC and F1Score", lambda: hot(weighted_metrics=[M.AUC(), M.F1Score("macro")]), ONE_HOT.weighted(*shares())),
    exact("weighted_metrics per output", lambda: two_outputs(TWO_LOSSES, weighted_metrics={"a": ["accuracy"], "b": ["mae"]}), TWO.weighted({"a": shares()[0], "b": shares()[0]})),
    exact("Own metric class that counts", lambda: own.linear(metrics=[own.Count(2.0)]), VALUES),
    exact("Own metric whose state does not add up (a maximum)", lambda: own.linear(metrics=[own.Largest()]), VALUES, fast=True),
    exact("Own metric that means over batches", lambda: own.linear(metrics=[own.BatchRoot()]), VALUES),
    exact("Own metric with a dictionary as result", lambda: own.linear(metrics=[own.Several(1.0)]), VALUES),
    exact("Own metric function over the batch (correlation)", lambda: own.linear(metrics=[own.batch_correlation]), VALUES),
    exact("Two metric closures of one name", lambda: own.linear(own.scaled_error(3.0), optimizer=O.SGD(0.01), metrics=[own.within(0.1), own.within(1.0)]), VALUES),
    exact("Metrics under a mask", lambda: stack(L.Masking(), L.SimpleRNN(6, return_sequences=True), L.Dense(3), shape=(10, 4), metrics=["accuracy", M.SparseTopKCategoricalAccuracy(2)], weighted_metrics=["accuracy"]), PADDED),
]
# fmt: on
