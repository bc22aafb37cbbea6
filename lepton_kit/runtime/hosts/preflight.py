"""Looks at hosts before a run: what each is and has, and whether its ranks would reach those of the others, how fast."""

from __future__ import annotations

import contextlib
import math
import secrets
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lepton_kit.hosts import HostSpec
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.findings import Checked, Found, Pair, Wanted, of_pair, of_state
from lepton_kit.runtime.hosts.link import HostLink
from lepton_kit.runtime.hosts.ways import peers_of

TIMES_ASKED = 3
DIAL_SECONDS = 3.0
TRANSFER_BYTES = 16 << 20
"""So much is sent at most from host to host, for a quarter of `DIAL_SECONDS`."""


@dataclass
class _Known:
    """What is known of a host so far."""

    link: HostLink
    clock: tuple[float, float] | None = None
    state: talk.State | None = None
    listening: talk.Listening | None = None
    problems: list[str] = field(default_factory=list)


def look(
    hosts: Sequence[HostSpec],
    addresses: Mapping[str, str],
    folder: Path,
    wanted: Wanted,
    deadline: float,
    *,
    transfer: bool = True,
) -> Checked:
    """Bring up an agent on each host, ask it, and take it down, at the latest at the deadline (monotonic seconds).

    ``addresses`` are those of the hosts as this machine knows them. ``transfer`` also measures how many bytes a second go from host to host, at most a second a round of pairs.
    """
    with _reached(hosts, addresses, folder, deadline) as examination:
        examination.ask_states(wanted)
        examination.ask_times()
        pairs = list(examination.ask_ways(TRANSFER_BYTES if transfer else 0))
        return Checked(tuple(_found(one, wanted) for one in examination.hosts), tuple(pairs))


def clean(
    hosts: Sequence[HostSpec], addresses: Mapping[str, str], folder: Path, deadline: float
) -> dict[str, talk.Cleaned | str]:
    """Have the agent of each host remove what no run needs there; host -> what that was, or why it was not done."""
    with _reached(hosts, addresses, folder, deadline) as examination:
        answers = examination.clean()
        return {
            one.link.host.name: found
            if isinstance(found := answers.get(place), talk.Cleaned)
            else one.link.cause or f"{one.link.host.name}: has not answered in time"
            for place, one in enumerate(examination.hosts)
        }


@contextlib.contextmanager
def _reached(
    hosts: Sequence[HostSpec], addresses: Mapping[str, str], folder: Path, deadline: float
) -> Iterator[_Examination]:
    """An agent on each host, as far as they are reached; they end with the context."""
    RunPaths(folder).logs.mkdir(exist_ok=True)
    links = [HostLink(host, None, folder, hang_seconds=60.0) for host in hosts]
    examination = _Examination([_Known(link) for link in links], addresses, deadline)
    try:
        for link, peers in zip(links, peers_of(hosts, addresses), strict=True):
            link.peers = peers
            link.connect()
        examination.greet()
        yield examination
    finally:
        for link in links:
            link.close(0.5)


def _found(known: _Known, wanted: Wanted) -> Found:
    link = known.link
    late = None if link.state == "ready" else f"{link.host.name}: has not answered in time"
    problem = link.cause or late or "; ".join(f"{link.host.name}: {one}" for one in known.problems) or None
    return Found(
        host=link.host,
        here=link.facts,
        interface=link.interface if link.state == "ready" else None,
        clock=known.clock,
        state=known.state,
        problem=problem,
        workers=wanted.workers.get(link.host.name, link.host.slots),
    )


