"""Locks on folders: who holds a run's drives the run; a lock ends with the last process that holds its descriptor.

A run's lock is on its folder itself, so that deleting a file in it lets no second driver in. Its file `driver.lock`
says that it has had a driver, and is the lock where a file system has none for folders.
"""

from __future__ import annotations

import errno
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
_NO_LOCK = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
"""There is none, or what is there is none of ours."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def claim(file: Path, patience: float = PATIENCE_SECONDS) -> int | None:
    """Lock a file, made if need be, and return its descriptor; None if another still holds it after so many seconds."""
    return _claim(os.open(file, _FILE | os.O_CREAT, 0o600), patience)


def claimed(file: Path) -> bool:
    """True while anyone holds the file's lock."""
    try:
        descriptor = os.open(file, _FILE | os.O_NONBLOCK)
    except OSError as failure:
        if failure.errno in _NO_LOCK:
            return False
        raise
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
        if descriptor is not None and not _of_no_older_driver(paths, descriptor, patience):
            os.close(descriptor)
            descriptor = None
    except _UnsupportedError:
        descriptor = claim(paths.lock, patience)
    if descriptor is None:
        raise RunError(f"{paths.root}: this run has a driver already")
    return descriptor


def _of_no_older_driver(paths: RunPaths, folder: int, patience: float) -> bool:
    """Make the lock file, and see that no driver of an older version has it; it need not be held: the folder is."""
    try:
        of_older = claim(paths.lock, patience)
    except OSError as failure:
        if failure.errno in _NO_LOCK:
            return True
        os.close(folder)  # else the run would have a driver for as long as this process lives
        raise
    if of_older is not None:
        os.close(of_older)
    return of_older is not None


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
