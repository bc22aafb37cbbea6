"""Cutting batches by what workers turn out to be able to: what the driver hears and asks for, and a real run whose rank 1 is slow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import lepton_kit as lk
from lepton_kit.config import RunConfig
from lepton_kit.data.sharding import cut
from lepton_kit.planning.shares import LOOKS
from lepton_kit.runtime.balance import Balance
from lepton_kit.training import messages, reference, state


class Ring:
    """What a `Balance` needs of the generations of a run."""

    def __init__(self) -> None:
        self.number, self.phase, self.learned = 3, "training", {}
        self.members = [SimpleNamespace(worker=worker) for worker in (7, 4)]
        self.told: list[messages.Message] = []

    def tell(self, message: messages.Message) -> None:
        self.told.append(message)


def balance() -> tuple[Balance, Ring, list[tuple[str, dict[str, Any]]]]:
    config = RunConfig.from_dict(
        {"model": {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10}, "data": {"kind": "sample", "name": "digits"}}
    ).replace(**{"training.global_batch": 100, "workers.weights": "auto"})  # fmt: skip
    ring, log = Ring(), []
    ledger = SimpleNamespace(append=lambda kind, fields: log.append((kind, fields)))
    return Balance(config, ring, ledger), ring, log  # type: ignore[arg-type]  # stand-ins


def paced(ring: Ring, samples: list[int], seconds: list[float], generation: int = 3) -> messages.Paced:
    return messages.Paced(generation=generation, samples=samples, seconds=seconds)


def test_smaller_batches_show_what_a_step_costs_beside_its_samples():
    told, ring, _ = balance()
    for _ in range(LOOKS):
        told.hear(paced(ring, [50, 50], [0.07, 0.07]))
    for _ in range(LOOKS):
        told.hear(paced(ring, [5, 5], [0.025, 0.025]))  # 20 samples' time is in each step
    assert ring.told == []
    for _ in range(LOOKS):
        told.hear(paced(ring, [50, 50], [0.07, 0.21]))
    (weigh,) = ring.told
    assert isinstance(weigh, messages.Weigh)
    assert cut(100, weigh.weights) == (85, 15)


def test_a_slow_rank_gets_less_and_what_that_brought_is_told():
    told, ring, log = balance()
    for _ in range(LOOKS):
        told.hear(paced(ring, [50, 50], [0.05, 0.15]))
    (weigh,) = ring.told
    assert isinstance(weigh, messages.Weigh)
    assert cut(100, weigh.weights) == (75, 25)
    assert weigh.gain == pytest.approx(1.0)
    assert ring.learned == {7: pytest.approx(75), 4: pytest.approx(25)}
    for _ in range(4):
        told.hear(paced(ring, [75, 25], [0.075, 0.075]))
    assert log == [("gained", {"promised": 1.0, "measured": 1.0})]
    assert len(ring.told) == 1


def test_what_does_not_belong_to_a_ring_that_trains_is_passed_over():
    told, ring, _ = balance()
    for _ in range(9):
        told.hear(paced(ring, [50, 50], [0.05, 0.15], generation=2))
        told.hear(paced(ring, [100], [0.05]))
    ring.phase = "breaking"
    for _ in range(9):
        told.hear(paced(ring, [50, 50], [0.05, 0.15]))
    assert ring.told == []


def test_another_ring_is_learned_anew():
    told, ring, _ = balance()
    for _ in range(LOOKS - 1):
        told.hear(paced(ring, [50, 50], [0.05, 0.15]))
    ring.number = 4
    for _ in range(LOOKS - 1):
        told.hear(paced(ring, [50, 50], [0.05, 0.15], generation=4))
    assert ring.told == []


def test_what_another_ring_was_promised_is_not_measured_in_this_one():
    told, ring, log = balance()
    for _ in range(LOOKS):
        told.hear(paced(ring, [50, 50], [0.05, 0.15]))
    assert len(ring.told) == 1
    ring.number = 4
    for _ in range(9):
        told.hear(paced(ring, [75, 25], [0.075, 0.075], generation=4))
    assert log == []
    assert len(ring.told) == 1


def nap(rows: np.ndarray) -> np.ndarray:
    if os.environ.get("HOROVOD_RANK") == "1":
        time.sleep(0.0004 * float(rows))
    return rows


class Slow(keras.layers.Layer):
    """Passes its input on, which takes rank 1 a time that grows with the samples."""

    def call(self, x: Any) -> Any:
        with tf.control_dependencies([tf.numpy_function(nap, [tf.shape(x)[0]], tf.int32)]):
            return tf.identity(x)


def network() -> keras.Model:
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((8, 8, 1)), Slow(), keras.layers.Flatten(), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss)
    return model


@pytest.mark.processes
@pytest.mark.parametrize("way", ["auto", pytest.param("horovod", marks=pytest.mark.long)])
def test_a_run_gives_a_slow_rank_less_and_trains_exactly_as_before(tmp_path: Path, way: str):
    data = lk.data.sample("digits")
    run = lk.launch(
        network(), data, workers=2, weights="auto", global_batch=240, epochs=1_000_000, checkpoint_seconds=1, allreduce=way,
        runs_dir=tmp_path,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not run.view().recuts or run.view().recuts[-1]["weights"][1] > 0.4 * 240:
            assert run.alive, (run.status, run.cause)
            assert time.monotonic() < deadline, (run.view().recuts, run.view().ranks.times())
            time.sleep(0.05)
        run.scale(3)  # what was learned of workers outlives their ring
        while len(run.view().generations) < 2 or run.view().step <= run.view().generations[-1]["step"]:
            assert run.alive, (run.status, run.cause)
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before, after = (one["cut"] for one in run.view().generations[:2])
        assert before == [120, 120]
        assert after[1] < after[0]
    finally:
        run.stop().wait(60)
    assert run.status == "stopped", run.cause
    view, found = run.view(), lk.audit(run)
    assert found.problems == ()
    _, arrays = state.load_newest(run.paths.checkpoints)
    config = run.config.replace(**{"training.max_steps": view.step})
    expected = reference.plain_fit(network(), config, data.prepare())
    assert max(float(np.max(np.abs(a - b))) for a, b in zip(expected, arrays, strict=False)) < 1e-5
