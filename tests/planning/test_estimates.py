"""Estimates, and how figures are told: in few digits, and large ones in words that people read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.planning.energy import Energy, shown
from lepton_kit.planning.estimates import Estimate, digits


@given(st.floats(1e-4, 1e12), st.integers(2, 5), st.sampled_from([1, -1]))
def test_a_figure_is_told_as_near_as_its_digits_allow_and_no_power_of_ten(size: float, count: int, sign: int):
    told = digits(sign * size, count)
    assert "e" not in told
    assert float(told.replace(",", "")) == pytest.approx(sign * size, rel=0.5001 * 10 ** (1 - count))
    shortest = told.replace(",", "").replace(".", "").lstrip("-0").rstrip("0")
    assert len(shortest) <= count


def test_whole_numbers_are_told_in_thousands():
    assert [digits(one) for one in (0.0, 99.94, 99.96, 100.4, 999.4, 999.6, 1e6)] == [
        *["0", "99.9", "100", "100", "999", "1,000", "1,000,000"],
    ]
    assert [digits(one, 2) for one in (9.94, 9.96, 10.4, 104.0)] == ["9.9", "10", "10", "100"]
    assert digits(math.inf) == "inf"


def test_energy_of_a_large_cluster_is_told_in_full():
    assert shown(3.6e9) == "1,000 kWh"
    assert shown(999.7) == "1,000 J"
    assert str(Energy(7.2e10, 3.6e10, 7.3e10, True)) == "20,000 kWh (measured, 10,000 kWh to 20,300 kWh)"


def test_an_estimate_turns_over_and_grows_with_its_ends():
    seconds = Estimate(2.0, 1.0, 8.0)
    assert seconds.inverse == Estimate(0.5, 0.125, 1.0)
    assert seconds.times(3.0) == Estimate(6.0, 3.0, 24.0)
    assert str(Estimate(math.inf, 4.0, math.inf)) == "at least 4"
