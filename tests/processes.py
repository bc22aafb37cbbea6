"""What tests of runs share: waiting, a small disk, the living processes of a driver's session."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lepton_kit.client.run import Run

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until something is so, and give it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.02)
    return found


def until(condition: Callable[[], Any], what: str, run: Run) -> None:
    """Wait until something is so, of a run that has to live meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert run.alive, (what, run.status, run.cause, run.view().incidents)
        assert time.monotonic() < deadline, (what, run.view().incidents, run.view().warnings)
        time.sleep(0.05)


def trains(run: Run, workers: int) -> Callable[[], bool]:
    """Whether so many workers train, and have done a step together."""

    def found() -> bool:
        last = run.view().generations[-1:]
        return bool(last) and last[0]["world_size"] == workers and run.view().step > last[0]["step"]

    return found


def on_a_small_disk(
    tmp_path: Path, script: str, *, size: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a script, which gets a folder as its argument, on a file system of this size; skips where none can be had."""
    small, file = tmp_path / "small", tmp_path / "script.py"
    small.mkdir()
    file.write_text(script)
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        possible = subprocess.run([*inside, f"mount -t tmpfs none {small}"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare on this system")
    if possible.returncode:
        pytest.skip(f"no file system of one's own here: {possible.stderr.decode().strip()}")
    return subprocess.run(
        [*inside, f"mount -t tmpfs -o size={size} none {small} && exec {sys.executable} {file} {small}"],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def processes_of(session: int) -> list[psutil.Process]:
    """The living processes of a driver's session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found
