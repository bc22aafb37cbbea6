"""The columns of a table as fields to fill in: ranges, usual values, and an encoded row told in its own values."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit import data
from lepton_kit.data.preprocessing import Preprocessing, Target, parse
from lepton_kit.data.tables import learn
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.fields import field_of, told
from lepton_kit.data.tables.learn import Even
from lepton_kit.errors import DataError

ROWS = pd.DataFrame(
    {
        "age": [20, 30, 40, 50, 90] * 8,
        "income": [1.5, np.nan, 2.5, 7.25, 2.5] * 8,
        "home": (["rent", "own", "own", None] * 10),
        "kept": ["yes", "no", "yes", "yes"] * 10,
        "since": ["03.02.2021", "07.11.2023"] * 20,
        "bad": [0, 1] * 20,
    }
)


@pytest.fixture(scope="module")
def how():
    return data.table(ROWS, target="bad", validation_split=0.0).prepare().preprocessing


def test_fields_have_the_training_rows_ranges_and_usual_values(how):
    fields = {one.name: one for one in how.row_fields()}
    age, income, home, kept, since = (fields[name] for name in ("age", "income", "home", "kept", "since"))
    assert (age.kind, age.low, age.high, age.typical, age.may_be_missing) == ("number", 20, 90, 40, False)
    assert isinstance(age.typical, int)
    assert (income.low, income.high, income.typical, income.may_be_missing) == (1.5, 7.25, 2.5, True)
    assert (home.choices, home.typical, home.may_be_missing) == (("own", "rent"), "own", True)
    assert (kept.kind, kept.choices, kept.typical) == ("boolean", ("no", "yes"), "yes")
    assert (since.kind, since.low, since.high) == ("date", "03.02.2021", "07.11.2023")
    assert parse(json.loads(how.to_json()), "here").row_fields() == how.row_fields()


def test_what_fields_propose_can_be_read_again(how):
    row = {one.name: one.typical for one in how.row_fields()}
    encoded = how.encode([row])
    assert (encoded.problems, dict(encoded.notes)) == ({}, {})


def test_an_older_version_stored_no_ranges():
    old = Column(name="age", kind="number", mean=40.0, scale=10.0)
    assert (field_of(old).low, field_of(old).typical) == (None, None)
    assert field_of(Column(name="kept", kind="boolean", spelling=("no", "yes"))).typical is None
    assert field_of(Column(name="id", kind="hash", buckets=4)).kind == "text"
    assert Preprocessing(kind="images").row_fields() == ()


def test_an_encoded_row_is_told_in_its_own_values(how):
    row = {"age": 90, "income": None, "home": "rent", "kept": "no", "since": "07.11.2023"}
    text = told(how.columns, how.encode([row]).x[0], 9)
    assert sorted(text.split(", ")) == [
        "age 90",
        "home rent",
        "income missing",
        "kept no",
        "since 07.11.2023",
    ]
    assert (
        told(how.columns, how.encode([row | {"home": "tent"}]).x[0], 9).count("home none of the known") == 1
    )
    assert told(how.columns, how.encode([row]).x[0], 1) == "age 90"


@settings(max_examples=40)
@given(st.lists(st.lists(st.floats(-5, 5), max_size=9), min_size=1, max_size=9))
def test_the_median_of_pieces_is_exact_up_to_the_limit(pieces):
    even, everything = Even(), [value for piece in pieces for value in piece]
    for piece in pieces:
        even.add(np.array(piece))
    if everything:
        assert even.median == np.median(everything)


def test_beyond_the_limit_values_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(learn, "MEDIAN_OF", 100)
    even = Even()
    for start in range(0, 5000, 37):  # a sorted column: the first values alone would mislead
        even.add(np.arange(start, min(start + 37, 5000)))
    assert sum(map(len, even.parts)) <= 100
    assert even.median == pytest.approx(2500, rel=0.05)


def test_true_answers_become_targets():
    classes = Target(task="classification", class_names=("0", "1", "no"))
    assert classes.encoded(np.array([1.0, 0.0])).tolist() == [1, 0]
    assert classes.encoded(["no", "0"]).tolist() == [2, 0]
    names = Target(task="classification", class_names=("a", "b", "c"))
    maps = names.encoded(np.array([[0, 2], [1, 1]], np.uint8))  # all by number, in any shape
    assert (maps.tolist(), maps.dtype) == ([[0, 2], [1, 1]], np.int32)
    assert names.encoded([True, False]).tolist() == [1, 0]
    assert Target(task="classification").encoded([2, 0]).tolist() == [2, 0]
    values = Target(task="regression", mean=(10.0,), scale=(2.0,)).encoded([10, 14])
    assert (values.tolist(), values.dtype) == ([0.0, 2.0], np.float32)
    two = Target(task="regression", mean=(0.0, 1.0), scale=(1.0, 2.0))
    assert two.encoded([[1, 3], [2, 5]]).tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("target", "truth", "text"),
    [
        (
            Target(task="classification", class_names=("a", "b")),
            ["a", "c"],
            "true answer 1: c; expected one of the classes a, b",
        ),
        (Target(task="classification", class_names=("a", "b")), [0, 2], "true answer 1: 2; expected one of"),
        (
            Target(task="classification", class_names=("a", "b")),
            [1, 0, -1],
            "true answer 2: -1; expected one of",
        ),
        (Target(task="classification", class_names=("1", "2")), [1, 0], "true answer 1: 0; expected one of"),
        (
            Target(task="classification", class_names=("a", "b")),
            ["a", None],
            "true answer 1: None; expected one of",
        ),
        (
            Target(task="regression"),
            [[1.0, 2.0], [np.inf, 1.0]],
            r"true answer 1 is \[inf\s+1.\]; expected a number",
        ),
        (Target(task="regression"), [1.0, np.nan], "true answer 1 is nan; expected a number"),
        (Target(task="regression"), ["x"], "true answer 0: x; expected a number"),
    ],
)
def test_true_answers_that_are_none(target, truth, text):
    with pytest.raises(DataError, match=text):
        target.encoded(truth)
