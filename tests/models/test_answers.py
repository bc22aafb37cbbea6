"""Logits, probabilities or scores: decided by loss and activation, as Keras itself reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lepton_kit.data.preprocessing import Target
from lepton_kit.errors import DataError
from lepton_kit.models.answers import Answer, answers, load, to_json
from lepton_kit.models.losses import fact


def described(units: Any, activation: str | None, loss: Any, **more: Any) -> dict[str, Any]:
    shape = [units] if isinstance(units, int) else units
    found = {"inputs": [4], "outputs": [{"name": "out", "shape": shape, "activation": activation}]}
    return {**found, "loss": loss, "compiled": loss is not None, "free": False, **more}


def stock(name: str, logits: bool | None = None) -> dict[str, Any]:
    return {"name": name, "from_logits": logits, "ignore": None, "stock": True}


OWN = {"name": "mine", "from_logits": None, "ignore": None, "stock": False}
CLASSES = Target(task="classification", class_names=("a", "b", "c"))
TWO = Target(task="classification", class_names=("no", "yes"))


@pytest.mark.parametrize(
    ("units", "activation", "loss", "target", "task", "link"),
    [
        (3, "linear", stock("sparse_categorical_crossentropy", True), CLASSES, "classification", "softmax"),
        (3, "softmax", stock("sparse_categorical_crossentropy"), CLASSES, "classification", "none"),
        (3, "softmax", stock("categorical_crossentropy", True), CLASSES, "classification", "none"),
        (3, "sigmoid", stock("sparse_categorical_crossentropy"), CLASSES, "classification", "shares"),
        (3, "linear", stock("categorical_focal_crossentropy"), CLASSES, "classification", "shares"),
        (None, None, stock("sparse_categorical_crossentropy", True), CLASSES, "classification", "softmax"),
        (1, "linear", stock("binary_crossentropy", True), TWO, "classification", "sigmoid"),
        (1, "sigmoid", stock("binary_crossentropy"), TWO, "classification", "none"),
        (1, "sigmoid", stock("binary_focal_crossentropy", True), TWO, "classification", "none"),
        (1, "linear", stock("binary_crossentropy"), TWO, "classification", "score"),
        (3, "linear", stock("binary_crossentropy", True), Target(), "multilabel", "sigmoid"),
        (3, "sigmoid", stock("binary_crossentropy"), Target(task="multilabel"), "multilabel", "none"),
        (3, "softmax", stock("binary_crossentropy"), Target(), "classification", "none"),
        (3, "sigmoid", stock("binary_crossentropy"), CLASSES, "classification", "shares"),
        (3, "linear", stock("binary_crossentropy", True), CLASSES, "classification", "sigmoid"),
        (1, "tanh", stock("hinge"), TWO, "classification", "score"),
        (1, "linear", stock("squared_hinge"), TWO, "classification", "score"),
        (3, "linear", stock("categorical_hinge"), CLASSES, "classification", "score"),
        (3, "linear", stock("hinge"), Target(), "multilabel", "score"),
        (1, "linear", stock("mean_squared_error"), Target(task="regression"), "regression", "none"),
        (1, "linear", stock("poisson"), Target(), "regression", "none"),
        (3, "linear", stock("mean_squared_error"), CLASSES, "classification", "score"),
        (3, "softmax", stock("mean_squared_error"), CLASSES, "classification", "none"),
        (1, "sigmoid", stock("mean_squared_error"), TWO, "classification", "none"),
        (1, "linear", stock("mean_squared_error"), TWO, "regression", "none"),
        (3, "linear", OWN, CLASSES, "classification", "softmax"),
        (1, "linear", OWN, TWO, "classification", "sigmoid"),
        (3, "softmax", OWN, CLASSES, "classification", "none"),
        (3, "linear", None, Target(), "other", "none"),
        (3, "sigmoid", OWN, Target(task="multilabel"), "multilabel", "none"),
        (3, "linear", OWN, Target(task="multilabel"), "multilabel", "sigmoid"),
        ([8, 8, 1], "sigmoid", stock("dice"), Target(), "classification", "none"),
        ([8, 8, 3], "softmax", stock("tversky"), Target(), "classification", "none"),
        ([8, 8, 3], "linear", stock("mean_squared_error"), Target(), "other", "none"),
        (3, "linear", stock("ctc"), CLASSES, "other", "none"),
        (3, "softmax", stock("categorical_generalized_cross_entropy"), CLASSES, "classification", "none"),
    ],
)
def test_every_pair_of_loss_and_activation_reads_as_keras_means_it(
    units, activation, loss, target, task, link
):
    (found,) = answers(described(units, activation, loss), target)
    assert (found.task, found.link) == (task, link)


def test_names_of_classes_go_with_outputs_of_as_many_units():
    loss = stock("sparse_categorical_crossentropy", True)
    assert answers(described(3, "linear", loss), CLASSES)[0].labels == ("a", "b", "c")
    assert answers(described(4, "linear", loss), CLASSES)[0].labels == ("a", "b", "c", "unit 3")
    assert answers(described(1, "linear", stock("binary_crossentropy", True)), TWO)[0].label(1) == "yes"
    assert answers(described(3, "linear", loss), Target())[0].label(2) == 2


def test_a_loss_of_the_models_own_is_read_as_logits_and_says_so():
    (found,) = answers(described(3, "linear", OWN), CLASSES)
    assert "own" in found.note
    (free,) = answers(described(3, "softmax", stock("mean_squared_error"), free=True), CLASSES)
    assert (free.task, free.link, free.note) == ("classification", "none", None)


def test_what_only_the_targets_say_of_a_loss_of_the_models_own():
    y = np.zeros(5, np.int32)
    assert answers(described(3, "linear", OWN), Target(), y)[0].task == "classification"
    values = np.zeros((5, 3), np.float32)
    assert answers(described(3, "linear", OWN), Target(), values)[0].task == "regression"
    assert answers(described(3, "linear", OWN), Target(), np.zeros((5, 7)))[0].task == "other"


@pytest.mark.parametrize("places", [(4, 4), (4, 4, 1)])
def test_masks_with_a_loss_of_the_models_own_are_two_classes(places):
    y = (np.arange(2 * 16) % 2).reshape(2, *places).astype(np.uint8)
    target = Target(task="other", class_names=("other", "brain"))
    one = answers(described([4, 4, 1], "sigmoid", OWN), target, y)[0]
    assert (one.task, one.link, one.labels) == ("classification", "none", ("other", "brain"))
    assert answers(described([4, 4, 1], "sigmoid", OWN), target, y * 2)[0].task == "other"
    assert answers(described([4, 4, 1], "linear", OWN), target, y)[0].task == "other"


def test_several_outputs_keep_their_names_and_losses():
    many = {
        "inputs": [4],
        "outputs": [
            {"name": "a", "shape": [2], "activation": "softmax"},
            {"name": "b", "shape": [1], "activation": "linear"},
        ],
        "loss": {"a": stock("sparse_categorical_crossentropy"), "b": stock("mean_squared_error")},
        "compiled": True,
        "free": False,
    }
    found = answers(many, Target(task="other"), {"a": np.zeros(3, int), "b": np.zeros(3)})
    assert [(one.name, one.task) for one in found] == [("a", "classification"), ("b", "regression")]
    wrong = answers(many, Target(), np.zeros(3))  # targets that don't pair are left out
    assert [one.task for one in wrong] == ["classification", "regression"]


def test_the_numbers_are_those_of_keras():
    import keras

    logits = np.array([[2.0, -1.0, 0.5], [900.0, -900.0, 0.0]], np.float32)
    softmax = Answer(task="classification", link="softmax").probabilities(logits)
    np.testing.assert_allclose(softmax, keras.ops.softmax(logits), atol=1e-6)
    sigmoid = Answer(task="multilabel", link="sigmoid").probabilities(logits)
    np.testing.assert_allclose(sigmoid, keras.ops.sigmoid(logits), atol=1e-6)
    plain = np.array([[0.2, 0.2, 0.1]], np.float32)
    shares = Answer(task="classification", link="shares").probabilities(plain)
    loss = keras.losses.SparseCategoricalCrossentropy()(np.array([2]), plain)
    assert -np.log(shares[0, 2]) == pytest.approx(float(loss), rel=1e-5)


LOGITS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-60, 60, width=32)
)


@given(LOGITS, st.sampled_from(["softmax", "sigmoid", "shares"]))
def test_probabilities_of_classes_are_shares_of_one_and_the_class_is_the_largest(outputs, link):
    if link == "shares" or (link == "softmax" and outputs.shape[1] == 1):
        outputs = 1 / (1 + np.exp(-outputs))
    answer = Answer(task="classification", link=link)
    found = answer.probabilities(outputs)
    assert found.shape == (len(outputs), max(2, outputs.shape[1]))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.take_along_axis(found, answer.classes(outputs)[:, None], 1)[:, 0] == found.max(axis=1)).all()


@given(LOGITS)
def test_scores_pick_the_positive_or_the_largest(outputs):
    answer = Answer(task="classification", link="score")
    assert answer.probabilities(outputs) is None
    chosen = answer.classes(outputs)
    if outputs.shape[1] == 1:
        assert (chosen == (outputs[:, 0] > 0)).all()
    else:
        assert (chosen == outputs.argmax(axis=1)).all()
    assert (Answer(task="multilabel", link="score").classes(outputs) == (outputs > 0)).all()


def test_one_unit_without_its_axis_reads_the_same():
    answer = Answer(task="classification", link="sigmoid", labels=("no", "yes"))
    flat, column = np.array([-1.0, 2.0]), np.array([[-1.0], [2.0]])
    np.testing.assert_array_equal(answer.probabilities(flat), answer.probabilities(column))
    assert [answer.label(k) for k in answer.classes(flat)] == ["no", "yes"]


def test_a_real_losss_facts_lead_to_the_same_answer():
    import keras

    for loss, link in (
        (keras.losses.BinaryCrossentropy(from_logits=True), "sigmoid"),
        (keras.losses.BinaryCrossentropy(), "score"),
        ("binary_crossentropy", "score"),
        (keras.losses.Hinge(), "score"),
    ):
        assert answers(described(1, "linear", fact(loss)), TWO)[0].link == link


def test_answers_are_kept_as_json_and_a_broken_file_is_named(tmp_path: Path):
    found = (Answer(name="a", task="classification", link="shares", labels=("x", "ü")), Answer(task="other"))
    path = tmp_path / "answers.json"
    path.write_text(to_json(found), encoding="utf-8")
    assert load(path) == found
    path.write_text('{"version": 2, "outputs": []}')
    with pytest.raises(DataError, match=r"answers\.json: version 2; this lepton_kit reads version 1"):
        load(path)
    for broken in ("{", "[]", '{"version": 1, "outputs": [{"task": "guess"}]}'):
        path.write_text(broken)
        with pytest.raises(DataError, match=r"answers\.json: does not say how outputs read"):
            load(path)


@pytest.mark.parametrize(
    "loss", [stock("binary_crossentropy"), stock("binary_crossentropy", False), stock("dice")]
)
@pytest.mark.parametrize("activation", ["linear", "tanh", "relu"])
def test_what_a_loss_takes_for_probabilities_but_no_activation_bounds_is_a_score_and_says_so(
    loss, activation
):
    (found,) = answers(described(1, activation, loss), TWO)
    assert (found.task, found.link) == ("classification", "score")
    assert f"activation is {activation}" in found.note
    outputs = np.array([[2.0], [0.6], [0.4], [-1.0]])
    assert found.probabilities(outputs) is None
    assert found.classes(outputs).tolist() == [1, 1, 0, 0]  # as Keras' binary accuracy counts them
    for known in ("sigmoid", "hard_sigmoid", None, "my_own"):
        (found,) = answers(described(1, known, loss), TWO)
        assert (found.link, found.note) == ("none", None)


def test_several_labels_without_a_bound_are_scores_too():
    (found,) = answers(described(3, "linear", stock("binary_crossentropy")), Target(task="multilabel"))
    assert (found.task, found.link) == ("multilabel", "score")
    assert found.classes(np.array([[2.0, 0.4, -1.0]])).tolist() == [[1, 0, 0]]


def test_more_units_than_classes_keep_the_names_and_it_is_said():
    loss = stock("sparse_categorical_crossentropy")
    (found,) = answers(described(5, "softmax", loss), TWO)
    assert found.labels == ("no", "yes", "unit 2", "unit 3", "unit 4")
    assert "5 units, the data have 2 classes (no, yes)" in found.note
    assert "unit 2 to unit 4, stand for none of them" in found.note
    (unsure,) = answers(described(5, "softmax", OWN), TWO)
    assert unsure.labels is None
    assert "told by number" in unsure.note
