"""Locks on folders: who holds a run's drives the run; a lock ends with the last process that holds its descriptor.

A run's lock is on its folder itself, so that deleting a file in it lets no second driver in. Its file `driver.lock`
says that it has had a driver, and is the lock where a file system has none for folders.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from lepton_kit.errors import RunError
from lepton_kit.rundir.held import HeldFolder
from lepton_kit.rundir.paths import RunPaths

PATIENCE_SECONDS = 2.0
"""A reader that looks whether a lock is held has it for microseconds; who wants it waits that long."""

_FILE = os.O_RDWR | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def claim(file: Path, patience: float = PATIENCE_SECONDS) -> int | None:
    """Lock a file, made if need be, and return its descriptor; None if another still holds it after so many seconds."""
    return _claim(os.open(file, _FILE | os.O_CREAT, 0o600), patience)


def claimed(file: Path) -> bool:
    """True while anyone holds the file's lock."""
    try:
        descriptor = os.open(file, _FILE | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except (IsADirectoryError, NotADirectoryError):
        return False  # none of ours
    try:
        return _is_claimed(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def take(paths: RunPaths, patience: float = PATIENCE_SECONDS) -> int:
    """Take a run's lock and return its descriptor. Raises `RunError` if a driver holds it."""
    try:
        descriptor = _claim(os.open(paths.root, _FOLDER), patience)
        of_older = claim(paths.lock, patience) if descriptor is not None else None
        if of_older is not None:
            os.close(of_older)  # it need not be held: the folder is
        elif descriptor is not None:
            os.close(descriptor)  # a driver of an older version has the run
            descriptor = None
    except _UnsupportedError:
        descriptor = claim(paths.lock, patience)
    if descriptor is None:
        raise RunError(f"{paths.root}: this run has a driver already")
    return descriptor


def place(paths: RunPaths, descriptor: int) -> RunPaths:
    """Where the run lies whose lock this descriptor holds: it may have been moved since it was taken."""
    try:
        folder = HeldFolder(descriptor)
    except OSError:
        return paths  # the lock is on a file
    try:
        return RunPaths(folder.path)
    finally:
        folder.close()


def held(paths: RunPaths) -> bool:
    """True while a driver holds the run."""
    try:
        descriptor = os.open(paths.root, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        if _is_claimed(descriptor):
            return True
    except _UnsupportedError:
        pass
    finally:
        os.close(descriptor)
    return claimed(paths.lock)


class _UnsupportedError(OSError):
    """The file system has no lock for this kind of file."""


def _claim(descriptor: int, patience: float) -> int | None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)
        except OSError as failure:
            os.close(descriptor)
            raise _UnsupportedError(*failure.args) from None


def _is_claimed(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as failure:
        raise _UnsupportedError(*failure.args) from None
    return False
