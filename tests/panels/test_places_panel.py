"""The places panel: choices, what is impossible and why, and the picture of those who sit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.client.launch import plan
from lepton_kit.errors import DeviceError
from lepton_kit.machine.nvml import Gpu
from lepton_kit.machine.topology import Core, affinity
from lepton_kit.panels import places as panels
from lepton_kit.planning.seating import Room

GB = 10**9
TWO = [Core(0, (0,)), Core(1, (1,))]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., panels.PlacesPanel]]:
    there: list[panels.PlacesPanel] = []

    def make(room: Room, **options: Any) -> panels.PlacesPanel:
        monkeypatch.setattr(panels, "room_now", lambda: room)
        there.append(panels.PlacesPanel(**options))
        return there[-1]

    yield make
    for one in there:
        one.close()


def test_without_a_gpu_its_ways_are_grey_with_the_reason(made: Callable[..., panels.PlacesPanel]):
    heard: list[str] = []
    panel = made(Room(TWO), on_choice=lambda: heard.append("again"))
    assert [name for name, one in panel.choices.items() if one.disabled] == [
        "a GPU each",
        "two on a GPU",
        "GPUs and cores",
    ]
    assert "a GPU each, two on a GPU, GPUs and cores: this machine shows no GPU." in panel.reasons.value
    assert panel.settings() == {}
    panel.choices["own cores"].value = True
    assert (panel.settings(), heard) == ({"places": "pinned", "max_workers": None}, ["again"])
    assert not panel.choices["anywhere"].value
    assert "Worker 0 on core 0; worker 1 on core 1" in panel.picture_of_seats.value
    panel.choices["own cores"].value = False
    assert panel.choices["own cores"].value, "one always holds"
    assert repr(panel) == "<PlacesPanel: 2 workers, own cores>"


def test_memory_is_that_of_the_model(made: Callable[..., panels.PlacesPanel]):
    panel = made(Room(TWO, gpus=[Gpu(0, "A", free_bytes=2 * GB)]), workers=1)
    panel.choices["a GPU each"].value = True
    panel.know(1, lk.LeptonModel(input_shape=(64,), num_classes=10, hidden_size=64, num_layers=2))
    assert panel.settings() == {"places": ["gpu:0"], "max_workers": None}
    assert "of its GPU (estimated from the model" in panel.told.value
    panel.know(1, lk.LeptonModel(input_shape=(9000,), num_classes=10, hidden_size=9000, num_layers=2))
    assert panel.settings() == {}, "what became impossible gives way"
    assert "free" in panel.choices["a GPU each"].tooltip


def test_more_workers_than_cores_can_have_none_of_their_own(made: Callable[..., panels.PlacesPanel]):
    panel = made(Room(TWO))
    panel.choices["own cores"].value = True
    panel.know(3, None)
    assert panel.settings() == {}
    assert "own cores: 3 places with 1 core each, 2 of 2 cores are free" in panel.reasons.value


def test_a_run_that_trains_is_drawn_and_its_places_stay(made: Callable[..., panels.PlacesPanel]):
    panel = made(Room(TWO))
    panel.observe([{"rank": 1, "cores": [0]}, {"rank": None}, {"rank": 0}])
    panel.lock(True)
    assert all(one.disabled for one in panel.choices.values())
    assert "Worker 1 on core 0; worker 0 on any core" in panel.picture_of_seats.value
    panel.observe(None)
    panel.lock(False)
    assert not panel.choices["own cores"].disabled
    assert "worker 1 on any core" in panel.picture_of_seats.value


def test_a_machine_that_cannot_be_read_is_said(
    made: Callable[..., panels.PlacesPanel], monkeypatch: pytest.MonkeyPatch
):
    panel = made(Room(TWO))

    def broken() -> Room:
        raise DeviceError("the pool can't be read")

    monkeypatch.setattr(panels, "room_now", broken)
    panel.look.click()
    assert panel.complaint == "the pool can't be read"


@pytest.mark.skipif(len(affinity()) < 2, reason="two workers need a core each")
def test_the_workbench_starts_what_it_shows():
    bench = lk.Workbench(warm=False)
    try:
        bench.workers.value = 2
        bench.places.choices["own cores"].value = True
        assert bench.settings()["places"] == "pinned"
        planned = plan(bench.data_model.model, bench.data_model.data, **bench.settings())
        assert planned.settings.workers.slots == 2
    finally:
        bench.close()
