"""Who joins a ring that trains gets its memory before the ring is left."""

from __future__ import annotations

from typing import Any

from lepton_kit.runtime.executor import Ended
from lepton_kit.training import messages
from tests.runtime.staged import trained


def test_a_ring_is_left_only_when_who_joins_has_its_memory(begin: Any):
    stage = trained(begin, 1, standby=1)
    stage.ready(1)
    stage.driver._wishes.workers = 2
    stage.turn()
    assert stage.told(messages.MakeRoom) == [1]
    stage.turn()
    assert stage.told(messages.MakeRoom) == [1], "once is enough"
    assert stage.told(messages.Reform) == []
    stage.turn((1, messages.RoomMade()))
    assert stage.told(messages.Reform) == [0]
    stage.leave(1, 0)
    assert [one.membership.generation for one in stage.joins().values()] == [2, 2]


def test_who_makes_room_for_a_change_that_is_wanted_no_more_is_asked_anew_for_the_next(begin: Any):
    stage = trained(begin, 1, standby=1)
    stage.ready(1)
    stage.driver._wishes.workers = 2
    stage.turn()
    stage.driver._wishes.workers = 1
    stage.turn((1, messages.RoomMade()))
    stage.driver._wishes.workers = 2
    stage.turn()
    assert stage.told(messages.MakeRoom) == [1, 1]
    assert stage.told(messages.Reform) == []


def test_who_dies_making_room_keeps_the_others_from_nothing(begin: Any):
    stage = trained(begin, 1, standby=1)
    stage.ready(1)
    stage.driver._wishes.workers = 2
    stage.turn()
    stage.executor.over.append(Ended(1, -9))
    stage.turn()
    assert stage.told(messages.Reform) == []
    stage.ready(2, 3)
    stage.turn()
    assert stage.told(messages.MakeRoom) == [1, 2], "the one that came in its place"
