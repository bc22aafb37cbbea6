"""The agent of a host: starts its workers, and passes on what they and the driver tell each other.

``python -m lepton_kit.runtime.hosts.agent`` speaks over its standard input and output with whoever started it, and ends
with all its workers when these close or the other side is silent for too long. It listens on loopback alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lepton_kit.errors import RunError, why_not_written
from lepton_kit.machine.devices import free_disk, gpus, memory, usable_cores
from lepton_kit.models import trust
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.cleaning import in_use
from lepton_kit.runtime.hosts.measuring import Measuring
from lepton_kit.runtime.hosts.mirror import Mirror, hosts_folder
from lepton_kit.runtime.hosts.outbox import Outbox
from lepton_kit.runtime.hosts.relay import Relay
from lepton_kit.runtime.hosts.returning import Returning, written
from lepton_kit.runtime.hosts.segment import Segment
from lepton_kit.runtime.hosts.versions import versions
from lepton_kit.runtime.hosts.ways import way_to
from lepton_kit.runtime.local import LocalExecutor
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.wire import Pipe
from lepton_kit.training import messages, native

TURN_SECONDS = 0.25
PING_SECONDS = 0.5
FIRST_SECONDS = 60.0
"""How long the driver's first word may take."""


def here() -> talk.Here:
    """What this host is and has."""
    total, free = memory()
    return talk.Here(
        pid=os.getpid(),
        versions=versions(),
        cores=usable_cores(),
        memory_bytes=total,
        free_bytes=free,
        gpus=[str(gpu) for gpu in gpus()],
        disk_bytes=free_disk(hosts_folder()),
        clock=time.time(),
        native=native.available(),
    )


