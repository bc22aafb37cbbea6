"""What is wrong is said before a process starts; what only a worker can find out ends the run with its cause."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.client import room
from lepton_kit.errors import ConfigError, DataError, DeviceError, ModelError
from lepton_kit.rundir import EventReader
from lepton_kit.runtime import start

X = np.zeros((6, 4), np.float32)
Y = np.arange(6) % 3


def model() -> Any:
    return lk.LeptonModel((4,), 3, 8, 1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"worker": 2}, ConfigError, "launch: no option 'worker'; did you mean 'workers'. options: workers"),
        ({"learning_rte": 0.1}, ConfigError, "no option 'learning_rte'; did you mean 'learning_rate'"),
        ({"zzz": 0}, ConfigError, "launch: no option 'zzz'; options: workers, batch_size, epochs"),
        ({"workers": 7}, ConfigError, r"workers: got 7; expected at most the \d training samples"),
        ({"workers": 3, "batch_size": 2}, ConfigError, "batch_size: got 2; expected at least one sample for"),
        ({"workers": 2, "weights": (1.0,)}, ConfigError, "one weight for each of the 2 workers"),
        ({"workers": 0}, ConfigError, "workers: got 0; expected a whole number of at least 1, or auto"),
        ({"batch_size": 0}, ConfigError, "batch_size: got 0; expected greater than or equal to 1"),
        ({"optimizer": "adm"}, ConfigError, "optimizer: got 'adm'; expected an optimizer .* mean 'adam'"),
        ({"loss": "mes"}, ConfigError, "loss: got 'mes'; expected a loss that Keras knows by name; did you"),
        ({"keep_best": "val_acuracy"}, ConfigError, "got 'val_acuracy'; .* did you mean 'val_accuracy'"),
        ({"callbacks": ["EarlyStoping"]}, ConfigError, "EarlyStoping.*did you mean 'EarlyStopping'"),
        ({"name": "a b"}, ConfigError, "name: got 'a b'"),
    ],
)
def test_a_wrong_option_starts_nothing(
    runs_dir: Path, options: dict[str, Any], error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        lk.launch(model(), (X, Y), runs_dir=runs_dir, **options)
    assert list(runs_dir.iterdir()) == []


def test_data_that_is_none_starts_nothing(runs_dir: Path):
    with pytest.raises(DataError, match=r"data: got 3; expected a lepton_kit Dataset, .x, y."):
        lk.launch(model(), 3, runs_dir=runs_dir)
    with pytest.raises(DataError, match="data: got 4 parts; expected"):
        lk.launch(model(), (X, Y, Y, Y), runs_dir=runs_dir)
    with pytest.raises(DataError, match="sample_weight: given twice, as an option and in data"):
        lk.launch(model(), (X, Y, Y), sample_weight=Y, runs_dir=runs_dir)
    assert list(runs_dir.iterdir()) == []


@pytest.mark.parametrize("wrong", [3, None, "vgg", lk.LeptonModel, object()])
def test_a_model_that_is_none_starts_nothing(runs_dir: Path, wrong: Any):
    with pytest.raises(ModelError, match=r"^model: got .*; expected a "):
        lk.launch(wrong, (X, Y), runs_dir=runs_dir)
    assert list(runs_dir.iterdir()) == []


@pytest.mark.parametrize(("hidden", "each"), [(8, "0.35"), (4000, "1.06")])
def test_too_little_memory_starts_nothing(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, hidden: int, each: str
):
    """What is too little depends on the size of the model."""
    monkeypatch.setattr(room, "memory", lambda: (10**9, 10**8))
    with pytest.raises(
        DeviceError,
        match=rf"2 workers and 1 standby need about .* GB \({each} GB each, estimated from .*; 0\.1 GB are free",
    ):
        lk.launch(lk.LeptonModel((4,), 3, hidden, 2), (X, Y), workers=2, standby=1, runs_dir=runs_dir)
    assert list(runs_dir.iterdir()) == []


@pytest.mark.processes
def test_a_loss_that_explodes_ends_the_run_with_cause_and_log(runs_dir: Path):
    x = 1e30 * np.random.default_rng(0).random((64, 4)).astype(np.float32)
    run = lk.launch(
        model(),
        (x, np.arange(64) % 3),
        workers=2,
        optimizer="sgd",
        learning_rate=1e4,
        epochs=99,
        runs_dir=runs_dir,
    )
    with pytest.raises(
        lk.errors.RunError, match=r"the loss became (nan|inf) at step .*lower learning rate"
    ) as caught:
        run.wait(300)
    assert str(run.paths.logs) in str(caught.value)
    assert "last checkpoint" in str(caught.value)
    reported = [event for event in EventReader(run.paths.events).poll() if event["kind"] == "steps"]
    assert reported
    assert reported[-1]["loss"][-1] is None


BROKEN = """
import sys
import keras
import numpy as np
import lepton_kit as lk


class Broken(keras.layers.Layer):
    def call(self, x):
        if "horovod" in sys.modules:  # so in a worker
            raise ValueError("the layer's own complaint")
        return x


model = keras.Sequential([keras.Input((4,)), Broken(), keras.layers.Dense(3, activation="softmax")])
run = lk.launch(model, (np.zeros((8, 4), "float32"), np.arange(8) % 3), workers=1, global_batch=4, runs_dir=sys.argv[-1])
try:
    run.wait(300)
except lk.errors.RunError as failure:
    print(failure)
"""


@pytest.mark.processes
def test_a_model_whose_code_fails_in_the_worker_is_named(runs_dir: Path, tmp_path: Path):
    script = tmp_path / "broken_model.py"
    script.write_text(textwrap.dedent(BROKEN))
    answer = subprocess.run(
        [sys.executable, str(script), str(runs_dir)], capture_output=True, text=True, check=False, timeout=400
    )
    assert "failed: worker 0:" in answer.stdout, answer.stderr[-2000:]
    assert "Broken" in answer.stdout


def test_warm_workers_are_handed_orders_only_while_they_live():
    standby = start._Standby(lambda arguments, log, orders: None)  # its end closes at once
    try:
        assert not standby.serves()
        assert not standby.order(run="x")
    finally:
        standby.close()
