"""Rows to train on, to choose by and to test on, drawn as a column of a frame."""

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.errors import ConfigError, DataError


def frame(rows=200):
    return pd.DataFrame(
        {
            "x": np.arange(rows),
            "bad": ["yes" if k % 4 == 0 else "no" for k in range(rows)],
            "who": np.arange(rows) // 5,
        }
    )


def test_shares_are_of_all_rows_and_every_value_is_held_out_in_proportion():
    rows = frame()
    split = data.draw_splits(rows, by="bad", validation=0.2, test=0.3, seed=3)
    counts = pd.crosstab(split, rows["bad"])
    assert counts.loc["test"].tolist() == [45, 15]
    assert counts.loc["validation"].tolist() == [30, 10]
    assert counts.loc["train"].tolist() == [75, 25]
    assert (split == data.draw_splits(rows, by="bad", validation=0.2, test=0.3, seed=3)).all()
    assert (split != data.draw_splits(rows, by="bad", validation=0.2, test=0.3, seed=4)).any()


def test_groups_stay_whole():
    rows = frame()
    split = data.draw_splits(rows, group="who", validation=0.25, test=0.25)
    assert (pd.Series(split).groupby(rows["who"]).nunique() == 1).all()
    assert set(split) == {"train", "validation", "test"}


def test_rows_of_a_test_that_is_fixed_stay_in_it_whatever_the_seed_is():
    places = [3, 5, 199]
    for seed in (0, 1):
        split = data.draw_splits(frame(), by="bad", validation=0.5, test=places, seed=seed)
        assert np.flatnonzero(split == "test").tolist() == places
        assert abs((split == "validation").sum() - 100) <= 1


def test_the_table_leaves_the_test_rows_alone():
    rows = frame()
    rows["split"] = data.draw_splits(rows, by="bad", validation=0.2, test=0.3)
    prepared = data.table(rows, target="bad", split="split", drop=["who"]).prepare()
    assert (len(prepared.train), len(prepared.validation)) == (100, 40)
    assert "60 rows that 'split' calls test are left alone" in prepared.notes
    mean = rows["x"][rows["split"] == "train"].mean()
    assert prepared.preprocessing.columns[0].mean == pytest.approx(
        mean
    )  # neither other split is learned from


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"by": "worse"}, "by: got 'worse'; expected one of the columns x, bad, who"),
        ({"group": "w"}, "group: got 'w'; expected one of the columns"),
        ({"by": "bad", "group": "who"}, "group: got 'who'; expected not beside by="),
        ({"test": 1.5}, "test: got 1.5; expected a share of at least 0, below 1"),
        ({"validation": True}, "validation: got True; expected a share"),
        ({"test": [2, 200]}, "test: got 200; expected places from 0 to 199"),
        ({"test": ["a"]}, "the places of rows as whole numbers"),
    ],
)
def test_what_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        data.draw_splits(frame(), **options)


def test_too_few_rows_and_no_frame():
    with pytest.raises(DataError, match="no row of 2 is left for train"):
        data.draw_splits(frame(2), validation=0.5, test=0.5)
    with pytest.raises(DataError, match="draw_splits: a list; expected a frame"):
        data.draw_splits([1, 2])
