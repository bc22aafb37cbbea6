"""The lock on a run: who holds it drives the run; it ends with the last process that holds its descriptor."""

from __future__ import annotations

import fcntl
import os
import time

from lepton_kit.errors import RunError
from lepton_kit.rundir.paths import RunPaths

PATIENCE_SECONDS = 2.0
"""A reader that looks whether a run is alive holds the lock for microseconds; a driver waits that long for it."""


def take(paths: RunPaths, patience: float = PATIENCE_SECONDS) -> int:
    """Take the lock and return its descriptor. Raises `RunError` if a driver holds it."""
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise RunError(f"{paths.root}: this run has a driver already") from None
            time.sleep(0.02)


def held(paths: RunPaths) -> bool:
    """True while a driver holds the run."""
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
