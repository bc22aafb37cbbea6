"""Impossible choices of places are named with the reason, and possible ones become seats."""

from __future__ import annotations

import math

import pytest

from lepton_kit.errors import DeviceError
from lepton_kit.machine.nvml import Gpu
from lepton_kit.machine.topology import Core
from lepton_kit.places import PlaceSpec
from lepton_kit.planning.offers import offers
from lepton_kit.planning.seating import CONTEXT_BYTES, Room, _size, cores_each, problems, seated

GB = 10**9
FOUR = [Core(n, (n % 2, n % 2 + 2), usable=n < 3) for n in range(4)]


def told(room: Room, *places: str, needed: int = 0) -> list[str]:
    return [str(one) for one in problems([PlaceSpec.parse(one) for one in places], room, needed)]


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["9"], "places.0: core 9: this machine has the cores 0-3"),
        (["0", "3"], "places.1: core 3: this process may run on 0-2 alone"),
        (["0-1", "1"], "places.1: core 1: of place 0 already; say `shared` at both to sit there together"),
        (
            ["1 shared", "1"],
            "places.1: core 1: of place 0 already; say `shared` at both to sit there together",
        ),
        (["2"], "places.0: core 2: held by the run other-run; say `shared` to sit there too"),
        (["gpu:1"], "places.0: gpu 1: this process sees the GPUs 0"),
        (["gpu:0 memory:500"], "places.0: memory 500 MB: its model needs about 1.0 GB (estimated)"),
        (
            ["gpu:0", "gpu:0", "gpu:0"],
            "places: gpu 0: 3 workers need about 6.0 GB (estimated), 4.0 GB are free",
        ),
        (["gpu:0 memory:3600"], "places: gpu 0: 1 worker needs about 4.6 GB"),
    ],
)
def test_an_impossible_choice_is_named_with_the_reason(places: list[str], words: str):
    room = Room(FOUR, gpus=[Gpu(0, "A", memory_bytes=8 * GB, free_bytes=4 * GB)], held={2: "other-run"})
    found = told(room, *places, needed=GB)
    assert found[0].startswith(words), found


def test_possible_choices_have_no_problem():
    room = Room(FOUR, gpus=[Gpu(0, "A", free_bytes=4 * GB), Gpu(1, "B")], held={2: "other-run"})
    assert told(room, "0", "1", "cpu", "gpu:0", "gpu:0", "gpu:1", needed=GB) == []
    assert told(room, "1 shared", "1 shared", "2 shared") == []
    room = Room(FOUR, gpus=[Gpu(0, "A", free_bytes=5 * GB)])
    assert (
        told(room, "gpu:0 memory:1000", "gpu:0 memory:2000", needed=GB) == []
    )  # with two contexts just all of it
    assert told(room, "gpu:0 memory:1000", "gpu:0 memory:2001", needed=GB) != []


def test_a_quota_bounds_the_cores_that_are_pinned():
    assert told(Room(FOUR, quota=1.5), "0", "1") == []
    assert told(Room(FOUR, quota=1.0), "0", "1") == ["places: 2 cores, and the control group's quota is 1"]


def test_cores_are_divided_among_the_workers():
    assert cores_each(2, Room(FOUR)) == 1
    many = [Core(n, (n % 8, n % 8 + 8)) for n in range(16)]
    assert (cores_each(1, Room(many)), cores_each(0, Room(many)), cores_each(20, Room(many))) == (8, 8, 1)
    assert (cores_each(2, Room(many)), cores_each(3, Room(many, quota=4.0))) == (4, 1)
    assert cores_each(2, Room(many, held={0: "a", 9: "b"})) == 3


