"""A run in the foreground of a command: a scheduler that ends all its processes politely leaves a checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import lepton_kit as lk
from lepton_kit.cli import foreground
from lepton_kit.client import jobs
from lepton_kit.rundir import RunPaths, Status, read_requests

PATIENCE = 180.0


@pytest.mark.processes
def test_sigterm_to_all_processes_interrupts_with_a_checkpoint_that_resume_goes_on_from(runs_dir: Path):
    values = {
        "model": {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10},
        "data": {"kind": "sample", "name": "digits"},
        "training": {"epochs": 100_000, "checkpoint_seconds": 1000, "log_seconds": 0.1},
    }
    file = runs_dir.parent / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    lepton = [sys.executable, "-P", "-m", "lepton_kit.cli", "--runs-dir", str(runs_dir)]
    command = subprocess.Popen([*lepton, "run", str(file), "--foreground"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := lk.runs(runs_dir)) or found[0].view().step < 10:
            assert command.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        run = lk.open_run("latest", runs_dir)
        for process in psutil.Process(command.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        os.kill(command.pid, signal.SIGTERM)
        assert command.wait(PATIENCE) == 1
    finally:
        if command.poll() is None:
            command.kill()
    assert run.status == "interrupted"
    assert str(run.cause).startswith("its machine or its job ends")
    assert [one["what"] for one in run.view().incidents] == []
    assert run.view().checkpoints[-1]["step"] == run.view().step
    assert lk.audit(run).problems == ()


class Cut:
    """A run that a time limit interrupts after some steps."""

    id, status, alive = "run", Status.INTERRUPTED, False

    def __init__(self, folder: Path, steps: int):
        self.paths, self.step, self.steps = RunPaths(folder), 5, steps

    def view(self) -> Cut:
        return self

    def follow(self, _: object, look: Callable[[], None]) -> int:
        os.kill(os.getpid(), signal.SIGUSR1)
        self.step += self.steps
        look()
        look()
        return 1


@pytest.mark.parametrize(
    ("steps", "says", "queued"), [(3, "in the queue again", ["7"]), (0, "no step was trained", [])]
)
def test_a_time_limit_puts_a_job_back_that_has_trained(
    steps: int, says: str, queued: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    back: list[str] = []
    monkeypatch.setattr(jobs, "requeue", lambda _, number: not back.append(number))
    (tmp_path / "control").mkdir()
    run: Any = Cut(tmp_path, steps)
    before = {one: signal.getsignal(one) for one in foreground.ENDS}
    try:
        assert foreground.hold(lambda: run, run.follow) == 1
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert says in capsys.readouterr().out
    assert back == queued
    (request,) = read_requests(run.paths)[0]
    assert request.verb == "interrupt"
