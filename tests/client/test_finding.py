"""Queries over rows of runs: what fits, in which order."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.client.finding import columns, matching, ordered, terms
from lepton_kit.errors import ConfigError

ROWS = [
    {"id": "conv-1", "name": "conv", "status": "finished", "loss": 0.25, "seconds": 130.0, "tags": "base, 8bit", "note": ""},
    {"id": "conv-2", "name": "Wide conv", "status": "failed", "loss": float("nan"), "seconds": 5.0, "tags": "", "note": "too hot"},
    {"id": "lstm-1", "name": "lstm", "status": "running", "loss": 0.5, "seconds": None, "tags": "base", "note": ""},
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [0, 1, 2]),
        ("conv", [0, 1]),
        ("CONV wide", [1]),
        ('"too hot"', [1]),
        ("status=finished", [0]),
        ("status!=finished", [1, 2]),
        ("state=FAILED", [1]),
        ("name=*conv", [0, 1]),
        ("tag=base", [0, 2]),
        ("tags=bas", []),
        ("tag=8*", [0]),
        ("loss<0.5", [0]),
        ("loss<=0.5", [0, 2]),
        ("loss>25%", [2]),
        ("loss>=25%", [0, 2]),
        ("loss=0.25", [0]),
        ("loss!=0.25", [1, 2]),
        ("loss=", [1]),
        ("time>2min", [0]),
        ("time<1h", [0, 1]),
        ("id>=conv-2", [1, 2]),
        ("conv loss<1", [0]),
        ("note=*hot*", [1]),
        ('note="too hot"', [1]),
        ("loss=high", []),
        ('"conv', [0, 1]),
    ],
)
def test_what_fits_a_query(query: str, found: list[int]):
    assert matching(ROWS, query) == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("los<1", "query: got 'los'; expected 'loss', perhaps? one of the columns id, name"),
        ("zzz=1", "query: got 'zzz'; expected one of the columns id"),
        ("loss<few", "query: loss<: got 'few'; expected a number"),
    ],
)
def test_what_a_query_can_not_mean(query: str, said: str):
    with pytest.raises(ConfigError) as caught:
        matching(ROWS, query)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("loss", [0, 2, 1]),
        ("-loss", [2, 0, 1]),
        ("time", [1, 0, 2]),
        ("-seconds", [0, 1, 2]),
        ("name", [0, 2, 1]),
        ("-name", [1, 2, 0]),
    ],
)
def test_an_order_has_the_unknown_last(column: str, order: list[int]):
    assert ordered(ROWS, column) == order


def test_equal_cells_keep_their_order_both_ways():
    rows = [{"n": 1, "k": 0}, {"n": 0, "k": 1}, {"n": 1, "k": 2}]
    assert ordered(rows, "n") == [1, 0, 2]
    assert ordered(rows, "-n") == [0, 2, 1]


def test_without_rows_nothing_is_wrong():
    assert matching([], "loss<1 word") == []
    assert ordered([], "loss") == []
    assert columns([]) == []


@given(st.text())
def test_any_text_is_a_query_or_is_refused_in_words(text: str):
    assert all(term.operator or term.column is None for term in terms(text))
    with contextlib.suppress(ConfigError):
        assert set(matching(ROWS, text)) <= {0, 1, 2}


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=8), st.sampled_from(["v", "-v"]))
def test_an_order_is_a_permutation(values: list[float | None], column: str):
    assert sorted(ordered([{"v": value} for value in values], column)) == list(range(len(values)))
