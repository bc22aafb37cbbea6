"""Locks on folders: who holds a run's drives the run; a lock ends with the last process that holds its descriptor."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from lepton_kit.errors import RunError
from lepton_kit.rundir.paths import RunPaths

PATIENCE_SECONDS = 2.0
"""A reader that looks whether a lock is held has it for microseconds; who wants it waits that long."""


def claim(file: Path, patience: float = PATIENCE_SECONDS) -> int | None:
    """Lock a file, made if need be, and return its descriptor; None if another still holds it after so many seconds."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)


def claimed(file: Path) -> bool:
    """True while anyone holds the file's lock."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def take(paths: RunPaths, patience: float = PATIENCE_SECONDS) -> int:
    """Take a run's lock and return its descriptor. Raises `RunError` if a driver holds it."""
    descriptor = claim(paths.lock, patience)
    if descriptor is None:
        raise RunError(f"{paths.root}: this run has a driver already")
    return descriptor


def held(paths: RunPaths) -> bool:
    """True while a driver holds the run."""
    return claimed(paths.lock)
