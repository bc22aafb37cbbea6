"""A run's folder as its own processes hold it: followed when it is renamed or moved, known to be gone when deleted."""

from __future__ import annotations

import os
import re
from pathlib import Path

_DELETED = " (deleted)"
_DESCRIPTORS = Path("/proc/self/fd")
_THROUGH = re.compile(r"/proc/(?:self|\d+)/fd/(\d+)")


class HeldFolder:
    """An open folder (Linux; proc(5)). What is written through `inside` lands in it whatever its name is by then.

    Nothing can bring a deleted folder back this way: writing into it fails. Where there is no /proc, all paths stay
    what they were.
    """

    def __init__(self, folder: Path | int):
        """Hold a folder by its path, or by a descriptor of it, which stays its giver's. Raises `OSError`."""
        if isinstance(folder, int):
            folder = _DESCRIPTORS / str(folder)
        self.descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._known = folder
        self._told = self.path

    @property
    def inside(self) -> Path:
        """The folder for this process's own reading and writing."""
        return _DESCRIPTORS / str(self.descriptor) if _DESCRIPTORS.is_dir() else self._known

    @property
    def shared(self) -> Path:
        """The folder for a process that this one starts, as long as this one lives."""
        own = Path(f"/proc/{os.getpid()}/fd/{self.descriptor}")
        return own if _DESCRIPTORS.is_dir() else self._known

    @property
    def path(self) -> Path:
        """The name that the folder has now, or had last."""
        for _ in range(3):  # it may be renamed between the two looks
            try:
                found = Path(os.readlink(self.inside))
                if os.path.samestat(os.stat(found), os.fstat(self.descriptor)):
                    self._known = found
                    break
            except OSError:
                continue
        return self._known

    def moved(self) -> str | None:
        """That the folder has another name than when this was asked last, in words; None if it has not."""
        before, self._told = self._told, self.path
        if before == self._told or self.gone:
            return None
        return f"the run's folder was moved from {before} to {self._told}; the run goes on there"

    @property
    def gone(self) -> bool:
        """True if the folder was deleted, by whatever name."""
        try:
            if not os.readlink(self.inside).endswith(_DELETED):
                return False
        except OSError:
            return not self._known.exists()  # no /proc
        return not os.path.samefile(self.inside, self.path) if self.path.exists() else True

    def lies_at(self, path: Path) -> bool:
        """Whether this path leads to the folder, and not to nothing or to another one."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self.descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """Let the folder go."""
        os.close(self.descriptor)


def named(text: str) -> str:
    """A text in which folders that this process holds have the names that they have now.

    >>> named("no space in /proc/self/fd/999999/final")
    'no space in /proc/self/fd/999999/final'
    """

    def name(found: re.Match[str]) -> str:
        try:
            return os.readlink(_DESCRIPTORS / found[1]).removesuffix(_DELETED)
        except OSError:
            return found[0]

    return _THROUGH.sub(name, text)
