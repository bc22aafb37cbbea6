"""Temporary folders that go with the process that made them: at its end, or if it was killed when the next one starts, or at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


class Scratch:
    """A temporary folder whose name begins with ``prefix``; those that killed processes have left are removed first.

    It is locked as long as its maker has it open, which tells it from one that was left behind.
    """

    def __init__(self, prefix: str):
        sweep(prefix)
        unlocked = Path(tempfile.mkdtemp(prefix=f".{prefix}"))  # by this name nobody sweeps it
        self._descriptor = keep(unlocked)
        self.path = unlocked.rename(unlocked.with_name(unlocked.name[1:]))

    def forget(self) -> None:
        """In a fork of the process that made it: the folder is its parent's."""
        os.close(self._descriptor)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


@contextlib.contextmanager
def passing(prefix: str) -> Iterator[Path]:
    """A `Scratch` folder for runs that nobody wants without this process: if it is killed, the folder goes at once, and they end.

    >>> with passing("lepton-example-") as folder:
    ...     folder.is_dir()
    True
    >>> folder.exists()
    False
    """
    scratch = Scratch(prefix)
    remove = ["sh", "-c", 'cat; rm -rf -- "$0"', str(scratch.path)]  # what it reads ends with this process
    guard = subprocess.Popen(
        remove,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    try:
        yield scratch.path
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()
        scratch.close()


def sweep(prefix: str) -> None:
    """Remove this user's temporary folders of that prefix that no process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        remove_abandoned(folder)


def keep(folder: Path) -> int:
    """Hold a folder, so that nobody sweeps it, until the descriptor that is returned is closed. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a file system without locks for folders: it is not swept there
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def remove_abandoned(folder: Path, seconds: float = 0.0) -> None:
    """Remove this user's folder if no process keeps it, and nothing was added to it for so many seconds."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if found.st_uid == os.getuid() and time.time() - found.st_mtime >= seconds:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
