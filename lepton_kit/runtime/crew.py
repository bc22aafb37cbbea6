"""The driver's worker processes: forked by the zygote, known by their connections, never left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_kit.runtime.coordinator import Observed, State
from lepton_kit.runtime.wire import Connection, pair


@dataclass
class Member:
    """A worker process and what it has said last."""

    worker: int
    connection: Connection
    threads: int
    device: str
    state: State = "starting"
    pid: int | None = None
    rank: int | None = None
    step: int = 0
    memory_bytes: int | None = None
    slot_bytes: int = 0
    parameters: int | None = None
    outcome: str | None = None
    exit_code: int | None = None
    cause: str | None = None
    last_heard: float = field(default_factory=time.monotonic)

    def observed(self) -> Observed:
        return Observed(self.worker, self.state, self.rank, self.step)

    def row(self) -> dict[str, Any]:
        return {
            "worker": self.worker,
            "pid": self.pid,
            "state": self.state,
            "rank": self.rank,
            "memory_bytes": self.memory_bytes,
        }


class Crew:
    """Starts and ends worker processes. `members` holds all that are not known to have ended."""

    def __init__(self, log: str):
        self.members: dict[int, Member] = {}
        self._next = 0
        self._log = log
        self._connection, end = pair()
        os.set_inheritable(end.fileno(), True)
        self.zygote = subprocess.Popen(
            [sys.executable, "-m", "lepton_kit.runtime.zygote", str(end.fileno()), str(os.getpid())],
            pass_fds=[end.fileno()],
            stdin=subprocess.DEVNULL,
        )
        end.close()
        self.warm = False

    @property
    def zygote_connection(self) -> Connection:
        return self._connection

    def spawn(self, *, threads: int, device: str) -> Member:
        """Fork one worker; it says hello when it is there."""
        connection, end = pair()
        member = Member(self._next, connection, threads, device)
        self.members[member.worker] = member
        self._next += 1
        self._connection.send(
            "fork", descriptor=end.fileno(), worker=member.worker, log=self._log, threads=threads, device=device
        )
        end.close()
        return member

    def prepare(self, member: Member, folder: Path, token: str, cwd: str) -> None:
        """Have a worker build the job of a run; it answers ready."""
        member.state = "starting"
        log = folder / "logs" / f"worker-{member.worker}.log"
        member.connection.send(
            "prepare", folder=str(folder), log=str(log if log.parent.is_dir() else self._log), token=token, cwd=cwd
        )

    def dismiss(self, member: Member) -> None:
        member.state, member.rank = "leaving", None
        member.connection.send("exit")

    def kill(self, member: Member) -> None:
        if member.pid is not None:
            try:
                os.kill(member.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def remove(self, member: Member) -> None:
        member.connection.close()
        self.members.pop(member.worker, None)

    def describe_exit(self, member: Member) -> str:
        """In words, why a worker ended."""
        if member.cause:
            return member.cause
        code = member.exit_code
        if code is None:
            return "its connection broke"
        if code < 0:
            name = signal.Signals(-code).name
            return f"killed by signal {-code} ({name})"
        return f"exited with code {code}"

    def close(self, grace_seconds: float = 2.0) -> None:
        """End all workers and the zygote, and wait until they are gone."""
        for member in self.members.values():
            member.connection.send("exit")
        deadline = time.monotonic() + grace_seconds
        while waiting := [m.connection for m in self.members.values() if not m.connection.closed]:
            readable, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                break
            for connection in readable:
                connection.receive(wait=False)
        for member in list(self.members.values()):
            self.kill(member)
            self.remove(member)
        self._connection.close()
        try:
            self.zygote.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.zygote.kill()
            self.zygote.wait()
