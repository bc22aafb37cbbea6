"""Lends a process' own Spark session to the driver of a run, for as long as both are there."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from lepton_kit.rundir import RunPaths, lock
from lepton_kit.runtime.spark import talk
from lepton_kit.runtime.spark.submitting import Submitter
from lepton_kit.runtime.wire import Connection

POLL_SECONDS = 0.1


def lend(paths: RunPaths, session: Any) -> None:
    """Serve the driver of a run from a background thread of this process; the session stays its owner's."""
    thread = threading.Thread(
        target=_serve, args=(paths, session), daemon=True, name=f"lepton-spark-{paths.id}"
    )
    thread.start()


def _serve(paths: RunPaths, session: Any) -> None:
    if (end := _reached(paths)) is not None:
        connection = Connection(end, talk.KINDS)
        try:
            Submitter(session, connection).serve()
        finally:
            connection.close()


def _reached(paths: RunPaths) -> socket.socket | None:
    """A connection to the run's driver; None if there is no driver any more."""
    while lock.held(paths):
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(OSError):
            end.connect(paths.spark.read_text(encoding="utf-8"))
            return end
        end.close()
        time.sleep(POLL_SECONDS)
    return None
