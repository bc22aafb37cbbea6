"""Starts a process that outlives the one that asked for it, such as a run's driver or a compression."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from lepton_kit.errors import DeviceError
from lepton_kit.processes import limits
from lepton_kit.processes.program import begin


def private(name: str, flags: int) -> int:
    """An opener of files that only their owner may read."""
    return os.open(name, flags, 0o600)


def start_detached(
    module: str,
    arguments: Sequence[str],
    log: Path,
    *,
    stdin: int = subprocess.DEVNULL,
    descriptors: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Run a module of this package in a session of its own; what it prints is added to the file ``log``.

    It keeps the ``descriptors``, such as that of a lock. While this process is here, a thread takes the other's exit
    status so that no zombie stays. Raises `DeviceError` where there may be no more processes or threads.
    """
    process = None
    try:
        with open(log, "ab", opener=private) as file:
            process = begin(
                module,
                *arguments,
                stdin=stdin,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,
                pass_fds=tuple(descriptors),
                bufsize=0,
            )
        threading.Thread(target=process.wait, daemon=True, name=f"exit-of-{process.pid}").start()
    except (OSError, RuntimeError) as failure:
        if process is not None:
            process.kill()
            process.wait()
        if (why := limits.told(failure)) is not None:
            raise DeviceError(f"a process of its own can't be started: {why}") from None
        raise
    return process
