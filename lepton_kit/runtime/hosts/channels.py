"""How a channel to an agent comes to be: a command whose standard input and output it is, or a connection that is awaited."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec


class Channel(Protocol):
    """The driver's way to one agent."""

    end: socket.socket
    """What speaks with the agent; it closes when the agent is gone, or never came."""

    @property
    def awaited(self) -> bool:
        """Whether nobody is there yet, which may take as long as it likes."""

    def close(self, grace_seconds: float) -> None:
        """See to it that the agent has ended, its ``end`` having been shut, and that nothing of the way is left."""


Opener = Callable[[HostSpec, Path], Channel]
"""Opens a channel to a host; what is said of why it fails goes into the file. Raises `RunError`."""


class CommandChannel:
    """An agent that a command of this machine brings up, such as ssh."""

    awaited = False

    def __init__(self, command: Sequence[str], log: Path):
        """Raises `RunError` if there is no such program."""
        self.end, theirs = socket.socketpair()
        try:
            with theirs, open(log, "ab") as file:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=file,
                    start_new_session=True,
                )
        except OSError as failure:
            self.end.close()
            raise RunError(f"its agent can't be started ({failure.strerror or failure})") from None

    def close(self, grace_seconds: float) -> None:
        """Wait for the command's end for so long, then kill it."""
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
