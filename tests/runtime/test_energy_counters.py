"""What the counters of a machine, its processes and its GPUs tell: each joule and each second once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.machine.nvml import Gpu
from lepton_kit.planning.energy import Energy, Reading
from lepton_kit.runtime.energy import counters, gpus, meter, usage
from lepton_kit.runtime.energy.book import Book, Program
from lepton_kit.runtime.energy.meter import EnergyMeter, told
from tests.runtime.fakes import NOBODY, zone

# ------------------------------------------------------------------ counters


def test_zones_that_are_parts_of_others_do_not_count_twice(tmp_path: Path):
    for name, kind in [
        ("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "uncore"),
        ("intel-rapl:0:2", "dram"), ("intel-rapl:1", "package-1"), ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ]:  # fmt: skip
        zone(tmp_path, name, kind, 1e6)
    (tmp_path / "dtpm").mkdir()
    found = counters.read(tmp_path, 5.0)
    assert sorted(found.counters) == ["intel-rapl:0", "intel-rapl:0:2", "intel-rapl:1"]
    assert (found.why, found.at) == (None, 5.0)


def test_dies_that_show_the_counter_of_their_package_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """AMD's first two generations of EPYC and Threadripper show one counter at each die; it runs on between two readings."""
    shown = [zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 0) for die in (0, 1)]
    other = zone(tmp_path, "intel-rapl:2", "package-1-die-0", 5e6)
    reads, read = [5e6], Path.read_text

    def running(path: Path, *args: Any, **options: Any) -> str:
        if path in shown:
            reads.append(reads[-1] + 7)
            return f"{reads[-1]:.0f}\n"
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", running)
    assert sorted(counters.read(tmp_path, 0.0).counters) == ["intel-rapl:0", "intel-rapl:2"]
    monkeypatch.undo()
    shown[0].write_text("5000000")
    shown[1].write_text("5000001")  # Intel's dies have a counter each
    other.write_text("5000000")
    assert len(counters.read(tmp_path, 0.0).counters) == 3


def test_it_is_said_why_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "shows no energy counter" in str(counters.read(tmp_path / "virtual", 0.0).why)
    one = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    zone(tmp_path, "intel-rapl:1", "package-1", 1)
    read = Path.read_text

    def refused(path: Path, *args: Any, **options: Any) -> str:
        if path == one:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    assert counters.read(tmp_path, 0.0).why == f"the energy counter can't be read by this user ({one})"
    monkeypatch.undo()
    one.write_text("none")
    assert "tells no number" in str(counters.read(tmp_path, 0.0).why)


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj"])
@pytest.mark.parametrize("there", [True, False])
def test_the_file_that_is_in_the_way_is_named(
    tmp_path: Path, file: str, there: bool, monkeypatch: pytest.MonkeyPatch
):
    """Containers often have one of the two files that a counter consists of."""
    one = zone(tmp_path, "intel-rapl:0", "package-0", 1).parent / file
    if there:
        monkeypatch.setattr(Path, "read_text", _refusing(one))
    else:
        one.unlink()
    found = counters.read(tmp_path, 0.0)
    assert found.counters == {}
    assert f"({one})" in str(found.why)


def _refusing(one: Path) -> Any:
    read = Path.read_text

    def refused(path: Path, *args: Any, **options: Any) -> str:
        if path == one:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **options)

    return refused


@pytest.mark.parametrize("flat", [True, False])
def test_memory_counts_where_its_zone_lies_in_that_of_its_package(tmp_path: Path, flat: bool):
    """A container may be given the folder of the packages, in which the others lie; the usual folder shows them both ways."""
    zone(tmp_path, "intel-rapl:0", "package-0", 5e6)
    for name, kind in (("intel-rapl:0:0", "core"), ("intel-rapl:0:2", "dram")):
        zone(tmp_path / "intel-rapl:0", name, kind, 1e6)
        if flat:
            (tmp_path / name).symlink_to(tmp_path / "intel-rapl:0" / name)
    assert sorted(counters.read(tmp_path, 0.0).counters) == ["intel-rapl:0", "intel-rapl:0:2"]


def test_the_counters_lie_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LEPTON_POWERCAP", raising=False)
    assert counters.Counters().folder == counters.root() == Path("/sys/class/powercap")
    monkeypatch.setenv("LEPTON_POWERCAP", str(tmp_path))
    assert counters.Counters().folder == tmp_path
    zone(tmp_path / "mine", "intel-rapl:0", "package-0", 3e6)
    own = counters.Counters(tmp_path / "mine", tmp_path)
    assert (own.read().counters, own.read().busy) == ({"intel-rapl:0": (3e6, 262e9)}, 0.0)
    assert (own.power.cores, own.power.measured) == (os.cpu_count(), False)


@pytest.mark.parametrize("refused", [False, True])
def test_memory_without_a_counter_that_can_be_read_takes_nothing_from_its_package(
    tmp_path: Path, refused: bool, monkeypatch: pytest.MonkeyPatch
):
    zone(tmp_path, "intel-rapl:0", "package-0", 5e6)
    one = zone(tmp_path, "intel-rapl:0:2", "dram", 1)
    one.write_text("none")
    read = Path.read_text

    def denied(path: Path, *args: Any, **options: Any) -> str:
        if path == one and refused:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", denied)
    found = counters.read(tmp_path, 0.0)
    assert (found.counters, found.why) == ({"intel-rapl:0": (5e6, 262e9)}, None)


def test_a_package_without_a_name_counts_and_a_part_without_one_does_not(tmp_path: Path):
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        (zone(tmp_path, name, "", 1e6).parent / "name").unlink()
    assert list(counters.read(tmp_path, 0.0).counters) == ["intel-rapl:0"]