def test_the_kit_chooses_free_cores_or_says_what_holds_them():
    assert [one.cores for one in seated("pinned", 2, None, Room(FOUR))] == [(0,), (1,)]
    assert seated("pinned", 1, 3, Room(FOUR))[0].threads == 3
    with pytest.raises(
        DeviceError, match=r"^places: 2 places with 1 core each, 1 of 3 cores are free \(1-2 held by x\)"
    ):
        seated("pinned", 2, None, Room(FOUR, held={1: "x", 2: "x"}))
    for quota in (1.5, 2.0, 3.0):
        assert len(seated("pinned", 2, 1, Room(FOUR, quota=quota))) == 2
    with pytest.raises(DeviceError, match=r"quota is 1$"):
        seated("pinned", 2, 1, Room(FOUR, quota=1.0))


def test_workers_on_one_gpu_divide_its_memory_and_one_alone_takes_what_it_needs():
    room = Room(FOUR, gpus=[Gpu(0, "A", free_bytes=8 * GB), Gpu(1, "B", free_bytes=8 * GB)])
    places = [PlaceSpec.parse(one) for one in ("gpu:0", "gpu:0 memory:2000", "gpu:0 cores:0-1", "gpu:1")]
    found = seated(places, 4, None, room)
    part = (8 * GB - 2 * GB - 3 * CONTEXT_BYTES) // 2
    assert [one.gpu_bytes for one in found] == [part, 2 * GB, part, None]
    assert [one.threads for one in found] == [None, None, 2, None]
    assert seated(places, 4, 7, room)[0].threads == 7


def test_a_refusal_of_places_is_an_error_of_devices():
    with pytest.raises(DeviceError, match=r"places\.0: gpu 0: this machine shows no GPU"):
        seated([PlaceSpec(gpu=0)], 1, None, Room(FOUR, math.inf))


@pytest.mark.parametrize(
    ("processes", "words"),
    [
        (None, "1.0 GB are free"),
        ({7: None}, "1.0 GB are free"),
        ({7: 2 * GB, 8: 5 * GB}, "1.0 GB are free; process 8 holds 5.0 GB"),
        ({7: 5 * GB, 8: 2 * GB}, "1.0 GB are free; this process holds 5.0 GB, since TensorFlow took it"),
    ],
)
def test_who_holds_the_memory_of_a_gpu_is_told(processes: dict[int, int | None] | None, words: str):
    gpus = [Gpu(0, "A", free_bytes=GB, processes=processes)]
    (found,) = problems([PlaceSpec(gpu=0)], Room(FOUR, gpus=gpus, pid=7), 4 * GB)
    assert f"gpu 0: 1 worker needs about {_size(4 * GB + CONTEXT_BYTES)} (estimated), {words}" in str(found)
    assert str(found).endswith("before a model is made") is ("this process" in words)


def test_without_a_gpu_only_ways_on_cores_are_offered():
    found = {one.name: one.reason for one in offers(Room(FOUR), 2)}
    assert found == {
        "anywhere": None,
        "own cores": None,
        **dict.fromkeys(("a GPU each", "two on a GPU", "GPUs and cores"), "this machine shows no GPU"),
    }


def test_with_gpus_each_way_has_its_seats_or_its_reason():
    gpus = [Gpu(0, "A", free_bytes=4 * GB), Gpu(1, "B", free_bytes=4 * GB)]
    found = {one.name: one for one in offers(Room(FOUR, gpus=gpus), 3, GB)}
    assert found["a GPU each"].reason == "3 workers, 2 GPUs"
    assert [one.gpu for one in found["two on a GPU"].seats] == [0, 0, 1]
    assert [one.gpu for one in found["GPUs and cores"].seats] == [0, 1, None]
    few = {one.name: one for one in offers(Room(FOUR, gpus=gpus), 2, 2 * GB)}
    assert [one.gpu for one in few["a GPU each"].seats] == [0, 1]
    assert few["two on a GPU"].reason == "gpu 0: 2 workers need about 6.0 GB (estimated), 4.0 GB are free"
    assert few["GPUs and cores"].reason == "the 2 GPUs have room for all 2 workers"
