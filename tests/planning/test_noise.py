"""The gradient noise scale: unbiased for any cut, with an interval that holds, and what other batches cost by it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.errors import ConfigError
from lepton_kit.planning.noise import (
    LEAST,
    Estimate,
    Measured,
    NoiseScale,
    _ratio,
    _student,
    costs,
    epochs,
    noise_scale,
    of_rows,
    of_view,
)
from lepton_kit.rundir.view import RunView

scales = st.floats(0, 1e9)
batches = st.integers(1, 10**6)


def measured(gradients: np.ndarray, cut: tuple[int, ...], step: int = 0) -> Measured:
    """One step on these samples' gradients, shape ``(B, parameters)``, brute force."""
    ends = np.cumsum(cut)
    parts = [gradients[end - size : end] for size, end in zip(cut, ends, strict=True) if size]
    batch = len(gradients)
    small = sum(len(part) / batch * float(np.sum(part.mean(0) ** 2)) for part in parts)
    return Measured(step, batch, len(parts), 1, small, float(np.sum(gradients.mean(0) ** 2)))


def truth(gradients: np.ndarray, *, finite: bool) -> tuple[float, float]:
    """The trace of the covariance of all samples' gradients, and the squared norm of their mean."""
    return float(np.var(gradients, axis=0, ddof=int(finite)).sum()), float(np.sum(gradients.mean(0) ** 2))


@pytest.mark.parametrize("cut", [(2, 2), (1, 3), (1, 1, 2), (0, 1, 3), (3, 0, 0, 1)])
@pytest.mark.parametrize("finite", [True, False], ids=["without replacement", "with replacement"])
def test_over_all_batches_that_can_be_drawn_both_parts_are_right_on_average(
    cut: tuple[int, ...], finite: bool
):
    every = np.random.default_rng(3).normal(0.7, 1.0, (5, 3))
    batch = sum(cut)
    drawn = itertools.permutations(range(5), batch) if finite else itertools.product(range(5), repeat=batch)
    found = [measured(every[list(one)], cut).estimates(5 if finite else None) for one in drawn]
    assert np.mean(found, axis=0) == pytest.approx(truth(every, finite=finite))


def test_the_interval_holds_about_nine_times_of_ten_and_smoothing_apart_is_not_off():
    draw = np.random.default_rng(7)
    every = draw.normal(0.3, 1.0, (4000, 20))
    noise, square = truth(every, finite=True)
    held, values = 0, []
    for _ in range(200):
        rows = [measured(every[draw.choice(4000, 64, replace=False)], (40, 24), step) for step in range(60)]
        found = noise_scale(rows, 4000)
        assert found is not None
        held += found.low <= noise / square <= found.high
        values.append(found.value)
    assert 0.85 <= held / 200 <= 0.97
    assert np.mean(values) == pytest.approx(noise / square, rel=0.02)


def test_where_the_gradient_is_lost_in_noise_the_scale_is_large_without_a_bound():
    draw = np.random.default_rng(5)
    rows = [measured(draw.normal(0.0, 1.0, (32, 10)), (16, 16), step) for step in range(40)]
    found = noise_scale(rows)
    assert found is not None
    assert found.high == math.inf
    assert found.low > 32
    assert "at least" in str(found)
    assert epochs(found, 32, 64).low == 1.0


def test_the_last_measurements_count_most():
    before = [Measured(step, 64, 2, 1, 1.1, 1.0) for step in range(300)]
    after = [Measured(300 + step, 64, 2, 1, 1.7, 1.5) for step in range(300)]
    early, late = noise_scale(before), noise_scale([*before, *after])
    only = noise_scale(after)
    assert early is not None
    assert late is not None
    assert only is not None
    assert late.value == pytest.approx(only.value, rel=0.01)
    assert late.step == 599


def test_steps_of_one_block_count_as_many():
    one = Measured(0, 64, 2, 1, 1.1, 1.0)
    many = Measured(1, 64, 2, 9, 1.7, 1.5)
    found = noise_scale([one, many] * LEAST)
    assert found is not None
    noise, square = (0.9 * b + 0.1 * a for a, b in zip(one.estimates(), many.estimates(), strict=True))
    assert found.value == pytest.approx(noise / square, rel=0.03)


