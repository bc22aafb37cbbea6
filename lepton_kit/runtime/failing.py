"""What a driver that could not start leaves in its run's folder; needs nothing but Python itself."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

TAIL_BYTES = 1 << 13


def could_not_start(failure: BaseException) -> str:
    """Why a driver did not start, in words."""
    with contextlib.suppress(Exception):  # of a package whose libraries can't be loaded
        from lepton_kit.processes import limits

        if (why := limits.told(failure)) is not None:
            return f"the driver could not start: {why}"
    return f"the driver could not start: {type(failure).__name__}: {failure}"


def write_failure(folder: Path, cause: str) -> None:
    """Leave a cause where readers look. Only who holds the run's lock may."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / "events.jsonl", os.O_WRONLY | os.O_APPEND)  # of a run that was resumed
        with os.fdopen(descriptor, "ab") as log:
            event = {
                "time": time.time(),
                "kind": "status",
                "status": "failed",
                "cause": cause,
                "driver_pid": None,
            }
            log.write(b"\n" + json.dumps(event).encode() + b"\n")  # ends a torn line
    temporary = folder / f".status.json.{os.getpid()}"
    try:
        temporary.write_text(json.dumps({"status": "failed", "cause": cause, "driver_pid": None}))
        os.replace(temporary, folder / "status.json")
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()


def last_words(log: Path) -> str:
    """The last line that a process has written to its log, such as the one that names an exception; "" if none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "")
