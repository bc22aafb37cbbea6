"""Balanced accuracy: its definition, that parts add up, when it is a default, and that a final model is Keras' own."""

import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from lepton_kit import models
from lepton_kit.data import arrays
from lepton_kit.models.balance import class_counts, is_unbalanced
from lepton_kit.models.metrics import BalancedAccuracy, without
from lepton_kit.training.routes import why_gathered

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
RARE = (np.arange(60) % 4 == 0).astype(np.int32)


def mean_recall(truth, told):
    return np.mean([(told[truth == k] == k).mean() for k in np.unique(truth)])


@pytest.mark.parametrize(("classes", "units"), [(3, 3), (2, 2), (2, 1)])
def test_it_is_the_mean_recall_also_of_parts(classes, units):
    truth, scores = RNG.integers(0, classes, 50), RNG.normal(size=(50, units)).astype(np.float32)
    told = scores.argmax(axis=1) if units > 1 else (scores[:, 0] > 0).astype(int)
    whole, first, rest = (BalancedAccuracy(classes) for _ in range(3))
    whole.update_state(truth[:, None], scores)
    assert float(whole.result()) == pytest.approx(mean_recall(truth, told))
    first.update_state(truth[:7], scores[:7])
    rest.update_state(truth[7:], scores[7:])
    for one, variable in enumerate(whole.variables):
        assert np.allclose(variable, first.variables[one] + rest.variables[one])


def test_classes_without_samples_do_not_count_and_weights_do():
    metric = BalancedAccuracy(3)
    metric.update_state([0, 1], [[1.0, 0, 0], [1.0, 0, 0]])
    assert float(metric.result()) == 0.5
    metric.reset_state()
    assert float(metric.result()) == 0.0
    metric.update_state([0, 0], [[1.0, 0, 0], [0, 1.0, 0]], sample_weight=[3.0, 1.0])
    assert float(metric.result()) == 0.75
    again = BalancedAccuracy.from_config(metric.get_config())
    assert (again.num_classes, again.name) == (3, "balanced_accuracy")


def dense(units):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])


def prepared(y, **options):
    return arrays(X, y, **options).prepare()


@pytest.mark.parametrize(
    ("y", "units", "names"),
    [
        (RARE, 2, ["accuracy", "balanced_accuracy"]),
        (RARE, 1, ["accuracy", "balanced_accuracy"]),
        (np.arange(60) % 2, 2, ["accuracy"]),
        (np.arange(60) % 3, 3, ["accuracy"]),
        (X[:, 0], 1, ["mae"]),
    ],
)
def test_it_is_a_default_for_classes_of_very_different_size_alone(y, units, names):
    loss, metrics, _ = models.compile_defaults(dense(units), prepared(y))
    assert [getattr(one, "name", one) for one in metrics] == names
    model = dense(units)
    model.compile("sgd", loss, metrics=metrics)
    model.build((None, 4))
    assert why_gathered(model, masked=False, weighted=False) is None


def test_what_the_user_compiled_stays():
    from lepton_kit.client.launch import plan

    model = dense(2)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    planned = plan(model, (X, RARE))
    assert planned.trained._compile_metrics._user_metrics == ["accuracy"]


def test_counts_of_classes():
    assert not is_unbalanced(prepared(np.arange(60) % 2))
    assert is_unbalanced(prepared(RARE))
    assert class_counts(prepared(X[:, 0])) is None
    elsewhere = SimpleNamespace(task="classification", train=SimpleNamespace(source=object(), y=RARE))
    assert class_counts(elsewhere) is None


def test_without_it_a_file_needs_keras_alone_and_keeps_the_optimizer(tmp_path):
    model = dense(2)
    loss, metrics, _ = models.compile_defaults(model, prepared(RARE))
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=metrics)
    model.fit(X, RARE, epochs=1, verbose=0)
    steps = int(model.optimizer.iterations)
    without(model)
    assert [one.name for one in model._compile_metrics._user_metrics] == ["accuracy"]
    assert int(model.optimizer.iterations) == steps > 0
    model.save(tmp_path / "m.keras")
    assert b"lepton_kit" not in zipfile.ZipFile(tmp_path / "m.keras").read("config.json")
    plain = dense(2)
    plain.compile("sgd", "mse", metrics=["mae"])
    before = plain._compile_metrics
    without(plain)
    assert plain._compile_metrics is before
