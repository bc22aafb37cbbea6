import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data.describe import checks


@pytest.mark.parametrize(("most", "told"), [(89, False), (90, True), (100, False)])
def test_imbalance_begins_at_nine_of_ten(most, told):
    counts = {"no": most, "yes": 100 - most} if most < 100 else {"no": 100}
    assert (checks.imbalance(counts) is not None) == told


def test_a_very_rare_class_is_told_in_hundredths():
    assert "99.90 %" in checks.imbalance({"no": 999, "yes": 1})
    assert checks.imbalance({}) is None


def test_few_samples_are_named_and_many_such_classes_counted():
    assert checks.few_samples({"a": 10, "b": 10}) is None
    assert "'b' (9)" in checks.few_samples({"a": 10, "b": 9})
    told = checks.few_samples({f"c{k}": 2 for k in range(8)})
    assert "and 3 more classes" in told
    assert "their figures" in told


def test_labels_that_differ_in_case_alone():
    assert checks.same_but_for_spelling(["a", "b"]) is None
    assert "'new  york', 'New York'" in checks.same_but_for_spelling(["New York", "new  york"]).replace(
        "'New York', 'new  york'", "'new  york', 'New York'"
    )


@given(st.lists(st.text(alphabet="abAB ", min_size=1), unique=True))
def test_labels_are_alike_if_and_only_if_their_folded_forms_are(names):
    folded = [" ".join(name.split()).casefold() for name in names]
    assert (checks.same_but_for_spelling(names) is not None) == (len(set(folded)) < len(folded))


@pytest.fixture
def frame():
    random = np.random.default_rng(1)
    y = random.integers(0, 3, 3000)
    return pd.DataFrame(
        {
            "row": np.arange(3000),
            "noise": random.normal(size=3000),
            "hint": y + random.normal(size=3000),
            "copy": np.array(["low", "mid", "high"])[y],
            "code": y * 10.0 + random.uniform(size=3000),
            "y": np.array(["a", "b", "c"])[y],
        }
    )


def test_a_column_that_decides_the_target_leaks_and_a_hint_does_not(frame):
    scores = {name: checks.determined(frame[name], frame["y"]) for name in frame.columns[:-1]}
    assert scores["copy"] == 1.0
    assert scores["code"] > 0.98
    assert scores["row"] < 0.2
    assert scores["noise"] < 0.2
    assert 0.2 < scores["hint"] < 0.9
    told = checks.leaks(frame, "y")
    assert "'copy' (100 %)" in told
    assert "'code'" in told
    assert "hint" not in told
    assert checks.leaks(frame[["row", "noise", "y"]], "y") is None


def test_a_number_that_decides_a_number_leaks():
    random = np.random.default_rng(2)
    price = random.uniform(1, 100, 2000)
    frame = pd.DataFrame(
        {"euro": price, "dollar": price * 1.1, "size": price + 40 * random.normal(size=2000)}
    )
    assert "'dollar'" in checks.leaks(frame, "euro")
    assert "'size'" not in checks.leaks(frame, "euro")


def test_a_target_without_spread_or_rows_is_decided_by_nothing():
    assert checks.determined(pd.Series([1, 2, 3]), pd.Series(["a", "a", "a"])) == 0.0
    assert checks.determined(pd.Series([1.0]), pd.Series(["a"])) == 0.0
    assert checks.determined(pd.Series([1.0, 2.0]), pd.Series([None, None])) == 0.0


@pytest.mark.parametrize(
    ("values", "name", "is_id"),
    [
        ([1, 2, 3, 4], "row", True),
        ([7, 3, 9, 1], "customer_id", True),
        ([7, 3, 9, 1], "size", False),
        ([1.5, 2.5, 3.5, 4.5], "id", False),
        (["A-01", "A-02", "B-07"], "code", True),
        (["Ann", "Bob", "Cid"], "name", False),
        (["2024-01-01", "2024-01-02", "2024-01-03"], "day", False),
        (["12.5", "13.5", "14.1"], "size", False),
        ([1, 2, 2, 3], "id", False),
        ([1, 2], "id", False),
    ],
)
def test_ids(values, name, is_id):
    assert checks.is_id(pd.Series(values), name) == is_id


def test_dates_are_no_ids():
    assert not checks.is_id(pd.Series(pd.date_range("2024-01-01", periods=5)), "day")


def test_duplicates_over_the_split(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(300, 4))
    assert checks.duplicates(rows[:200], rows[200:]) is None
    assert checks.duplicates(rows[:200], rows[150:]).startswith("50 of 150 validation samples (33 %)")
    monkeypatch.setattr(checks, "HASHED_BYTES", 100 * rows[:1].nbytes)
    assert checks.duplicates(rows[:200], rows[150:]) is None
    told = checks.duplicates(rows[:200], rows[50:])
    assert told.startswith("50 of 100 validation samples (50 %, of the first 100 compared)")
