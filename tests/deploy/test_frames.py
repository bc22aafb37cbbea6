"""The frame of a prediction: its columns for every task, and rows that could not be read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lepton_kit.data.preprocessing import Target
from lepton_kit.deploy.frames import columns, frame
from lepton_kit.models.answers import Answer

PLAIN = Target()


def test_a_class_has_its_name_its_probability_and_one_of_each_class():
    answer = Answer(task="classification", link="none", labels=("cat", "dog"))
    found = columns(answer, PLAIN, np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert list(found) == ["class", "probability", "probability_cat", "probability_dog"]
    assert found["class"].tolist() == ["cat", "dog"]
    assert found["probability"].tolist() == [0.9, 0.8]
    assert found["probability_cat"].tolist() == [0.9, 0.2]


def test_the_likeliest_classes_are_ranked_in_place_of_a_column_for_each():
    answer = Answer(task="classification", link="none", labels=("cat", "dog", "2"))
    outputs = np.array([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]])
    found = columns(answer, PLAIN, outputs, "kind_", top=2)
    assert {name: values.tolist() for name, values in found.items()} == {
        "kind_class": ["dog", "cat"],  # of equals the first
        "kind_probability": [0.7, 0.4],
        "kind_class_2": ["cat", "2"],
        "kind_probability_2": [0.2, 0.4],
    }
    assert list(columns(answer, PLAIN, outputs, top=9))[-2:] == ["class_3", "probability_3"]
    scores = columns(
        Answer(task="classification", link="score", labels=("no", "yes")), PLAIN, np.array([[0.5]]), top=2
    )
    assert scores["class_2"].tolist() == ["no"]
    assert scores["score_2"].tolist() == [-0.5]


def test_classes_without_names_are_whole_numbers_and_one_unit_stands_for_the_second():
    found = columns(Answer(task="classification", link="sigmoid"), PLAIN, np.array([[3.0], [-3.0]]))
    assert found["class"].tolist() == [1, 0]
    assert np.allclose(found["probability_1"], [0.9526, 0.0474], atol=1e-4)


def test_a_loss_without_probabilities_gives_scores():
    answer = Answer(task="classification", link="score", labels=("no", "yes"))
    found = columns(answer, PLAIN, np.array([[0.5], [-2.0]]))
    assert list(found) == ["class", "score", "score_no", "score_yes"]
    assert found["class"].tolist() == ["yes", "no"]
    assert found["score"].tolist() == [0.5, 2.0]


def test_several_labels_are_those_above_one_half():
    answer = Answer(task="multilabel", labels=("red", "round", "big"))
    found = columns(answer, PLAIN, np.array([[0.9, 0.2, 0.6], [0.1, 0.2, 0.3]]))
    assert list(found) == ["labels", "probability_red", "probability_round", "probability_big"]
    assert found["labels"].tolist() == ["red, big", ""]


def test_a_value_is_told_in_the_targets_unit_under_its_name():
    target = Target(task="regression", name="price", mean=(200.0,), scale=(50.0,), unit="k$")
    found = columns(Answer(task="regression"), target, np.array([[1.0], [-1.0]], np.float32))
    assert found["price"].tolist() == [250.0, 150.0]
    assert columns(Answer(task="regression"), PLAIN, np.array([2.5]))["value"].tolist() == [2.5]
    two = columns(Answer(task="regression"), PLAIN, np.array([[1.0, 2.0]]))
    assert {name: values.tolist() for name, values in two.items()} == {"value_0": [1.0], "value_1": [2.0]}
    many = columns(Answer(task="regression"), PLAIN, np.zeros((2, 100)))
    assert many["value"][0].shape == (100,)


def test_places_are_maps_of_classes_and_other_outputs_arrays():
    outputs = np.zeros((2, 4, 5, 3))
    outputs[0, 1, 2, 2] = 1.0
    found = columns(Answer(task="classification", link="none"), PLAIN, outputs)
    assert found["class"][0].shape == (4, 5)
    assert found["class"][0].dtype == np.uint8
    assert found["class"][0][1, 2] == 2
    assert found["probability"].tolist() == [0.05, 0.0]
    other = columns(Answer(task="other"), PLAIN, outputs)
    assert other["output"][1].shape == (4, 5, 3)
    assert list(columns(Answer(task="other"), PLAIN, np.zeros((2, 2)), "b_")) == ["b_output_0", "b_output_1"]
    assert columns(Answer(task="multilabel"), PLAIN, np.zeros((2, 4, 3)))["output"][0].shape == (4, 3)


def test_what_cannot_be_read_keeps_its_row_and_whole_numbers_stay_whole():
    made = {"class": np.array([4, 2]), "p": np.array([0.5, 0.25]), "map": np.array([None, None], object)}
    made["map"][0] = np.zeros(2)
    table = frame(["a", "b", "c"], np.array([0, 2]), made, {1: "broken"}, ["said"])
    assert list(table.index) == ["a", "b", "c"]
    assert table["class"].dtype == "Int64"
    assert table["class"].tolist() == [4, pd.NA, 2]
    assert table.loc["b", "problem"] == "broken"
    assert table["p"].isna().tolist() == [False, True, False]
    assert table.attrs["notes"] == ["said"]
    assert "problem" not in frame(["a"], np.array([0]), {"p": np.array([1.0])}, {}).columns


def test_several_targets_stand_under_their_own_names():
    answer = Answer(task="regression")
    both = Target(task="regression", name="lat, lon")
    assert list(columns(answer, both, np.zeros((2, 2)))) == ["lat", "lon"]
    unsure = Target(task="regression", name="lat, or, lon")  # a name with a comma in it
    assert list(columns(answer, unsure, np.zeros((2, 2)))) == ["lat, or, lon_0", "lat, or, lon_1"]
    assert list(columns(answer, both, np.zeros((2, 1)))) == ["lat, lon"]


def test_a_target_named_problem_keeps_its_values_and_the_problems_go_elsewhere():
    table = frame([1, 2], np.array([0]), {"problem": np.array([3.0])}, {1: "no number"}, ["said"])
    assert table["problem"].tolist()[0] == 3.0
    assert table["problem_of_input"].isna().tolist() == [True, False]
    assert table.attrs["notes"][0] == "said"
    assert "'problem_of_input'" in table.attrs["notes"][1]
    assert frame([1], np.array([0]), {"problem": np.array([3.0])}, {}).attrs["notes"] == []


def test_columns_of_no_row_are_those_of_any():
    for answer, shape in (
        (Answer(task="classification", link="softmax", labels=("a", "b")), (2,)),
        (Answer(task="classification", link="sigmoid"), (1,)),
        (Answer(task="classification", link="none"), (4, 5, 3)),
        (Answer(task="multilabel", labels=("a", "b")), (2,)),
        (Answer(task="regression"), (2,)),
        (Answer(task="other"), (4, 4)),
    ):
        assert list(columns(answer, PLAIN, np.zeros((0, *shape)))) == list(
            columns(answer, PLAIN, np.zeros((3, *shape)))
        )
