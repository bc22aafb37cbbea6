"""Names of optimizers, losses and metrics that Keras knows, so that a misspelt one is found without loading it."""

from __future__ import annotations

import difflib
from typing import Any

from lepton_kit.errors import ConfigError
from lepton_kit.models.loss_names import LOSSES

# What `keras.optimizers.get`, `keras.losses.get` and `keras.metrics.get` of Keras 3.15 make an object of, given the
# name alone; optimizers are written in small letters. A test compares the lists with the Keras that is installed.
OPTIMIZERS = frozenset(
    [
        "adadelta",
        "adafactor",
        "adagrad",
        "adam",
        "adamax",
        "adamw",
        "ftrl",
        "lion",
        "muon",
        "nadam",
        "rmsprop",
        "schedulefreeadamw",
        "sgd",
    ]
)
METRICS = frozenset(
    [
        "AUC",
        "Accuracy",
        "BCE",
        "BinaryAccuracy",
        "BinaryCrossentropy",
        "BinaryIoU",
        "CategoricalAccuracy",
        "CategoricalCrossentropy",
        "CategoricalHinge",
        "ConcordanceCorrelation",
        "CosineSimilarity",
        "F1Score",
        "FBetaScore",
        "FalseNegatives",
        "FalsePositives",
        "Hinge",
        "KLDivergence",
        "LogCoshError",
        "MAE",
        "MAPE",
        "MSE",
        "MSLE",
        "MeanAbsoluteError",
        "MeanAbsolutePercentageError",
        "MeanSquaredError",
        "MeanSquaredLogarithmicError",
        "PearsonCorrelation",
        "Poisson",
        "Precision",
        "R2Score",
        "Recall",
        "RootMeanSquaredError",
        "SparseCategoricalAccuracy",
        "SparseCategoricalCrossentropy",
        "SparseTopKCategoricalAccuracy",
        "SquaredHinge",
        "TopKCategoricalAccuracy",
        "TrueNegatives",
        "TruePositives",
        "acc",
        "accuracy",
        "auc",
        "bce",
        "binary_accuracy",
        "binary_crossentropy",
        "binary_io_u",
        "categorical_accuracy",
        "categorical_crossentropy",
        "categorical_hinge",
        "ce",
        "concordance_correlation",
        "cosine_similarity",
        "crossentropy",
        "f1_score",
        "f_beta_score",
        "false_negatives",
        "false_positives",
        "hinge",
        "kl_divergence",
        "log_cosh_error",
        "mae",
        "mape",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "mse",
        "msle",
        "pearson_correlation",
        "poisson",
        "precision",
        "r2_score",
        "recall",
        "root_mean_squared_error",
        "sparse_categorical_accuracy",
        "sparse_categorical_crossentropy",
        "sparse_top_k_categorical_accuracy",
        "squared_hinge",
        "top_k_categorical_accuracy",
        "true_negatives",
        "true_positives",
    ]
)


def check_optimizer(field: str, name: str) -> None:
    """Raise `ConfigError` with the nearest right name if Keras knows no such optimizer."""
    _check(field, name, name.lower(), OPTIMIZERS, "an optimizer", "adam, sgd or adamw")


def check_names(field: str, value: Any) -> None:
    """The same for the names of losses (field ``loss``) or metrics in a name, list or dictionary of them."""
    if isinstance(value, str):
        known, what, such = (
            (LOSSES, "a loss", "mse or sparse_categorical_crossentropy")
            if field.endswith("loss")
            else (METRICS, "a metric", "accuracy or mae")
        )
        _check(field, value, value, known, what, such)
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            check_names(field, part)


def _check(field: str, given: str, name: str, known: frozenset[str], what: str, such: str) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, sorted(known), n=1) or difflib.get_close_matches(
        name.lower(), sorted(known), n=1
    )
    hint = f"; did you mean {close[0]!r}?" if close else f", such as {such}"
    raise ConfigError(field, given=given, rule=f"{what} that Keras knows by name{hint}")
