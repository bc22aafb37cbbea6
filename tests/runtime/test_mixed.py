"""CPU and GPU workers in one run, where the CPU stands in for the GPU: a second device of TensorFlow's, summed in the host's memory."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.errors import DeviceError
from lepton_kit.machine.gpus import STAND_IN

pytestmark = pytest.mark.processes


def trained(folder: Path, allreduce: str, places: list[str] | None, **more: object) -> lk.Run:
    keras.utils.set_random_seed(3)
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), dense(8, "relu"), dense(10)])
    run = lk.launch(
        model, lk.data.sample("digits"), workers=2, global_batch=256, max_steps=6, places=places,
        allreduce=allreduce, hang_seconds=200, runs_dir=folder, **more,
    )  # fmt: skip
    run.wait(240)
    assert run.cause is None, run.cause
    return run


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The weights that ranks on cores alone come to."""
    return trained(tmp_path_factory.mktemp("alike"), "auto", None).model().get_weights()


@pytest.mark.parametrize("allreduce", ["auto", pytest.param("horovod", marks=pytest.mark.long)])
def test_ranks_on_two_kinds_of_devices_learn_what_ranks_on_one_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alike: list[np.ndarray], allreduce: str
):
    class Tell(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            print("lies on", self.model.trainable_variables[0].value.device)

    monkeypatch.setenv(STAND_IN, "1")
    mixed = trained(tmp_path, allreduce, ["gpu:0", "cpu"], callbacks=[Tell()])
    for one, other in zip(alike, mixed.model().get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    told = "\n".join(path.read_text() for path in (mixed.paths.events, *mixed.paths.logs.glob("*.log")))
    assert "lies on /job:localhost/replica:0/task:0/device:CPU:1" in told
    seats = [
        one for line in told.splitlines() if '"workers"' in line[:60] for one in json.loads(line)["workers"]
    ]
    assert {one.get("gpu") for one in seats} == {0, None}


def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(STAND_IN, "1")
    with pytest.raises(DeviceError, match=r"places\.1: gpu 1: this process sees the GPUs 0"):
        trained(tmp_path, "auto", ["gpu:0", "gpu:1"])
    assert list(tmp_path.iterdir()) == []
