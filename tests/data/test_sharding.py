"""Properties of the pure function that decides who trains on what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data import sharding
from lepton_kit.errors import ConfigError

WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=9)


@given(
    st.integers(1, 400),
    st.integers(1, 130),
    st.integers(0, 2**40),
    st.integers(0, 3),
    st.lists(WEIGHTS, min_size=1, max_size=8),
)
def test_every_sample_once_per_epoch_whatever_the_ranks(samples, global_batch, seed, epoch, cuts):
    steps = sharding.steps_per_epoch(samples, global_batch)
    seen = []
    for within in range(steps):
        weights = cuts[within % len(cuts)]  # the number of ranks changes in mid-epoch
        parts = sharding.shard(
            seed=seed,
            step=epoch * steps + within,
            samples=samples,
            global_batch=global_batch,
            weights=weights,
        )
        assert len(parts) == len(weights)
        assert sum(map(len, parts)) == sharding.batch_size(within, samples, global_batch)
        seen.append(np.concatenate(parts))
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(samples))


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 2**32), st.integers(0, 50), WEIGHTS)
def test_the_global_batch_does_not_depend_on_the_cut(samples, global_batch, seed, step, weights):
    one = sharding.shard(seed=seed, step=step, samples=samples, global_batch=global_batch, weights=[1])
    many = sharding.shard(seed=seed, step=step, samples=samples, global_batch=global_batch, weights=weights)
    sharding.epoch_order.cache_clear()
    again = sharding.shard(seed=seed, step=step, samples=samples, global_batch=global_batch, weights=weights)
    assert np.array_equal(one[0], np.concatenate(many))
    assert all(np.array_equal(a, b) for a, b in zip(many, again, strict=True))


@given(
    st.integers(0, 5000), st.lists(st.floats(0, 1e6), min_size=1, max_size=12).filter(lambda w: sum(w) > 0)
)
def test_cut_is_whole_complete_and_proportional(batch, weights):
    parts = sharding.cut(batch, weights)
    assert sum(parts) == batch
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - batch * weight / sum(weights)) < 1 + 1e-6 * batch
        assert part >= 0


def test_ties_go_to_the_lower_rank():
    assert sharding.cut(5, [1, 1, 1]) == (2, 2, 1)


@given(st.integers(1, 1000), st.integers(1, 100), st.integers(0, 10_000))
def test_position_counts_steps(samples, global_batch, step):
    epoch, within = sharding.position(step, samples, global_batch)
    steps = sharding.steps_per_epoch(samples, global_batch)
    assert epoch * steps + within == step
    assert 0 <= within < steps
    assert 1 <= sharding.batch_size(step, samples, global_batch) <= global_batch


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 50), WEIGHTS)
def test_without_shuffling_every_epoch_goes_as_the_samples_lie(samples, global_batch, step, weights):
    parts = sharding.shard(
        seed=7, step=step, samples=samples, global_batch=global_batch, weights=weights, shuffle=False
    )
    first = step % sharding.steps_per_epoch(samples, global_batch) * global_batch
    assert np.concatenate(parts).tolist() == list(range(first, min(first + global_batch, samples)))


@given(st.integers(0, 500), WEIGHTS)
def test_edges_frame_the_parts_of_the_ranks(batch, weights):
    edges = sharding.edges_of(batch, weights)
    assert edges[0] == 0
    assert tuple(np.diff(edges)) == sharding.cut(batch, weights)


def test_epochs_and_seeds_differ_and_the_order_is_read_only():
    orders = [tuple(sharding.epoch_order(seed, epoch, 50)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    with pytest.raises(ValueError, match="read-only"):
        sharding.epoch_order(0, 0, 50)[0] = 1


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 10**6)), min_size=2, max_size=5, unique=True)
)
def test_no_two_seeds_or_epochs_share_an_order(keys):
    assert len({sharding.epoch_order(seed, epoch, 50).tobytes() for seed, epoch in keys}) == len(keys)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: sharding.steps_per_epoch(0, 4), "samples"),
        (lambda: sharding.steps_per_epoch(4, 0), "global_batch"),
        (lambda: sharding.position(3, 0, 4), "samples"),
        (lambda: sharding.batch_size(3, 4, -1), "global_batch"),
        (lambda: sharding.cut(8, []), "weights"),
        (lambda: sharding.cut(8, [1, -1]), "weights"),
        (lambda: sharding.cut(8, [0, 0]), "weights"),
        (lambda: sharding.cut(8, [1, float("nan")]), "weights"),
        (lambda: sharding.cut(8, [1, float("inf")]), "weights"),
        (lambda: sharding.shard(seed=0, step=0, samples=4, global_batch=2, weights=[]), "weights"),
    ],
)
def test_errors_name_the_field(call, field):
    with pytest.raises(ConfigError) as caught:
        call()
    assert caught.value.field == field


def test_a_cut_for_nobody_is_told_apart_from_one_by_weights_of_nothing():
    with pytest.raises(ConfigError, match="one weight per rank, so at least one"):
        sharding.cut(8, [])
    with pytest.raises(ConfigError, match=r"got \[0, 0\]; expected finite numbers >= 0 with a positive sum"):
        sharding.cut(8, [0, 0])


def test_what_is_left_over_goes_to_the_largest_remainders():
    assert sharding.cut(10, [1, 1, 2.6]) == (2, 2, 6)  # 2.17, 2.17, 5.65
    assert sharding.cut(3, [5, 1, 1, 1]) == (2, 1, 0, 0)  # 1.875, 0.375, 0.375, 0.375


@pytest.mark.parametrize(
    ("seed", "epoch"), [(0, 0), (0, 1), (5, 0), (5, 3), (128, 1), (2**40 + 1, 2), (2**64 - 1, 0)]
)
def test_a_shard_is_its_slice_of_the_order_of_its_own_seed_and_epoch(seed, epoch):
    steps = sharding.steps_per_epoch(50, 8)
    for within in range(steps):
        step = epoch * steps + within
        (indices,) = sharding.shard(seed=seed, step=step, samples=50, global_batch=8, weights=[1])
        expected = np.random.Generator(np.random.Philox(key=(seed % 2**64) * 2**64 + epoch)).permutation(50)
        assert np.array_equal(indices, expected[within * 8 : (within + 1) * 8])


def test_an_epoch_is_shuffled_unless_told_otherwise():
    asked = {"seed": 3, "samples": 50, "global_batch": 50}
    assert sharding.batch_of(0, **asked).tolist() == sharding.batch_of(0, shuffle=True, **asked).tolist()
    assert sharding.batch_of(0, **asked).tolist() != sharding.batch_of(0, shuffle=False, **asked).tolist()
