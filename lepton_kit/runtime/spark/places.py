"""The places of a run on Spark, at its driver: submits their jobs, and joins each task that dials to the link of its place."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec, SparkSpec
from lepton_kit.runtime.executor import Loss
from lepton_kit.runtime.hosts.ways import address_of
from lepton_kit.runtime.spark import talk, task
from lepton_kit.runtime.spark.holder import Holder, holder_of
from lepton_kit.runtime.spark.listening import Hello, Listener

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
NAME = "spark"
"""What stands for the application in incidents."""


class Seat:
    """The channel to a place: bytes pass once a task has dialled for it. See `Channel`."""

    def __init__(self, log: Path, lock: threading.RLock):
        self._lock = lock
        self.end, self._mine = socket.socketpair()
        self.awaited = True
        self._log = log
        self._secure: ssl.SSLSocket | None = None

    def take(self, secure: ssl.SSLSocket) -> None:
        """Pass bytes between a task and the end, until one of them ends."""
        self._secure, self.awaited = secure, False
        threading.Thread(target=self._pass, args=(secure,), daemon=True, name="spark-seat").start()

    def _pass(self, secure: ssl.SSLSocket) -> None:
        with secure, self._mine:
            task.pump(secure, self._mine)

    def fail(self, cause: str) -> None:
        """Nobody will come, for this cause."""
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(f"{cause}\n")
        self.awaited = False
        self._mine.close()

    def end_task(self) -> None:
        """Give up the task that is there."""
        with contextlib.suppress(OSError):
            self._mine.shutdown(socket.SHUT_RDWR)

    def close(self, grace_seconds: float) -> None:
        """The task ends with its connection, which ends with ``end``."""
        with self._lock:
            if self._secure is None:
                self._mine.close()
            self.awaited = False


@dataclass
class _Place:
    seat: Seat | None = None
    arrival: ssl.SSLSocket | None = None
    """Who has dialled and is not joined to a seat."""
    job: int | None = None
    tries: int = 0
    retry_at: float = 0.0


@dataclass
class _Job:
    places: list[int]
    active: int | None = None
    problems: list[str] = field(default_factory=list)


class SparkPlaces:
    """Places that are tasks of one Spark application. No method waits, but `close`."""

    def __init__(self, spec: SparkSpec, folder: Path, hosts: Sequence[HostSpec]):
        """Raises `RunError` where what it needs is not installed."""
        self._spec = spec
        self._names = [host.name for host in hosts]
        self._places = [_Place() for _ in hosts]
        self._jobs: dict[int, _Job] = {}
        self._next = 0
        self._lock = threading.RLock()
        self._listener = Listener(self._arrived)
        self._holder: Holder = holder_of(spec, folder)
        self._losses: list[Loss] = []
        self._over = False
        self.address: str | None = None
        """Where executors reach this machine; None until there is an application."""

    # ------------------------------------------------------------------ channels

    def open(self, host: HostSpec, log: Path) -> Seat:
        """The channel to a place, which a task will dial."""
        with self._lock:
            place = self._places[self._names.index(host.name)]
            place.seat = Seat(log, self._lock)
            self._join(place)
            return place.seat

    def _join(self, place: _Place) -> None:
        if place.seat is not None and place.seat.awaited and place.arrival is not None:
            place.seat.take(place.arrival)
            place.arrival, place.tries = None, 0

    def _arrived(self, hello: Hello, secure: ssl.SSLSocket) -> None:
        """A task has dialled; of two for one place the later one counts, for Spark has given the earlier one up."""
        with self._lock:
            job = self._jobs.get(hello.job)
            if job is None or hello.place not in job.places or self._over:
                secure.close()
                return
            place = self._places[hello.place]
            if hello.problem is not None:
                secure.close()
                job.problems.append(hello.problem)
                self._fail(place, hello.problem)
                return
            if place.arrival is not None:
                place.arrival.close()
            place.arrival = secure
            if place.seat is not None and not place.seat.awaited:
                place.seat.end_task()
            self._join(place)

    def _fail(self, place: _Place, cause: str) -> None:
        if place.seat is not None and place.seat.awaited:
            place.seat.fail(cause)

    # ------------------------------------------------------------------ what the driver does often

    def filenos(self) -> list[int]:
        """Descriptors that become readable when the application has news."""
        return self._holder.filenos()

    def tend(self, now: float) -> None:
        """Hear the application, submit what is missing, and listen only while somebody is awaited."""
        with self._lock:
            for message in self._holder.receive():
                self._hear(message, now)
            if self._over or self.address is None:
                return
            awaited = [n for n, place in enumerate(self._places) if place.seat and place.seat.awaited]
            if awaited and not self._listener.is_open:
                self._listen()
            elif not awaited:
                self._listener.close()
            if not self._over:
                self._submit_missing(awaited, now)

    def _submit_missing(self, awaited: list[int], now: float) -> None:
        missing = [n for n in awaited if self._places[n].job is None and now >= self._places[n].retry_at]
        if missing and not self._spec.gang:
            for number in missing:
                self._submit([number])
        elif missing and not self._jobs:
            self._submit(list(range(len(self._places))))

    def _submit(self, numbers: list[int]) -> None:
        self._next += 1
        secret = secrets.token_hex(32)
        self._jobs[self._next] = _Job(numbers)
        for number in numbers:
            self._places[number].job = self._next
        self._listener.expect(self._next, secret)
        order = talk.Order(
            job=self._next,
            address=self.address or "",
            port=self._listener.port,
            certificate=self._listener.certificate.pem,
            secret=secret,
            python=sys.executable,
        )
        self._holder.send(talk.Submit(order=order, places=numbers, gang=self._spec.gang))

    def _listen(self) -> None:
        bind = self._spec.bind or address_of(self.address or "")
        port = self._spec.port or self._listener.port
        try:
            self._listener.open(bind, port)
        except OSError as failure:
            if (
                self._spec.port is None and port
            ):  # somebody else has it by now: all that wait dial another one
                with contextlib.suppress(OSError):
                    self._listener.open(bind, 0)
                    for number in [n for n, job in self._jobs.items() if self._waits(job)]:
                        self._holder.send(talk.Cancel(job=number))
                    return
            self._end(
                f"spark: the driver can't listen for agents on {bind}:{port} ({failure.strerror or failure}); "
                "`address` and `bind` say where executors reach this machine"
            )

    def _waits(self, job: _Job) -> bool:
        seats = [self._places[number].seat for number in job.places]
        return any(seat is not None and seat.awaited for seat in seats)

    # ------------------------------------------------------------------ what the application says

    def _hear(self, message: object, now: float) -> None:
        match message:
            case talk.Opened(address=address):
                try:
                    self.address = address_of(self._spec.address or address or _routed())
                except RunError as failure:
                    self._end(f"spark: {failure}; `address` says where executors reach this machine")
            case talk.Active(job=number, tasks=tasks) if number in self._jobs:
                self._jobs[number].active = tasks
            case talk.Ended(job=number, cause=cause) if number in self._jobs:
                self._job_ended(number, cause, now)
            case talk.Over(cause=cause):
                self._end(cause)

    def _job_ended(self, number: int, cause: str | None, now: float) -> None:
        """Its places are tried again after a moment, as lost hosts are."""
        self._listener.forget(number)
        job = self._jobs.pop(number)
        for place in (self._places[one] for one in job.places):
            place.job = None
            place.retry_at = now + RETRY_SECONDS[min(place.tries, len(RETRY_SECONDS) - 1)]
            place.tries += 1
            if cause is not None and not job.problems:
                self._fail(place, cause)

    def _end(self, cause: str) -> None:
        """There is no application any more: nothing of the run can go on."""
        if not self._over:
            self._over = True
            self._losses.append(Loss(cause, final=True, host=NAME, resumable=True))

    def losses(self) -> list[Loss]:
        """That the application is gone, once."""
        found, self._losses = self._losses, []
        return found

    def waits_for(self) -> str | None:
        """What places that are not there wait for, in words."""
        if self.address is None:
            return self._holder.waits_for
        with self._lock:
            idle = [job for job in self._jobs.values() if self._waits(job) and job.active in (0, None)]
            unsure = any(job.active is None for job in idle)
        if not idle:
            return None
        free = "the cluster has no free slots"
        return f"{free}, or its tasks are still starting" if unsure else free

    def close(self, grace_seconds: float) -> None:
        """End all jobs, and the application if it is the run's own."""
        with self._lock:
            self._over = True
            self._listener.close()
            for place in self._places:
                if place.arrival is not None:
                    place.arrival.close()
        self._holder.close(grace_seconds)


def _routed() -> str:
    """The address from which this machine would send to others (RFC 5737: an address that belongs to nobody)."""
    from lepton_kit.runtime.hosts.ways import way_to

    way = way_to("192.0.2.1")
    if way is None:
        raise RunError("this machine has no route to others")
    return way[1]
