"""Files in the pool's folder, each held by the run that wrote it: others see that a run is gone when its lock is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from lepton_kit.runtime.pool.folder import PoolFolder, try_lock

LEAST_BYTES, MOST_BYTES = 1 << 12, 1 << 16
"""Of a file: room is taken for all that it will hold when it is made, so that a disk that fills up spoils none."""


class OwnFile:
    """A run's own file, however the run ends."""

    def __init__(self, folder: PoolFolder, name: str):
        """Make it anew; to be called with the pool locked. Raises `OSError`."""
        self._path = folder.path / name
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # of an earlier driver of this run
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL
        self.descriptor = os.open(self._path, flags, 0o644)
        os.fchmod(self.descriptor, 0o644)
        try:
            try_lock(self.descriptor)
            os.pwrite(self.descriptor, b" " * LEAST_BYTES, 0)
        except OSError:
            self.leave()
            raise

    @property
    def there(self) -> bool:
        """Whether others can still find it; somebody may have cleared the folder, or put another file there."""
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(self.descriptor))
        except OSError:
            return False

    def write(self, text: str) -> None:
        """Say what is true now, all of it; to be called with the pool locked."""
        data = text.encode().ljust(LEAST_BYTES)
        os.pwrite(self.descriptor, data, 0)
        os.ftruncate(self.descriptor, len(data))
        os.fsync(self.descriptor)  # other machines see what the server of a network file system has

    def leave(self) -> None:
        """Take the file away."""
        with contextlib.suppress(OSError):
            if self.there:
                os.unlink(self._path)
        os.close(self.descriptor)


def of_the_living(folder: Path, suffix: str, names: Iterable[str] = ()) -> tuple[dict[str, str], set[str]]:
    """By name without the suffix the text of each file that a run holds; and the names of the dead, whose files are swept if they are ours.

    ``names`` are further ones that may be there, though a list of the folder lacks them.
    """
    listed = (path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}"))
    texts, dead = {}, set()
    for name in sorted({*listed, *names}):
        path = folder / f"{name}{suffix}"
        with contextlib.suppress(OSError):
            text = _read(path)
            if text is None:
                dead.add(name)
            else:
                texts[name] = text
    return texts, dead


def _read(path: Path) -> str | None:
    """What a file says; None if nobody holds it. Raises `OSError` where there is none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if try_lock(descriptor, fcntl.LOCK_SH):  # nobody holds it: its run is dead
            if os.fstat(descriptor).st_uid == os.getuid():
                path.unlink(missing_ok=True)
            return None
        return os.pread(descriptor, MOST_BYTES, 0).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
