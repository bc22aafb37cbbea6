"""The form of one row: fields from a model's own preprocessing, answered as `predict` answers."""

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.deploy.predict import Predictor
from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.models.answers import Answer
from lepton_kit.panels import InputForm
from lepton_kit.panels.form import NOTHING, OTHER

ROWS = pd.DataFrame(
    {
        "age": [20, 30, 40, 50] * 10,
        "income": [100.5, None, 50.0, 50.0] * 10,
        "job": ["fixed", "others"] * 20,
        "bad": ["no"] * 20 + ["yes"] * 20,
    }
)
CLASSES = (Answer(task="classification", link="softmax", labels=("no", "yes")),)


@pytest.fixture
def asked():
    how = data.table(ROWS, target="bad", validation_split=0.0).prepare().preprocessing
    return Predictor(how, CLASSES, lambda x: [np.stack([0 * x[:, 0], x[:, 0]], axis=1)])


def test_fields_begin_with_what_is_typical_and_every_change_is_answered(asked):
    form = InputForm(asked)
    assert form.row == {"age": "35", "income": "50", "job": "fixed"}
    assert form.fields["age"].placeholder == "20 to 50"
    assert [known for _, known in form.fields["job"].options] == ["fixed", "others", "", OTHER]
    pd.testing.assert_frame_equal(form.answer, asked.predict([{"age": 35, "income": 50, "job": "fixed"}]))
    before = form.answer["probability_yes"].iloc[0]
    form.fields["age"].value = "50"
    assert form.answer["probability_yes"].iloc[0] > before
    assert "%" in form.result.value
    assert repr(form).startswith("<InputForm: 3 fields -> class yes")
    form.close()


def test_missing_and_never_seen_values_say_what_was_done(asked):
    form = InputForm(asked, row={"age": None, "income": float("nan"), "job": "astronaut"})
    assert form.row == {"age": None, "income": None, "job": "astronaut"}
    assert "&#x27;age&#x27;: no value, which no training row lacked; taken as the mean" in form.remarks.value
    assert "&#x27;astronaut&#x27; was never seen in training" in form.remarks.value
    assert "income" not in form.remarks.value  # training rows lacked it too
    form.set(age="young")
    assert form.complaint == "column 'age': 'young' is not a number"
    assert form.result.value == ""
    form.set(age=30, job="others")
    assert (form.complaint, form.remarks.value) == ("", "")
    with pytest.raises(ConfigError, match="jobs: got 'x'; expected one of the fields age, income, job"):
        form.set(jobs="x")
    form.close()


def test_a_page_without_a_kernel_has_its_fields_and_answer(asked):
    form = InputForm(asked, row={"income": None, "job": None})
    shown = form.still()["text/html"]
    assert f"job: {NOTHING}" in shown
    assert "answer · probability" in shown
    assert set(form._repr_mimebundle_()) >= {"application/vnd.jupyter.widget-view+json", "text/plain"}
    form.close()


def test_a_model_without_fields_is_refused():
    how = preprocessing_of(data.arrays(np.zeros((4, 2)), [0, 1, 0, 1]).prepare())
    with pytest.raises(ConfigError, match="subject: got 'arrays'; expected a model of a table"):
        InputForm(Predictor(how, CLASSES, lambda x: [x]))
    with pytest.raises(ModelError, match="no such file or folder"):
        InputForm("nowhere/model.tflite")


def test_a_regression_tells_its_value():
    rows = ROWS.dropna()
    how = (
        data.table(rows.drop(columns="bad"), target="income", task="regression", validation_split=0.0)
        .prepare()
        .preprocessing
    )
    form = InputForm(Predictor(how, (Answer(task="regression"),), lambda x: [x[:, :1]]))
    assert "<th>income</th>" in form.result.value
    form.close()
