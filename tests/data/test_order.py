"""Properties of the order by blocks: a permutation that any part is found of, and that no rank changes."""

import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.data import sharding
from lepton_kit.data.order import Bijection, Order, key_of, order_of, sizes_of
from lepton_kit.errors import ConfigError
from lepton_kit.specs import BlockOrder

SIZES = st.tuples(st.integers(1, 700), st.integers(1, 90), st.integers(1, 9))
SEEDS = st.integers(0, 2**40)


@given(st.integers(1, 3000), SEEDS)
def test_a_bijection_has_every_value_once_and_an_inverse(size, key):
    one = Bijection(size, key)
    found = one(np.arange(size))
    assert np.array_equal(np.sort(found), np.arange(size))
    assert np.array_equal(one.inverse(found), np.arange(size))


def test_a_bijection_needs_no_memory_of_its_size():
    one = Bijection(10**15, 7)
    places = np.array([0, 10**15 - 1, 123456789])
    found = one(places)
    assert found.max() < 10**15
    assert len(set(found.tolist())) == 3
    assert np.array_equal(one.inverse(found), places)


@given(SIZES, SEEDS, st.integers(0, 5))
def test_every_row_comes_once(sizes, seed, epoch):
    order = Order(*sizes, seed, epoch)
    assert np.array_equal(np.sort(order.at(0, order.samples)), np.arange(order.samples))


@given(SIZES, SEEDS, st.lists(st.integers(0, 700), max_size=6))
def test_any_part_is_found_from_its_position(sizes, seed, edges):
    order = Order(*sizes, seed, 1)
    whole = order.at(0, order.samples)
    edges = sorted({0, order.samples, *(edge for edge in edges if edge < order.samples)})
    for low, high in pairwise(edges):
        assert np.array_equal(order.at(low, high), whole[low:high])
    assert len(order.at(order.samples, order.samples + 5)) == 0


