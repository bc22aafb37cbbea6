"""How users write places, and what of it a configuration refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.client import launch as launching
from lepton_kit.client.options import read
from lepton_kit.config import RunSettings, WorkersConfig
from lepton_kit.errors import ConfigError
from lepton_kit.machine.topology import affinity
from lepton_kit.places import PlaceSpec, read_places
from tests.configs import any_config


@st.composite
def specs(draw: st.DrawFn) -> PlaceSpec:
    cores = draw(st.none() | st.sets(st.integers(0, 99), min_size=1, max_size=5))
    gpu = draw(st.none() | st.integers(0, 7))
    return PlaceSpec(
        gpu=gpu,
        cores=None if cores is None else sorted(cores),
        threads=draw(st.none() | st.integers(1, 64)),
        memory=None if gpu is None else draw(st.none() | st.integers(1, 90_000)),
        shared=cores is not None and draw(st.booleans()),
    )


@given(st.lists(specs(), min_size=1, max_size=5))
def test_what_is_told_is_read_back_in_every_form(places: list[PlaceSpec]):
    assert [PlaceSpec.parse(one.told()) for one in places] == places
    for form in (places, [one.told() for one in places], [one.model_dump() for one in places]):
        assert WorkersConfig(count=1, places=tuple(read_places(form))).places == tuple(places)
    assert read_places("; ".join(one.told() for one in places)) == read_places(places)


@given(st.text(max_size=20))
def test_any_text_is_a_place_or_refused_in_words(text: str):
    found, field = None, "places.0"
    try:
        found = read_places([text])
    except ConfigError as failure:
        field = failure.field
    assert field == "places.0"
    assert found is None or PlaceSpec(**found[0])


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], r"places: got \[\]; expected 'pinned', or a place for each worker"),
        ("gpus", "places.0: got 'gpus'; expected 'gpus': 'pinned', or a place"),
        (5, "places: got 5; expected 'pinned'"),
        (["cores:3-1"], r"places\.0: got 'cores:3-1'; expected cores: '3-1' is no range of cores"),
        (["cores:a"], r"places\.0: .*'a' is no core and no range of cores, such as 0-3"),
        (["gpu:0 gpu:1"], r"places\.0: .*gpu once"),
        (["cpu gpu:x"], r"places\.0: .*gpu: .*integer"),
        ([{"cores": []}], r"places\.0: .*at least one core"),
        ([{"gpus": 1}], r"places\.0: .*gpus: "),
        (["memory:4000"], r"places\.0: .*`gpu` beside `memory`"),
        (["shared"], r"places\.0: .*`cores` beside `shared`"),
        ([None], r"places\.0: got None"),
        ([True], r"places\.0: got True"),
    ],
)
def test_wrong_places_are_refused_by_their_number(places: Any, words: str):
    with pytest.raises(ConfigError, match=words):
        read({"places": places})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hosts": ["localhost/a:2"]}, "places: got .*expected null beside `hosts`: a host has `slots`"),
        ({"driver": "far"}, "places: got .*expected null beside `driver`"),
        ({"spark": "local[2]"}, "places: got .*expected null beside `spark`"),
        ({"workers": "auto"}, "places: got .*expected null beside count auto"),
        ({"device": "gpu"}, "places: got .*expected null beside device gpu"),
        ({"workers": 3}, "places: got .*expected a place for each of the 3 workers"),
        ({"workers": 2, "standby": 1}, "places: got .*expected a place for each of the 3 workers"),
    ],
)
def test_places_go_with_a_number_of_workers_on_this_machine(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        read({"places": ["0", "1"], **options})
    if "standby" not in options and options.get("workers") != 3:
        with pytest.raises(ConfigError, match=words):
            read({"places": "pinned", **options})


def test_places_bound_the_workers_of_a_run():
    def slots(**workers: Any) -> int | None:
        return any_config(workers=workers).workers.slots

    assert slots(count=2) is None
    assert slots(count=2, places=["0", "1", "cpu"]) == 3
    assert slots(count=2, places="pinned") == 2
    assert slots(count=2, max_workers=4, standby=1, places="pinned") == 5


def test_hosts_that_are_given_for_a_file_take_the_place_of_its_places(monkeypatch: pytest.MonkeyPatch):
    model = {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10, "hidden_size": 4}
    workers = {"count": 1, "places": [str(affinity()[0])]}
    config = any_config(model=model, data={"kind": "sample", "name": "digits"}, workers=workers)
    asked: list[RunSettings] = []
    monkeypatch.setattr(launching, "reach", lambda config, *_: asked.append(config))
    monkeypatch.setattr(launching, "_begun", lambda *_: None)
    launching.launch_config(config)
    launching.launch_config(config, hosts="localhost/a:2")
    assert [(one.workers.places is None, one.workers.hosts is None) for one in asked] == [
        (False, True),
        (True, False),
    ]


def test_what_workers_compute_on_is_told_by_their_places():
    assert WorkersConfig(count=1, places=("gpu:0", "cpu")).devices == {"cpu", "gpu"}
    assert WorkersConfig(device="gpu").devices == {"gpu"}
    assert WorkersConfig(places="pinned").devices == {"cpu"}
