"""Runs whose workers are tasks of a real Spark application: two executors on this machine, of which one is lost on the way."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import pytest

import lepton_kit as lk
from lepton_kit.runtime.spark import submitting
from lepton_kit.training import reference, state, sums
from tests.processes import trains, until
from tests.soak.storm import apart

pytestmark = pytest.mark.processes
PATIENCE = 240.0


def processes(words: str) -> list[psutil.Process]:
    """Those of this application whose command line has these words."""
    found = []
    for one in psutil.Process().children(recursive=True):
        try:
            if words in " ".join(one.cmdline()):
                found.append(one)
        except psutil.NoSuchProcess:
            continue
    return found


def agents() -> list[psutil.Process]:
    return [one for one in psutil.process_iter() if _is_agent(one)]


def _is_agent(one: psutil.Process) -> bool:
    try:
        return "lepton_kit.runtime.hosts.agent" in one.cmdline() and one.cwd().find("/app-") > 0
    except psutil.Error:
        return False


def ended(run: lk.Run) -> None:
    deadline = time.monotonic() + PATIENCE
    while run.alive:
        assert time.monotonic() < deadline, (run.status, run.view().incidents)
        time.sleep(0.1)


def network() -> keras.Model:
    """A smooth network with a rate at which rounding does not grow; equal weights at every call."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(160, "tanh"), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-5), loss)
    return model


@pytest.fixture
def frame(spark: Any) -> Any:
    """Digits as a DataFrame: 64 pixels in an array, and the class."""
    train = lk.data.sample("digits").prepare().train
    x, y, _ = train.rows(np.arange(len(train)))
    rows = [(one.ravel().astype(float).tolist(), int(label)) for one, label in zip(x, y, strict=True)]
    return spark.createDataFrame(rows, "pixels array<float>, digit int").repartition(2)


def test_a_lost_executor_changes_no_weight_and_loses_no_row_and_a_run_goes_on_later(
    spark: Any, frame: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = lk.launch(
        network(), frame, target="digit", data_folder=tmp_path / "rows", workers=2, spark=spark, global_batch=700,
        epochs=1_000_000, hang_seconds=10, max_failures=100, checkpoint_seconds=2, log_seconds=0.1,
        runs_dir=tmp_path / "runs",
    )  # fmt: skip
    try:
        until(trains(run, 2), "training on two executors", run)
        os.kill(processes("CoarseGrainedExecutorBackend")[0].pid, signal.SIGKILL)
        until(lambda: run.view().incidents, "an incident", run)
        before = run.view().step
        until(lambda: run.view().step > before, "going on without it", run)
        until(trains(run, 2), "having another one, on which Spark has tried again", run)
        run.stop()
        ended(run)
        assert run.status == "stopped", run.cause
        assert [one["host"].partition("/")[0] for one in run.view().incidents] == ["spark"]
        assert not run.paths.spark.exists()
        nothing_is_left(spark)

        before = len(run.view().generations)
        run.resume(spark=spark)
        until(lambda: len(run.view().generations) > before, "beginning again", run)
        until(trains(run, 2), "going on with the session", run)
        monkeypatch.setattr(submitting, "stopped", lambda session: True)
        ended(run)
    finally:
        if run.alive:
            run.stop()
            ended(run)
    assert run.status == "interrupted"
    assert (run.cause or "").startswith("the Spark application has been stopped (last checkpoint: ")
    view, found = run.view(), lk.audit(run)
    assert found.problems == ()
    assert found.steps == view.step
    meta, arrays = state.load_newest(run.paths.checkpoints)
    steps = sums.read_meta(meta)["step"]
    assert 0 < steps <= view.step
    config = run.config.replace(**{"training.max_steps": steps})
    assert apart(reference.plain_fit(network(), config, run.data().prepare()), arrays) < 1e-5
    nothing_is_left(spark)


def nothing_is_left(spark: Any) -> None:
    """No job and no agent, after the moment that Spark takes to end them."""
    tracker = spark.sparkContext.statusTracker()
    deadline = time.monotonic() + PATIENCE
    while (tracker.getActiveJobsIds() or agents()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(tracker.getActiveJobsIds()) == []
    assert agents() == []
