"""What is announced before it is fed: the next window for blocks, a rank's own next samples for records."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_kit.data import sharding
from lepton_kit.data.prepared import Split
from lepton_kit.specs import BlockOrder
from lepton_kit.training.ahead import Ahead

SAMPLES, BATCH = 1000, 10
ORDER = BlockOrder(blocks=50, window=4)


class Source:
    order = ORDER

    def __init__(self, horizon):
        self.horizon = horizon
        self.asked: list[np.ndarray] = []

    def __len__(self):
        return SAMPLES

    def prefetch(self, indices):
        self.asked.append(indices)


def ahead(source):
    split = Split(np.zeros(SAMPLES), source=source)
    return Ahead(split, seed=0, global_batch=BATCH, shuffle=True, order=ORDER)


def batch_of(step):
    return sharding.batch_of(step, seed=0, samples=SAMPLES, global_batch=BATCH, order=ORDER)


def test_of_blocks_the_next_window_is_announced_and_nothing_twice():
    source = Source(horizon=200)
    reader = ahead(source)
    for step in range(0, 100, 3):
        reader.after(step, 3, batch_of, last=150)
        announced = np.concatenate(source.asked)
        coming = np.concatenate([batch_of(one) for one in range(step, min(step + 10, 150))])
        assert np.isin(coming, announced).all()
    expected = np.concatenate([batch_of(one) for one in range(len(announced) // BATCH)])
    assert np.array_equal(announced, expected)
    assert max(map(len, source.asked[1:])) <= 60


def test_nothing_is_announced_after_the_last_step():
    source = Source(horizon=200)
    ahead(source).after(98, 3, batch_of, last=101)
    assert np.array_equal(np.concatenate(source.asked), np.concatenate([batch_of(s) for s in (98, 99, 100)]))
    records = Source(horizon=0)
    ahead(records).after(98, 5, batch_of, last=100)
    assert len(records.asked[0]) == 2 * BATCH


def test_a_return_to_an_earlier_step_is_announced_anew():
    source = Source(horizon=200)
    reader = ahead(source)
    reader.after(50, 3, batch_of, last=1000)
    reader.after(10, 3, batch_of, last=1000)
    assert np.array_equal(source.asked[1][:BATCH], batch_of(10))


def test_of_records_a_rank_announces_its_own():
    source = Source(horizon=0)
    ahead(source).after(7, 2, lambda step: batch_of(step)[:4], last=1000)
    assert np.array_equal(source.asked[0], np.concatenate([batch_of(7)[:4], batch_of(8)[:4]]))


@pytest.mark.parametrize("steps", [1, 64])
def test_samples_in_memory_need_no_word(steps):
    split = Split(np.zeros(SAMPLES))
    Ahead(split, seed=0, global_batch=BATCH, shuffle=True, order=None).after(0, steps, batch_of, last=10)
