"""Sums over hosts: two agents on this machine with two workers each; leaders and others are killed on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.models import SyncBatchNormalization
from lepton_kit.runtime.places import Place, memberships
from lepton_kit.training import hierarchical, native, reference, state
from lepton_kit.training.collective import HorovodCollective
from tests.processes import trains, until
from tests.soak.storm import apart

HOSTS = ["localhost/a:2", "localhost/b:2"]


def model() -> keras.Model:
    """A network whose batch normalization spans the ranks of all hosts, at a rate at which rounding does not grow."""
    keras.utils.set_random_seed(5)
    layers = [keras.layers.Flatten(), keras.layers.Dense(40, "tanh"), SyncBatchNormalization(epsilon=1.0)]
    made = keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(1e-4), loss)
    return made


@pytest.mark.processes
@pytest.mark.long
def test_a_lost_leader_and_a_lost_other_change_no_weight_and_lose_no_sample(tmp_path: Path):
    """Callbacks are there so that what they decide travels, too."""
    if not native.available():
        pytest.skip("the native library is not built; `make setup` builds it")
    data = lk.data.sample("digits")
    run = lk.launch(
        model(), data, workers=4, hosts=HOSTS, global_batch=700, epochs=1_000_000, max_failures=100,
        checkpoint_seconds=2, log_seconds=0.1, runs_dir=tmp_path,
        callbacks=[keras.callbacks.EarlyStopping("loss", patience=1_000_000)],
    )  # fmt: skip
    try:
        until(trains(run, 4), "training on four", run)
        for rank in (2, 1):  # the leader of the second host, and the other worker of the first one
            lost = len(run.view().generations)
            os.kill(next(row["pid"] for row in run.view().workers if row["rank"] == rank), signal.SIGKILL)
            until(lambda lost=lost: len(run.view().generations) > lost, "noticing the loss", run)
            until(trains(run, 4), "replacing the worker", run)
    finally:
        if run.alive:
            run.stop().wait()
    assert run.status == "stopped", run.cause
    view, found = run.view(), lk.audit(run)
    assert {one["collective"] for one in view.generations} == {"hierarchical"}
    assert found.problems == ()
    assert found.steps == view.step
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = reference.plain_fit(
        model(), run.config.replace(**{"training.max_steps": view.step}), data.prepare()
    )
    assert apart(expected, arrays) < 1e-5


@pytest.mark.parametrize("wire", ["float32", "float16"])
def test_a_rank_without_the_library_brings_what_a_leader_brings(monkeypatch: pytest.MonkeyPatch, wire: str):
    """It has a seat of its own in Horovod's ring, where all have to send rows of the same lengths, types and names."""
    import tensorflow as tf
    from horovod.tensorflow import mpi_ops

    sent: list[tuple[str, Any, list[float]]] = []

    def allreduce(tensors: list[Any], name: str, **_: Any) -> list[Any]:
        (tensor,) = tensors
        sent.append((name, tensor.dtype, tensor.numpy().astype(float).tolist()))
        return [tensor + tensor]

    monkeypatch.setattr(mpi_ops, "_grouped_allreduce", allreduce)
    built = native.available()
    found = []
    for available in (built, False):
        monkeypatch.setattr(native, "available", lambda available=available: available)
        ring = hierarchical.HierarchicalCollective(wire)
        if available:
            assert ring._functions.lepton_ring_open(-1, 0, 1, 64, 1) == 0
        means, totals = [tf.constant([[2.0, 4.0]])], [tf.constant(70001.0)]
        gradients = [tf.constant([0.1, 3.0]), tf.constant([[5.0]])]
        sums = ring.sum(means, totals, tf.constant(0.5), gradients)
        ring._functions.lepton_ring_close()
        found.append([one.numpy().tolist() for one in sums])
    rounded = float(np.float16(0.2) if wire == "float16" else np.float32(0.2))
    assert found[-1] == [[[2.0, 4.0]], 140002.0, [rounded, 6.0], [[10.0]]]
    assert found[0] == found[1]
    half = len(sent) // 2
    assert sent[:half] == sent[half:]
    assert {kind for _, kind, _ in sent} == ({tf.float32, tf.float16} if wire == "float16" else {tf.float32})


def test_only_gradients_are_rounded_on_the_wire(monkeypatch: pytest.MonkeyPatch):
    import tensorflow as tf
    from horovod.tensorflow import mpi_ops

    sent = []

    def allreduce(values: list[Any], **_: Any) -> list[Any]:
        sent.append([value.dtype for value in values])
        return values

    monkeypatch.setattr(mpi_ops, "_grouped_allreduce", allreduce)
    ring = HorovodCollective("float16")
    one = tf.constant(1.0)
    assert [value.dtype for value in ring.sum([one], [one], one, [one])] == [tf.float32] * 3
    assert sent == [[tf.float32, tf.float32], [tf.float16]]


def test_a_rank_without_the_library_that_is_left_alone_has_a_ring_to_sum_in(monkeypatch: pytest.MonkeyPatch):
    """Its graphs, traced while there were others, ask Horovod for every sum."""
    monkeypatch.setattr(native, "available", lambda: False)
    place = Place("one", 0, "cpu", 1, interface="lo", shares=False)
    (member,) = memberships(1, [place], ("127.0.0.1", 1), slot_bytes=4, timeout_seconds=5, sharing="host")
    entered = []
    monkeypatch.setattr(
        HorovodCollective, "_enter", lambda _, membership, segment: entered.append(membership)
    )
    hierarchical.HierarchicalCollective().join(member)
    assert entered == [member]
