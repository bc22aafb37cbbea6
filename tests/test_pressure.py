"""What keeps a process from computing: read from the system, with a spinning rival, and from texts of other systems."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lepton_kit.processes.pressure import Pressure, heats, pressure, short, throttled

SPIN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


@pytest.mark.processes
def test_a_process_whose_core_is_taken_says_so():
    core = min(os.sched_getaffinity(0))
    pin = f"import os; os.sched_setaffinity(0, {{{core}}})\n"
    rival = subprocess.Popen([sys.executable, "-c", pin + "while True: pass"])
    try:
        told = "from lepton_kit.processes.pressure import pressure\nprint(pressure().delayed_seconds)"
        answer = subprocess.run(
            [sys.executable, "-c", pin + SPIN.format(1.0) + told], capture_output=True, text=True, check=True
        )
    finally:
        rival.kill()
        rival.wait()
    if answer.stdout.strip() == "None":
        pytest.skip("this kernel keeps no schedstat")
    assert float(answer.stdout) > 0.4, "a second of computing beside an equal rival takes about two"


def test_a_system_without_these_files_tells_nothing(tmp_path: Path):
    assert pressure(tmp_path / "none").delayed_seconds is None
    (tmp_path / "1").mkdir()
    assert pressure(tmp_path).delayed_seconds is None, "a thread that has ended meanwhile"
    (tmp_path / "1" / "schedstat").write_text("garbage")
    assert pressure(tmp_path).delayed_seconds is None
    (tmp_path / "1" / "schedstat").write_text("5 2500000000 7\n")
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "schedstat").write_text("5 500000000 7\n")
    found = pressure(tmp_path)
    assert isinstance(found, Pressure)
    assert found.delayed_seconds == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [([], None), (["nr_periods 0"], None), (["throttled_usec x"], None), (["nr_throttled 1 throttled_time 4000000000"], 4.0)],
)  # fmt: skip
def test_quotas_of_both_versions_of_control_groups(texts, seconds):
    assert throttled(texts) == seconds


STALLS = "some avg10=1.00 avg60=0.00 avg300=0.00 total={} full avg10=0.00 avg60=0.00 avg300=0.00 total=7"


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [([], None), (["full total=5"], None), (["some total=x"], None), ([STALLS.format(2_000_000), STALLS.format(5)], 2.0)],
)  # fmt: skip
def test_memory_that_somebody_waited_for(texts, seconds):
    assert short(texts) == seconds


def test_cores_that_slowed_down_for_heat(tmp_path: Path):
    assert heats(tmp_path / "none") is None
    core = min(os.sched_getaffinity(0))
    folder = tmp_path / f"cpu{core}" / "thermal_throttle"
    folder.mkdir(parents=True)
    (folder / "core_throttle_count").write_text("3\n")
    (folder / "package_throttle_count").write_text("4\n")
    (tmp_path / "cpu99999" / "thermal_throttle").mkdir(parents=True)
    (tmp_path / "cpu99999" / "thermal_throttle" / "core_throttle_count").write_text("9\n")
    assert heats(tmp_path) == 7, "those of cores that it may not use are not its own"
    (folder / "core_throttle_count").write_text("x")
    assert heats(tmp_path) == 4


def test_this_system_tells_what_it_can():
    found = pressure()
    assert found.short_seconds is None or found.short_seconds >= 0
    assert found.heats is None or found.heats >= 0
