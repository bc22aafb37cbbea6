"""What a driver knows of its workers: who they are, where, and what they have said last. Nothing here acts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lepton_kit.runtime.coordinator import Observed, Room, State
from lepton_kit.runtime.places import Place
from lepton_kit.training.collective import Kind
from lepton_kit.training.messages import Alive

AS_IT_IS = {"factor": 1.0, "data_seconds": 0.0}
QUIET_SECONDS = 2.0
"""Four heartbeats."""


@dataclass
class Member:
    """A worker and what it has said last."""

    worker: int
    place: Place
    state: State = "starting"
    pid: int | None = None
    rank: int | None = None
    step: int = 0
    memory_bytes: int | None = None
    slot_bytes: int = 0
    collective: Kind = "horovod"
    state_bytes: int = 0
    parameters: int | None = None
    joining: bool = False
    """In the midst of Horovod's forming a ring, from which no word calls it back."""
    room: Room = "none"
    """Whether it has the memory for joining a ring that trains."""
    outcome: str | None = None
    stopped_by: str | None = None
    cause: str | None = None
    excused: bool = False
    slowed: dict[str, float] = field(default_factory=dict)
    """How it is made slow for a lesson: ``factor``, ``data_seconds``."""
    alive: Alive | None = None
    """Its last heartbeat."""
    last_heard: float = field(default_factory=time.monotonic)

    def observed(self) -> Observed:
        """What decisions are made from."""
        quiet = self.pid is not None and time.monotonic() - self.last_heard > QUIET_SECONDS
        return Observed(self.worker, self.state, self.rank, self.step, quiet, self.room)

    def row(self) -> dict[str, Any]:
        """What the log tells of it."""
        return {
            "worker": self.worker,
            "pid": self.pid,
            "state": self.state,
            "rank": self.rank,
            "memory_bytes": self.memory_bytes,
            "host": self.place.host,
            **self.place.chosen(),
            "slowed": {name: value for name, value in self.slowed.items() if value != AS_IT_IS[name]},
        }


class Roster:
    """All workers that are not known to have ended, by number; numbers are never used again."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.own_seconds = 0.0
        """CPU seconds of all workers, those that have ended too."""
        self._next = 0

    def add(self, place: Place) -> Member:
        """A worker that is about to start there."""
        member = Member(self._next, place)
        self.members[member.worker] = member
        self._next += 1
        return member

    def remove(self, member: Member) -> None:
        """Forget a worker that has ended."""
        self.members.pop(member.worker, None)

    @property
    def held(self) -> list[Place]:
        """The places that workers hold; one that leaves or is lost holds none."""
        return [one.place for one in self.members.values() if one.state not in ("leaving", "lost")]

    def free(self, places: Iterable[Place]) -> Place | None:
        """The first place that no worker holds."""
        held = self.held
        return next((place for place in places if not any(place.is_for(one) for one in held)), None)

    def settle(self, places: Sequence[Place]) -> list[Member]:
        """Note the places as they are now; returns the workers that stand at none of them."""
        astray = []
        for member in self.members.values():
            found = next((place for place in places if place.is_for(member.place)), None)
            if found is None:
                astray.append(member)
            else:
                member.place = found
        return astray

    def seat(self, ring: Sequence[Member], places: Sequence[Place]) -> None:
        """Have those who are to train stand at the first places of each kind, so that speeds do not depend on chance."""
        numbers = {member.worker for member in ring}
        standing = [one for one in self.members.values() if one.state not in ("leaving", "lost")]
        standing.sort(key=lambda one: (one.worker not in numbers, one.place.slot))
        for kind in dict.fromkeys(place.kind for place in places):
            of_kind = [place for place in places if place.kind == kind]
            for member, place in zip(
                (one for one in standing if one.place.kind == kind), of_kind, strict=False
            ):
                member.place = place

    def ring(self) -> list[Member]:
        """Those who train, in rank order."""
        training = [member for member in self.members.values() if member.state == "training"]
        return sorted(training, key=lambda member: member.rank or 0)

    def hear(self, member: Member, told: Alive) -> None:
        """Take in a heartbeat."""
        self.own_seconds += told.cpu_seconds - (member.alive.cpu_seconds if member.alive else 0.0)
        member.memory_bytes, member.alive = told.memory_bytes, told

    def silent(self, now: float, hang_seconds: float) -> list[Member]:
        """Workers that are there and have said nothing for too long, as far as that is not known of them yet."""
        return [
            one
            for one in self.members.values()
            if one.pid is not None and one.cause is None and now - one.last_heard > hang_seconds
        ]

    def forgive(self, now: float, seconds: float) -> None:
        """The driver itself was held up for this long until now: nobody's silence of that time counts."""
        for member in self.members.values():
            member.last_heard = min(now, member.last_heard + seconds)
