"""The list of Keras' names is the list of names that Keras takes."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras.src import losses, metrics, optimizers

from lepton_kit.client.keras_names import LOSSES, METRICS, OPTIMIZERS, check_names, check_optimizer
from lepton_kit.errors import ConfigError

BASES = {
    "optimizer",
    "Loss",
    "LossFunctionWrapper",
    "Metric",
    "metric",
    "MeanMetricWrapper",
    "mean_metric_wrapper",
}
NO_TARGETS = {"Mean", "mean", "Sum", "sum"}
OF_COMPILE = {"accuracy", "acc", "crossentropy", "ce"}


def taken(room: Any, names: Any) -> set[str]:
    found = set()
    for name in set(names) - BASES - NO_TARGETS:
        try:
            room.get(name)
        except (TypeError, KeyError):  # it needs arguments
            continue
        found.add(name)
    return found


def test_the_lists_are_those_of_the_installed_keras():
    assert taken(keras.optimizers, optimizers.ALL_OBJECTS_DICT) == OPTIMIZERS
    assert taken(keras.losses, losses.ALL_OBJECTS_DICT) == LOSSES
    assert taken(keras.metrics, metrics.ALL_OBJECTS_DICT) | OF_COMPILE == METRICS


def test_known_names_pass():
    check_optimizer("optimizer", "AdamW")
    check_names("loss", {"a": "mse", "b": ["mae", None]})
    check_names("metrics", [["accuracy"], "AUC"])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("loss", "mes", "loss: got 'mes'; expected a loss that Keras knows by name; did you mean 'm"),
        ("loss", "BINARY_CROSSENTROPY", "did you mean 'binary_crossentropy'"),
        ("loss", {"a": "qqqqqq"}, "by name, such as mse or sparse_categorical_crossentropy"),
        ("metrics", ["acuracy"], "metrics: got 'acuracy'; expected a metric that Keras .* mean 'accuracy'"),
        ("training.metrics", ("iou",), r"training\.metrics: got 'iou'; expected a metric"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(field: str, value: Any, words: str):
    with pytest.raises(ConfigError, match=words):
        check_names(field, value)


def test_an_unknown_optimizer_is_told_the_nearest():
    with pytest.raises(ConfigError, match=r"optimizer: got 'Adan'; expected an optimizer .* mean 'adam'"):
        check_optimizer("optimizer", "Adan")
    with pytest.raises(ConfigError, match="such as adam, sgd or adamw"):
        check_optimizer("optimizer", "lossscaleoptimizer")
