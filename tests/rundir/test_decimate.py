import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lepton_kit.rundir.decimate import keep, thin

CURVES = arrays(np.float64, st.integers(0, 400), elements=st.floats(-1e6, 1e6) | st.just(float("nan")))


@given(CURVES, st.integers(4, 60))
def test_keeps_few_points_ends_and_extremes(values, limit):
    chosen = keep(values, limit)
    assert len(chosen) <= max(limit, 0)
    assert np.all(np.diff(chosen) > 0)
    if len(values):
        assert chosen[0] == 0
        assert chosen[-1] == len(values) - 1
    if np.isfinite(values).any():
        assert np.nanmax(values[chosen]) == np.nanmax(values)
        assert np.nanmin(values[chosen]) == np.nanmin(values)


@given(CURVES, st.integers(4, 60))
def test_short_curves_pass_whole(values, limit):
    if len(values) <= limit:
        assert np.array_equal(keep(values, limit), np.arange(len(values)))


def test_a_spike_in_a_long_flat_curve_survives():
    values = np.zeros(1_000_000)
    values[654_321] = 9.0
    x, y = thin(np.arange(len(values)), values, 600)
    assert len(x) <= 600
    assert 654_321 in x
    assert y.max() == 9.0


def test_refuses_a_limit_that_can_not_hold_the_ends():
    with pytest.raises(ValueError, match="limit: got 3; expected at least 4"):
        keep(np.zeros(10), 3)


@pytest.mark.parametrize(("count", "limit"), [(1000, 20), (10_000, 100), (10_000, 101), (103, 100)])
def test_all_parts_of_a_restless_curve_are_drawn_with_about_as_many_points_as_allowed(count, limit):
    chosen = keep(np.random.default_rng(0).normal(size=count), limit)
    assert limit // 2 <= len(chosen) <= limit
    assert np.diff(chosen).max() <= 2 * -(
        -count // (limit // 2 - 1)
    )  # no two neighbours further than two buckets
