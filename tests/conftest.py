"""What all tests share: a place for runs, a browser, and the proof that no process is left behind."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("no clocks", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clocks")  # a busy machine fails no property

SESSION = f"LEPTON_TEST_SESSION_{uuid.uuid4().hex}"
"""A name that this session puts into its environment, so that every process it starts can be told, detached or not."""

OURS = ("lepton_kit", "ipykernel", "jupyter", "chrom")
GRACE_SECONDS = 5.0
_DIGITS = Path(__file__).parents[1] / "data_samples" / "image_recognition" / "digits.zip"


def left_behind(marker: str = SESSION) -> list[psutil.Process]:
    """Processes, other than this one, that inherited the marker and are of a kind that tests start."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if marker in process.environ() and any(word in " ".join(process.cmdline()) for word in OURS):
                found.append(process)
        except psutil.Error:
            continue  # gone meanwhile, a zombie, or another user's
    return found


def pytest_configure() -> None:
    os.environ[SESSION] = "1"
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="lepton-test-state-")
    os.environ["LEPTON_POOL"] = tempfile.mkdtemp(prefix="lepton-test-pool-")  # no run of others counts
    os.environ["LEPTON_ENERGY"] = tempfile.mkdtemp(prefix="lepton-test-energy-")


def pytest_sessionfinish(session: pytest.Session) -> None:
    for name in ("XDG_STATE_HOME", "LEPTON_POOL", "LEPTON_ENERGY"):
        shutil.rmtree(os.environ[name], ignore_errors=True)
    start = sys.modules.get("lepton_kit.runtime.start")
    if start is not None:
        start.cool()  # the nursery of this process is no orphan
    deadline = time.monotonic() + GRACE_SECONDS
    while (orphans := left_behind()) and time.monotonic() < deadline:
        time.sleep(0.1)
    if not orphans:
        return
    lines = []
    for process in orphans:
        try:
            lines.append(f"  {process.pid}: {' '.join(process.cmdline())}")
            process.kill()
        except psutil.Error:
            continue
    if lines:
        print("\nleft behind by the tests, and now killed:\n" + "\n".join(lines))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """An empty folder for run directories."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The command of an installed Chromium; a test that asks for it is skipped where there is none."""
    from lepton_kit.doctor import find_chromium

    command = find_chromium()
    if command is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    return command


@pytest.fixture(scope="session")
def script() -> Callable[..., ModuleType]:
    """Loads one of the project's scripts or benchmarks, by name, as a fresh module."""
    from tests.loading import load_script  # here: a test copies this file to a place without it

    return load_script


@pytest.fixture(scope="session")
def digits():
    """Real handwritten digits: (x_train, y_train, x_val, y_val), x float32 (N, 8, 8, 1) from 0 to 1."""
    from PIL import Image

    parts = {"train": ([], []), "val": ([], [])}
    with zipfile.ZipFile(_DIGITS) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                _, part, label, _ = name.split("/")
                parts[part][0].append(np.asarray(Image.open(io.BytesIO(archive.read(name)))))
                parts[part][1].append(int(label))
    rng = np.random.default_rng(0)
    arrays = []
    for x, y in parts.values():
        order = rng.permutation(len(y))
        images = np.stack(x)[order].astype(np.float32)
        arrays += [images[..., None] / images.max(), np.array(y)[order]]
    return tuple(arrays)


@pytest.fixture(scope="session")
def workshop():
    """One process with TensorFlow loaded, forked for every conversion of all these tests."""
    from lepton_kit.processes.isolated import Workshop

    with Workshop() as workshop:
        yield workshop


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """The ``.keras`` file of a text network that ends in logits, and data: (path, x (N, 12) of ids, y)."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(300, 64, name="words"),
            layers.Conv1D(16, 3, activation="relu", name="conv"),
            layers.GlobalMaxPooling1D(name="pool"),
            layers.Dense(8, activation="relu", name="dense"),
            layers.Dense(3, name="dense_1"),
        ]
    )
    x = np.random.default_rng(0).integers(0, 300, (400, 12)).astype(np.int32)
    y = (x % 3 == 0).sum(1) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x, y, epochs=20, verbose=0)
    path = tmp_path_factory.mktemp("words") / "words.keras"
    model.save(path)
    return path, x, y


@pytest.fixture(scope="session")
def digits_cnn(digits, tmp_path_factory):
    """The ``.keras`` file of a small convolutional network, trained on the digits."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", name="conv_a"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Conv2D(16, 3, activation="relu", name="conv_b"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(32, activation="relu", name="dense"),
            layers.Dense(10, activation="softmax", name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    model.fit(digits[0], digits[1], batch_size=64, epochs=4, verbose=0)
    path = tmp_path_factory.mktemp("digits") / "cnn.keras"
    model.save(path)
    return path
