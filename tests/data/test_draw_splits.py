"""Rows to train on, to choose by and to test on, drawn as a column of a frame."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit import data
from lepton_kit.data.splitting import check_holdout, check_split, last_rows, split_rows
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
        ({"test": 1.0}, "test: got 1.0; expected a share of at least 0, below 1"),
        ({"validation": 1}, "validation: got 1; expected a share of at least 0, below 1"),
        ({"test": ["a"]}, "the places of rows as whole numbers"),
    ],
)
def test_what_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        data.draw_splits(frame(), **options)


def test_too_few_rows_and_no_frame():
    with pytest.raises(DataError, match="no row of 2 is left for train"):
        data.draw_splits(frame(2), validation=0.5, test=0.5)
    with pytest.raises(DataError, match="no row of 4 is left for test"):
        data.draw_splits(frame(4), validation=0.5, test=0.1)
    with pytest.raises(DataError, match="draw_splits: a list; expected a frame"):
        data.draw_splits([1, 2])


shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32)


def whole(train, held, count):
    assert train.tolist() == sorted(train.tolist())
    assert held.tolist() == sorted(held.tolist())
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(count))


@given(st.integers(2, 200), shares, seeds)
def test_a_share_of_the_rows_is_held_out_and_never_none_or_all(count, share, seed):
    train, held = split_rows(count, share, seed)
    whole(train, held, count)
    wanted = round(count * share)
    assert len(held) == (wanted if 0 < wanted < count else 1)
    assert held.tolist() == split_rows(count, share, seed)[1].tolist()


@given(st.lists(st.integers(0, 3), min_size=2, max_size=120), shares, seeds)
def test_every_class_is_held_out_in_proportion(labels, share, seed):
    labels = np.array(labels)
    train, held = split_rows(len(labels), share, seed, labels=labels)
    whole(train, held, len(labels))
    wanted = {label: round((labels == label).sum() * share) for label in set(labels.tolist())}
    if 0 < sum(wanted.values()) < len(labels):
        assert {label: (labels[held] == label).sum() for label in wanted} == wanted
    else:
        assert len(held) == 1


@given(st.lists(st.integers(0, 8), min_size=2, max_size=80), shares, seeds)
def test_groups_stay_whole_and_are_held_out_as_far_as_they_fit(groups, share, seed):
    groups = np.array(groups)
    if len(set(groups.tolist())) < 2:
        with pytest.raises(DataError, match="one value only"):
            split_rows(len(groups), share, seed, groups=groups)
        return
    train, held = split_rows(len(groups), share, seed, groups=groups)
    whole(train, held, len(groups))
    assert not set(groups[train].tolist()) & set(groups[held].tolist())
    assert len(train)
    assert len(held)
    assert (
        len(held) <= share * len(groups) or len(set(groups[held].tolist())) == 1
    )  # the first, however large
    order = np.random.default_rng(seed).permutation(len(set(groups.tolist())))[:-1]
    sizes = np.unique(groups, return_counts=True)[1]
    left = [sizes[k] for k in order if np.unique(groups)[k] not in groups[held]]
    assert all(
        size > share * len(groups) - len(held) for size in left[-1:]
    )  # the last that was left had no room


def test_of_a_single_row_nothing_is_held_out():
    assert [len(part) for part in split_rows(1, 0.5, 0)] == [1, 0]
    assert [len(part) for part in split_rows(5, 0.0, 0)] == [5, 0]
    assert [len(part) for part in split_rows(1, 0.9, 0, labels=np.array([1]))] == [1, 0]


@given(st.integers(1, 1000), st.floats(0.0, 0.999))
def test_the_last_rows_are_held_out_by_keras_rule(count, share):
    edge = int(count * (1.0 - share))
    if share and edge in (0, count):
        with pytest.raises(DataError, match="leaves a split empty"):
            last_rows(count, share)
        return
    train, held = last_rows(count, share)
    rows = list(range(count))
    assert (rows[train], rows[held]) == (rows[:edge], rows[edge:])


@pytest.mark.parametrize(
    ("share", "seed", "field"),
    [(1.0, 0, "split"), (-0.1, 0, "split"), (True, 0, "split"), ("a", 0, "split"), (0.5, -1, "seed"), (0.5, True, "seed"), (0.5, 0.5, "seed")],
)  # fmt: skip
def test_shares_and_seeds_that_are_none(share, seed, field):
    with pytest.raises(ConfigError, match=field):
        check_split(share, seed)


def test_shares_and_seeds_at_their_limits():
    for share in (0, 0.0, 0.999, np.float64(0.5)):
        check_split(share, 0)
    check_split(0.5, np.int64(3))


def test_a_fixed_test_may_hold_the_first_row_and_nothing_else_is_refused():
    split = data.draw_splits(frame(20), validation=0, test=[0, 19])
    assert np.flatnonzero(split == "test").tolist() == [0, 19]
    assert set(data.draw_splits(frame(20), validation=0, test=[])) == {"train"}
    assert set(data.draw_splits(frame(20), validation=0, test=0)) == {"train"}
    for wrong in ([-1], [20], [[0, 1]]):
        with pytest.raises(ConfigError, match="test: got"):
            data.draw_splits(frame(20), test=wrong)
    with pytest.raises(DataError, match="left for validation"):
        data.draw_splits(frame(2), validation=0.1, test=0.5)


def test_what_is_drawn_where_nothing_is_asked_for_and_that_a_seed_draws_the_same_in_every_version():
    drawn = data.draw_splits(frame(12))
    assert (drawn == data.draw_splits(frame(12), validation=0.2, test=0.2, seed=0)).all()
    held = {name: np.flatnonzero(drawn == name).tolist() for name in ("test", "validation")}
    assert held == {"test": [2, 9], "validation": [5, 10]}


def test_groups_that_fill_the_share_to_the_last_row_are_all_held_out():
    for seed in range(20):
        _, held = split_rows(10, 0.4, seed, groups=np.repeat(np.arange(5), 2))
        assert len(held) == 4


@pytest.mark.parametrize("wrong", ["first", "", None, "Last"])
def test_which_rows_are_held_out_is_one_of_the_rules(wrong):
    for rule in ("random", "last"):
        check_holdout(rule)
    with pytest.raises(ConfigError, match=f"data.holdout: got {wrong!r}; expected one of random, last"):
        check_holdout(wrong)
