"""Hosts that stop reaching each other while all still reach the driver: the largest part goes on, the others come back."""

from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.hosts import HostSpec
from lepton_kit.runtime.hosts import mesh, talk

NAMES = "abcd"


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4), min_size=1),
    st.sets(st.sampled_from([frozenset(pair) for pair in combinations(NAMES, 2)])),
)
def test_a_group_reaches_itself_and_no_larger_one_does(slots: dict[str, int], parted: set[frozenset[str]]):
    found = mesh.group(slots, parted)
    assert found
    assert not any(frozenset(pair) in parted for pair in combinations(found, 2))
    for size in range(1, len(slots) + 1):
        for other in combinations(slots, size):
            if not any(frozenset(pair) in parted for pair in combinations(other, 2)):
                assert sum(slots[name] for name in other) <= sum(slots[name] for name in found)


def test_of_many_hosts_a_group_is_found_too():
    slots = {str(number): 1 for number in range(30)}
    found = mesh.group(slots, {frozenset(("0", "1"))})
    assert len(found) == 29


class FakeLink:
    """A link whose agent answers at once; ``walls`` are the pairs that don't reach each other."""

    interface = "eth0"

    def __init__(self, name: str, walls: set[frozenset[str]]):
        self.host = HostSpec(name=name)
        self.peers = ["others"]
        self.state, self.proven, self.walls = "ready", True, walls
        self.answers: list[Any] = []
        self.cuts: list[str] = []
        self.asked = 0
        self.mute = False

    def ask(self, question: Any) -> None:
        self.asked += 1
        if isinstance(question, talk.Listen):
            self.answers.append(talk.Listening(number=question.number, address=self.host.name, port=1))
        elif not self.mute:
            walled = frozenset((self.host.name, question.address)) in self.walls
            self.answers.append(talk.Dialed(number=question.number, problem="no answer" if walled else None))

    def cut_off(self, cause: str) -> None:
        self.cuts.append(cause)
        self.state, self.proven = "lost", False


class Clock:
    def __init__(self, made: mesh.Mesh):
        self.mesh, self.now = made, time.monotonic()

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.1)):
            self.now += 0.1
            self.mesh.tend(self.now)


@pytest.fixture
def walls() -> set[frozenset[str]]:
    return set()


@pytest.fixture
def links(walls: set[frozenset[str]]) -> list[FakeLink]:
    return [FakeLink(name, walls) for name in "abc"]


@pytest.fixture
def clock(links: list[FakeLink]) -> Clock:
    return Clock(mesh.Mesh(links, 15.0))  # type: ignore[arg-type]  # stand-ins


def test_who_is_cut_off_twice_is_lost_and_comes_back_once_it_is_reached(
    clock: Clock, links: list[FakeLink], walls: set[frozenset[str]]
):
    clock.run(2.0)
    assert all(link.cuts == [] for link in links)
    walls |= {frozenset("ac"), frozenset("bc")}
    clock.run(16.0)
    assert [link.state for link in links] == ["ready", "ready", "lost"]
    assert links[2].cuts == ["is cut off from a, b (no answer)"]
    links[2].state = "ready"  # its agent is there again, and the way is still closed
    clock.run(1.0)
    assert len(links[2].cuts) == 2
    walls.clear()
    links[2].state = "ready"
    clock.run(1.0)
    assert links[2].proven
    assert len(links[2].cuts) == 2


def test_one_answer_that_fails_once_or_does_not_come_is_no_proof(
    clock: Clock, links: list[FakeLink], walls: set[frozenset[str]]
):
    walls.add(frozenset("ab"))
    clock.run(0.3)
    walls.clear()
    clock.run(20.0)
    links[1].mute = True
    clock.run(60.0)
    assert all(link.cuts == [] for link in links)


def test_a_broken_ring_has_them_looked_at_at_once_and_a_quiet_one_rarely(clock: Clock, links: list[FakeLink]):
    clock.run(2.0)
    before = links[0].asked
    clock.run(5.0)
    assert links[0].asked == before
    clock.mesh.suspect()
    clock.now = max(clock.now, time.monotonic())
    clock.run(1.0)
    assert links[0].asked > before


def test_a_host_alone_has_nobody_to_reach(clock: Clock, links: list[FakeLink]):
    for link in links[1:]:
        link.state = "lost"
    links[0].proven = False
    clock.run(0.2)
    assert links[0].proven
    assert links[0].asked == 0
