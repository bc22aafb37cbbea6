"""Starting the driver of a run: a new process, or the warm one that waits for its first run."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lepton_kit.rundir import RunPaths, lock, read_requests
from lepton_kit.rundir.detached import start_detached

DRIVER = "lepton_kit.runtime.driver"
TAKE_OVER_SECONDS = 10.0


class _Warm:
    """The standby driver of this process, if any: warm workers that the next launch takes over."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None
        self.lock = threading.Lock()

    @staticmethod
    def order(process: subprocess.Popen[bytes], **fields: Any) -> bool:
        """Tell a standby driver what to do; False if it is gone."""
        if process.stdin is None:
            return False
        try:
            process.stdin.write(json.dumps({"cwd": os.getcwd(), **fields}).encode() + b"\n")
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Close the standby driver's input: it ends, unless it has a run."""
        process, self.process = self.process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None


_warm = _Warm()
atexit.register(_warm.release)


def prepare(fill: Callable[[Path], object]) -> None:
    """Have warm workers, started if there are none, prepare the run that ``fill`` writes into a folder."""
    with _warm.lock:
        if _warm.process is None or _warm.process.poll() is not None:
            _warm.release()
            _warm.folder = Path(tempfile.mkdtemp(prefix="lepton-warm-"))
            _warm.process = start_detached(
                DRIVER, ["--standby", str(_warm.folder)], _warm.folder / "driver.log", stdin=subprocess.PIPE
            )
        assert _warm.folder is not None
        folder = Path(tempfile.mkdtemp(dir=_warm.folder))
        fill(folder)
        _warm.order(_warm.process, prepare=str(folder))


def cool() -> None:
    """Give the warm workers back."""
    with _warm.lock:
        process = _warm.process
        _warm.release()
    if process is not None:
        process.wait()


def start_driver(paths: RunPaths) -> None:
    """Hand a run to the warm workers if there are any, else to a new driver; either holds it when this returns.

    Raises `RunError` if the run has a driver.
    """
    with _warm.lock:
        process, _warm.process = _warm.process, None
        if process is not None and process.poll() is None and not lock.held(paths):
            read_requests(paths)  # what was asked of an earlier driver, and not heard, is forgotten
            if _warm.order(process, run=str(paths.root)) and _taken_over(paths, process.pid):
                return
    descriptor = lock.take(paths)
    try:
        read_requests(paths)
        arguments = [str(paths.root), "--lock", str(descriptor)]
        start_detached(DRIVER, arguments, paths.driver_log, descriptors=(descriptor,))
    finally:
        os.close(descriptor)


def _taken_over(paths: RunPaths, pid: int) -> bool:
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    while time.monotonic() < deadline:
        if lock.held(paths) or paths.read_status()["driver_pid"] == pid:
            return True
        time.sleep(0.01)
    return False
