"""Runs that come, end, die, hang and are held back in any order: nothing is promised twice, all settle, and nobody starves."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.planning.allocation import Capacity, Grant
from lepton_kit.runtime.pool.members import SILENT_SECONDS, Entry, grants, reserved

CASES = settings(max_examples=60)
RATE = 100.0
"""Samples/s of a worker."""
ROUNDS = 12
"""Looks of each run within which all have what they keep, while nothing else changes."""
DEEDS = ("pass", "pass", "pass", "birth", "birth", "death", "stop", "hang", "wake", "hold", "release")

Deed = tuple[str, int, int]
deeds = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 99), st.integers(0, 99)), max_size=40)


@dataclass
class World:
    """A machine, and the runs on it. Each looks for itself, when it comes to that, and gives back what it has too much at its next look."""

    cores: int
    memory: int
    random: random.Random
    now: float = 1000.0
    runs: dict[str, Entry] = field(default_factory=dict)
    giving_back: dict[str, int] = field(default_factory=dict)
    held_back: dict[str, Entry] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)
    born: int = 0

    @property
    def shared(self) -> Capacity:
        return Capacity(self.cores, self.memory)

    def grants(self) -> dict[str, Grant]:
        return grants(list(self.runs.values()), self.shared, self.now)

    def birth(self, size: int) -> None:
        self.born += 1
        least = 1 + size % 2 if self.cores > 1 else 1
        name = f"run-{self.born:03d}"
        self.runs[name] = Entry(
            name, "me", self.now, least=least, most=least + size % 5, priority=size % 3 - 1, left=RATE * (1 + 5 * size),
            worker_bytes=1, run_bytes=1, cores=self.cores, since=self.now, seen=self.now,
            speeds={n: RATE * n**0.9 for n in (1, 2, 4)},
        )  # fmt: skip

    def do(self, deed: str, which: int, size: int) -> None:
        names = sorted(self.held_back if deed == "release" else self.runs)
        if deed == "birth":
            self.birth(size)
        elif deed == "pass":
            self.passes(1.0 + size)
        elif names:
            getattr(self, deed)(names[which % len(names)])

    def death(self, name: str) -> None:
        """Its driver is killed: its file's lock is gone, and its workers with it."""
        del self.runs[name]
        self.giving_back.pop(name, None)
        self.hung.discard(name)

    stop = death

    def hang(self, name: str) -> None:
        self.hung.add(name)

    def wake(self, name: str) -> None:
        self.hung.discard(name)

    def hold(self, name: str) -> None:
        if not self.runs[name].held and name not in self.hung:
            self.held_back[name] = self.runs.pop(name)

    def release(self, name: str) -> None:
        self.runs[name] = self.held_back.pop(name)
        self.runs[name].since = self.runs[name].seen = self.now

    def look(self, name: str) -> bool:
        """A run looks, as `Share` does; whether it has changed."""
        one = self.runs[name]
        one.seen = self.now
        before = one.held
        if name in self.giving_back:
            one.held = self.giving_back.pop(name)
            one.since = self.now if one.held == 0 else None
            return True
        grant = self.grants()[name].workers
        if grant >= before:
            found = reserved(one, list(self.runs.values()), self.shared, grant)
            one.held = max(found, before)
            one.since = None if one.held else one.since
        elif grant or one.suspendable:
            self.giving_back[name] = grant
        self.check()
        return one.held != before or name in self.giving_back

    def check(self) -> None:
        assert sum(one.held for one in self.runs.values()) <= self.cores
        used = sum(one.run_bytes + one.held * one.worker_bytes for one in self.runs.values() if one.held)
        assert used <= self.memory

    def settle(self) -> None:
        """All look, in any order, until none changes; the clock stands."""
        for _ in range(ROUNDS):
            names = [name for name in self.runs if name not in self.hung]
            self.random.shuffle(names)
            if not [name for name in names if self.look(name)]:
                return
        pytest.fail(f"still changing: {self.runs}")

    def passes(self, seconds: float) -> None:
        self.now += seconds
        for name, one in list(self.runs.items()):
            if name in self.hung:
                continue  # its workers wait for its driver; they give back nothing
            one.seen = self.now
            one.suspendable = one.held > 0
            one.left = max(0.0, (one.left or 0.0) - RATE * one.held * seconds)
            if one.held and not one.left:
                self.death(name)


@CASES
@given(st.integers(1, 6), st.integers(3, 20), deeds, st.randoms(use_true_random=False))
def test_nothing_is_promised_twice_all_settle_and_nobody_starves(
    cores: int, memory: int, story: list[Deed], chance: random.Random
):
    world = World(cores, memory, chance)
    for deed in story:
        world.do(*deed)
        world.settle()
        world.check()
    for name in list(world.held_back):
        world.release(name)
    for name in world.hung & {one.run for one in world.runs.values() if one.held}:
        world.death(name)  # what hangs with workers keeps them until somebody ends it
    able = [one for one in world.runs.values() if one.run not in world.hung]
    able = [
        one for one in able if one.run_bytes + one.least * one.worker_bytes <= memory and one.least <= cores
    ]
    for name in {one.run for one in world.runs.values() if one not in able and one.run not in world.hung}:
        world.death(name)  # what can't be had at all is refused at its launch
    for _ in range(10_000):
        if not set(world.runs) - world.hung:
            return
        world.passes(5.0)
        world.settle()
    pytest.fail(f"it never had its turn: {world.runs}")


def test_one_that_hangs_in_line_is_passed_over_and_one_with_workers_keeps_them():
    world = World(1, 20, random.Random(0))
    world.birth(0)
    world.settle()
    world.birth(0)
    world.birth(0)
    first, second, third = sorted(world.runs)
    world.settle()
    world.hang(second)
    world.passes(SILENT_SECONDS + 1)
    world.settle()
    assert first not in world.runs, "it has finished"
    assert world.runs[third].held == 1
    world.wake(second)
    world.settle()
    world.hang(third)
    world.passes(SILENT_SECONDS + 1)
    world.settle()
    assert (world.runs[third].held, world.runs[second].held) == (1, 0)
    world.death(third)
    world.settle()
    assert world.runs[second].held == 1


@CASES
@given(st.integers(2, 8), st.integers(2, 5))
def test_a_run_that_comes_and_one_that_dies_change_no_more_than_they_have_to(cores: int, runs: int):
    """As many more as come: who is not asked to give way keeps what it has, and a death gives nobody less."""
    world = World(cores, 1000, random.Random(0))
    for _ in range(runs):
        world.birth(4)
    world.settle()
    before = {name: one.held for name, one in world.runs.items()}
    dead = next(name for name, held in before.items() if held)
    world.death(dead)
    world.settle()
    assert all(one.held >= before[name] for name, one in world.runs.items())
