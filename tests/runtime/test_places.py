"""Ranks, local ranks and cross ranks are those of Horovod's own assignment, whatever the order of the places."""

from __future__ import annotations

import pytest
from horovod.runner.common.util.hosts import HostInfo, get_host_assignments
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.runtime.places import HERE, Place, local_places, memberships, on_this_machine
from lepton_kit.training.collective import Membership, Seat
from tests.configs import any_config

hosts = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


def ranks_of(names: list[str]) -> list[Membership]:
    places = [Place(name, slot, "cpu", 1) for slot, name in enumerate(names)]
    return memberships(7, places, ("127.0.0.1", 99), slot_bytes=8, timeout_seconds=5, sharing="none")


@given(hosts)
def test_they_are_those_of_horovod(names: list[str]):
    found = sorted(ranks_of(names), key=lambda one: one.rank)
    slots = [HostInfo(name, names.count(name)) for name in dict.fromkeys(names)]
    expected = get_host_assignments(slots, len(names), len(names))
    assert [
        (one.host, one.rank, seat.local_rank, seat.cross_rank, seat.size, seat.local_size, seat.cross_size)
        for one in found
        if (seat := one.seat) is not None and seat.rank == one.rank
    ] == [
        (one.hostname, one.rank, one.local_rank, one.cross_rank, one.size, one.local_size, one.cross_size)
        for one in expected
    ]


@given(hosts)
def test_the_first_place_stays_the_first_rank_and_each_host_keeps_its_order(names: list[str]):
    found = ranks_of(names)
    assert found[0].rank == 0
    assert [one.host for one in found] == names
    for name in set(names):
        ranks = [one.rank for one in found if one.host == name]
        assert ranks == list(range(ranks[0], ranks[0] + len(ranks)))


def test_on_one_host_the_local_rank_is_the_rank():
    found = ranks_of([HERE] * 3)
    assert [one.seat for one in found] == [Seat(rank, 3, rank, 3, 0, 1) for rank in range(3)]


@given(hosts, st.sets(st.sampled_from("abcd")))
def test_where_a_host_shares_memory_its_first_rank_alone_has_a_seat(names: list[str], alone: set[str]):
    """What a host without shared memory has are ranks that each have a seat: sums go through all of them once."""
    places = [Place(name, slot, "cpu", 1, shares=name not in alone) for slot, name in enumerate(names)]
    about = {"slot_bytes": 8, "timeout_seconds": 5}
    found = memberships(7, places, ("127.0.0.1", 99), sharing="host", **about)
    flat = memberships(7, places, ("127.0.0.1", 99), sharing="none", **about)
    assert [(one.rank, one.host) for one in found] == [(one.rank, one.host) for one in flat]
    seated = [one for one in found if one.seat is not None]
    assert sorted(one.seat.rank for one in seated if one.seat) == list(range(len(seated)))
    assert {one.seat.size for one in seated if one.seat} == {len(seated)}
    ordered = sorted(seated, key=lambda one: one.rank)
    assert [one.seat.rank for one in ordered if one.seat] == list(range(len(seated))), "hosts in their order"
    for one in found:
        together = [other for other in found if other.host == one.host] if one.host not in alone else [one]
        assert one.shared_size == len(together)
        assert (one.seat is not None) == (one.shared_rank == 0)
        assert sorted(other.shared_rank for other in together) == list(range(len(together)))
    for name in set(names):
        seats = [one.seat for one in found if one.host == name and one.seat]
        assert [seat.local_rank for seat in seats] == list(range(seats[0].local_size))


@pytest.mark.parametrize(
    ("weights", "speeds"), [(None, [1.0, 1.0, 1.0, 1.0]), ((1.0, 3.0), [1.0, 3.0, 2.0, 2.0])]
)
def test_weights_are_speeds_of_slots_and_unknown_ones_are_as_fast_as_the_mean(
    weights: tuple[float, ...] | None, speeds: list[float]
):
    config = any_config(
        workers={"count": 2, "max_workers": 3, "standby": 1, "weights": weights, "threads": 2}
    )
    found = local_places(config, cores=8)
    assert [place.speed for place in found] == speeds
    assert [(place.host, place.slot, place.threads, place.interface) for place in found] == [
        (HERE, slot, 2, "lo") for slot in range(4)
    ]


def test_a_ring_without_a_driver_is_the_first_generation_on_this_machine():
    first, second = on_this_machine(2, ("127.0.0.1", 99), timeout_seconds=5)
    assert first == Membership(
        generation=1, rank=0, world_size=2, shared_rank=0, shared_size=2, seat=Seat(0, 2, 0, 2, 0, 1), host=HERE,
        rendezvous_host="127.0.0.1", rendezvous_port=99, interface="lo", slot_bytes=0, timeout_seconds=5,
    )  # fmt: skip
    assert (second.rank, second.shared_rank, second.seat) == (1, 1, Seat(1, 2, 1, 2, 0, 1))


def test_places_of_one_host_are_of_one_kind_unless_each_has_a_gpu_of_its_own():
    def kinds(device: str) -> int:
        return len({Place("a", slot, device, 1).kind for slot in range(3)})

    assert (kinds("cpu"), kinds("gpu")) == (1, 3)
