"""Runs whose workers compute on a real GPU: alone, two on one, beside the CPU, killed, scaled."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import pytest

import lepton_kit as lk
from lepton_kit.errors import DeviceError, RunError
from lepton_kit.machine import nvml
from lepton_kit.planning.seating import CONTEXT_BYTES
from tests.conftest import SESSION
from tests.gpu.conftest import events, net, until, wide

pytestmark = [pytest.mark.processes, pytest.mark.gpu]


class Tell(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        print("lies on", self.model.trainable_variables[0].value.device, flush=True)


def told(run: lk.Run) -> str:
    return "\n".join(path.read_text() for path in run.paths.logs.glob("*.log"))


def near(one: lk.Run, other: lk.Run, within: float) -> None:
    for mine, theirs in zip(one.model().get_weights(), other.model().get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=within)


@pytest.mark.parametrize("allreduce", ["auto", "horovod"])
@pytest.mark.parametrize("places", [["gpu:0"], ["gpu:0", "gpu:0"], ["gpu:0", "cpu"]], ids=" ".join)
def test_ranks_on_gpus_learn_what_ranks_on_cores_do(
    train: Callable[..., lk.Run], places: list[str], allreduce: str
):
    cores = train(None)
    run = train(places, allreduce=allreduce, callbacks=[Tell()])
    assert "/device:GPU:0" in told(run)
    near(run, cores, 1e-5)


class Watch:
    """The most that each worker of these tests took of the first GPU while it lasts: process id -> bytes."""

    def __init__(self) -> None:
        self.most: dict[int, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._done.wait(0.1):
            for gpu in (nvml.read() or [])[:1]:
                for pid, size in (gpu.processes or {}).items():
                    with contextlib.suppress(psutil.Error):  # gone meanwhile
                        if pid != os.getpid() and SESSION in psutil.Process(pid).environ():
                            self.most[pid] = max(self.most.get(pid, 0), size or 0)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def of_workers(self) -> list[int]:
        return sorted(self.most.values())


def test_what_a_process_takes_beside_its_tensors_is_reckoned_with(train: Callable[..., lk.Run]):
    with Watch() as watch:
        train(["gpu:0", "gpu:0"], max_steps=3000)
    print("small", watch.of_workers(), watch.most, os.getpid())
    assert len(watch.of_workers()) == 2
    assert max(watch.of_workers()) < CONTEXT_BYTES + 300_000_000


def test_a_limit_of_memory_holds(train: Callable[..., lk.Run]):
    """A worker whose samples need gigabytes: it has them without a limit, and ends with one."""
    with Watch() as watch:
        train(["gpu:0"], wide(), max_steps=20, global_batch=1440)
    print("free", watch.of_workers())
    with Watch() as limited, pytest.raises(RunError) as failure:
        train(["gpu:0 memory:600"], wide(), max_steps=20, global_batch=1440)
    print("limited", limited.of_workers(), failure.value)
    assert max(limited.of_workers()) < 600_000_000 + CONTEXT_BYTES + 300_000_000 < max(watch.of_workers())


def test_what_a_gpu_can_t_hold_is_refused(train: Callable[..., lk.Run], gpu: nvml.Gpu):
    with pytest.raises(DeviceError, match=r"places\.0: memory 20 MB"):
        train(["gpu:0 memory:20"], net(2048, 4))
    with pytest.raises(DeviceError, match="gpu 7: this process sees the GPUs 0"):
        train(["gpu:7"])


def test_a_killed_rank_is_replaced_on_its_gpu_and_a_run_scales_there(tmp_path: Path):
    run = lk.launch(
        net(), lk.data.sample("digits"), workers=1, max_workers=3, epochs=100_000, global_batch=300,
        places=["gpu:0", "gpu:0", "cpu"], log_seconds=0.05, hang_seconds=200, runs_dir=tmp_path, max_failures=9,
    )  # fmt: skip

    def training(count: int) -> list[dict[str, Any]] | None:
        ranks = [one for one in run.view().workers if one["state"] == "training"]
        return ranks if len(ranks) == count else None

    try:
        until(lambda: training(1), run)
        run.scale(3)
        until(lambda: training(3), run)
        (first, *_) = until(lambda: training(3), run)
        os.kill(first["pid"], signal.SIGKILL)
        until(lambda: first["pid"] not in {one["pid"] for one in run.view().workers}, run)
        until(lambda: training(3), run)
        seats = events(run, "workers")[-1]["workers"]
        assert sorted(str(one.get("gpu")) for one in seats if one["state"] == "training") == [
            "0",
            "0",
            "None",
        ]
        run.scale(1)
        until(lambda: training(1), run)
    finally:
        run.stop()
        run.wait(100)
    assert run.cause is None
    assert lk.audit(run).problems == ()


def test_energy_load_and_memory_come_from_the_driver(train: Callable[..., lk.Run]):
    run = train(["gpu:0"], net(1024, 3), max_steps=None, epochs=60)
    resources = events(run, "resources")
    energy = events(run, "energy")
    assert any(one.get("gpu") is not None for one in resources)
    assert any("GPU" in str(one.get("of")) for one in energy)


def test_certified_on_a_gpu():
    """Against plain fit in this process, on the same GPU; float32 with all digits on both sides."""
    layers = keras.layers
    kinds = {
        "dense": net(32, 2),
        "convolution, normalized": keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Conv2D(8, 3), layers.BatchNormalization(synchronized=True), layers.ReLU(),
             layers.DepthwiseConv2D(3), layers.GlobalAveragePooling2D(), layers.Dense(10)]
        ),
        "lstm": keras.Sequential([keras.Input((8, 8, 1)), layers.Reshape((8, 8)), layers.LSTM(16), layers.Dense(10)]),
        "gru in both directions": keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Reshape((8, 8)), layers.Bidirectional(layers.GRU(8)), layers.Dense(10)]
        ),
        "attention": keras.Sequential(
            [keras.Input((8, 8, 1)), layers.Reshape((8, 8)), layers.LayerNormalization(),
             layers.Dense(16, "gelu"), layers.GlobalMaxPooling1D(), layers.Dense(10)]
        ),
    }  # fmt: skip
    found = {}
    for name, model in kinds.items():
        certificate = lk.certify(
            model,
            lk.data.sample("digits"),
            steps=10,
            workers=2,
            global_batch=128,
            places=["gpu:0", "gpu:0"],
        )
        found[name] = certificate.max_difference
    print("certified", found)
    assert max(found.values()) < 1e-4, found
