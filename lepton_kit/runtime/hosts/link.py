"""The driver's link to one host: brings its agent up, knows what state it is in, and passes messages on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.executor import Ended
from lepton_kit.runtime.failing import last_words
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.channels import Channel, Opener
from lepton_kit.runtime.hosts.intake import Intake
from lepton_kit.runtime.hosts.launchers import by_command
from lepton_kit.runtime.hosts.outbox import Outbox
from lepton_kit.runtime.hosts.receiving import Receiving
from lepton_kit.runtime.hosts.relay import Relay
from lepton_kit.runtime.hosts.returning import written
from lepton_kit.runtime.hosts.sending import Sending, needed
from lepton_kit.runtime.hosts.versions import differences
from lepton_kit.runtime.hosts.ways import Way, interface_of
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.wire import Connection
from lepton_kit.training import messages

State = Literal["connecting", "asked", "ready", "lost", "refused"]
CONNECT_SECONDS = 30.0
PING_SECONDS = 0.5
ROOM_BYTES = 1 << 20
"""What a disk that was full has to have beyond the files themselves before it is tried again."""
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class HostLink:
    """One host of a run. No method waits, but `close`."""

    def __init__(
        self,
        host: HostSpec,
        run: str | None,
        folder: Path,
        hang_seconds: float,
        opener: Opener = by_command,
    ):
        """Without a ``run`` it is only asked what it is."""
        self._opener = opener
        self.host, self._run, self._folder, self._hang_seconds = host, run, folder, hang_seconds
        self.state: State = "lost"
        self.cause: str | None = None
        self.facts: talk.Here | None = None
        self.peers: Sequence[str] = ()
        """Addresses of the other hosts, which this one has to reach."""
        self.workers: set[int] = set()
        self.rendezvous: tuple[str, int] | None = None
        self.interface = "lo"
        """By which the ranks there reach the others."""
        self.answers: list[talk.Answer] = []
        """What the agent has found out when it was asked, in its order."""
        self.proven = True
        """Whether the other hosts reach it; one that was cut off has to show that first, when it is there again."""
        self._taken: list[dict[str, Any]] = []
        self._no_room: str | None = None
        self._needs_bytes = 0
        self._tries = 0
        self._retry_at = 0.0
        self._channel: Channel | None = None

    @property
    def is_here(self) -> bool:
        """Whether the host is the driver's own machine, which sees the run's folder."""
        return self.host.via == "local"

    @property
    def doing(self) -> str | None:
        """What a run waits for there, in words; None if for nothing."""
        if self.state in ("lost", "refused"):
            return self.cause and self.cause.partition(": ")[2]
        if self.state != "ready":
            return "connecting"
        if not self.proven:
            return "looking whether the other hosts reach it"
        return self._sending.doing or (None if self._loaded else "loading TensorFlow")

    def taken(self) -> list[dict[str, Any]]:
        """What the run's part of the host took, as its agent has said since this was asked last."""
        found, self._taken = self._taken, []
        return found

    # ------------------------------------------------------------------ coming and going

    def connect(self) -> None:
        """Start the agent; it says when it is there."""
        self._log = RunPaths(self._folder).logs / f"host-{self.host.name.replace('/', '-')}.log"
        try:
            self._channel = self._opener(self.host, self._log)
        except RunError as failure:
            self._lose(str(failure))
            return
        self._connection = Connection(self._channel.end, talk.KINDS)
        self._outbox = Outbox(self._connection)
        self._sending = Sending(self._outbox)
        self._intake = Intake(Receiving(self._folder, self.host.name))
        self._loaded = False
        self._relay = Relay(self._outbox.post, listens=False)
        self._held: list[messages.Message] = []
        self.state, self.cause = "connecting", None
        self._began = self._heard = self._pinged = time.monotonic()

    def tend(self, now: float, held_up: float) -> None:
        """Look after the link, and bring a lost one up again; the driver itself was held up for so long."""
        if self.state == "lost" and now >= self._retry_at:
            self._tries += 1
            self.connect()
            return
        if self.state in ("lost", "refused") or self._channel is None:
            return
        if self._channel.awaited:
            self._began = now
            return
        self._heard, self._began = min(now, self._heard + held_up), min(now, self._began + held_up)
        if self._intake.is_behind:
            self._heard = now  # nobody listens to it
        limit = self._hang_seconds if self.state == "ready" else CONNECT_SECONDS
        since = self._heard if self.state == "ready" else self._began
        if now - since > limit:
            self._lose(f"nothing heard for {now - since:.0f} s")
        elif now - self._pinged > PING_SECONDS:
            self._pinged = now
            self._outbox.post(talk.Ping())

    def _lose(self, cause: str, *, refused: bool = False) -> None:
        """Note that the host is gone, and end what is left of the way there."""
        self.state, self.cause = ("refused" if refused else "lost"), f"{self.host.name}: {cause}"
        self._retry_at = time.monotonic() + RETRY_SECONDS[min(self._tries, len(RETRY_SECONDS) - 1)]
        self._hang_up(0.0)

    def cut_off(self, cause: str) -> None:
        """The other hosts of the run don't reach it: do without it, and see again later."""
        self.proven = False
        self._lose(cause)

    def _hang_up(self, grace_seconds: float) -> None:
        if self._channel is None:
            return
        channel, self._channel = self._channel, None
        self._sending.close()
        self._intake.close()
        self._outbox.close(drain_seconds=grace_seconds)
        self._relay.close()
        with contextlib.suppress(OSError):
            self._connection.shut()
        channel.close(grace_seconds)
        self._connection.close()

    def close(self, grace_seconds: float) -> None:
        """End the agent, and with it all workers there."""
        self._hang_up(grace_seconds)
        self.state = "lost"

    # ------------------------------------------------------------------ places and workers

    def places(self) -> list[Place]:
        """Its slots, if it is there."""
        if self.state != "ready" or self.facts is None or not self.proven:
            return []
        host = self.host
        threads = host.threads or max(1, self.facts.cores // host.slots)
        shares = self.facts.native and host.device == "cpu"
        return [
            Place(host.name, slot, host.device, threads, host.speed, self.interface, shares)
            for slot in range(host.slots)
        ]

    def start(self, worker: int, place: Place) -> None:
        """Have a worker forked there."""
        self.workers.add(worker)
        order = talk.Start(worker=worker, slot=place.slot, threads=place.threads, device=place.device)
        self._outbox.post(order)

    def send(self, worker: int, message: messages.Message) -> bool:
        """Tell a worker something, after the files that it needs for it have arrived; False if it is gone."""
        if worker not in self.workers:
            return False
        if isinstance(message, messages.Join):
            member = message.membership
            self.rendezvous = (member.rendezvous_host, member.rendezvous_port)
        told = talk.passed(worker, message)
        if not self.is_here and (files := needed(message, self._folder)):
            self._sending.begin(files)
        if self._sending.pending and not isinstance(message, messages.Abort):
            self._held.append(told)
        else:
            self._outbox.post(told)
        return True

    def kill(self, worker: int) -> None:
        """End a worker at once."""
        if worker in self.workers:
            self._outbox.post(talk.Kill(worker=worker))

    def ask(self, question: talk.Question) -> None:
        """Have the agent find something out; see `answers`."""
        self._outbox.post(question)

    # ------------------------------------------------------------------ news

    def filenos(self) -> list[int]:
        """Descriptors that become readable when there are news."""
        if self._channel is None:
            return []
        channel = [] if self._intake.is_behind else [self._connection.fileno()]
        return [*channel, self._intake.fileno(), *self._relay.filenos()]

    def receive(self, ready: set[int]) -> list[tuple[int, messages.Message] | Ended | str]:
        """What workers have said, workers that have ended, and why the host, or what starts workers there, was lost."""
        if self._channel is None:
            return []
        told: list[tuple[int, messages.Message] | Ended | str] = []
        self._relay.pass_on(ready)
        told += [(worker, message) for worker, message in self._intake.done() if worker in self.workers]
        if self._connection.fileno() in ready:
            try:
                for message in self._connection.receive(wait=False):
                    self._heard = time.monotonic()
                    told += self._hear(message)
            except RunError as failure:  # a message that is not known
                self._lose(str(failure), refused=True)
            if self._channel is not None and self._connection.closed:
                self._lose(self._why_closed())
        return told

    def _why_closed(self) -> str:
        if self.facts is not None:
            return "the connection to it has closed"
        return f"its agent did not start: {last_words(self._log) or 'without a word'}"

    def _hear(self, message: messages.Message) -> list[tuple[int, messages.Message] | Ended | str]:
        match message:
            case talk.Here():
                self._greet(message)
            case talk.Answer():
                self.answers.append(message)
            case talk.Ways(ways=ways):
                self._know(ways)
            case talk.Passed(worker=worker, text=text) if worker in self.workers:
                told = messages.decode(text.encode())
                if not written(told):
                    return [(worker, told)]
                self._intake.tell(worker, told)
            case talk.Gone(worker=worker) if worker in self.workers:
                self.workers.discard(worker)
                return [Ended(worker, message.exit_code, message.cause, message.excused)]
            case talk.Lost(cause=cause, final=final):
                if final:
                    self._lose(cause, refused=True)
                else:
                    return [f"{self.host.name}: {cause}"]
            case talk.Printed(worker=worker, text=text):
                self._intake.printed(worker, text)
            case talk.Returned():
                self._intake.take(message)
            case talk.Took(fields=fields):
                self._taken.append(fields)
            case talk.Ping(loaded=loaded):
                self._loaded = loaded
            case talk.Opened(stream=stream) if self.rendezvous is not None:
                self._relay.open(stream, self.rendezvous)
            case talk.Streamed(stream=stream, data=data):
                self._relay.write(stream, talk.unpacked(data))
            case talk.Lacks(contents=contents):
                self._sending.lacks(contents)
            case talk.Arrived():
                self._no_room = None
                self._sending.arrived()
                if not self._sending.pending:
                    for one in self._held:
                        self._outbox.post(one)
                    self._held.clear()
            case talk.NoRoom(cause=cause):
                self._no_room = f"the run's files can't be stored there ({cause})"
                self._needs_bytes = self._sending.missing_bytes + ROOM_BYTES
                self._lose(self._no_room)
        return []

    def _greet(self, here: talk.Here) -> None:
        self.facts = here
        if self._no_room is not None and here.disk_bytes < self._needs_bytes:
            self._lose(self._no_room)  # still: it would come only to go at once
            return
        if different := differences(here.versions, self.host.via):
            self._lose(f"would compute something else: {'; '.join(different)}", refused=True)
            return
        folder = str(self._folder) if self.is_here else None
        if self._run is not None:
            order = talk.Begin(
                run=self._run, host=self.host.name, folder=folder, hang_seconds=self._hang_seconds
            )
            self._outbox.post(order)
        self._outbox.post(talk.WhichWay(addresses=list(self.peers)))
        self.state = "asked"

    def _know(self, ways: dict[str, Way | None]) -> None:
        try:
            self.interface = self.host.interface or interface_of(self.host.name, ways, self.peers)
        except RunError as failure:
            self._lose(str(failure).partition(": ")[2], refused=True)
            return
        self.state, self._heard = "ready", time.monotonic()
        if self.proven:
            self._tries = 0
