"""What a run's handle tells: its best epoch, its warnings, what ended it; and what it refuses at once."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.client.launch import plan
from lepton_kit.client.run import Run
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import EventLog, RunPaths, lock, read_requests
from lepton_kit.training import state
from tests.configs import any_config

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def made(folder: Path, config: Any = None) -> Run:
    paths = RunPaths(folder / "demo")
    paths.create()
    paths.config.write_text((config or any_config()).to_yaml())
    return Run(paths)


def told(run: Run, kind: str, **fields: Any) -> None:
    EventLog(run.paths.events).append(kind, **fields)


def test_a_finished_run_says_what_ended_it(tmp_path: Path):
    run = made(tmp_path)
    told(run, "status", status="finished", cause="EarlyStopping: val_loss has not improved", driver_pid=1)
    assert (run.status, run.stopped_by) == ("finished", "EarlyStopping: val_loss has not improved")
    told(run, "status", status="failed", cause="a worker died", driver_pid=1)
    assert (run.cause, run.stopped_by) == ("a worker died", None)


def test_an_end_that_only_the_status_file_had_room_for_counts_unless_another_driver_came(tmp_path: Path):
    run = made(tmp_path)
    run.paths.lock.touch()
    told(run, "status", status="running", cause=None, driver_pid=7)
    assert run.status == "interrupted"
    run.paths.status.write_text('{"status": "failed", "cause": "the disk is full", "driver_pid": 7}')
    assert (run.status, run.cause) == ("failed", "the disk is full")
    told(run, "status", status="starting", cause=None, driver_pid=8)
    assert run.status == "interrupted"


def test_a_run_without_its_folder_and_one_whose_driver_could_not_start_say_so(tmp_path: Path):
    run = made(tmp_path)
    run.paths.lock.touch()
    run.paths.driver_log.write_text(
        "Traceback (most recent call last):\n  …\nImportError: no such library\n\n"
    )
    assert str(run.cause).startswith("the driver could not start: ImportError: no such library (")
    told(run, "status", status="running", cause=None, driver_pid=7)
    assert "the driver died" in str(run.cause)
    shutil.rmtree(run.directory)
    assert run.cause == f"{run.directory}: the run's folder was deleted or moved"


def test_warnings_are_the_texts_of_the_log_in_order(tmp_path: Path):
    run = made(tmp_path)
    assert run.warnings == []
    told(run, "warning", text="layer 'a' draws")
    told(run, "warning", text="later")
    assert run.warnings == ["layer 'a' draws", "later"]


def test_a_rate_is_refused_at_once_where_a_schedule_decides_and_nothing_is_asked(tmp_path: Path):
    stored = {"kind": "keras", "path": "a.keras", "schedule": "CosineDecay(0.1)"}
    run = made(tmp_path, any_config(model=stored))
    held = lock.take(run.paths)  # as a driver does
    with pytest.raises(ConfigError, match=r"learning_rate: got 0\.5; expected none: .* CosineDecay"):
        run.set(learning_rate=0.5)
    assert list(run.paths.control.iterdir()) == []
    run.set(log_seconds=1.0)
    assert len(list(run.paths.control.iterdir())) == 1
    import os

    os.close(held)


def test_the_best_model_has_the_weights_of_the_best_epoch(tmp_path: Path):
    folder = tmp_path / "demo"
    RunPaths(folder).create()
    planned = plan(lk.LeptonModel((3,), 2, 4, 1), (X, np.arange(20) % 2), keep_best="val_loss")
    RunPaths(folder).config.write_text(planned.store(folder).to_yaml())
    run = Run(RunPaths(folder))
    assert run.best is None
    with pytest.raises(RunError, match="no epoch with val_loss has ended yet; status created"):
        run.best_model()
    from lepton_kit.training import job

    variables = job.build_model(run.config, folder, planned.prepared).variables
    weights = [np.full(variable.shape, k + 0.5, np.float32) for k, variable in enumerate(variables)]
    extra = [np.zeros(3)]  # the optimizer's
    empty = np.zeros((0, state.HISTORY_COLUMNS))
    about = {"epoch": 2, "quantity": "val_loss", "value": 0.25}
    state.save_checkpoint(folder / "best", 9, weights + extra, empty, **about)
    assert run.best == {**about, "step": 9}
    for mine, expected in zip(run.best_model().variables, weights, strict=True):
        assert np.array_equal(mine.numpy(), expected)


def test_a_run_that_was_not_asked_has_no_best_model(tmp_path: Path):
    with pytest.raises(
        RunError, match=r"not asked to keep the best epoch; launch\(keep_best='val_loss'\) does"
    ):
        made(tmp_path).best_model()


def test_the_model_of_a_run_that_kept_an_object_is_that_object(tmp_path: Path):
    import keras

    class Twice(keras.layers.Layer):
        def __init__(self, how: Any) -> None:  # no get_config: Keras can't write it
            super().__init__()
            self.how = how

        def call(self, x: Any) -> Any:
            return self.how(x)

    model = keras.Sequential([keras.Input((3,)), Twice(lambda x: 2 * x), keras.layers.Dense(2)])
    run = made(tmp_path)
    with pytest.raises(RunError, match="there is no checkpoint yet"):
        run.model()
    lk.models.store(model, run.paths.final_model.parent)
    assert np.allclose(run.model()(X), model(X))


def test_a_resume_that_a_dying_driver_never_hears_starts_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, started = made(tmp_path), []
    told(run, "status", status="running", cause=None, driver_pid=1)
    monkeypatch.setattr("lepton_kit.client.resuming.start_driver", started.append)
    dying = lock.take(run.paths)
    threading.Timer(0.2, os.close, [dying]).start()
    assert run.resume() is run
    assert started == [run.paths]


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [("stop", {}), ("pause", {}), ("scale", {"workers": 2}), ("set", {"log_seconds": 1})],
)
def test_what_a_driver_that_is_killed_never_hears_is_said_and_not_left_for_the_next(
    tmp_path: Path, verb: str, arguments: dict[str, Any]
):
    run = made(tmp_path)
    told(run, "status", status="running", cause=None, driver_pid=1)
    dying = lock.take(run.paths)
    threading.Timer(0.2, os.close, [dying]).start()
    with pytest.raises(RunError, match=f"its driver ended before it heard of {verb}; the run is interrupted"):
        getattr(run, verb)(**arguments)
    assert read_requests(run.paths) == ([], [])


@pytest.mark.parametrize("verb", ["stop", "pause"])
def test_a_driver_that_ends_meanwhile_has_stopped_and_refuses_the_rest(tmp_path: Path, verb: str):
    run = made(tmp_path)
    told(run, "status", status="running", cause=None, driver_pid=1)
    driver = lock.take(run.paths)

    def end() -> None:
        for request in read_requests(run.paths)[0]:
            told(run, "request", verb=request.verb, id=request.id, accepted=False, cause="the run has ended")
        told(run, "status", status="finished", cause=None, driver_pid=1)
        os.close(driver)

    threading.Timer(0.2, end).start()
    if verb == "stop":
        assert run.stop() is run
    else:
        with pytest.raises(RunError, match="ended before it heard of pause; the run is finished"):
            run.pause()


def test_a_run_whose_driver_has_only_begun_is_not_waited_for(tmp_path: Path):
    run = made(tmp_path)
    driver = lock.take(run.paths)
    assert run.stop() is run
    assert [request.verb for request in read_requests(run.paths)[0]] == ["stop"]
    os.close(driver)


def test_a_resume_that_a_driver_takes_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, started = made(tmp_path), []
    told(run, "status", status="paused", cause=None, driver_pid=1)
    monkeypatch.setattr("lepton_kit.client.resuming.start_driver", started.append)
    driver = lock.take(run.paths)
    taken: list[Any] = []
    threading.Timer(0.2, lambda: taken.extend(read_requests(run.paths)[0])).start()
    assert run.resume() is run
    assert [request.verb for request in taken] == ["resume"]
    assert started == []
    os.close(driver)
