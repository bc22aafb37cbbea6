"""Reading files of a run's folder, which anybody may have written: no pipe is waited for, no depth of JSON is fatal."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

LARGEST_BYTES = 256 << 20
"""No mapping that lepton_kit writes comes near it; more is a file of something else, or one that never ends."""
PIECE_BYTES = 1 << 20
"""Read at once: a buffer of this size is taken however small a file is."""
NOT_JSON = (ValueError, RecursionError)
"""What `json.loads` raises of a text that is not JSON, not UTF-8, or nested too deep."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises `OSError` naming it, also where it is a folder, a pipe or a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def regular(path: Path) -> Path:
    """The path, for a library that opens it itself. Raises `OSError` naming it as `open_regular` does."""
    open_regular(path).close()
    return path


def read_text(path: Path) -> str:
    """What a log holds, whatever its bytes. Raises `OSError` naming the file."""
    with open_regular(path) as file:
        return file.read().decode("utf-8", errors="replace")


def read_bounded(path: Path) -> bytes:
    """All of a file. Raises `OSError` naming it, also where it is absurdly large."""
    found = bytearray()
    with open_regular(path) as file:
        while piece := file.read(PIECE_BYTES):
            found += piece
            if len(found) > LARGEST_BYTES:
                raise OSError(errno.EFBIG, f"holds more than {LARGEST_BYTES >> 20} MiB", str(path))
    return bytes(found)


def read_mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `OSError` naming the file, also where it is absurdly large, or `ValueError`."""
    try:
        values = json.loads(read_bounded(path))
    except NOT_JSON as failure:
        raise ValueError(str(failure)) from None
    if not isinstance(values, dict):
        raise ValueError(f"it holds {type(values).__name__}, not an object")
    return values
