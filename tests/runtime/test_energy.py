"""The energy of a run: claimed from the machine's book, so that runs add up to the counter; and why it is estimated where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.machine.nvml import Gpu
from lepton_kit.planning.energy import Reading
from lepton_kit.planning.power import Power
from lepton_kit.runtime.energy import counters, gpus, usage
from lepton_kit.runtime.energy.book import Book, usual_book
from lepton_kit.runtime.energy.meter import EnergyMeter
from lepton_kit.runtime.pool.folder import PoolFolder

TABLE = Power(idle=10.0, core=5.0, cores=4, spread=(0.5, 2.0), source="a test")


def zone(root: Path, name: str, kind: str, used: float, wrap: float = 262e9) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{used:.0f}\n")
    (folder / "max_energy_range_uj").write_text(f"{wrap:.0f}\n")
    return folder / "energy_uj"


@dataclass
class Machine:
    """A source whose clock, counter and programs a test turns; programs have numbers that no process has."""

    name: str = "processors"
    power: Power = TABLE
    at: float = 0.0
    joules: float = 0.0
    busy: float = 0.0
    why: str | None = None
    seconds: dict[int, float] = field(default_factory=dict)

    def now(self) -> float:
        return self.at

    def read(self) -> Reading:
        found = {} if self.why else {"intel-rapl:0": (self.joules * 1e6, 1e15)}
        return Reading(self.at, found, self.busy, self.why)

    def used(self, pid: int, before: float, seconds: float) -> float:
        return self.seconds.get(pid, 0.0)

    def runs(self, seconds: float, watts: float, *used: float, others: float = 0.0) -> None:
        """So long it takes so many watts, while its programs use so many seconds."""
        self.at, self.joules = self.at + seconds, self.joules + seconds * watts
        self.busy += sum(used) + others
        for place, more in enumerate(used):
            self.seconds[NOBODY + place] = self.seconds.get(NOBODY + place, 0.0) + more


NOBODY = 2**22 + 1
"""The first number that no process can have (proc(5), pid_max)."""


class Program:
    """A run that looks, and what it was told."""

    def __init__(self, machine: Machine, book: Book, place: int = 0):
        self.meter = EnergyMeter(book, [machine], NOBODY + place)
        self.events: list[dict[str, Any]] = []

    def look(self, fresh: bool = False) -> None:
        found = self.meter.measure(float("inf"), fresh)
        self.events += [found] if found else []

    @property
    def joules(self) -> float:
        return sum(event["joules"] for event in self.events)


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


# ------------------------------------------------------------------ the book


@pytest.fixture(params=["shared", "alone"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Book:
    return Book(PoolFolder(tmp_path / "book") if request.param == "shared" else None)


def test_two_runs_that_look_at_different_times_add_up_to_the_counter(book: Book):
    machine = Machine()
    runs = [Program(machine, book, place) for place in (0, 1)]
    for watts, used in [(100.0, (3.0, 1.0)), (20.0, (0.5, 3.5)), (300.0, (2.5, 2.5)), (50.0, (1.5, 0.0))]:
        for turn in (0, 1):
            machine.runs(2.5, watts, *used)
            runs[turn].look()
    for run in runs:
        run.look(fresh=True)
    assert sum(run.joules for run in runs) == pytest.approx(machine.joules, abs=0.01)
    assert {event["origin"] for run in runs for event in run.events} == {"measured"}


def test_a_run_that_comes_and_one_that_ends_leave_the_sum_as_it_is(book: Book):
    machine = Machine()
    one = Program(machine, book)
    machine.runs(3.0, 100.0, 2.0)
    two = Program(machine, book, 1)
    machine.runs(3.0, 10.0, 2.0, 2.0)
    one.look(fresh=True)
    machine.runs(3.0, 50.0, 0.0, 2.0)
    two.look(fresh=True)
    assert (one.joules, two.joules) == (pytest.approx(315.0), pytest.approx(165.0))


def test_what_others_use_is_not_the_runs(book: Book):
    machine = Machine()
    run = Program(machine, book)
    for _ in range(3):
        machine.runs(5.0, 40.0, 2.5, others=7.5)
        run.look()
    assert run.joules == pytest.approx(3 * 200.0 / 4)
    event = run.events[0]
    assert (event["low"], event["high"]) == (pytest.approx(47.5), pytest.approx(52.5))
    assert event["idle"] == pytest.approx(50.0 * TABLE.idle / TABLE.watts(2.0), abs=1e-3)


def test_no_more_is_given_away_than_was_taken(book: Book):
    machine = Machine()
    runs = [Program(machine, book, place) for place in range(3)]
    for _ in range(4):
        machine.runs(5.0, 60.0, 8.0, 8.0, 8.0, others=-16.0)  # each says that all was its own
        for run in runs:
            run.look()
    assert sum(run.joules for run in runs) == pytest.approx(machine.joules, abs=0.01)


def test_a_process_is_in_the_book_once(book: Book):
    machine = Machine()
    first, again = Program(machine, book), Program(machine, book)
    machine.runs(5.0, 100.0, 5.0)
    again.look()
    first.look()
    assert first.joules + again.joules == pytest.approx(500.0)


def test_a_machine_without_counters_is_estimated_and_adds_up_too(book: Book):
    machine = Machine(why="this machine shows no energy counter")
    one, two = Program(machine, book), Program(machine, book, 1)
    machine.runs(5.0, 0.0, 4.0, 6.0)
    one.look()
    two.look()
    assert one.joules + two.joules == pytest.approx(5.0 * TABLE.watts(2.0))
    (event,) = one.events
    assert (event["origin"], event["why"], event["of"]) == ("estimated", machine.why, ["processors"])
    assert event["idle"] == pytest.approx(5.0 * TABLE.idle * 0.4)
    assert event["high"] == pytest.approx(2 * event["joules"], abs=1e-3)


def test_a_counter_that_vanishes_and_comes_back_makes_an_estimate_of_the_time_between(book: Book):
    machine = Machine()
    run = Program(machine, book)
    origins = []
    for why in (None, "gone", None, None):
        machine.why = why
        machine.runs(5.0, 50.0, 10.0)
        run.look()
        origins.append(run.events[-1]["origin"])
    assert origins == ["measured", "estimated", "estimated", "measured"]


def test_idle_power_is_what_the_machine_took_when_it_had_nothing_to_do(book: Book):
    machine = Machine()
    run = Program(machine, book)
    machine.runs(10.0, 12.0, 0.0, others=0.5)
    run.look()
    machine.runs(5.0, 50.0, 10.0)
    run.look()
    assert run.events[-1]["idle"] == pytest.approx(5 * 12.0)


def test_a_program_that_is_gone_is_forgotten(tmp_path: Path):
    folder = PoolFolder(tmp_path / "book")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        Book(folder).join(Machine(), other.pid)
        assert len(lane(tmp_path)["programs"]) == 1
        other.communicate(b"\n")
    machine = Machine()
    run = Program(machine, Book(folder))
    machine.runs(5.0, 10.0, 1.0)
    run.look()
    assert list(lane(tmp_path)["programs"]) == [f"{NOBODY}-None"]


def lane(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "book" / "book").read_text())["lanes"]["processors"]
    return found


def test_a_book_of_before_the_last_start_or_a_spoilt_one_begins_anew(tmp_path: Path):
    folder = PoolFolder(tmp_path / "book")
    for text in ("{", '{"boot": "another", "lanes": {"processors": {"number": 9}}}', '{"lanes": 3}'):
        machine = Machine()
        run = Program(machine, Book(folder))
        (folder.path / "book").write_text(text)
        machine.runs(5.0, 10.0, 2.0)
        run.look()
        machine.runs(5.0, 10.0, 2.0)
        run.look()
        assert run.joules == pytest.approx(50.0)


def test_a_book_that_can_not_be_used_is_told_once_and_the_run_counts_alone(tmp_path: Path):
    folder = PoolFolder(tmp_path / "book")
    (folder.path / "book").mkdir()
    machine = Machine()
    run = Program(machine, Book(folder))
    for _ in range(2):
        machine.runs(5.0, 10.0, 2.0)
        run.look()
    assert "counts alone" in run.events[0]["why"]
    assert [event["joules"] for event in run.events] == [pytest.approx(50.0)] * 2


def test_where_the_book_lies_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEPTON_ENERGY", "off")
    assert not usual_book().shared
    monkeypatch.setenv("LEPTON_ENERGY", str(tmp_path / "book"))
    assert usual_book().shared
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEPTON_ENERGY", str(tmp_path / "file"))
    assert "LEPTON_ENERGY: got" in str((EnergyMeter(sources=[Machine()]).measure(0.0, True) or {})["why"])


# ------------------------------------------------------------------ GPUs


def test_a_run_has_its_processes_part_of_a_gpu(book: Book, monkeypatch: pytest.MonkeyPatch):
    now, there = [100.0], [Gpu(0, "A", "GPU-1", processes={11: 1, 12: None}, millijoules=1000)]
    there.append(Gpu(1, "B", "GPU-2", processes={11: 1, 12: None}))  # has no counter
    monkeypatch.setattr(gpus.time, "monotonic", lambda: now[0])
    counters = gpus.gpu_counters(lambda: there, lambda pid: {pid - NOBODY})
    one, two = (EnergyMeter(book, counters, NOBODY + pid) for pid in (11, 12))
    now[0] += 5.0
    there[0] = replace(there[0], millijoules=901_000)
    found = one.measure(now[0], True)
    other = two.measure(now[0], True)
    assert found is not None
    assert other is not None
    assert (found["joules"], other["joules"]) == (pytest.approx(450.0), pytest.approx(450.0))
    assert found["of"] == ["GPU GPU-1", "GPU GPU-2"]
    assert (found["origin"], found["why"]) == ("estimated", "GPU GPU-2 tells no energy")
    now[0] += 5.0  # another's program has taken the place of the second run's
    there[0] = replace(there[0], millijoules=1_001_000, processes={11: 1, 99: 1})
    told = [(run.measure(now[0], True) or {})["joules"] for run in (one, two)]
    assert told == [pytest.approx(50.0), 0.0]
    there.clear()
    now[0] += 5.0
    assert (one.measure(now[0], True) or {})["origin"] == "estimated"
    assert gpus.gpu_counters(lambda: None) == []


# ------------------------------------------------------------------ real drivers


def test_two_real_runs_add_up_to_the_counter_of_their_machine(
    tmp_path: Path, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    import lepton_kit as lk
    from lepton_kit.runtime.start import cool
    from tests.configs import any_config

    counter = zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 0)
    monkeypatch.setenv("LEPTON_POWERCAP", str(tmp_path / "powercap"))
    monkeypatch.setenv("LEPTON_ENERGY", str(tmp_path / "book"))
    counted, over = [0.0], threading.Event()

    def turn() -> None:
        while not over.wait(0.02):
            counted[0] += 2e6  # about 100 W
            new = counter.with_suffix(".new")
            new.write_text(f"{counted[0]:.0f}")
            os.replace(new, counter)

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        config = any_config(
            model={"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10},
            **{"training": {"epochs": 2}, "workers": {"count": 1}},
        )
        runs = [lk.launch_config(config, runs_dir=runs_dir) for _ in range(2)]
        for run in runs:
            run.wait()
    finally:
        over.set()
        turning.join()
        cool()
    taken = [run.view().energy for run in runs]
    assert all(one.joules and one.joules > 0 for one in taken)
    assert [one.origin for one in taken] == ["measured", "measured"]
    assert sum(one.joules or 0.0 for one in taken) <= counted[0] / 1e6
