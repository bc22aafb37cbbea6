"""The driver's worker processes: forked by the zygote, known by their connections, never left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_kit.processes.program import command
from lepton_kit.runtime.coordinator import Observed, State
from lepton_kit.runtime.deaths import describe, memory_kills
from lepton_kit.runtime.failing import last_words
from lepton_kit.runtime.wire import Connection, pair
from lepton_kit.runtime.zygote import Process
from lepton_kit.training import messages

Started = tuple[Process, Connection]
"""A zygote that is there already, and the connection to it."""


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
    stopped_by: str | None = None
    exit_code: int | None = None
    cause: str | None = None
    excused: bool = False
    cpu_seconds: float = 0.0
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

    def __init__(
        self,
        log: str,
        started: Started | None = None,
        nursery: int | None = None,
        search: Sequence[str] = (),
    ):
        """Without a zygote that has ``started`` one starts, and forks a nursery off if ``nursery`` is a client's socket."""
        self.members: dict[int, Member] = {}
        self.search = search
        """Where workers also look for modules: what the client's `sys.path` had."""
        self.zygote: Process
        self._next = 0
        self.log = log
        self.own_seconds = 0.0
        self._zygote_heard: float | None = None
        self._zygote_failure: str | None = None
        self._memory_kills = memory_kills()
        if started is not None:
            self.zygote, self.zygote_connection = started
        else:
            self._start_zygote(nursery)

    def _start_zygote(self, nursery: int | None = None) -> None:
        self.zygote_connection, end = pair()
        module, descriptors = "lepton_kit.runtime.zygote", [end.fileno()]
        if nursery is not None:
            module, descriptors = "lepton_kit.runtime.nursery", [end.fileno(), nursery]
        numbers = [str(number) for number in (end.fileno(), os.getpid(), *descriptors[1:])]
        self.zygote = subprocess.Popen(
            command(module, *numbers),
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
        )
        end.close()
        if nursery is not None:
            os.close(nursery)
        self._zygote_heard = None

    def hear_zygote(self) -> None:
        """Take in what the zygote says: that it lives, and how workers ended."""
        for message in self.zygote_connection.receive(wait=False):
            self._zygote_heard = time.monotonic()
            match message:
                case messages.NotLoaded(cause=cause):
                    self._zygote_failure = cause
                case messages.Exited(worker=worker, code=code, said=said) if worker in self.members:
                    member = self.members[worker]
                    member.exit_code, member.cause = code, member.cause or said

    def zygote_failure(self) -> str | None:
        """Why the zygote could not even start, in words; None of one that did, or that somebody has killed."""
        said = self._zygote_failure
        if said is None and self._zygote_heard is not None:
            return None
        try:
            code = self.zygote.wait(1.0)
        except subprocess.TimeoutExpired:
            code = None
        short = memory_kills() > self._memory_kills
        killed = code == -signal.SIGKILL and not short
        if said is None and (killed or code in (None, 0, -signal.SIGTERM)):
            return None
        words = (
            said or f"{describe(code, None, short)}; its last words: {last_words(Path(self.log)) or 'none'}"
        )
        return f"TensorFlow and what belongs to it can't be loaded: {words}"

    def replace_zygote(self) -> None:
        """Start another in the place of one that has died; the kernel has killed its workers with it."""
        self.zygote.kill()
        self.zygote.wait()
        self.zygote_connection.close()
        for member in self.members.values():
            if member.cause is None:
                member.cause, member.excused = "ended with the process that forks workers", True
        self._start_zygote()

    def spawn(self, *, threads: int, device: str) -> Member:
        """Fork one worker; it says hello when it is there."""
        connection, end = pair()
        member = Member(self._next, connection, threads, device)
        self.members[member.worker] = member
        self._next += 1
        self.zygote_connection.send(
            messages.Fork(
                descriptor=end.fileno(), worker=member.worker, log=self.log, threads=threads, device=device
            )
        )
        end.close()
        return member

    def prepare(self, member: Member, folder: Path, token: str) -> None:
        """Have a worker build the job of a run; it answers ready."""
        member.state = "starting"
        log = folder / "logs" / f"worker-{member.worker}.log"
        member.connection.send(
            messages.Prepare(
                folder=str(folder),
                log=str(log if log.parent.is_dir() else self.log),
                token=token,
                search=[os.getcwd(), *self.search],
            )
        )

    def dismiss(self, member: Member) -> None:
        member.state, member.rank = "leaving", None
        member.connection.send(messages.Exit())

    def kill(self, member: Member) -> None:
        if member.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)

    def remove(self, member: Member) -> None:
        member.connection.close()
        self.members.pop(member.worker, None)

    def await_exit_code(self, member: Member, seconds: float = 0.2) -> None:
        """Wait a moment for the zygote's word on how a worker ended."""
        deadline = time.monotonic() + seconds
        while member.exit_code is None and not self.zygote_connection.closed:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.zygote_connection], [], [], left)[0]:
                return
            self.hear_zygote()

    def kill_silent(self, now: float, hang_seconds: float) -> None:
        """Kill who has not been heard of for too long; its end is then noticed like any other."""
        for member in self.members.values():
            silent = now - member.last_heard
            if silent > hang_seconds and member.pid is not None and member.cause is None:
                member.cause = f"hung: nothing heard for {silent:.0f} s; killed"
                self.kill(member)
        if self._zygote_heard is not None and now - self._zygote_heard > max(5.0, hang_seconds):
            self.zygote.kill()

    def forgive(self, seconds: float) -> None:
        """The driver itself was held up for this long: nobody's silence of that time counts."""
        for member in self.members.values():
            member.last_heard += seconds
        if self._zygote_heard is not None:
            self._zygote_heard += seconds

    def close(self, grace_seconds: float = 2.0) -> None:
        """End all workers and the zygote, and wait until they are gone."""
        for member in self.members.values():
            member.connection.send(messages.Exit())
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
        self.zygote_connection.close()
        try:
            self.zygote.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.zygote.kill()
            self.zygote.wait()