@given(SIZES, SEEDS)
def test_a_window_holds_whole_blocks_and_follows_the_one_before(sizes, seed):
    order = Order(*sizes, seed, 0)
    assert order.start(0) == 0
    assert order.start(order.windows) == order.samples
    for window in range(order.windows):
        low, high = order.start(window), order.start(window + 1)
        assert order.window_at(low) == order.window_at(high - 1) == window
        rows = order.at(low, high)
        blocks = np.unique(rows // order.block)
        assert len(blocks) <= order.window
        full = (np.arange(order.samples)[:, None] // order.block == blocks).any(axis=1).sum()
        assert full == len(rows)  # all rows of these blocks


def test_what_is_asked_beyond_the_ends_is_nothing():
    order = Order(10, 4, 2, 0, 0)
    assert order.at(-3, 2).tolist() == order.at(0, 2).tolist()
    assert order.at(8, 99).tolist() == order.at(0, 10)[8:].tolist()
    assert order.at(5, 5).tolist() == order.at(7, 3).tolist() == []
    assert order.at(5, 5).dtype == order.at(0, 10).dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        order.at(0, 3)[0] = 1  # it is shared with the next who ask


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [Order(500, 10, 4, seed, epoch).at(0, 500) for seed in (0, 1, 2**40) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == len(orders)


def test_blocks_and_the_rows_inside_a_window_are_both_mixed():
    rows = Order(10_000, 100, 10, 5, 0).at(0, 1000)
    assert len(np.unique(rows // 100)) == 10
    assert not np.array_equal(np.unique(rows // 100), np.arange(10))
    neighbours = np.abs(np.diff(rows)) == 1
    assert neighbours.mean() < 0.02
    halves = [np.unique(half // 100, return_counts=True)[1] for half in (rows[:500], rows[500:])]
    assert all(abs(counts - 50).max() < 25 for counts in halves)


def test_this_version_of_the_order_never_changes():
    # Logs that name version 1 are audited by it: another answer needs another version.
    assert Order(20, 4, 2, 3, 1).at(0, 20).tolist() == [
        *[5, 6, 4, 1, 3, 2, 0, 7, 8, 13],
        *[12, 14, 9, 15, 11, 10, 16, 17, 18, 19],
    ]
    assert key_of(3, 1) == 8977081266088795981
    assert key_of() == 11400714819323198485
    assert key_of(2**64 + 1, 5) == 1544386472532830964
    assert Bijection(10**12, 5)(np.arange(3)).tolist() == [594696406808, 182180657791, 617110003599]


@pytest.mark.parametrize(
    ("order", "crc"),
    [
        (Order(1, 1, 1, 0, 0), 1696784233),
        (Order(2, 1, 2, 0, 1), 538004427),
        (Order(3, 1, 1, 9, 0), 2772732516),
        (Order(17, 1, 17, 2**40, 2), 389687603),
        (Order(1000, 7, 3, 5, 1), 4185159702),
        (Order(70_000, 1, 1000, 1, 3), 2844735855),
        (Order(10_000, 64, 1, 2**63, 0), 3502677098),
        (order_of(BlockOrder(blocks=((5, 3), (2, 10), (9, 1)), window=2), 4, 7, 44), 1885981667),
    ],
)
def test_nor_does_it_for_other_sizes(order: Order, crc: int):
    assert zlib.crc32(order.at(0, order.samples).astype("<i8").tobytes()) == crc


@settings(max_examples=40)
@given(
    SIZES,
    st.integers(1, 50),
    SEEDS,
    st.lists(st.lists(st.floats(0.1, 9), min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_ranks_change_nothing_and_any_step_can_be_the_first(sizes, global_batch, seed, cuts):
    samples, block, window = sizes
    order = BlockOrder(blocks=block, window=window)
    steps = sharding.steps_per_epoch(samples, global_batch)
    fixed = {"seed": seed, "samples": samples, "global_batch": global_batch, "order": order}
    seen = []
    for within in range(steps):
        step = steps + within  # of the second epoch
        parts = sharding.shard(step=step, weights=cuts[within % len(cuts)], **fixed)
        assert np.array_equal(np.concatenate(parts), sharding.batch_of(step, **fixed))
        seen.append(np.concatenate(parts))
    assert np.array_equal(np.concatenate(seen), order_of(order, seed, 1, samples).at(0, samples))


def test_without_shuffling_the_rows_come_as_they_lie():
    order = BlockOrder(blocks=2, window=2)
    batch = sharding.batch_of(1, seed=0, samples=9, global_batch=4, shuffle=False, order=order)
    assert batch.tolist() == [4, 5, 6, 7]


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5)), min_size=1, max_size=6),
    st.integers(1, 5),
    SEEDS,
    st.integers(0, 400),
)
def test_blocks_of_any_sizes_have_the_same_properties(sizes, window, seed, cut):
    samples = sum(rows * count for rows, count in sizes)
    order = order_of(BlockOrder(blocks=tuple(sizes), window=window), seed, 2, samples)
    whole = order.at(0, samples)
    assert np.array_equal(np.sort(whole), np.arange(samples))
    assert np.array_equal(np.concatenate([order.at(0, cut), order.at(cut, samples)]), whole)
    edges = np.concatenate([[0], np.cumsum(np.repeat(*np.array(sizes).T))])
    for number in range(order.windows):
        rows = order.at(order.start(number), order.start(number + 1))
        touched = np.unique(np.searchsorted(edges, rows, side="right") - 1)
        assert len(touched) <= window
        assert np.diff(edges)[touched].sum() == len(rows)


def test_blocks_of_other_data_are_refused():
    with pytest.raises(ConfigError, match=r"training.order.blocks: got 7; expected blocks of 8 rows in all"):
        order_of(BlockOrder(blocks=((3, 1), (4, 1))), 0, 0, 8)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30).filter(any))
def test_sizes_are_written_short_and_lose_nothing(sizes):
    found = sizes_of(np.concatenate([[0], np.cumsum(sizes)]))
    wanted = [size for size in sizes if size]
    if isinstance(found, int):
        assert {*wanted[:-1], found} == {found}
        assert wanted[-1] <= found
    else:
        assert [rows for rows, count in found for _ in range(count)] == wanted


@pytest.mark.parametrize("name", ["samples", "block", "window"])
def test_a_size_of_nothing_is_named(name):
    with pytest.raises(ConfigError, match=f"order.{name}: got 0; expected a whole number of at least 1"):
        Order(**({"samples": 4, "block": 2, "window": 2, "seed": 0, "epoch": 0} | {name: 0}))
