"""Temporary folders that go with the process that made them: at its end, or if it was killed when the next one starts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class Scratch:
    """A temporary folder whose name begins with ``prefix``; those that killed processes have left are removed first.

    It is locked as long as its maker has it open, which tells it from one that was left behind.
    """

    def __init__(self, prefix: str):
        sweep(prefix)
        unlocked = Path(tempfile.mkdtemp(prefix=f".{prefix}"))  # by this name nobody sweeps it
        self._descriptor = os.open(unlocked, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a file system without locks for folders: it is not swept there
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = unlocked.rename(unlocked.with_name(unlocked.name[1:]))

    def forget(self) -> None:
        """In a fork of the process that made it: the folder is its parent's."""
        os.close(self._descriptor)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


def sweep(prefix: str) -> None:
    """Remove this user's temporary folders of that prefix that no process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
