"""Scores: what a model's loss and head say that its answers are, and what they are worth."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data import arrays
from lepton_kit.data.preprocessing import Target
from lepton_kit.deploy.report import scoring
from lepton_kit.deploy.report.goal import bound_of
from lepton_kit.deploy.report.yardstick import compiled_metrics, own_metrics, yardstick
from lepton_kit.errors import CompressionError
from lepton_kit.models.answers import Answer

CLASSES = Answer(task="classification")
VALUES = Answer(task="regression")


@given(st.integers(1, 400), st.data())
def test_wilson_holds_the_share_and_stays_within_0_and_1(total, data):
    right = data.draw(st.integers(0, total))
    low, high = scoring.wilson(right, total)
    assert 0 <= low <= right / total + 1e-12
    assert right / total - 1e-12 <= high <= 1


def test_the_bootstrap_interval_has_the_width_of_95_percent():
    samples = np.arange(1000) / 1000
    low, high = scoring.bootstrap(samples)
    assert high - low == pytest.approx(2 * 1.96 * samples.std() / np.sqrt(1000), rel=0.08)  # 90 %: 16 % less


def test_scores_of_every_kind_of_output():
    labels = np.array([0, 1, 1, 0])
    soft = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    for y in (labels, labels[:, None], np.eye(2)[labels], labels.astype(float), np.eye(2, dtype=int)[labels]):
        assert scoring.score(soft, y, CLASSES).value == 0.75
    for y in (labels, labels.astype(float)):
        assert scoring.score(soft[:, 1:], y, CLASSES).value == 0.75
    logits = np.array([[-3.0], [3.0], [2.0], [1.0]])
    assert scoring.score(logits, labels, Answer(task="classification", link="sigmoid")).value == 0.75
    maps = scoring.score(np.stack([soft, soft]), np.stack([labels, labels]), CLASSES)
    assert (maps.metric, maps.value) == ("accuracy per position", 0.75)
    error = scoring.score(np.array([[1.0], [2.0]]), np.array([1.5, 2.5]), VALUES)
    assert (error.metric, error.value, error.higher_is_better) == ("mean absolute error", 0.5, False)


def test_several_labels_a_sample_are_judged_label_by_label():
    y = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]])
    outputs = np.array([[0.6, 0.9, 0.1], [0.2, 0.1, 0.3], [0.9, 0.8, 0.7]])
    found = scoring.score(outputs, y, Answer(task="multilabel"))
    assert (found.metric, found.value) == ("accuracy per label", pytest.approx(8 / 9))


def test_what_the_loss_leaves_out_is_left_out():
    outputs = np.eye(3)[np.array([[0, 1, 2], [2, 2, 2]])]
    y = np.array([[0, 1, -1], [2, 0, -1]])
    assert scoring.score(outputs, y, CLASSES, ignore=-1).value == 0.75
    counted = np.array([[True, True, False], [True, False, False]])
    assert scoring.score(outputs, np.maximum(y, 0), CLASSES, counted=counted).value == 1.0
    numbers, truth = np.array([[1.0, 5.0]]), np.array([[2.0, 0.0]])
    assert scoring.score(numbers, truth, VALUES, counted=np.array([[True, False]])).value == 1.0
    with pytest.raises(CompressionError, match="leaves every target out"):
        scoring.score(outputs, np.full((2, 3), -1), CLASSES, ignore=-1)


def test_what_weighs_nothing_is_not_judged_and_other_weights_count_as_one():
    labels = np.array([0, 1, 1, 0])
    outputs = np.eye(2)[[0, 1, 0, 1]]
    weights = np.array([3.0, 1.0, 0.0, 0.0], np.float32)
    found = scoring.score(outputs, labels, CLASSES, weights=weights)
    assert (found.value, scoring.score(outputs, labels, CLASSES).value) == (1.0, 0.5)
    assert scoring.score(outputs, labels, CLASSES, weights=weights[:, None]).value == 1.0
    maps = scoring.score(
        np.stack([outputs, outputs]), np.stack([labels, labels]), CLASSES, weights=np.array([1.0, 0.0])
    )
    assert maps.value == 0.5
    several = scoring.score(outputs, np.eye(2)[labels], Answer(task="multilabel"), weights=weights)
    assert several.value == 1.0
    values = scoring.score(
        labels[:, None] * 1.0, np.array([[0.0], [1.0], [9.0], [9.0]]), VALUES, weights=weights
    )
    assert values.value == 0.0


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "float32"])
def test_one_hot_targets_of_any_type_are_classes(tmp_path, dtype):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    y = np.eye(3, dtype=dtype)[[0, 1, 2, 2]]
    data = arrays(np.zeros((4, 3), "f4"), y, validation_split=0).prepare()
    found = yardstick(tmp_path / "model.keras", data).score([np.eye(3)[[0, 1, 2, 0]]], y)
    assert (found.metric, found.value) == ("accuracy", 0.75)


def test_an_error_is_told_in_the_unit_of_the_target():
    price = Target(task="regression", name="price", mean=(200.0,), scale=(50.0,), unit="EUR")
    found = scoring.score(np.array([[1.0], [2.0]]), np.array([[1.5], [2.5]]), VALUES, target=price)
    assert (found.metric, found.value) == ("mean absolute error (EUR)", 25.0)


def test_predictions_that_cannot_be_scored_are_refused():
    with pytest.raises(CompressionError, match="got 1 predictions for 2 targets"):
        scoring.score(np.zeros((1, 2)), np.zeros(2, int), CLASSES)
    with pytest.raises(CompressionError, match="NaN or infinity for 1 of 2 samples"):
        scoring.score(np.array([[0.0, 1.0], [np.nan, 0.0]]), np.zeros(2, int), CLASSES)
    with pytest.raises(CompressionError, match="do not fit the targets"):
        scoring.score(np.zeros((2, 3)), np.zeros((2, 2)), VALUES)
    with pytest.raises(CompressionError, match="are no class numbers of the outputs"):
        scoring.score(np.zeros((2, 3)), np.array([0, 7]), CLASSES)
    with pytest.raises(CompressionError, match="the targets hold NaN"):
        scoring.score(np.zeros((2, 1)), np.array([0.0, np.nan]), VALUES)


def test_a_difference_is_paired():
    outputs, y = np.eye(2)[[0, 1, 1, 0]], np.array([0, 1, 1, 1])
    first = scoring.score(outputs, y, CLASSES)
    assert scoring.difference(first, first) == (0.0, 0.0, 0.0)
    other = scoring.score(np.eye(2)[[1, 1, 1, 0]], y, CLASSES)
    value, low, high = scoring.difference(other, first)
    assert (value, high) == (-0.25, 0.0)
    assert low < -0.25
    assert other.lost_to(first) == 0.25
    assert other.lost_to(first, relative=True) == pytest.approx(1 / 3)


def test_a_bound_is_in_the_unit_of_its_metric_or_a_share():
    assert bound_of("auto", 0.01, None) == ("auto", 0.01, None)
    assert bound_of("auto", None, 3) == ("auto", 3.0, False)
    assert bound_of("auc", None, {"auc": "5 %"}) == ("auc", 0.05, True)
    assert bound_of("auto", None, "f1 = 0.02") == ("f1", 0.02, False)


def stored(tmp_path, head, loss, metrics=(), units=3):
    import keras

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, activation=head, name="out")], name="m"
    )
    if loss is not None:
        model.compile("adam", loss, metrics=list(metrics))
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
LABELS = np.arange(40) % 3
ONE_HOT = np.eye(3)[LABELS]
SEVERAL = (np.random.default_rng(1).random((40, 3)) > 0.5).astype(int)


@pytest.mark.parametrize(
    ("head", "loss", "units", "y", "metric"),
    [
        ("softmax", "sparse_categorical_crossentropy", 3, LABELS, "accuracy"),
        ("softmax", "sparse_categorical_crossentropy", 3, LABELS.astype(np.float32), "accuracy"),
        ("softmax", "categorical_crossentropy", 3, ONE_HOT.astype(np.float32), "accuracy"),
        ("softmax", "categorical_crossentropy", 3, ONE_HOT.astype(np.int64), "accuracy"),
        ("sigmoid", "binary_crossentropy", 3, SEVERAL, "accuracy per label"),
        ("sigmoid", "binary_crossentropy", 3, SEVERAL.astype(np.float32), "accuracy per label"),
        ("sigmoid", "binary_crossentropy", 1, SEVERAL[:, 0].astype(np.float32), "accuracy"),
        ("sigmoid", None, 1, SEVERAL[:, :1].astype(np.float32), "accuracy"),
        ("sigmoid", None, 3, SEVERAL.astype(np.float32), "accuracy per label"),
        ("softmax", None, 3, ONE_HOT.astype(np.float32), "accuracy"),
        (None, "hinge", 1, SEVERAL[:, 0] * 2 - 1, "accuracy"),
        (None, "mse", 3, X[:, :3], "mean absolute error"),
        (None, "mse", 1, LABELS, "mean absolute error"),
    ],
)
def test_the_loss_and_the_head_say_what_targets_are(tmp_path, head, loss, units, y, metric):
    path = stored(tmp_path, head, loss, units=units)
    found = yardstick(path, arrays(X, y, validation=(X, y)).prepare())
    outputs = np.random.default_rng(2).random((40, units)).astype(np.float32)
    judged = found.score([outputs], y)
    assert judged.metric == metric
    if metric == "accuracy per label":
        assert judged.value == pytest.approx(((outputs > 0.5) == (y > 0.5)).mean())


def test_a_class_that_the_loss_ignores_is_not_judged(tmp_path):
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)
    path = stored(tmp_path, "softmax", loss)
    found = yardstick(path, arrays(X, LABELS, validation=(X, LABELS)).prepare())
    told = np.eye(3)[np.where(LABELS == 0, 1, LABELS)]
    assert found.score([told], LABELS).value == 1.0


def test_metrics_of_the_model_may_be_named_and_say_which_way_is_better(tmp_path):
    import keras

    metrics = ["accuracy", keras.metrics.AUC(name="area"), keras.metrics.MeanSquaredError(name="squares")]
    path = stored(tmp_path, "sigmoid", "binary_crossentropy", metrics, units=1)
    data = arrays(X, SEVERAL[:, 0], validation=(X, SEVERAL[:, 0])).prepare()
    assert compiled_metrics(path) == ["accuracy", "area", "squares"]
    assert yardstick(path, data, "area").own == "area"
    with pytest.raises(
        CompressionError, match="metric: got 'f1'; expected one of auto, dice, accuracy, area, sq"
    ):
        yardstick(path, data, "f1")
    outputs = np.random.default_rng(2).random((40, 1)).astype(np.float32)
    np.savez(tmp_path / "outputs.npz", output_0000=outputs)
    np.save(tmp_path / "y.npy", SEVERAL[:, 0])
    found = own_metrics(
        str(path), str(tmp_path / "outputs.npz"), [[None, str(tmp_path / "y.npy")]], "area", resamples=5
    )
    assert {name: one["higher"] for name, one in found.items()} == {
        "accuracy": True,
        "area": True,
        "squares": False,
    }
    area = keras.metrics.AUC()
    area.update_state(SEVERAL[:, :1], outputs)
    assert found["area"]["value"] == pytest.approx(float(area.result()))
    assert found["squares"]["value"] == pytest.approx(((outputs[:, 0] - SEVERAL[:, 0]) ** 2).mean())
    assert len(found["area"]["draws"]) == 5


def test_of_several_outputs_each_is_judged_by_its_own_loss(tmp_path):
    import keras

    x = keras.Input((4,))
    which = keras.layers.Dense(3, activation="softmax", name="which")(x)
    much = keras.layers.Dense(1, name="much")(x)
    model = keras.Model(x, [which, much])
    model.compile("adam", {"which": "sparse_categorical_crossentropy", "much": "mse"})
    model.save(tmp_path / "model.keras")
    y = {"which": LABELS, "much": X[:, :1]}
    data = arrays(X, y, validation=(X, y)).prepare()
    found = yardstick(tmp_path / "model.keras", data)
    outputs = [np.eye(3)[LABELS], X[:, :1] + 0.5]
    assert (found.score(outputs, y).metric, found.score(outputs, y).value) == ("accuracy of which", 1.0)
    assert found.others(outputs, y)["much"].value == pytest.approx(0.5)
    named = yardstick(tmp_path / "model.keras", data, "much")
    assert named.score(outputs, y).metric == "mean absolute error of much"
