"""What is written beside training: once a step, in the background, and with words where the disk refuses."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.data import preprocessing
from lepton_kit.training import state, sums
from lepton_kit.training.saver import CALLBACKS, NICER, Saver, save_final

HISTORY = np.zeros((0, state.HISTORY_COLUMNS))


class Told:
    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, message: Any) -> None:
        self.messages.append((message.event, message.content))


@pytest.fixture
def variable() -> Any:
    return keras.Variable(np.arange(3, dtype="float32"))


def save(saver: Saver, folder: Path, step: int, variable: Any, *, background: bool = False) -> None:
    saver.save(folder, step, [variable], HISTORY, b"state", logged_epochs=0, background=background)


def test_a_step_is_written_once_and_reads_back(tmp_path: Path, variable: Any):
    told = Told()
    saver = Saver(told)
    save(saver, tmp_path, 4, variable)
    save(saver, tmp_path, 4, variable)
    assert [kind for kind, _ in told.messages] == ["checkpoint"]
    (folder,) = state.checkpoint_folders(tmp_path / "checkpoints")
    step, arrays, _ = state.load_checkpoint(folder)
    assert step == told.messages[0][1]["step"] == 4
    np.testing.assert_array_equal(arrays[0], [0, 1, 2])
    assert (folder / CALLBACKS).read_bytes() == b"state"


def test_what_is_saved_beside_training_is_the_moment_of_the_call(tmp_path: Path, variable: Any, monkeypatch):
    told, gate, write = Told(), threading.Event(), state.save_checkpoint

    def late(*arguments: Any, **options: Any) -> Any:
        gate.wait(10)
        return write(*arguments, **options)

    monkeypatch.setattr(state, "save_checkpoint", late)
    saver = Saver(told)
    save(saver, tmp_path, 1, variable, background=True)
    variable.assign(variable + 10)
    save(saver, tmp_path, 2, variable, background=True)  # the first is not written yet: this one is let go
    gate.set()
    save(saver, tmp_path, 3, variable)  # waits for it
    assert [fields["step"] for _, fields in told.messages] == [1, 3]
    first, last = (
        state.load_checkpoint(one)[1][0] for one in state.checkpoint_folders(tmp_path / "checkpoints")
    )
    np.testing.assert_array_equal(first, [0, 1, 2])
    np.testing.assert_array_equal(last, [10, 11, 12])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no nice value of its own")
def test_only_what_is_written_beside_training_leaves_training_the_cores(
    tmp_path: Path, variable: Any, monkeypatch
):
    nice: list[int] = []
    write, usual = state.save_checkpoint, os.getpriority(os.PRIO_PROCESS, 0)

    def noted(*arguments: Any, **options: Any) -> Any:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return write(*arguments, **options)

    monkeypatch.setattr(state, "save_checkpoint", noted)
    saver = Saver(Told())
    save(saver, tmp_path, 1, variable, background=True)
    save(saver, tmp_path, 2, variable)
    assert nice == [min(19, usual + NICER), usual]  # lower than whatever the process was given
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == usual


def test_a_disk_that_refuses_is_a_warning_and_the_step_stays_due(tmp_path: Path, variable: Any, monkeypatch):
    told, saver = Told(), None
    saver = Saver(told)

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state, "save_checkpoint", full)
        save(saver, tmp_path, 5, variable)
        saver.save_best(tmp_path, [variable], step=5, epoch=2, quantity="loss", value=0.1)
    assert [kind for kind, _ in told.messages] == ["warning", "warning"]
    assert "step 5 was not written" in told.messages[0][1]["text"]
    assert "of epoch 2, were not written" in told.messages[1][1]["text"]
    save(saver, tmp_path, 5, variable)
    assert told.messages[-1][0] == "checkpoint"


def test_of_the_best_weights_the_last_ones_are_kept(tmp_path: Path, variable: Any):
    saver = Saver(Told())
    for step in (3, 6):
        saver.save_best(tmp_path, [variable], step=step, epoch=step // 3, quantity="loss", value=1 / step)
    (folder,) = state.checkpoint_folders(tmp_path / "best")
    assert state.load_checkpoint(folder)[0] == 6
    assert state.load_checkpoint(folder)[2]["epoch"] == 2


def test_the_final_folder_holds_model_variables_and_callbacks(tmp_path: Path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = lk.data.arrays(np.zeros((4, 2)), np.zeros(4)).prepare()
    save_final(tmp_path, model, model.variables, b"seen", data)
    assert preprocessing.load(tmp_path / "final" / preprocessing.SIDECAR).encode([[1, 2]]).x.shape == (1, 2)
    arrays = state.load_final(tmp_path / "final")
    for mine, found in zip(model.variables, arrays, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), found)
    assert (tmp_path / "final" / CALLBACKS).read_bytes() == b"seen"
    assert (tmp_path / "final" / "model.keras").exists()
    noted = json.loads((tmp_path / "final" / sums.NOTED).read_text())["files"]
    assert {*noted, sums.NOTED} == {file.name for file in (tmp_path / "final").iterdir()}
