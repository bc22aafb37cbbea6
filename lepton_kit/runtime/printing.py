"""What a worker prints goes to its log; a full disk costs lines of that log and nothing else."""

from __future__ import annotations

import io
import os
from typing import Any, TextIO

from lepton_kit.errors import FULL


class _Log(io.RawIOBase):
    """A file descriptor that takes what the disk takes, and says afterwards how much it did not."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._lost = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        content = bytes(data)
        note = (
            f"\n[{self._lost} bytes of this log are lost: the disk was full]\n".encode()
            if self._lost
            else b""
        )
        try:
            written = os.write(self._descriptor, note + content)
        except OSError as failure:
            if failure.errno not in FULL:
                raise
            written = 0
        if written < len(note):
            self._lost += len(content)
        else:
            self._lost = len(note) + len(content) - written
        return len(content)


def printing_to(descriptor: int) -> TextIO:
    """A text stream for ``sys.stdout`` or ``sys.stderr`` that writes each line at once."""
    return io.TextIOWrapper(_Log(descriptor), encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]  # a RawIOBase is no BinaryIO to typeshed  # a raw stream does, as write_through keeps nothing back
