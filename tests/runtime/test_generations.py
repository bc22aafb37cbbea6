"""What the driver keeps for ranks that join: a state outlives a generation that did not form, and its memory goes after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.rundir import EventLog, RunPaths
from lepton_kit.runtime.generations import Generations
from lepton_kit.runtime.places import Ability, Place
from lepton_kit.runtime.reports import Ledger
from lepton_kit.runtime.roster import Roster
from lepton_kit.runtime.wishes import Wishes
from lepton_kit.training import messages, room, state
from lepton_kit.training.handover import Handed, Handover
from tests.configs import any_config

NO_HISTORY = np.zeros((0, state.HISTORY_COLUMNS))


def close(*joins: messages.Join) -> None:
    for join in joins:
        assert join.descriptor is not None
        os.close(join.descriptor)


class Told:
    """An executor that keeps what is sent to the first worker, with descriptors as if they had travelled."""

    ability = Ability(sharing="all", run_folder="same")

    def __init__(self) -> None:
        self.joins: list[messages.Join] = []

    def places(self) -> list[Place]:
        return [Place("localhost", slot, "cpu", 1) for slot in range(2)]

    def send(self, worker: int, message: Any) -> None:
        if worker == 0 and isinstance(message, messages.Join):
            assert message.descriptor is not None
            self.joins.append(replace(message, descriptor=os.dup(message.descriptor)))


class Ring:
    """Generations of two members that are only told."""

    def __init__(self, folder: Path):
        config = any_config()
        paths = RunPaths(folder / "run")
        paths.create()
        group: Any = SimpleNamespace(executor=Told(), roster=Roster())
        self.executor, self.members = (
            group.executor,
            [group.roster.add(place) for place in group.executor.places()],
        )
        for member in self.members:
            member.slot_bytes, member.state_bytes = 4096, 1 << 20
        self.ledger = Ledger(paths, EventLog(paths.events))
        self.wishes = Wishes(config, 2)
        self.generations = Generations(config, group, self.ledger)

    def form(self, *, fresh: bool) -> messages.Join:
        self.generations.form(self.members, fresh, self.wishes)
        return self.executor.joins.pop()

    @property
    def size(self) -> int:
        """Bytes of memory that the segment takes."""
        assert self.generations._descriptor is not None
        return os.fstat(self.generations._descriptor).st_blocks * 512

    def close(self) -> None:
        self.generations.close()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring(tmp_path)
    yield made
    made.close()


def hand_over(ring: Ring, join: messages.Join, value: float, step: int) -> None:
    assert join.descriptor is not None
    Handover(join.descriptor, join.state_place, [tf.Variable([value] * 100_000)]).put(
        Handed(step, 1, NO_HISTORY, b"")
    )
    os.close(join.descriptor)
    told = messages.HandedOver(generation=join.membership.generation, step=step, logged_epochs=1)
    ring.generations.handed(told)


def test_a_state_that_was_handed_over_outlives_a_generation_that_did_not_form(ring: Ring):
    ring.ledger.view.step = 9
    hand_over(ring, ring.form(fresh=False), 2.5, step=8)
    ring.generations.abort()
    join = ring.form(fresh=True)
    assert join.descriptor is not None
    assert (join.handed, join.checkpoint, join.reported_step) == (True, None, 8)
    variable = tf.Variable([0.0] * 100_000)
    assert Handover(join.descriptor, join.state_place, [variable]).take().step == 8
    os.close(join.descriptor)
    np.testing.assert_array_equal(variable.numpy(), 2.5)


def test_who_holds_a_newer_state_hands_over_that(ring: Ring):
    hand_over(ring, ring.form(fresh=False), 2.5, step=8)
    join = ring.form(fresh=False)
    assert not join.handed
    close(join)
    join = ring.form(fresh=True)  # who was to write over it has died meanwhile
    assert not join.handed
    close(join)


def test_the_memory_for_a_change_that_is_wanted_no_more_goes(ring: Ring):
    join = ring.form(fresh=False)
    ring.generations.formed(0, {})
    member = ring.members[1]
    member.state, member.room = "standby", "made"
    assert join.descriptor is not None
    room.in_segment(join.descriptor, join.state_place, 1 << 20)
    ring.generations.give_room_back(wanted=2)
    assert (member.room, ring.size > 1 << 20) == ("made", True), "it is still wanted"
    ring.generations.give_room_back(wanted=1)
    assert member.room == "none"
    assert ring.size < 1 << 17
    close(join)


def test_the_memory_of_a_state_goes_when_all_have_it(ring: Ring):
    close(ring.form(fresh=False))
    ring.generations.formed(0, {})
    ring.generations.break_off("growth")
    assert ring.size > 1 << 20  # made ready while the members still train
    hand_over(ring, ring.form(fresh=False), 2.5, step=8)
    ring.generations.formed(8, {})
    assert ring.size < 1 << 17
    join = ring.form(fresh=True)
    assert not join.handed
    close(join)
