"""Masks are exact in number, depend on the weights alone, and the schedule ends where it should."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lepton_kit.compression.pruning import masks
from lepton_kit.config import PruningConfig
from lepton_kit.errors import CompressionError

WEIGHTS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=4, max_side=8),
    elements=st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0]),  # many ties on purpose
)
SPARSITY = st.floats(0, 0.99)


@given(WEIGHTS, SPARSITY)
def test_magnitude_mask_drops_exactly_the_smallest(weights, sparsity):
    mask = masks.magnitude_mask(weights, sparsity)
    assert mask.shape == weights.shape
    assert np.count_nonzero(mask == 0) == round(sparsity * weights.size)
    dropped, stayed = np.abs(weights)[mask == 0], np.abs(weights)[mask == 1]
    if dropped.size and stayed.size:
        assert dropped.max() <= stayed.min()


@given(WEIGHTS, SPARSITY)
def test_earlier_of_equal_weights_goes_first(weights, sparsity):
    mask = masks.magnitude_mask(np.ones_like(weights), sparsity).ravel()
    assert not mask[: round(sparsity * weights.size)].any()
    assert mask[round(sparsity * weights.size) :].all()


@given(WEIGHTS, SPARSITY, SPARSITY)
def test_a_pruned_weight_stays_pruned(weights, one, other):
    low, high = sorted((one, other))
    first = masks.magnitude_mask(weights, low)
    second = masks.magnitude_mask(weights * first, high)
    assert np.all(second <= np.where(weights == 0, 1, first))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("pattern", ["unstructured", "block", "2:4"])
def test_a_weight_that_has_diverged_counts_as_large(pattern, scope, value):
    weights = np.arange(1.0, 33.0).reshape(8, 4)
    config = PruningConfig(pattern=pattern, scope=scope, block=(2, 2))
    as_large = weights.copy()
    weights[0, 0], as_large[0, 0] = value, 1e3  # the smallest before
    found, expected = (
        masks.masks_for([one, weights[::-1].copy()], [(-1,), (-1,)], 0.5, config)
        for one in (weights, as_large)
    )
    assert found[0][0, 0] == 1
    assert found[0].sum() + found[1].sum() == 32
    if scope == "layer":
        np.testing.assert_array_equal(found[0], expected[0])


def test_a_weight_that_has_diverged_leaves_the_others_of_its_layer_as_they_would_be_without_it():
    plain = masks.layer_adaptive_scores(np.array([3.0, 1.0, 2.0]))
    found = masks.layer_adaptive_scores(np.array([3.0, np.inf, 1.0, 2.0]))
    assert found.tolist() == [plain[0], np.inf, *plain[1:]]


@given(st.lists(WEIGHTS, min_size=1, max_size=4), SPARSITY)
def test_global_masks_have_the_share_over_all(tensors, sparsity):
    found = masks.global_masks(tensors, sparsity)
    assert [mask.shape for mask in found] == [tensor.shape for tensor in tensors]
    assert sum(np.count_nonzero(mask == 0) for mask in found) == round(
        sparsity * sum(t.size for t in tensors)
    )


def test_global_masks_ignore_the_scale_of_a_layer_and_never_empty_one():
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(20, 20)) * 1e-3, rng.normal(size=(20, 20)) * 1e3
    low, high = masks.global_masks([small, large], 0.9)
    assert 0.05 < low.mean() < 0.2
    assert 0.05 < high.mean() < 0.2
    assert all(mask.any() for mask in masks.global_masks([small, large], 0.99))


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000))
def test_two_of_every_four_stay_along_the_reduction(groups, outputs, seed):
    weights = np.random.default_rng(seed).normal(size=(1, groups, 4, outputs)).astype(np.float32)
    mask = masks.group_mask(weights).reshape(-1, 4, outputs)
    assert np.all(mask.sum(1) == 2)
    magnitudes = np.abs(weights).reshape(-1, 4, outputs)
    assert np.all(np.where(mask == 0, magnitudes, 0).max(1) <= np.where(mask == 1, magnitudes, 9).min(1))


def test_output_axes_turn_the_groups():
    weights = np.arange(1.0, 9.0).reshape(2, 4)
    assert masks.group_mask(weights, output_axes=(0,)).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]


@given(WEIGHTS, SPARSITY, st.integers(1, 5), st.integers(1, 5))
def test_blocks_fall_as_a_whole(weights, sparsity, rows, columns):
    mask = masks.as_matrix(masks.block_mask(weights, sparsity, (rows, columns)))[0]
    zeros = blocks = 0
    for top in range(0, mask.shape[0], rows):
        for left in range(0, mask.shape[1], columns):
            part = mask[top : top + rows, left : left + columns]
            assert part.min() == part.max()
            zeros, blocks = zeros + (part.max() == 0), blocks + 1
    assert zeros == round(sparsity * blocks)


@given(WEIGHTS, st.sampled_from([(-1,), (0,), (-2, -1)]))
def test_matrix_form_comes_back(weights, axes):
    matrix, order = masks.as_matrix(weights, axes)
    np.testing.assert_array_equal(masks.from_matrix(matrix, weights.shape, order), weights)


SCHEDULES = st.builds(
    lambda begin, length, **rest: PruningConfig(begin_step=begin, end_step=begin + length, **rest),
    st.integers(0, 50),
    st.integers(1, 200),
    sparsity=SPARSITY,
    initial_sparsity=SPARSITY,
    frequency=st.integers(1, 60),
    power=st.floats(0.5, 5),
)


@given(SCHEDULES)
def test_schedule_rises_from_initial_to_final(config):
    ramp = [masks.sparsity_at(step, config) for step in range(config.begin_step, config.end_step + 1)]
    assert ramp[0] == pytest.approx(min(config.initial_sparsity, config.sparsity))
    assert ramp[-1] == config.sparsity
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(ramp))
    if config.begin_step:
        assert masks.sparsity_at(config.begin_step - 1, config) == 0


@given(SCHEDULES)
def test_updates_come_every_frequency_and_at_the_end(config):
    steps = list(masks.update_steps(config))
    expected = range(config.begin_step, config.end_step, config.frequency)
    assert steps == [*expected, config.end_step]
    for step in range(config.end_step + 2):
        assert masks.next_update_step(step, config) == next((s for s in steps if s >= step), None)


@settings(max_examples=20)
@given(st.sampled_from(["layer", "global"]), st.sampled_from(["unstructured", "block", "2:4"]), SPARSITY)
def test_masks_for_every_scope_and_pattern(scope, pattern, sparsity):
    rng = np.random.default_rng(1)
    tensors = [rng.normal(size=(3, 3, 4, 8)), rng.normal(size=(5, 6))]
    config = PruningConfig(scope=scope, pattern=pattern, block=(2, 2))
    found = masks.masks_for(tensors, [(-1,), (-1,)], sparsity, config)
    assert [mask.shape for mask in found] == [tensor.shape for tensor in tensors]
    if pattern == "2:4":
        assert found[0].mean() == {True: 1, False: 0.5}.get(sparsity < 0.125) or found[0].mean() == 0.75
        assert found[1].all()  # 5 rows are no whole groups of 4
    else:
        zeros = sum(np.count_nonzero(mask == 0) for mask in found)
        assert zeros == pytest.approx(sparsity * 318, abs=6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: masks.check_sparsity(1.0, "sparsity"),
            r"sparsity: got 1.0; expected at least 0 and below 1",
        ),
        (lambda: masks.check_sparsity(-0.1, "ratio"), "ratio: got -0.1"),
        (lambda: masks.check_sparsity(float("nan")), "sparsity: got nan"),
        (lambda: masks.check_sparsity("half"), "expected a number"),
        (lambda: masks.group_mask(np.ones((6, 2))), "reduction size 6 is no multiple of 4"),
        (lambda: masks.group_mask(np.ones((8, 2)), keep=0), "keep must be from 1 to 4"),
        (lambda: masks.block_mask(np.ones((4, 4)), 0.5, (0, 2)), r"block: got \(0, 2\)"),
        (lambda: masks.resolve(PruningConfig(begin_step=90), 80), "begin_step: got 90.*80 steps"),
        (
            lambda: masks.resolve(PruningConfig(begin_step=9, end_step=5), 80),
            "end_step: got 5.*after begin_step",
        ),
        (lambda: masks.resolve(PruningConfig(end_step=99), 80), "end_step: got 99.*at most 80"),
        (lambda: masks.sparsity_at(3, PruningConfig()), "call resolve"),
        (lambda: masks.sparsity_at(3, PruningConfig(begin_step=7, end_step=7)), "after begin_step"),
    ],
)
def test_refusals_say_what_is_allowed(call, match):
    with pytest.raises(CompressionError, match=match):
        call()


def test_resolve_fills_in_three_quarters_of_the_run():
    assert masks.resolve(PruningConfig(), 80).end_step == 60
    assert masks.resolve(PruningConfig(begin_step=70), 80).end_step == 71
    assert masks.resolve(PruningConfig(end_step=80), 80).end_step == 80


def test_the_ramp_goes_by_its_power_and_2_to_4_rounds_to_the_nearest():
    assert masks.sparsity_at(50, PruningConfig(sparsity=0.8, end_step=100, power=1.0)) == pytest.approx(0.4)
    weights = np.arange(1.0, 9.0).reshape(8, 1)
    (mask,) = masks.masks_for([weights], [(-1,)], 0.2, PruningConfig(pattern="2:4"))
    assert mask.sum() == 6  # between 1/8 and 3/8: three of every four
