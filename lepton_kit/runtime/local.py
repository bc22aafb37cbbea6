"""The executor of this machine: workers are forked by a zygote and speak over socket pairs; none is left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.processes import limits
from lepton_kit.processes.program import begin
from lepton_kit.runtime.deaths import describe, memory_kills
from lepton_kit.runtime.energy.meter import EnergyMeter
from lepton_kit.runtime.executor import Ended, HostNews, Loss
from lepton_kit.runtime.failing import last_words
from lepton_kit.runtime.places import Ability, Place
from lepton_kit.runtime.pool.seating import Register, Seated
from lepton_kit.runtime.wire import Connection, pair
from lepton_kit.runtime.zygote import Process
from lepton_kit.training import messages

Started = tuple[Process, Connection]
"""A zygote that is there already, and the connection to it."""
EXIT_SECONDS = 0.2
"""How long the second sign of a worker's end is waited for: why it ended, or that it will say nothing more."""
HELD_UP_SECONDS = 2.0


@dataclass
class _Worker:
    connection: Connection
    place: Place
    pid: int | None = None
    exit_code: int | None = None
    said: str | None = None
    excused: bool = False
    over_since: float | None = None
    """When the first sign of its end came: its connection closed, or the zygote's word."""


class LocalExecutor:
    """Workers on this machine, each a fork of one zygote, which it starts anew when it has died."""

    ability = Ability(sharing="all", run_folder="same")
    awaits_places = None

    def __init__(self, log: str, started: Started | None = None, nursery: int | None = None):
        """Without a zygote that has ``started`` one starts, and forks a nursery off if ``nursery`` is a client's socket."""
        self.log = log
        self.register: Register | None = None
        """Where others of this machine read which workers are here."""
        self._places: Sequence[Place] = ()
        self._workers: dict[int, _Worker] = {}
        self._losses: list[Loss] = []
        self._gone = False
        self._heard: float | None = None
        self._failure: str | None = None
        self._memory_kills = memory_kills()
        self._tended = time.monotonic()
        self._energy: EnergyMeter | None = None
        self._on_gpus = False
        self._zygote: Process
        if started is not None:
            self._zygote, self._connection = started
        else:
            self._start_zygote(nursery)

    def _start_zygote(self, nursery: int | None = None) -> None:
        self._connection, end = pair()
        module, descriptors = "lepton_kit.runtime.zygote", [end.fileno()]
        if nursery is not None:
            module, descriptors = "lepton_kit.runtime.nursery", [end.fileno(), nursery]
        numbers = [str(number) for number in (end.fileno(), os.getpid(), *descriptors[1:])]
        self._zygote = begin(module, *numbers, pass_fds=descriptors, stdin=subprocess.DEVNULL)
        end.close()
        if nursery is not None:
            os.close(nursery)
        self._heard = None

    @property
    def loaded(self) -> bool:
        """Whether the libraries are in memory, so that workers start in a moment."""
        return self._heard is not None

    def hosts(self) -> Sequence[HostNews]:
        """Nothing: all its workers are here."""
        return ()

    # ------------------------------------------------------------------ places and workers

    def offer(self, places: Sequence[Place]) -> None:
        """Have these places from now on; workers at others stay where they are."""
        self._places = places

    def places(self) -> Sequence[Place]:
        """The slots of this machine."""
        return self._places

    def start(self, worker: int, place: Place) -> None:
        """Fork a worker there."""
        self._on_gpus = self._on_gpus or place.device == "gpu"
        connection, end = pair()
        self._workers[worker] = _Worker(connection, place)
        order = messages.Fork(
            descriptor=end.fileno(),
            worker=worker,
            slot=place.slot,
            log=self.log,
            threads=place.threads,
            device=place.device,
            cores=list(place.cores),
            gpu=place.gpu,
            gpu_bytes=place.gpu_bytes,
        )
        self._connection.send(order)
        end.close()

    def send(self, worker: int, message: messages.Message) -> bool:
        """Tell a worker something; False if it is gone."""
        found = self._workers.get(worker)
        return found is not None and found.connection.send(message)

    def kill(self, worker: int) -> None:
        """End a worker at once."""
        found = self._workers.get(worker)
        if found is not None and found.pid is not None and found.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGKILL)

    def energy(self, now: float, fresh: bool = False) -> list[dict[str, Any]]:
        """What this machine took for this process and those below since it was asked last; the first time it only begins."""
        if self._energy is None:
            self._energy = EnergyMeter()
            return []
        if self._on_gpus:
            self._energy.count_gpus()
        found = self._energy.measure(now, fresh)
        return [] if found is None else [found]

    def log_to(self, log: str, descriptor: int) -> None:
        """Go on in another log, open under this descriptor."""
        self.log = log
        self._connection.send(messages.LogTo(descriptor=descriptor))

    # ------------------------------------------------------------------ news

    def filenos(self) -> list[int]:
        """Descriptors that become readable when there are news."""
        connections = [one.connection for one in self._workers.values()]
        return [one.fileno() for one in (self._connection, *connections) if not one.closed]

    def receive(self) -> list[tuple[int, messages.Message]]:
        """What workers have said, in their order."""
        ready = select.select(self.filenos(), [], [], 0.0)[0]
        told: list[tuple[int, messages.Message]] = []
        for number, worker in self._workers.items():
            if worker.connection.closed or worker.connection.fileno() not in ready:
                continue
            for message in worker.connection.receive(wait=False):
                if isinstance(message, messages.Hello):
                    worker.pid = message.pid
                    self._say_who_sits()
                told.append((number, message))
            if worker.connection.closed:
                worker.over_since = worker.over_since or time.monotonic()
        if not self._connection.closed and self._connection.fileno() in ready:
            self._hear_zygote()
        return told

    def ended(self) -> list[Ended]:
        """Workers that have ended since this was asked last."""
        found, now = [], time.monotonic()
        for number, worker in list(self._workers.items()):
            if worker.over_since is None:
                continue
            known = self._gone or worker.exit_code is not None or worker.said is not None
            # A process that the worker's own code has forked may hold its connection open for ever.
            if (known and worker.connection.closed) or now - worker.over_since > EXIT_SECONDS:
                worker.connection.close()
                del self._workers[number]
                found.append(Ended(number, worker.exit_code, worker.said, worker.excused))
                self._say_who_sits()
        return found

    def _say_who_sits(self) -> None:
        if self.register is not None:
            self.register.tell(
                [
                    Seated(number, one.place.cores, one.place.gpu, one.pid)
                    for number, one in self._workers.items()
                    if one.pid is not None
                ]
            )

    def losses(self) -> list[Loss]:
        """Each time that the process which forks was lost since this was asked last."""
        found, self._losses = self._losses, []
        return found

    # ------------------------------------------------------------------ the zygote

    def _hear_zygote(self) -> None:
        """Take in what the zygote says. Without it all workers end (the kernel sees to it), and a new one starts."""
        for message in self._connection.receive(wait=False):
            self._heard = time.monotonic()
            match message:
                case messages.NotLoaded(cause=cause):
                    self._failure = cause
                case messages.Exited(worker=number, code=code, said=said) if number in self._workers:
                    ended = self._workers[number]
                    ended.exit_code, ended.said = code, said or self._no_more(number, code)
                    ended.over_since = ended.over_since or time.monotonic()
        if not self._connection.closed:
            return
        if (failure := self._why_not_started()) is not None:
            self._losses.append(Loss(failure, final=True))
            self._gone = True
            return
        self._zygote.kill()
        self._zygote.wait()
        self._connection.close()
        for worker in self._workers.values():
            if worker.exit_code is None:
                worker.said, worker.excused = "ended with the process that forks workers", True
        self._start_zygote()
        self._losses.append(Loss("the process that forks the workers has died"))

    def _no_more(self, number: int, code: int | None) -> str | None:
        """Why a worker ended by itself, where it could start no more threads."""
        if code not in (1, -signal.SIGABRT):
            return None
        return limits.told_in(Path(self.log).with_name(f"worker-{number}.log"), Path(self.log))

    def _why_not_started(self) -> str | None:
        """Why the zygote could not even start, in words; None of one that did, or that somebody has killed."""
        said = self._failure
        if said is None and self._heard is not None:
            return None
        try:
            code = self._zygote.wait(1.0)
        except subprocess.TimeoutExpired:
            code = None
        short = memory_kills() > self._memory_kills
        killed = code == -signal.SIGKILL and not short
        if said is None and (killed or code in (None, 0, -signal.SIGTERM)):
            return None
        words = (
            said
            or limits.told_in(Path(self.log))
            or f"{describe(code, None, short)}; its last words: {last_words(Path(self.log)) or 'none'}"
        )
        return f"TensorFlow and what belongs to it can't be loaded: {words}"

    def tend(self, hang_seconds: float) -> None:
        """Kill a zygote that is silent for too long; its end is then noticed like any other."""
        now = time.monotonic()
        held_up, self._tended = now - self._tended, now
        if self._heard is None:
            return
        if held_up > HELD_UP_SECONDS:
            # This process itself was held up: the other's silence proves nothing.
            self._heard = min(now, self._heard + held_up)
        if now - self._heard > max(5.0, hang_seconds):
            self._zygote.kill()

    def close(self, grace_seconds: float = 2.0) -> None:
        """End all workers and the process that forks them, and wait until they are gone."""
        connections = [one.connection for one in self._workers.values()]
        for connection in connections:
            connection.send(messages.Exit())
        deadline = time.monotonic() + grace_seconds
        while waiting := [one for one in connections if not one.closed]:
            readable, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                break
            for connection in readable:
                connection.receive(wait=False)
        for number in list(self._workers):
            self.kill(number)
            self._workers.pop(number).connection.close()
        self._connection.close()
        if self.register is not None:
            self.register.leave()
        try:
            self._zygote.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()
