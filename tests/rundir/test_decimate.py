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
