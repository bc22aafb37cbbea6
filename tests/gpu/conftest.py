"""Tests on a real GPU: skipped where NVIDIA's driver shows none, or TensorFlow sees none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

import lepton_kit as lk
from lepton_kit.machine import nvml

PATIENCE = 300.0


@pytest.fixture(scope="session", autouse=True)
def gpu() -> nvml.Gpu:
    """The first GPU of this machine."""
    import tensorflow as tf

    gpus = nvml.read()
    if not gpus or not tf.config.list_physical_devices("GPU"):
        pytest.skip("no GPU that NVIDIA's driver shows and TensorFlow sees")
    tf.config.experimental.enable_tensor_float_32_execution(False)  # products with all digits, as on a CPU
    return gpus[0]


def net(units: int = 8, layers: int = 1) -> keras.Model:
    keras.utils.set_random_seed(3)
    dense = [keras.layers.Dense(units, "relu") for _ in range(layers)]
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *dense, keras.layers.Dense(10)])


def wide() -> keras.Model:
    """A net that a GPU takes milliseconds a step for."""
    keras.utils.set_random_seed(3)
    convolutions = [keras.layers.Conv2D(256, 3, padding="same", activation="relu") for _ in range(8)]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *convolutions, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    )


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., lk.Run]:
    """Train a net of digits for some steps at these places; waits for the end."""

    def trained(places: list[str] | None, model: keras.Model | None = None, **more: Any) -> lk.Run:
        options = {"workers": len(places) if places else 2, "global_batch": 256, "max_steps": 12, **more}
        run = lk.launch(
            model or net(), lk.data.sample("digits"), places=places, hang_seconds=200,
            runs_dir=tmp_path / f"runs-{len(list(tmp_path.iterdir()))}", **options,
        )  # fmt: skip
        run.wait(PATIENCE)
        assert run.cause is None, f"{run.cause}\n{run.logs()}"
        return run

    return trained


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[..., lk.Run]]:
    """Begin to train a wide net at these places, until the test ends."""
    runs = []

    def begin(places: list[str], **more: Any) -> lk.Run:
        run = lk.launch(
            wide(), lk.data.sample("digits"), workers=len(places), places=places, epochs=100_000, global_batch=1024,
            log_seconds=0.2, hang_seconds=200, runs_dir=tmp_path, **more,
        )  # fmt: skip
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.stop()
        run.wait(100)


def until(condition: Callable[[], Any], run: lk.Run) -> Any:
    """What the condition gives, once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{run.status} {run.cause} {run.view().counts()}\n{run.logs()}"
        assert run.alive, f"{run.cause}\n{run.logs()}"
        time.sleep(0.05)
    return found


def events(run: lk.Run, kind: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in run.paths.events.read_text().splitlines())
    return [one for one in lines if one.get("event", one.get("kind", one.get("type"))) == kind]
