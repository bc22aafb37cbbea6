"""The frame and the picture of devices: what there is, who has it, in words for those who can't see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.client import devices as client
from lepton_kit.client.seat_map import MOST_WORDS, Sitter, seat_map, told
from lepton_kit.errors import ConfigError
from lepton_kit.machine.busy import Taker
from lepton_kit.machine.devices import inventory
from lepton_kit.machine.nvml import Gpu
from lepton_kit.machine.topology import Core
from lepton_kit.planning.seating import Room
from lepton_kit.runtime.pool.seating import Seated, Seats

CORES = [Core(n, (n % 4, n % 4 + 4), node=n % 4 // 2, usable=n != 7) for n in range(8)]
GPUS = (
    Gpu(0, "A <fast> one", memory_bytes=16 * 10**9, free_bytes=4 * 10**9, busy=0.5, processes={41: None}),
)


@pytest.fixture
def found() -> client.Devices:
    runs = [
        Seats("run-a", "me", 1.0, "m", (0, 1), (), (Seated(0, (0,), None, 40), Seated(1, (), 0, 41), Seated(2, (), None, 42))),
        Seats("run-b", "you", 2.0, "m", (3,)),
    ]  # fmt: skip
    takers = {0: [Taker(40, "python", 0.9)], 2: [Taker(42, "python", 0.5), Taker(9, "cc", 0.2)]}
    return client.Devices(inventory(), Room(CORES, 6.0, GPUS), runs, {0: 0.9, 2: 0.7}, takers)


def test_cores_tell_who_has_them(found: client.Devices):
    cores = found.cores
    assert list(cores.index) == list(range(8))
    assert cores.loc[0].to_dict() == {
        "physical": "0,4", "node": 0, "usable": True, "busy": 0.9, "run": "run-a", "processes": "python (40) 90%",
    }  # fmt: skip
    assert cores.loc[2, "run"] == "run-a", "a worker that is not pinned computes there"
    assert (cores.loc[3, "run"], cores.loc[7, "usable"]) == ("run-b", False)
    assert found.gpus.loc[0, ["free_gb", "run", "processes"]].tolist() == [4.0, "run-a", "41"]
    assert found.hosts.empty


def test_it_reads_well_in_one_line_as_text_and_as_a_page(found: client.Devices):
    assert repr(found).startswith("<Devices: 8 cores (4 physical, 2 NUMA nodes), cores 0-6 usable, ")
    assert "1 GPU" in repr(found)
    assert "run-b" in str(found)
    page = found._repr_html_()
    assert (
        'alt="8 cores in 2 NUMA nodes, 1 GPU. Worker 0 on core 0; worker 1 on GPU 0. Held by runs: 1,3."'
        in page
    )
    assert "<fast>" not in page


def test_pictures_have_words_and_draw_each_core_once():
    room = Room(CORES, gpus=GPUS, held={3: "run-b"})
    picture = seat_map(room, [Sitter("0", (0, 4)), Sitter("1", gpu=0), Sitter("2")], {1: 0.5})
    assert [picture.svg.count(f"<title>core {n}") for n in range(8)] == [1] * 8
    for words in (
        "core 4, worker 0<",
        "core 3, held by run-b<",
        "core 7, not for this process<",
        "core 1, 50% busy now<",
    ):
        assert words in picture.svg
    assert "A &lt;fast&gt; one" in picture.svg
    assert "on any core: worker 2" in picture.svg
    assert picture.text.endswith("worker 2 on any core. Held by runs: 3.")


def test_large_machines_stay_within_the_page_and_many_workers_within_a_sentence():
    many = [Core(n, (n % 128, n % 128 + 128), n % 128 // 64) for n in range(256)]
    sitters = [Sitter(str(n), (n,)) for n in range(40)]
    picture = seat_map(Room(many), sitters)
    assert 'width="820"' in picture.svg
    assert f"{40 - MOST_WORDS} more" in told(Room(many), sitters)


def test_this_machine_is_told_and_hosts_are_listed_as_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts:\n- name: localhost/a\n  slots: 2\n")
    here = lk.devices(file, seconds=0.0)
    assert here.hosts.loc["localhost/a", "slots"] == 2
    assert main(["devices", "--json", "--hosts", "localhost/b:3"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert [one["host"] for one in plain["hosts"]] == ["localhost/b"]
    assert {one["core"] for one in plain["cores"]} == {core.number for core in here.room.cores}
    assert main(["devices"]) == 0
    assert "NUMA node" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="hosts"):
        lk.devices(["a b c"])
