"""Ranks, local ranks and cross ranks are those of Horovod's own assignment, whatever the order of the places."""

from __future__ import annotations

import pytest
from horovod.runner.common.util.hosts import HostInfo, get_host_assignments
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.runtime.places import HERE, Place, local_places, memberships, on_this_machine
from lepton_kit.training.collective import Membership
from tests.configs import any_config

hosts = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


def ranks_of(names: list[str]) -> list[Membership]:
    places = [Place(name, slot, "cpu", 1) for slot, name in enumerate(names)]
    return memberships(7, places, ("127.0.0.1", 99), slot_bytes=8, timeout_seconds=5)


@given(hosts)
def test_they_are_those_of_horovod(names: list[str]):
    found = sorted(ranks_of(names), key=lambda one: one.rank)
    slots = [HostInfo(name, names.count(name)) for name in dict.fromkeys(names)]
    expected = get_host_assignments(slots, len(names), len(names))
    assert [
        (one.host, one.rank, one.local_rank, one.cross_rank, one.world_size, one.local_size, one.cross_size)
        for one in found
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
    assert [(one.rank, one.local_rank, one.cross_rank, one.cross_size) for one in found] == [
        (0, 0, 0, 1),
        (1, 1, 0, 1),
        (2, 2, 0, 1),
    ]


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
        generation=1, rank=0, world_size=2, local_rank=0, local_size=2, cross_rank=0, cross_size=1, host=HERE,
        rendezvous_host="127.0.0.1", rendezvous_port=99, interface="lo", slot_bytes=0, timeout_seconds=5,
    )  # fmt: skip
    assert (second.rank, second.local_rank, second.cross_rank) == (1, 1, 0)


def test_places_of_one_host_are_of_one_kind_unless_each_has_a_gpu_of_its_own():
    def kinds(device: str) -> int:
        return len({Place("a", slot, device, 1).kind for slot in range(3)})

    assert (kinds("cpu"), kinds("gpu")) == (1, 3)
