"""Speeds with more workers: measured where they were, estimated elsewhere, never falling, each worker adding less."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.planning.speedups import PARALLEL_SHARE, concave, rates

MEASURED = st.dictionaries(st.integers(1, 64), st.floats(1e-6, 1e9), max_size=5)


@settings(max_examples=150)
@given(MEASURED, st.integers(1, 80))
def test_more_workers_are_never_slower_and_each_adds_less(measured: dict[int, float], most: int):
    found = rates(measured, most)
    assert len(found) == most
    assert found[0] == 1.0
    gains = [math.log(after / before) for before, after in itertools.pairwise(found)]
    assert all(gain >= -1e-9 for gain in gains)
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(gains))


def test_what_was_measured_is_kept_where_it_is_plausible():
    measured = {1: 100.0, 2: 180.0, 4: 300.0}
    found = rates(measured, 4)
    assert [found[n - 1] * 100 for n in measured] == pytest.approx(list(measured.values()))


def test_between_and_beyond_the_measured_numbers_a_step_takes_a_fixed_and_a_shared_time():
    fixed, shared = 0.2, 0.8
    rate = {n: 1 / (fixed + shared / n) for n in (1, 2, 3, 8, 50)}
    found = rates({n: rate[n] for n in (1, 3)}, 50)
    assert [found[n - 1] for n in (2, 8, 50)] == pytest.approx([rate[n] for n in (2, 8, 50)])


def test_one_measured_number_takes_the_usual_share():
    expected = 1 / (1 - PARALLEL_SHARE + PARALLEL_SHARE / 4)
    assert rates({}, 4)[3] == pytest.approx(expected)
    assert rates({2: 50.0}, 4)[3] == pytest.approx(expected)


def test_more_than_linear_is_not_carried_on_and_nonsense_is_passed_over():
    found = rates({1: 100.0, 2: 300.0}, 4)
    assert found[3] == pytest.approx(6.0)
    assert rates({0: 5.0, 1: -1.0, 2: math.inf, 3: math.nan}, 4) == rates({}, 4)


@settings(max_examples=100)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_the_concave_values_are_the_least_ones_above(values: list[float]):
    found = concave(values)
    assert all(above >= value - 1e-6 for above, value in zip(found, values, strict=True))
    for place in range(1, len(values) - 1):
        middle = (found[place - 1] + found[place + 1]) / 2
        assert found[place] >= middle - 1e-6
        assert (
            found[place] == pytest.approx(max(values[place], middle), abs=1e-6)
            or found[place] == values[place]
        )
