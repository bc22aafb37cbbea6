"""A run in the foreground of a command: a scheduler that ends all its processes politely leaves a checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

import lepton_kit as lk

pytestmark = pytest.mark.processes
PATIENCE = 180.0


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
    assert str(run.cause).startswith("its machine or its job ends; `lepton ")
    assert [one["what"] for one in run.view().incidents] == []
    assert run.view().checkpoints[-1]["step"] == run.view().step
    assert lk.audit(run).problems == ()