class _Examination:
    """Asks hosts, all at once, and waits for each answer no longer than the deadline."""

    def __init__(self, hosts: list[_Known], addresses: Mapping[str, str], deadline: float):
        self.hosts, self._addresses, self._deadline = hosts, addresses, deadline
        self._number = 0

    def _wait(self, links: Sequence[HostLink], seconds: float) -> None:
        """Take in what comes from these within so long, at most until the first news."""
        numbers = [number for link in links for number in link.filenos()]
        ready = set(select.select(numbers, [], [], max(0.0, min(0.5, seconds)))[0])
        for link in links:
            link.receive(ready)

    def greet(self) -> None:
        """Wait until each host has said what it is and by which interface it reaches the others."""
        links = [one.link for one in self.hosts]
        while (left := self._deadline - time.monotonic()) > 0 and (
            open_ := [one for one in links if one.state in ("connecting", "asked")]
        ):
            self._wait(open_, left)

    def _ask(
        self, questions: Mapping[int, talk.Question], seconds: float = math.inf
    ) -> dict[int, talk.Answer]:
        """Ask hosts, by their places in the list; the answers of those that gave one in time."""
        until = min(self._deadline, time.monotonic() + seconds)
        answers: dict[int, talk.Answer] = {}
        for place, question in questions.items():
            self.hosts[place].link.ask(question)
        while len(answers) < len(questions) and (left := until - time.monotonic()) > 0:
            waiting = [place for place in questions if place not in answers]
            if not (open_ := [one.link for p in waiting if (one := self.hosts[p]).link.state == "ready"]):
                break
            self._wait(open_, left)
            for place in waiting:
                link, wanted = self.hosts[place].link, questions[place].number
                found = next((one for one in link.answers if one.number == wanted), None)
                link.answers.clear()
                if found is not None:
                    answers[place] = found
        return answers

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _places(self) -> list[int]:
        return [place for place, one in enumerate(self.hosts) if one.link.state == "ready"]

    def ask_states(self, wanted: Wanted) -> None:
        """Disk, native library, and the files that the run reads by their places."""
        files = [(one.address, one.size, one.stamp) for one in wanted.sample()]
        questions = {place: talk.AskState(number=self._next(), files=files) for place in self._places()}
        for place, answer in self._ask(questions).items():
            assert isinstance(answer, talk.State)
            one = self.hosts[place]
            one.state = answer
            one.problems += of_state(one.link.host, one.link.facts, answer, wanted)

    def clean(self) -> dict[int, talk.Answer]:
        """Have what no run needs removed."""
        return self._ask({place: talk.AskClean(number=self._next()) for place in self._places()})

    def ask_times(self) -> None:
        """How far each clock is ahead of this machine's; the quickest answer says it best."""
        for place in self._places():
            for _ in range(TIMES_ASKED):
                began, began_at = time.monotonic(), time.time()
                answer = self._ask({place: talk.AskTime(number=self._next())}, DIAL_SECONDS).get(place)
                half = (time.monotonic() - began) / 2
                known = self.hosts[place].clock
                if isinstance(answer, talk.Time) and (known is None or half < known[1]):
                    self.hosts[place].clock = (answer.clock - began_at - half, half)

    def ask_ways(self, size: int) -> Iterator[Pair]:
        """Have each host connect to each other; in a round each host calls one other and is called by one."""
        nonce = secrets.token_hex(16)
        seconds = max(1.0, self._deadline - time.monotonic())
        listen = {
            place: talk.Listen(
                number=self._next(), interface=self.hosts[place].link.interface, nonce=nonce, seconds=seconds
            )
            for place in self._places()
        }
        for place, answer in self._ask(listen).items():
            assert isinstance(answer, talk.Listening)
            if answer.problem is None:
                self.hosts[place].listening = answer
            else:
                self.hosts[place].problems.append(answer.problem)
        count = len(self.hosts)
        for distance in range(1, count):
            called = {place: (place + distance) % count for place in self._places()}
            calls = {a: b for a, b in called.items() if self.hosts[b].listening is not None}
            yield from self._round(calls, nonce, size)

    def _round(self, calls: Mapping[int, int], nonce: str, size: int) -> Iterator[Pair]:
        questions: dict[int, talk.Question] = {}
        for a, b in calls.items():
            there = self.hosts[b].listening
            assert there is not None
            questions[a] = talk.Dial(
                number=self._next(), address=there.address, port=there.port, nonce=nonce,
                bytes=size, seconds=DIAL_SECONDS,
            )  # fmt: skip
        answers = self._ask(questions, 2 * DIAL_SECONDS)
        for a, b in calls.items():
            yield self._of_call(self.hosts[a], self.hosts[b], answers.get(a))

    def _of_call(self, caller: _Known, called: _Known, answer: talk.Answer | None) -> Pair:
        if not isinstance(answer, talk.Dialed):
            answer = talk.Dialed(number=0, problem="no answer in time")
        names = caller.link.host.name, called.link.host.name
        if answer.problem is not None and called.state is not None and called.listening is not None:
            known_as = self._addresses.get(names[1])
            called.problems.append(
                of_pair(names[0], called.listening, answer.problem, called.state.ports, known_as)
            )
        return Pair(*names, answer.latency, answer.rate, answer.problem)
