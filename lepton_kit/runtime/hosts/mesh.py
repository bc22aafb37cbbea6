"""Which hosts of a run reach each other: asked now and then, and when a ring breaks; a ring needs all of them to."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from itertools import combinations

from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.link import HostLink

DIAL_SECONDS = 5.0
ROUND_SECONDS = 12.0
LEAST_SECONDS = 5.0
HELD_UP_SECONDS = 2.0
MOST_TRIED = 12
"""With more hosts than this not every group of them is looked at."""

Pair = frozenset[str]


def group(slots: Mapping[str, int], parted: set[Pair]) -> list[str]:
    """Of hosts (name -> slots) those that all reach each other and have the most slots; of equal ones the first ones.

    ``parted`` are the pairs that don't reach each other.

    >>> group({"a": 1, "b": 2, "c": 1}, {frozenset("ab")}), group({"a": 1, "b": 1}, {frozenset("ab")})
    (['b', 'c'], ['a'])
    """
    if not any(pair <= set(slots) for pair in parted):
        return list(slots)
    if len(slots) > MOST_TRIED:  # one by one, the one with the most slots first
        found: list[str] = []
        for name in sorted(slots, key=lambda one: -slots[one]):
            if not any(frozenset((name, other)) in parted for other in found):
                found.append(name)
        return [name for name in slots if name in found]
    whole = [
        list(some)
        for size in range(len(slots), 0, -1)
        for some in combinations(slots, size)
        if not any(frozenset(pair) in parted for pair in combinations(some, 2))
    ]
    return max(whole, key=lambda some: sum(slots[name] for name in some))


class Mesh:
    """Asks the agents of a run, without waiting for them. A host that is cut off from the others is lost until it is not."""

    def __init__(self, links: Sequence[HostLink], hang_seconds: float):
        self._links, self._every = links, max(LEAST_SECONDS, hang_seconds)
        self._numbers = 0
        self._asked: dict[int, tuple[HostLink, HostLink | None]] = {}
        """Number of a question -> who was asked, and whom it was to reach; None: to listen."""
        self._there: dict[str, talk.Listening] = {}
        self._failed: dict[Pair, str] = {}
        self._doubted: set[Pair] = set()
        self._began: float | None = None
        self._dialing = False
        self._next = self._tended = time.monotonic()

    def suspect(self) -> None:
        """A ring has broken: look soon."""
        self._next = min(self._next, time.monotonic())

    def tend(self, now: float) -> None:
        """Take in answers, and ask when it is time."""
        held_up, self._tended = now - self._tended, now
        ready = [link for link in self._links if link.state == "ready"]
        for link in self._links:
            answers, link.answers[:] = list(link.answers), []
            for answer in answers:
                self._hear(answer)
        if len(ready) < 2 or not any(link.peers for link in ready):
            for link in ready:
                link.proven = True  # there is nobody that it has to reach
            self._end(now)
        elif held_up > HELD_UP_SECONDS:
            self._end(now)  # what was asked may have failed for that alone
        elif self._began is None:
            if now >= self._next or not all(link.proven for link in ready):
                self._begin(ready, now)
        else:
            self._asked = {n: (one, to) for n, (one, to) in self._asked.items() if one.state == "ready"}
            if not self._asked and not self._dialing:
                self._dial()
            elif not self._asked or now - self._began > ROUND_SECONDS:
                self._conclude(ready, now)

    def _end(self, now: float) -> None:
        self._asked.clear()
        self._began, self._next = None, now + self._every

    def _ask(self, link: HostLink, question: talk.Question, to: HostLink | None) -> None:
        self._asked[question.number] = (link, to)
        link.ask(question)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _begin(self, ready: Sequence[HostLink], now: float) -> None:
        self._began, self._dialing, self._failed = now, False, {}
        self._there.clear()
        self._nonce = secrets.token_hex(16)
        self._round = list(ready)
        for link in ready:
            question = talk.Listen(
                number=self._number(), interface=link.interface, nonce=self._nonce, seconds=ROUND_SECONDS
            )
            self._ask(link, question, None)

    def _hear(self, answer: talk.Answer) -> None:
        if answer.number not in self._asked:
            return
        link, to = self._asked.pop(answer.number)
        if isinstance(answer, talk.Listening) and answer.problem is None:
            self._there[link.host.name] = answer
        elif isinstance(answer, talk.Dialed) and answer.problem is not None and to is not None:
            self._failed[frozenset((link.host.name, to.host.name))] = answer.problem

    def _dial(self) -> None:
        self._dialing = True
        for link in self._round:
            for to in self._round:
                there = self._there.get(to.host.name)
                if to is link or there is None or link.state != "ready":
                    continue
                question = talk.Dial(
                    number=self._number(), address=there.address, port=there.port, nonce=self._nonce, bytes=0,
                    seconds=DIAL_SECONDS,
                )  # fmt: skip
                self._ask(link, question, to)

    def _conclude(self, ready: Sequence[HostLink], now: float) -> None:
        """Who is cut off in two rounds one after the other is lost. An answer that did not come says nothing."""
        parted = set(self._failed) & self._doubted
        self._doubted = set(self._failed)
        self._end(now)
        if set(self._failed) - parted:
            self._next = now  # look once more before anything is done
            return
        stays = group({link.host.name: link.host.slots for link in ready}, parted)
        for link in ready:
            name = link.host.name
            if name in stays:
                link.proven = link.proven or link in self._round
                continue
            others = sorted(other for pair in parted if name in pair for other in pair - {name})
            why = next(self._failed[pair] for pair in parted if name in pair)
            link.cut_off(f"is cut off from {', '.join(others)} ({why})")