def test_too_few_measurements_say_nothing():
    assert noise_scale([Measured(0, 64, 2, 1, 2.0, 1.0)] * (LEAST - 1)) is None
    assert of_view(RunView()) is None


@given(scales, scales, scales, batches, batches)
def test_what_another_batch_costs(low: float, value: float, high: float, first: int, second: int):
    low, value, high = sorted((low, value, high))
    found = epochs(Estimate(value, low, high), first, second)
    assert found.low <= found.value <= found.high
    assert min(1.0, second / first) * (1 - 1e-9) <= found.low
    assert found.high <= max(1.0, second / first) * (1 + 1e-9)
    back = epochs(Estimate(value, low, high), second, first)
    assert found.value * back.value == pytest.approx(1.0)


def test_small_batches_beside_the_noise_scale_are_free_and_large_ones_cost_all_that_they_are_larger():
    assert epochs(Estimate(1e6, 1e6, 1e6), 1, 2).value == pytest.approx(1.0, abs=1e-5)
    assert epochs(Estimate(1.0, 1.0, 1.0), 1000, 2000).value == pytest.approx(2.0, rel=1e-3)
    assert epochs(Estimate(math.inf, 10.0, math.inf), 128, 512).value == 1.0


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Measured(0, 8, 1, 1, 1.0, 1.0), "ranks"),
        (lambda: Measured(0, 1, 2, 1, 1.0, 1.0), "batch"),
        (lambda: Measured(0, 8, 2, 0, 1.0, 1.0), "batch"),
        (lambda: epochs(Estimate(1.0, 1.0, 1.0), 0, 8), "batch_from"),
        (lambda: epochs(Estimate(1.0, 1.0, 1.0), 8, -1), "batch_to"),
    ],
)
def test_what_can_not_be_is_refused_by_name(make, named: str):
    with pytest.raises(ConfigError, match=named):
        make()


def test_rows_that_are_none_are_passed_over():
    good = [7, 64, 2, 1, 2.0, 1.0]
    rows = [good, [7, 64, 1, 1, 2.0, 1.0], [7, 64, 2, 1, math.nan, 1.0], [7, 64, 2], [math.inf, *good[1:]]]
    assert of_rows([*rows, good]) == [Measured(7, 64, 2, 1, 2.0, 1.0)] * 2


def test_it_is_told_as_estimated():
    found = NoiseScale(312.0, 250.0, 402.0, step=9, measures=8)
    assert found.origin == "estimated"
    assert "estimated" in str(found)
    assert costs(found, 128) == "128 → 512 costs 1.9 × the epochs"


@given(
    st.floats(0.0, 100.0),
    st.floats(-10.0, 100.0),
    st.floats(0.01, 10.0),
    st.floats(0.01, 10.0),
    st.floats(-0.9, 0.9),
    st.floats(0.5, 3.0),
)
def test_the_interval_of_a_ratio_ends_where_it_is_as_many_deviations_off(
    top: float, bottom: float, deviation: float, other: float, correlation: float, quantile: float
):
    common = correlation * deviation * other
    covariance = np.array([[deviation**2, common], [common, other**2]])
    low, high = _ratio(top, bottom, covariance, quantile)

    def beyond(ratio: float) -> float:
        spread = np.array([1.0, -ratio]) @ covariance @ np.array([1.0, -ratio])
        return float((top - ratio * bottom) ** 2 / (quantile**2 * spread))

    assert 0.0 <= low <= high
    if bottom <= quantile * other * (1 - 1e-6):
        assert high == math.inf  # it can't be told that the gradient has a length at all
        least, most = max(0.0, top - quantile * deviation), bottom + quantile * other
        assert low == pytest.approx(least / most if most > 0 else 0.0)
    elif bottom >= quantile * other * (1 + 1e-3):
        assert low == 0.0 or beyond(low) == pytest.approx(1.0, rel=1e-3)
        assert high == 0.0 or beyond(high) == pytest.approx(1.0, rel=1e-3)
        assert high == pytest.approx(low) or beyond((low + high) / 2) <= 1.0


