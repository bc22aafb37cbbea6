"""A disk that takes no more of the log, and a driver that dies before there is room: the checkpoints tell what it lacks."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from tests.processes import processes_of

PATIENCE = 240.0


def until(run: lk.Run, condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not {what}: {run.status}, {run.cause}\n{run.logs()}"
        time.sleep(0.02)


@pytest.mark.processes
@pytest.mark.long
def test_steps_that_the_log_lost_come_from_the_checkpoint(tmp_path: Path):
    run = lk.launch(
        lk.LeptonModel((8, 8, 1), 10, 16, 1), lk.data.sample("digits"), workers=2, global_batch=100,
        epochs=100_000, checkpoint_seconds=0.1, log_seconds=0.05, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        until(run, lambda: run.view().step > 100, "training")
        driver = run.view().driver_pid
        assert driver is not None
        # No file of the driver may grow beyond the log; the workers still write checkpoints.
        resource.prlimit(driver, resource.RLIMIT_FSIZE, (run.paths.events.stat().st_size, -1))
        seen: set[str] = set()
        while len(seen) < 8:
            seen |= {folder.name for folder in run.paths.checkpoints.glob("step-*")}
            assert run.alive
            time.sleep(0.02)
        told = run.view().step
        os.kill(driver, signal.SIGKILL)
        until(run, lambda: not processes_of(driver), "gone with its driver")
        assert run.view().step == told, "the log took nothing more"
        run.resume()
        until(run, lambda: run.view().step > told + 1000, "going on")
        run.stop().wait(PATIENCE)
        found = lk.audit(run)
        assert found.problems == ()
        assert found.steps == run.view().step
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()
