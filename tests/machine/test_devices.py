"""The inventory: what is read from the machine, and how limits cut it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.errors import DeviceError
from lepton_kit.machine import devices
from lepton_kit.machine.nvml import Gpu


def test_inventory_is_consistent_and_plain(tmp_path: Path):
    found = devices.inventory(tmp_path / "not" / "there" / "yet")
    assert 1 <= found.cores_usable <= found.cores_logical
    assert found.cores_physical <= found.cores_logical
    assert 0 < found.memory_free_bytes <= found.memory_total_bytes
    assert found.disk_free_bytes > 0
    (cpu,) = found.of_kind("cpu")
    assert cpu.memory_bytes == found.memory_total_bytes
    assert json.loads(json.dumps(found.to_dict()))["devices"][0]["kind"] == "cpu"


@pytest.mark.parametrize(
    ("unified", "legacy", "cores"),
    [
        (["max 100000"], [], math.inf),
        (["50000 100000", "200000 100000"], [], 0.5),
        ([], ["-1 100000"], math.inf),
        ([], ["300000 100000"], 3.0),
        (["garbage"], ["1000 0"], math.inf),
    ],
)
def test_quota_is_the_tightest_of_all_levels(unified, legacy, cores):
    assert devices.cpu_quota(unified, legacy) == cores


def test_usable_cores_obey_the_quota_and_never_reach_zero(monkeypatch):
    monkeypatch.setattr(
        devices, "cgroup_files", lambda *names: ["50000 100000"] if names == ("cpu.max",) else []
    )
    assert devices.usable_cores() == 1


@pytest.mark.parametrize(
    ("quota", "allowed", "cores"), [(2.9, 8, 2), (7.0, 2, 2), (3.0, 8, 3), (math.inf, 5, 5)]
)
def test_whole_cores_count_of_a_quota_and_of_those_that_it_may_run_on(quota, allowed, cores, monkeypatch):
    monkeypatch.setattr(devices, "quota", lambda: quota)
    monkeypatch.setattr(devices, "affinity", lambda: tuple(range(allowed)))
    assert devices.usable_cores() == cores


def test_a_quota_is_read_from_either_kind_of_control_group(monkeypatch):
    files = {("cpu.max",): [], ("cpu.cfs_quota_us", "cpu.cfs_period_us"): ["250000 100000"]}
    monkeypatch.setattr(devices, "cgroup_files", lambda *names: files[names])
    assert devices.quota() == 2.5
    files["cpu.max",] = ["150000 100000"]
    assert devices.quota() == 1.5


def test_legacy_controllers_that_lie_together_are_found_by_either_name(tmp_path: Path):
    for name in ("cpu,cpuacct", "cpu"):
        (tmp_path / name / "job").mkdir(parents=True)
    (tmp_path / "cpu,cpuacct" / "job" / "a").write_text("1")
    (tmp_path / "cpu" / "a").write_text("2")
    (tmp_path / "a").write_text("3")  # of no group of this controller
    assert sorted(devices.cgroup_texts(tmp_path, ["3:cpu,cpuacct:/job"], ("a",))) == ["1", "2"]


def test_memory_is_what_the_tightest_group_leaves():
    within = devices.memory_within
    assert within(8000, 6000, ["4000 1000", "2000 1500"]) == (2000, 500)
    assert within(8000, 6000, ["2000 1500", "4000 1000"]) == (2000, 500)
    assert within(8000, 6000, ["8000 7999", "9000 1"]) == (8000, 6000)  # limits nothing
    assert within(8000, 100, ["4000 1000"]) == (4000, 100)
    assert within(8000, 6000, ["4000 max"]) == within(8000, 6000, ["4000"]) == (4000, 4000)
    assert within(8000, 6000, ["4000 3000 inactive_file 2000 active_file 2000"]) == (4000, 4000)
    assert within(8000, 6000, ["4000 5000"]) == (4000, 0)


def test_control_files_are_read_from_the_group_up_to_the_mount(tmp_path: Path):
    group = tmp_path / "a" / "b"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("max 100000\n")
    (tmp_path / "a" / "cpu.max").write_text("150000 100000\n")
    texts = devices.cgroup_texts(tmp_path, ["0::/a/b"], ("cpu.max",))
    assert sorted(texts) == ["150000 100000", "max 100000"]


def test_legacy_control_files_lie_under_their_controller(tmp_path: Path):
    group = tmp_path / "memory" / "job"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("4000\n")
    (group / "memory.usage_in_bytes").write_text("1000\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    assert devices.cgroup_texts(tmp_path, ["4:memory:/job"], names) == ["4000 1000"]


@given(
    total=st.integers(1, 2**40),
    share=st.floats(0, 1),
    limits=st.lists(st.tuples(st.integers(0, 2**41), st.integers(0, 2**41)), max_size=4),
)
def test_memory_limits_only_ever_cut(total: int, share: float, limits: list[tuple[int, int]]):
    free = int(total * share)
    cut_total, cut_free = devices.memory_within(total, free, [f"{limit} {used}" for limit, used in limits])
    assert cut_total == min([total, *(limit for limit, _ in limits)])
    assert 0 <= cut_free <= min(free, cut_total)


@given(usable=st.integers(1, 256), busy=st.floats(0, 300), own=st.floats(0, 300))
def test_free_cores_stay_within_what_is_usable(usable: int, busy: float, own: float):
    left = devices.cores_left(usable, busy, own)
    assert 0 <= left <= usable
    if busy <= own:
        assert left == usable


def test_background_noise_costs_no_core_and_more_than_that_does():
    left = [devices.cores_left(4, busy) for busy in (0.0, 0.2, 0.3, 1.2, 1.3, 4.0, 4.3)]
    assert left == [4, 4, 3, 3, 2, 0, 0]
    assert [devices.cores_left(4, 3.0, own) for own in (1.0, 3.0, 5.0)] == [2, 4, 4]


def test_free_cores_of_this_machine_are_within_the_usable_ones():
    assert 0 <= devices.free_cores(seconds=0.05) <= devices.usable_cores()


def test_free_disk_names_the_path_it_cannot_read(monkeypatch):
    def broken(path):
        raise OSError("input/output error")

    monkeypatch.setattr(shutil, "disk_usage", broken)
    with pytest.raises(DeviceError, match=r"^elsewhere: .*input/output error"):
        devices.free_disk("elsewhere")


def test_gpus_and_their_loads_are_those_that_the_driver_shows(monkeypatch):
    known = Gpu(0, "NVIDIA H100", "GPU-1", 80_000, 60_000, busy=0.5)
    monkeypatch.setattr(devices, "found_gpus", lambda: [known, Gpu(1, "NVIDIA Thor")])
    assert [(one.kind, one.name, one.memory_bytes) for one in devices.gpus()] == [
        ("gpu", "NVIDIA H100", 80_000),
        ("gpu", "NVIDIA Thor", None),
    ]
    assert devices.gpu_loads() == [(0.5, 20_000)]
    partly = [Gpu(0, "a", "", None, 6, busy=0.1), Gpu(1, "b", "", 8, None, busy=0.1), Gpu(2, "c", "", 8, 6)]
    monkeypatch.setattr(devices, "found_gpus", lambda: [*partly, Gpu(3, "d", "", 8, 8, busy=0.0)])
    assert devices.gpu_loads() == [(0.0, 0)]


def test_fpga_targets_only_infer_and_say_that_their_figures_are_estimates():
    every = dict.fromkeys(("hls4ml", "g++", "vitis_hls", "vivado", "yosys"), True)
    targets = devices.fpga_targets(every)
    assert len(targets) == 4
    assert {target.abilities for target in targets} == {("infer",)}
    assert {target.origin for target in targets} == {"estimated"}
    for tool, named in [
        ("g++", "emulated"),
        ("vitis_hls", "vitis_hls"),
        ("vivado", "vivado"),
        ("yosys", "yosys"),
    ]:
        (only,) = devices.fpga_targets({"hls4ml": True, tool: True})
        assert named in only.name


def test_without_hls4ml_there_is_no_fpga_target():
    assert devices.fpga_targets({"hls4ml": False, "g++": True, "vivado": True}) == ()