def test_busy_seconds_leave_out_waiting_and_what_a_hypervisor_took(tmp_path: Path):
    (tmp_path / "stat").write_text("cpu  100 20 30 4000 500 6 7 800 9 0\ncpu0 1 1 1 1\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert counters.busy_seconds(tmp_path) == pytest.approx((100 + 20 + 30 + 6 + 7) / ticks)
    assert counters.busy_seconds(tmp_path / "none") == 0.0


# ------------------------------------------------------------------ processor time


def test_a_tree_counts_its_children_that_have_ended_and_no_other_session():
    busy = "import time\nwhile time.process_time() < 0.3: pass\n"
    before = usage.tree_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert usage.tree_seconds(os.getpid()) - before > 0.25
    stay = f"{busy}print(flush=True)\nimport sys\nsys.stdin.read()"
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", stay], **options) as ours:
        with subprocess.Popen([sys.executable, "-c", stay], start_new_session=True, **options) as others:
            for one in (ours, others):
                assert one.stdout is not None
                one.stdout.readline()
            found = usage.tree_pids(os.getpid())
            assert (ours.pid in found, others.pid in found) == (True, False)
            others.communicate()
        ours.communicate()
    assert usage.tree_seconds(NOBODY) == 0.0


def process(proc: Path, pid: int, session: int, born: int, ticks: list[int], children: list[int]) -> None:
    """As proc(5) has it: the name may hold anything, the state is the third field, and so on."""
    folder = proc / str(pid)
    (folder / "task" / str(pid)).mkdir(parents=True)
    (folder / "task" / str(pid) / "children").write_text("".join(f"{one} " for one in children))
    fields = ["S", 1, 2, session, *range(100, 107), *ticks, *range(200, 204), born, *range(300, 330)]
    (folder / "stat").write_text(f"{pid} (a ) 9 9 9 b) {' '.join(map(str, fields))}\n")


def test_of_a_process_its_own_time_and_that_of_its_children_counts(tmp_path: Path):
    process(tmp_path, 7, 7, 50, [1, 2, 4, 8], [8, 9, 10])
    process(tmp_path, 8, 7, 60, [16, 0, 0, 0], [11])
    process(tmp_path, 9, 9, 70, [1000, 0, 0, 0], [12])  # has a session of its own
    process(tmp_path, 11, 7, 80, [0, 32, 0, 0], [])
    process(tmp_path, 12, 7, 90, [1000, 0, 0, 0], [])  # below one that has
    assert usage.tree_pids(7, tmp_path) == {7, 8, 11}  # 10 has just ended
    assert usage.tree_seconds(7, tmp_path) == (15 + 16 + 32) / os.sysconf("SC_CLK_TCK")
    assert [usage.born(pid, tmp_path) for pid in (7, 8, 10)] == [50, 60, None]


# ------------------------------------------------------------------ what an event says


def test_parts_of_several_sources_are_told_together():
    def part(begin: float, end: float, energy: Energy, why: str | None = None) -> Program:
        return Program(1, None, 0.0, energy, begin, end, why)

    found = told(
        [
            ("processors", part(2.0, 7.0, Energy(10.00004, 9.0, 11.0, True, 3.0), "once")),
            ("GPU 1", part(1.0, 6.0, Energy(20.0, 19.0, 21.0, True, 1.5))),
            ("processors", part(4.0, 6.5, Energy(0.5, 0.25, 0.75, True, 0.25), "gone")),
        ]
    )
    assert found == {
        "joules": 30.5, "low": 28.25, "high": 32.75, "idle": 4.75, "origin": "measured", "seconds": 6.0,
        "of": ["processors", "GPU 1"], "why": "gone",
    }  # fmt: skip
    assert told([("GPU 1", part(0.0, 1.0, Energy(1.0, 1.0, 1.0, False)))])["why"] is None


# ------------------------------------------------------------------ GPUs


def test_gpus_are_asked_once_for_all_who_look_at_a_moment(monkeypatch: pytest.MonkeyPatch):
    now, asked = [100.0], []

    def ask() -> list[Gpu]:
        asked.append(now[0])
        return [Gpu(0, "A", "GPU-1", processes={1: 1, 2: 1, 3: 1}, millijoules=7), Gpu(1, "B", "")]

    monkeypatch.setattr(gpus.time, "monotonic", lambda: now[0])
    (one,) = gpus.gpu_counters(ask, lambda pid: {1, 2})  # one without a UUID can't be told from others
    for later in (0.0, 0.5, 0.25, 3.0, 0.5):
        now[0] += later
        assert one.read() == Reading(now[0], {"GPU GPU-1": (7000.0, gpus.NEVER)}, now[0])
        assert one.used(5, 10.0, 3.0) == 12.0
    assert asked == [100.0, 100.75, 103.75]


def test_gpus_count_once_from_when_a_worker_sits_on_one(monkeypatch: pytest.MonkeyPatch):
    now, asked, there = [0.0], [], [Gpu(0, "A", "GPU-1", processes={1: 1}, millijoules=1000)]
    monkeypatch.setattr(gpus.time, "monotonic", lambda: now[0])
    made = gpus.gpu_counters(lambda: there, lambda pid: {1})
    monkeypatch.setattr(meter, "gpu_counters", lambda: asked.append(1) or made)
    one = EnergyMeter(Book(None), [], NOBODY)
    assert one.measure(0.0, True) is None
    one.count_gpus()
    one.count_gpus()
    now[0], there[0] = 5.0, replace(there[0], millijoules=4000)
    found = one.measure(5.0, True)
    assert found is not None
    assert (found["joules"], found["of"], asked) == (3.0, ["GPU GPU-1"], [1])