def test_a_length_that_may_be_nothing_bounds_nothing():
    assert _ratio(1.0, -1.0, np.eye(2), 1.0) == (0.0, math.inf)
    assert _ratio(9.0, 1.0, np.eye(2), 1.0) == (4.0, math.inf)


@pytest.mark.parametrize(
    ("degrees", "quantile", "off"),
    [
        (3, 2.353363, 3e-3),
        (4, 2.131847, 1e-3),
        (5, 2.015048, 5e-4),
        (7, 1.894579, 2e-4),
        (10, 1.812461, 5e-5),
        (30, 1.697261, 1e-6),
        (1e9, 1.644854, 1e-6),
    ],
)
def test_quantiles_are_those_of_the_tables(degrees: float, quantile: float, off: float):
    assert _student(degrees) == pytest.approx(quantile, rel=off)
    assert _student(0.5) == _student(1.0) > _student(3.0)


@pytest.mark.parametrize("measures", [LEAST, 40])
def test_the_interval_holds_nine_times_of_ten_for_few_measurements_too(measures: int):
    held, draw = 0, np.random.default_rng(1)
    for row in draw.normal(1.0, 0.2, (3000, measures)):
        # a batch of all samples: the squared length is known, and S alone scatters around 10
        rows = [Measured(step, 10, 2, 1, 1.0 + noise, 1.0) for step, noise in enumerate(row)]
        found = noise_scale(rows, 10)
        assert found is not None
        held += found.low <= 10.0 <= found.high
    assert held / 3000 == pytest.approx(0.9, abs=0.012)


def test_the_most_that_a_step_says_is_of_two_samples_and_of_all_that_there_are():
    two = Measured(0, 2, 2, 1, small=3.0, large=2.0)
    assert two.estimates() == (2.0, 1.0)
    assert two.estimates(2) == two.estimates(1) == (2.0, 2.0)  # all samples: |g|² has no noise in it
    assert two.estimates(4) == (2.0, 1.5)
    assert Measured(0, 12, 4, 1, small=3.0, large=2.0).estimates() == (4.0, 2.0 - 4.0 / 12)
    same = Estimate(1.0, 1.0, 1.0)
    assert epochs(same, 1, 3) == Estimate(2.0, 2.0, 2.0)
    assert epochs(same, 3, 1) == Estimate(0.5, 0.5, 0.5)


def test_a_run_is_estimated_by_its_own_number_of_samples():
    rows = [[step, 64, 2, 1, 1.5 + 0.01 * (step % 3), 1.0] for step in range(LEAST)]
    view = RunView()
    view.norms.extend(rows)
    measures = of_rows(rows)
    drawn_again = noise_scale(measures)
    assert drawn_again is not None
    assert of_view(view) == drawn_again
    for samples in (1, 64, 100):
        view.plan = {"samples": samples}
        assert of_view(view) == noise_scale(measures, samples) != drawn_again
    for nonsense in (0, -5, "many", None):
        view.plan = {"samples": nonsense}
        assert of_view(view) == drawn_again
    assert (drawn_again.step, drawn_again.measures) == (LEAST - 1, LEAST)


def test_scales_without_an_upper_end_are_told_so():
    assert str(NoiseScale(math.inf, 250.0, math.inf, 9, 8)) == "noise scale at least 250 samples (estimated)"
    told = str(NoiseScale(312.0, 250.0, math.inf, 9, 8))
    assert told == "noise scale ≈ 312 samples (estimated, at least 250)"
    assert costs(NoiseScale(1.0, 1.0, 1.0, 9, 8), 1000, 200) == "1,000 → 200,000 costs 200 × the epochs"


def test_alike_measurements_have_the_value_and_no_spread():
    found = noise_scale([Measured(step, 64, 2, 1, small=1.25, large=1.0) for step in range(20)])
    assert found is not None
    assert found.value == found.low == found.high == pytest.approx(16.0 / 0.75)
    none = noise_scale([Measured(step, 64, 2, 1, small=0.9, large=1.0) for step in range(20)])
    assert none is not None
    assert (none.value, none.low, none.high) == (0.0, 0.0, 0.0)