class Agent:
    """Serves one driver until its channel closes."""

    def __init__(self, channel: Pipe):
        self._channel = channel
        self._outbox = Outbox(channel)
        self._executor: LocalExecutor | None = None
        self._mirror: Mirror | None = None
        self._relay: Relay | None = None
        self._returning: Returning | None = None
        self._segment = Segment()
        self._measuring = Measuring(self._outbox.post)
        self._patience = FIRST_SECONDS
        self._heard = self._pinged = self._turned = time.monotonic()

    def run(self) -> int:
        """Serve; returns the exit code."""
        self._outbox.post(here())
        try:
            while not self._channel.closed and not self._outbox.closed:
                ready = set(select.select(self._filenos(), [], [], TURN_SECONDS)[0])
                self._turn(ready)
                if time.monotonic() - self._heard > self._patience:
                    print("lepton_kit agent: the driver is silent; its workers end", file=sys.stderr)
                    return 1
        finally:
            self._measuring.close()
            if self._executor is not None:
                self._executor.close(0.0)
            self._segment.close()
            if self._relay is not None:
                self._relay.close()
            if self._mirror is not None:
                self._mirror.close()
        return 0

    def _filenos(self) -> list[int]:
        parts = [one for one in (self._executor, self._relay) if one is not None]
        return [self._channel.fileno(), *(number for one in parts for number in one.filenos())]

    def _turn(self, ready: set[int]) -> None:
        now = time.monotonic()
        if now - self._turned > 2.0:  # this process itself was held up: the other's silence proves nothing
            self._heard = min(now, self._heard + now - self._turned)
        self._turned = now
        if self._channel.fileno() in ready:
            for message in self._channel.receive(wait=False):
                self._heard = now
                self._obey(message)
        if self._relay is not None:
            self._relay.pass_on(ready)
        if self._executor is not None:
            self._listen(self._executor)
        if self._mirror is not None:
            for worker, text in self._mirror.news_of_logs():
                self._outbox.post(talk.Printed(worker=worker, text=text))
        if now - self._pinged > PING_SECONDS:
            self._pinged = now
            self._outbox.post(talk.Ping(loaded=self._executor is not None and self._executor.loaded))

    def _obey(self, message: messages.Message) -> None:
        executor = self._executor
        match message:
            case talk.Begin():
                with self._storing():
                    self._begin(message)
            case talk.Question():
                self._measuring.ask(message)
            case talk.WhichWay(addresses=addresses):
                self._outbox.post(talk.Ways(ways={address: way_to(address) for address in addresses}))
            case talk.Offer(files=files) if self._mirror is not None:
                with self._storing():
                    self._outbox.post(talk.Lacks(contents=self._mirror.lacking(files)))
                    self._complete(self._mirror)
            case talk.Piece(digest=digest, offset=offset, data=data) if self._mirror is not None:
                with self._storing():
                    self._mirror.take(digest, offset, talk.unpacked(data))
                    self._complete(self._mirror)
            case talk.Start(worker=worker, slot=slot, threads=threads, device=device) if executor is not None:
                executor.start(worker, Place("", slot, device, threads))
            case talk.Kill(worker=worker) if executor is not None:
                executor.kill(worker)
            case talk.Passed(worker=worker, text=text) if executor is not None:
                executor.send(worker, self._as_here(messages.decode(text.encode())))
            case talk.Streamed(stream=stream, data=data) if self._relay is not None:
                self._relay.write(stream, talk.unpacked(data))

    def _begin(self, order: talk.Begin) -> None:
        self._patience = order.hang_seconds
        if order.folder is not None:
            log = Path(order.folder) / "logs" / "driver.log"
        else:
            self._mirror = Mirror(hosts_folder(), order.run, order.host)
            self._relay = Relay(self._outbox.post, listens=True)
            self._returning = Returning(self._mirror, self._outbox)
            log = self._mirror.folder / "logs" / "agent.log"
        self._executor = LocalExecutor(str(log))

    def _as_here(self, message: messages.Message) -> messages.Message:
        """A message to a worker with the folder, the rendezvous and the memory that it finds on this host."""
        if self._mirror is not None and isinstance(message, messages.Prepare):
            return replace(message, folder=str(self._mirror.folder))
        if isinstance(message, messages.Join):
            if self._relay is not None:
                host, port = self._relay.address
                here = replace(message.membership, rendezvous_host=host, rendezvous_port=port)
                message = replace(message, membership=here)
            return self._segment.given(message)
        return message

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        """A disk that takes no file is told in words; the driver then does without this host."""
        try:
            yield
        except OSError as failure:
            folder = hosts_folder() if self._mirror is None else self._mirror.folder
            self._outbox.post(talk.NoRoom(cause=why_not_written(failure, folder)))
        except RunError as failure:
            self._outbox.post(talk.NoRoom(cause=str(failure)))

    def _complete(self, mirror: Mirror) -> None:
        if mirror.complete():
            trust.trust(mirror.folder)  # the driver has looked at it
            self._outbox.post(talk.Arrived(count=len(mirror.offered)))

    def _listen(self, executor: LocalExecutor) -> None:
        for took in executor.energy(time.monotonic()):
            self._outbox.post(talk.Took(fields=took))
        for worker, message in executor.receive():
            if isinstance(message, messages.Detached):  # it may be the last that the driver hears
                for took in executor.energy(time.monotonic(), True):
                    self._outbox.post(talk.Took(fields=took))
            told = talk.passed(worker, message)
            folders = written(message) if self._returning is not None else []
            if folders and self._returning is not None:
                self._returning.give(folders, told)
            else:
                self._outbox.post(told)
        for loss in executor.losses():
            self._outbox.post(talk.Lost(cause=loss.cause, final=loss.final))
        for ended in executor.ended():
            gone = talk.Gone(
                worker=ended.worker, exit_code=ended.exit_code, cause=ended.cause, excused=ended.excused
            )
            self._outbox.post(gone)
        executor.tend(self._patience)


def channel_of_program(kinds: Mapping[str, type[messages.Message]]) -> Pipe:
    """Standard input and output as a channel; whatever else prints goes to the error output from now on."""
    reading, writing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    for descriptor in (reading, writing):
        os.set_inheritable(descriptor, False)
    return Pipe(reading, writing, kinds)


def main() -> int:
    """Serve over standard input and output; what else prints goes to the error output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with in_use(Path(sys.prefix)), contextlib.suppress(KeyboardInterrupt):
        return Agent(channel_of_program(talk.KINDS)).run()
    return 1


if __name__ == "__main__":
    sys.exit(main())
