"""Who stands where: the ring at the first places of each kind, nobody at another's."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.runtime.coordinator import State
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.roster import Member, Roster
from lepton_kit.training.messages import Alive

states = st.sampled_from(get_args(State))


def places(device: str) -> list[Place]:
    return [Place(host, slot, device, 1, speed=10.0 * slot + 1) for host in "ab" for slot in range(4)]


def roster(*members: tuple[Place, State]) -> tuple[Roster, list[Member]]:
    made = Roster()
    for place, state in members:
        made.add(place).state = state
    return made, list(made.members.values())


@given(st.permutations(range(8)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_the_ring_stands_at_the_first_places_of_its_hosts(order: list[int], in_ring: list[bool]):
    here = places("cpu")
    book, members = roster(*((here[k], "standby") for k in order[:6]))
    ring = [member for member, chosen in zip(members, in_ring, strict=True) if chosen]
    hosts = [member.place.host for member in members]
    book.seat(ring, here)
    assert [member.place.host for member in members] == hosts
    assert len({(member.place.host, member.place.slot) for member in members}) == len(members)
    for host in "ab":
        slots = sorted(member.place.slot for member in ring if member.place.host == host)
        assert slots == list(range(len(slots)))
    assert all(member.place in here for member in members)


@given(st.permutations(range(8)))
def test_a_worker_with_a_gpu_stays_where_it_is(order: list[int]):
    here = places("gpu")
    book, members = roster(*((here[k], "standby") for k in order[:5]))
    book.seat(members[3:], here)
    assert [member.place for member in members] == [here[k] for k in order[:5]]


@given(st.lists(states, min_size=8, max_size=8))
def test_the_first_free_place_is_held_by_no_worker_that_stays(held: list[State]):
    here = places("cpu")
    book, members = roster(*zip(here, held, strict=True))
    free = [one.place for one in members if one.state in ("leaving", "lost")]
    assert book.free(here) == (free[0] if free else None)


def test_places_that_are_no_more_leave_their_workers_astray_and_speeds_are_those_of_now():
    here = places("cpu")
    book, members = roster((here[0], "standby"), (here[5], "standby"))
    faster = Place("a", 0, "cpu", 1, speed=7.0)
    assert book.settle([faster]) == [members[1]]
    assert members[0].place == faster


def test_only_one_that_has_said_hello_can_be_silent_and_time_that_was_lost_here_is_forgiven():
    here = places("cpu")
    book, (first, second) = roster((here[0], "starting"), (here[1], "starting"))
    first.last_heard = second.last_heard = 100.0
    second.pid = 7
    assert book.silent(now=110.0, hang_seconds=10.0) == []
    assert book.silent(now=110.5, hang_seconds=10.0) == [second]
    book.forgive(110.5, 1.0)
    assert book.silent(now=110.5, hang_seconds=10.0) == []


def test_what_was_heard_late_is_not_taken_for_heard_in_the_future():
    """Words that waited while the driver was held up are from that time: who then hangs is missed as soon as others."""
    book, (one,) = roster((places("cpu")[0], "training"))
    one.pid, one.last_heard = 7, 100.0
    book.forgive(100.0, 50.0)
    assert book.silent(now=110.5, hang_seconds=10.0) == [one]


def test_cpu_seconds_of_workers_that_have_ended_still_count():
    here = places("cpu")
    book, (first, second) = roster((here[0], "training"), (here[1], "training"))
    for seconds in (1.0, 3.0):
        book.hear(first, Alive(memory_bytes=5, cpu_seconds=seconds))
    book.hear(second, Alive(memory_bytes=6, cpu_seconds=2.0))
    book.remove(first)
    assert book.own_seconds == 5.0
    assert second.row()["memory_bytes"] == 6


def test_numbers_are_never_used_again():
    book, (first, _) = roster((places("cpu")[0], "standby"), (places("cpu")[1], "standby"))
    book.remove(first)
    assert [book.add(place).worker for place in places("cpu")[2:4]] == [2, 3]


def test_the_ring_is_who_trains_in_rank_order():
    book, members = roster(*zip(places("cpu")[:4], ("training", "standby", "training", "lost"), strict=True))
    members[0].rank, members[2].rank = 1, 0
    assert book.ring() == [members[2], members[0]]


@pytest.mark.parametrize(("pid", "seconds", "quiet"), [(None, 60.0, False), (7, 1.5, False), (7, 2.5, True)])
def test_one_that_is_there_is_quiet_after_four_heartbeats(
    monkeypatch: pytest.MonkeyPatch, pid: int | None, seconds: float, quiet: bool
):
    _, (one,) = roster((places("cpu")[0], "standby"))
    one.pid = pid
    later = one.last_heard + seconds
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert one.observed().quiet is quiet
