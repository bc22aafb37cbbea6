"""A model card on rows that are given with their truth: figures, what is refused, and the fields of a model."""

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.data.preprocessing import Target
from lepton_kit.deploy.modelcard.given import card_of
from lepton_kit.deploy.predict import Predictor
from lepton_kit.errors import DataError
from lepton_kit.models.answers import Answer

ROWS = pd.DataFrame(
    {"age": np.arange(40.0), "job": ["fixed", "others"] * 20, "bad": (["no"] * 20 + ["yes"] * 20)}
)
CLASSES = (Answer(task="classification", link="softmax", labels=("no", "yes")),)


def predictor(x=None):
    how = data.table(ROWS, target="bad", validation_split=0.0).prepare().preprocessing
    return Predictor(
        how, CLASSES, lambda x: [np.stack([0 * x[:, 0], 4 * x[:, 0]], axis=1)], about=["an older checkpoint"]
    )


def test_rows_with_their_target_are_judged():
    card = predictor().report(ROWS)
    assert card.facts.split == "given"
    assert card.metrics().loc["accuracy", "value"] == 1.0
    assert card.metrics().loc["AUC", "value"] == 1.0
    assert card.confusion().to_numpy().tolist() == [[20, 0], [0, 20]]
    assert card.facts.limits[0] == "an older checkpoint"
    assert "on given samples" in card.to_markdown()
    assert "Figures on given samples" in card._repr_html_()
    assert repr(card).endswith("accuracy 1 on 40 given samples>")
    assert card.facts.outputs[0].baseline == ()  # the training rows are not known here
    wrong = ROWS.assign(bad=ROWS["bad"].iloc[::-1].to_numpy())
    assert predictor().report(wrong).metrics().loc["AUC", "value"] == 0.0


def test_files_pairs_and_rows_that_cannot_be_read(tmp_path):
    ROWS.to_csv(tmp_path / "new.csv", index=False)
    assert predictor().report(tmp_path / "new.csv").metrics().equals(predictor().report(ROWS).metrics())
    pair = predictor().report((ROWS.drop(columns="bad"), ROWS["bad"]))
    assert pair.metrics().equals(predictor().report(ROWS).metrics())
    odd = ROWS.astype({"age": object})
    odd.loc[3, "age"] = "old"
    odd.loc[4, "job"] = "astronaut"
    card = predictor().report(odd)
    assert card.facts.data.validation_samples == 39
    assert any(
        "1 of 40 given rows could not be read" in text and "'old' is not a number" in text
        for text in card.facts.limits
    )
    assert any("'astronaut' was never seen in training" in text for text in card.facts.limits)


def test_worst_samples_are_told_in_the_values_of_the_table():
    wrong = ROWS.assign(bad=ROWS["bad"].iloc[::-1].to_numpy())
    first = predictor().report(wrong).facts.outputs[0].worst[0]
    assert first.text in ("age 0, job fixed", "age 39, job others")
    assert first.name.startswith("row ")


@pytest.mark.parametrize(
    ("on", "text"),
    [
        (ROWS.drop(columns="bad"), "no column 'bad', the target; it has age, job"),
        (ROWS.replace("yes", "maybe"), "true answer 20: maybe; expected one of the classes no, yes"),
        ((ROWS, ["no"]), "40 inputs and 1 true answers"),
        (7, "on: a int; expected a table with the target's column, a pair"),
        (ROWS.assign(age="?x"), "on: no input could be read; the first: column 'age'"),
    ],
)
def test_what_cannot_be_judged(on, text):
    with pytest.raises(DataError, match=text):
        predictor().report(on)


def test_the_fields_of_a_model():
    fields = predictor().inputs()
    assert fields.index.tolist() == ["age", "job"]
    assert fields.loc["age", ["kind", "low", "high", "typical"]].tolist() == ["number", 0, 39, 19.5]
    assert fields.loc["job", ["choices", "typical", "unit", "may be missing"]].tolist() == [
        "fixed, others",
        "fixed",
        "",
        False,
    ]
    images = Predictor(
        preprocessing_of(data.arrays(np.zeros((4, 2)), [0, 1, 0, 1]).prepare()), CLASSES, lambda x: [x]
    )
    with pytest.raises(DataError, match="a model of arrays takes no fields"):
        images.inputs()
    with pytest.raises(DataError, match="expected a pair"):
        images.report(np.zeros((4, 2)))
    assert images.report((np.eye(2), [0, 1])).metrics().loc["accuracy", "value"] == 1.0


X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
NAMES = np.where(X[:, 0] > 0, "cat", "dog")


def of_arrays(prepared):
    answers = (Answer(task="classification", link="softmax", labels=("cat", "dog")),)
    return Predictor(
        preprocessing_of(prepared), answers, lambda x: [np.stack([9 * x[:, 0], -9 * x[:, 0]], axis=1)]
    )


def judged(prepared, on):
    return card_of(of_arrays(prepared), prepared, "a run", on=on)


def test_arrays_are_judged_by_names_and_numbers_of_classes_and_by_data_sets():
    prepared = data.arrays(X, NAMES).prepare()
    numbers = (NAMES == "dog").astype(int)
    for on in (
        (X, NAMES),
        (X, numbers),
        (X, numbers[:, None]),
        data.arrays(X[:10], NAMES[:10], validation=(X, NAMES)),
        data.arrays(X[:10], NAMES[:10], validation=(X, NAMES)).prepare(),
    ):
        card = judged(prepared, on)
        assert card.metrics().loc["accuracy", "value"] == 1.0
        assert (card.facts.split, card.facts.data.validation_samples) == ("given", 40)


@pytest.mark.parametrize(
    ("on", "text"),
    [
        ((X[:2], NAMES[:3]), "on: 2 inputs and 3 true answers"),
        ((X[:2], np.array(["cat", "cow"])), "true answer 1: cow; expected one of the classes cat, dog"),
        (
            (X[:2], np.array([0, 2])),
            "true answer 1: 2; expected one of the classes cat, dog, or their numbers",
        ),
        (data.arrays(X, NAMES, validation_split=0.0), "holds out nothing"),
        (
            data.arrays(X, np.where(NAMES == "cat", "cow", "dog")),
            "the classes are cow, dog; the run learned cat, dog",
        ),
        (data.arrays(X[:, :2], NAMES), r"x: shape \(3,\) in train but \(2,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(on, text):
    with pytest.raises(DataError, match=text):
        judged(data.arrays(X, NAMES).prepare(), on)


def test_true_answers_keep_their_shape_and_their_unit():
    maps = Target(task="classification", class_names=("air", "brain"))
    assert maps.encoded(np.array([[[0, 1], [1, 1]]], np.uint8)).tolist() == [[[0, 1], [1, 1]]]
    value = Target(task="regression", mean=(200.0,), scale=(50.0,))
    assert value.encoded([200, 250.0]).tolist() == [0.0, 1.0]
