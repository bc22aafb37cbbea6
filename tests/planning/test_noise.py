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
    assert of_rows(rows) == [Measured(7, 64, 2, 1, 2.0, 1.0)]


def test_it_is_told_as_estimated():
    found = NoiseScale(312.0, 250.0, 402.0, step=9, measures=8)
    assert found.origin == "estimated"
    assert "estimated" in str(found)
    assert costs(found, 128) == "128 → 512 costs 1.9 × the epochs"
