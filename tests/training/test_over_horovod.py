"""Ranks with different graphs ask Horovod for the same sums, in the same order and under the same names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from horovod.tensorflow import mpi_ops

from lepton_kit.training.collective import HorovodCollective
from tests.training.test_idle import BATCH, Own, Penalised, block, dense, own_step_of


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names under which sums were asked for; what does so is declared as Horovod's operation is, not stateful."""
    found: list[str] = []

    def allreduce(tensors: Sequence[Any], name: str, **_: Any) -> list[Any]:
        def note(*arrays: np.ndarray) -> list[np.ndarray]:
            found.append(sums[0].op.name.rpartition("/")[2])
            return list(arrays)

        sums = tf.numpy_function(note, tensors, [one.dtype for one in tensors], stateful=False, name=name)
        for one, like in zip(sums, tensors, strict=True):
            one.set_shape(like.shape)
        return list(sums)

    monkeypatch.setattr(mpi_ops, "_grouped_allreduce", allreduce)
    return found


@pytest.mark.parametrize("known", [False, True])
def test_no_sum_is_computed_beforehand_merged_or_left_out(asked: list[str], known: bool):
    ring, one = HorovodCollective(), tf.constant(1.0)

    @tf.function(autograph=False)
    def run(x: Any) -> Any:
        given = tf.zeros([3]) if known else x
        with tf.name_scope("there" if known else "here"):
            first = ring.sum([given], [given[:1]], one)
            ring.sum([], [given], one)  # read by nobody
            ring.sum([], [given], one)  # the same once more
        (gradient,) = ring.sum([], [], one, [given])

        def body(i: Any) -> tuple[Any]:
            ring.sum([], [given], one)
            return (i + 1,)

        tf.while_loop(lambda i: i < 2, body, (tf.constant(0),))
        return first[0] + gradient

    for _ in range(2):
        asked.clear()
        run(tf.zeros([3]))
        assert asked == ["sums", "sums_1", "sums_2", "sums_3_rounded", "sums_4", "sums_4"]


@pytest.mark.parametrize("kind", [Own, Penalised])
def test_a_rank_without_samples_asks_for_those_of_the_others(asked: list[str], kind: type[Own]):
    step = own_step_of(kind, HorovodCollective(), sizes={0})
    found = []
    for rows in (BATCH, 0, 0, BATCH):
        asked.clear()
        step.train(block(dense, step, rows))
        found.append(list(asked))
    assert len(set(found[0])) == len(found[0]) > 12
    assert found[0] == found[1] == found[2] == found[3]
