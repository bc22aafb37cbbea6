"""Who holds a run's Spark application, as its driver sees it: a process of its own, or whoever launched it with a session."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Protocol

from lepton_kit.hosts import SparkSpec
from lepton_kit.processes.detached import private
from lepton_kit.processes.program import begin
from lepton_kit.processes.scratch import Scratch
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.spark import talk
from lepton_kit.runtime.wire import Connection
from lepton_kit.training.messages import Message

SESSION_SECONDS = 60.0
"""How long a driver waits for the process that has the session."""
PEER = struct.Struct("3i")


class Holder(Protocol):
    """Passes orders to the application, and its answers back."""

    waits_for: str

    def filenos(self) -> list[int]:
        """Descriptors that become readable when there are answers."""

    def send(self, message: Message) -> None:
        """Order something."""

    def receive(self) -> list[Message]:
        """What the application has said; `Over` at last, when it is gone."""

    def close(self, grace_seconds: float) -> None:
        """End what belongs to the run."""


def holder_of(spec: SparkSpec, folder: Path) -> Holder:
    """What holds the application that a configuration asks for."""
    return OwnApplication(spec, folder) if spec.master is not None else Session(folder)


class OwnApplication:
    """A small process that starts an application for this run alone."""

    waits_for = "the Spark application starts"

    def __init__(self, spec: SparkSpec, folder: Path):
        mine, theirs = socket.socketpair()
        self._log = RunPaths(folder).logs / "spark.log"
        with theirs, open(self._log, "ab", opener=private) as log:
            self._process = begin(
                "lepton_kit.runtime.spark.application",
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._connection = Connection(mine, talk.KINDS)
        self.send(talk.Open(master=spec.master or "", settings=dict(spec.conf), archive=spec.archive))
        self._told = False

    def filenos(self) -> list[int]:
        """Its connection, while it is there."""
        return [] if self._connection.closed else [self._connection.fileno()]

    def send(self, message: Message) -> None:
        """Order something."""
        self._connection.send(message)

    def receive(self) -> list[Message]:
        """What it has said."""
        found = [] if self._connection.closed else self._connection.receive(wait=False)
        if self._connection.closed and not self._told:
            self._told = True
            found.append(talk.Over(cause=f"the run's Spark application has ended ({self._log})"))
        return found

    def close(self, grace_seconds: float) -> None:
        """The process ends with its input, and the application with it."""
        with contextlib.suppress(OSError):
            self._connection.shut()
        try:
            self._process.wait(max(grace_seconds, 10.0))  # Spark's own end takes seconds
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()


class Session:
    """A session of the process that launched the run; it connects here (see `lepton_kit.runtime.spark.session`)."""

    waits_for = "the process with the Spark session has not answered yet"

    def __init__(self, folder: Path):
        self._scratch = Scratch("lepton-spark-")
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = self._scratch.path / "driver"
        self._door.bind(str(address))
        self._door.listen(1)
        self._door.setblocking(False)
        self._connection: Connection | None = None
        self._note = RunPaths(folder).spark
        self._note.write_text(str(address), encoding="utf-8")
        self._until = time.monotonic() + SESSION_SECONDS
        self._told = False

    def filenos(self) -> list[int]:
        """The door, then the connection."""
        if self._connection is None:
            return [self._door.fileno()]
        return [] if self._connection.closed else [self._connection.fileno()]

    def send(self, message: Message) -> None:
        """Order something."""
        if self._connection is not None:
            self._connection.send(message)

    def receive(self) -> list[Message]:
        """What it has said."""
        if self._told:
            return []
        if self._connection is None:
            return self._let_in()
        found = self._connection.receive(wait=False)
        if self._connection.closed:
            self._told = True
            cause = "the process with the Spark session is gone, and its application with it"
            found.append(talk.Over(cause=f"{cause}; run.resume(spark=session) goes on with another one"))
        self._told |= any(isinstance(one, talk.Over) for one in found)
        return found

    def _let_in(self) -> list[Message]:
        """Only a process of the same user."""
        with contextlib.suppress(BlockingIOError):
            end, _ = self._door.accept()
            end.setblocking(True)
            peer = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
            if PEER.unpack(peer)[1] == os.getuid():
                self._connection = Connection(end, talk.KINDS)
                return []
            end.close()
        if time.monotonic() < self._until:
            return []
        self._told = True
        return [
            talk.Over(cause="no process with a Spark session has come; run.resume(spark=session) brings one")
        ]

    def close(self, grace_seconds: float) -> None:
        """Its jobs end with the connection; the application stays."""
        if self._connection is not None:
            self._connection.close()
        self._door.close()
        self._note.unlink(missing_ok=True)
        self._scratch.close()
