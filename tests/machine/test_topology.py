"""How cores lie together: lists of cores as Linux writes them, and machines as /sys shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.machine import topology
from lepton_kit.machine.topology import Core, parse_cores, physical, tell_cores


def sys_of(
    root: Path, nodes: list[list[int]], siblings: dict[int, str], online: str, name: str = "core_cpus_list"
):
    (root / "cpu").mkdir(parents=True)
    (root / "cpu" / "online").write_text(f"{online}\n")
    for number, listed in siblings.items():
        folder = root / "cpu" / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / name).write_text(f"{listed}\n")
        node = next((k for k, cores in enumerate(nodes) if number in cores), 0)
        (folder / "physical_package_id").write_text(f"{node}\n")
    for k, cores in enumerate(nodes):
        folder = root / "node" / f"node{k}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{tell_cores(cores)}\n")
    return root


@given(st.sets(st.integers(0, 5000), max_size=60))
def test_what_is_told_is_read_back(cores: set[int]):
    assert parse_cores(tell_cores(cores)) == tuple(sorted(cores))


@given(st.text(alphabet="0123456789-,:/ x", max_size=12))
def test_any_text_is_a_list_or_refused_in_words(text: str):
    said, found = "", ()
    try:
        found = parse_cores(text)
    except ValueError as failure:
        said = str(failure)
    assert not said or "no core and no range" in said or "the first number is the smaller" in said
    assert list(found) == sorted(set(found))


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "-1", "0-70000", "1,,x", "0-6:3/2", "0-6:0/2"])
def test_lists_that_are_none_are_refused(text: str):
    with pytest.raises(ValueError, match=text.split(",")[-1]):
        parse_cores(text)


def test_lists_at_their_limits_are_read():
    assert parse_cores("65535,3-3,0-6:3/3") == (0, 1, 2, 3, 4, 5, 6, 65535)
    assert parse_cores(" 1 , 0-9:2/4,") == (0, 1, 4, 5, 8, 9)
    with pytest.raises(ValueError, match="65536"):
        parse_cores("65536")


def test_hyper_threads_and_numa_nodes_are_told(tmp_path: Path):
    """Two sockets of two cores with two threads each, numbered as on Intel and AMD servers: siblings are four apart."""
    root = sys_of(
        tmp_path, [[0, 1, 4, 5], [2, 3, 6, 7]], {n: f"{n % 4},{n % 4 + 4}" for n in range(8)}, "0-7"
    )
    found = topology.cores(root, mask=[0, 1, 4])
    assert [core.number for core in found] == list(range(8))
    assert [core.node for core in found] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert found[4] == Core(4, (0, 4), 0, 0, usable=True)
    assert [core.number for core in found if core.usable] == [0, 1, 4]
    assert [core.number for core in found if core.first] == [0, 1, 2, 3]
    assert physical(found) == 4


def test_siblings_that_are_offline_are_left_out_and_older_kernels_are_read(tmp_path: Path):
    root = sys_of(
        tmp_path,
        [[0, 1, 2, 3]],
        {n: "0-1" if n < 2 else "2-3" for n in range(4)},
        "0,2-3",
        "thread_siblings_list",
    )
    found = topology.cores(root, mask=[0, 2, 3])
    assert [core.siblings for core in found] == [(0,), (2, 3), (2, 3)]


def test_a_container_without_sys_has_the_cores_of_its_mask(tmp_path: Path):
    found = topology.cores(tmp_path / "nothing", mask=[3, 5])
    assert found == (Core(3, (3,)), Core(5, (5,)))


def test_what_makes_no_sense_is_passed_over(tmp_path: Path):
    root = sys_of(tmp_path, [[0]], {0: "1-0", 1: "7"}, "0-1")
    (root / "cpu" / "cpu0" / "topology" / "physical_package_id").write_text("-1\n")
    (root / "node" / "nodes").mkdir()
    (root / "node" / "node0" / "cpulist").write_text("what\n")
    assert topology.cores(root, mask=[0, 1]) == (Core(0, (0,)), Core(1, (1,)))


def test_the_cores_of_this_machine_are_there():
    found = topology.cores()
    assert {core.number for core in found if core.usable} == set(topology.affinity())
