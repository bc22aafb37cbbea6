"""Runs whose workers are tasks of a real Spark application: two executors on this machine, of which one is lost on the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import lepton_kit as lk
from lepton_kit.training import state
from tests.soak.storm import alone, apart, compiled

pytestmark = pytest.mark.processes
PATIENCE = 240.0


def until(condition: Callable[[], Any], what: str, run: lk.Run) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert run.alive, (what, run.status, run.cause, run.view().incidents)
        assert time.monotonic() < deadline, (what, run.view().incidents, run.view().warnings)
        time.sleep(0.05)


def trains(run: lk.Run, workers: int) -> Callable[[], bool]:
    """Whether so many workers train, and have done a step together."""

    def found() -> bool:
        last = run.view().generations[-1:]
        return bool(last) and last[0]["world_size"] == workers and run.view().step > last[0]["step"]

    return found


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
    if run.alive:
        run.stop()
    deadline = time.monotonic() + PATIENCE
    while run.alive and time.monotonic() < deadline:
        time.sleep(0.1)


def test_a_lost_executor_changes_no_weight_and_loses_no_sample(spark: Any, tmp_path: Path):
    data = lk.data.sample("digits")
    run = lk.launch(
        compiled(), data, workers=2, spark=spark, global_batch=700, epochs=1_000_000, hang_seconds=10,
        max_failures=100, checkpoint_seconds=2, log_seconds=0.1, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        until(trains(run, 2), "training on two executors", run)
        os.kill(processes("CoarseGrainedExecutorBackend")[0].pid, signal.SIGKILL)
        until(lambda: run.view().incidents, "an incident", run)
        before = run.view().step
        until(lambda: run.view().step > before, "going on without it", run)
        until(trains(run, 2), "having another one, on which Spark has tried again", run)
        run.stop()
        until(lambda: not run.alive or run.status == "stopped", "stopping", run)
    finally:
        ended(run)
    assert run.status == "stopped", run.cause
    view, found = run.view(), lk.audit(run)
    assert [one["host"].partition("/")[0] for one in view.incidents] == ["spark"]
    assert found.problems == ()
    assert found.steps == view.step
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = alone(run.config.replace(**{"training.max_steps": view.step}), data.prepare())
    assert apart(expected, arrays) < 1e-5
    assert not run.paths.spark.exists()
    tracker = spark.sparkContext.statusTracker()
    deadline = time.monotonic() + PATIENCE
    while (tracker.getActiveJobsIds() or agents()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(tracker.getActiveJobsIds()) == []
    assert agents() == []
