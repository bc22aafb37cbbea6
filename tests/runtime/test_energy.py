"""The energy of a run: from counters that wrap, counted while it trains alone; where there are none it is said why."""

from __future__ import annotations

from pathlib import Path

import pytest

from lepton_kit.machine.devices import energy_counters, why_no_energy
from lepton_kit.rundir import RunView
from lepton_kit.runtime.energy import EVERY_SECONDS, EnergyMeter


def package(root: Path, name: str, used: int, wrap: int = 10_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{used}\n")
    (folder / "max_energy_range_uj").write_text(f"{wrap}\n")
    return folder / "energy_uj"


def test_energy_counters_are_read_where_they_are(tmp_path: Path):
    one = package(tmp_path, "intel-rapl:0", 1000, 5000)
    package(tmp_path, "intel-rapl:0:0", 1000)
    (tmp_path / "dtpm").mkdir()
    assert energy_counters(tmp_path) == [(one, 5000.0)]
    one.write_text("no number")
    assert energy_counters(tmp_path) == []
    assert str(one) in why_no_energy(tmp_path)
    assert "shows no energy counter" in why_no_energy(tmp_path / "nowhere")


def test_what_is_used_while_it_trains_is_added_up(tmp_path: Path):
    one, two = package(tmp_path, "intel-rapl:0", 9_000_000), package(tmp_path, "intel-rapl:1", 0)
    meter, view = EnergyMeter(tmp_path), RunView()

    def measure(now: float, training: bool) -> None:
        used = meter.measure(now, training)
        if used is not None:
            view.feed({"time": now, "kind": "energy", **used})

    measure(0.0, False)
    one.write_text("9500000")  # before it trains: not the run's
    measure(1.0, True)
    one.write_text("500000")  # the counter has wrapped: 1 J
    measure(1.0 + EVERY_SECONDS / 2, True)
    assert view.energy_joules is None
    measure(1.0 + EVERY_SECONDS, True)
    assert view.energy_joules == pytest.approx(1.0)
    two.write_text("250000")
    measure(2.0 + EVERY_SECONDS, False)  # it pauses or ends: the rest at once
    assert view.energy_joules == pytest.approx(1.25)
    two.write_text("7000000")
    measure(100.0, False)
    measure(101.0, True)
    measure(102.0, False)
    assert view.energy_joules == pytest.approx(1.25)
    assert view.summary()["energy_joules"] == view.energy_joules
    assert view.no_energy is None


def test_why_nothing_is_measured_is_told_once_it_trains(tmp_path: Path):
    meter = EnergyMeter(tmp_path / "nowhere")
    assert meter.measure(0.0, False) is None
    told = meter.measure(1.0, True)
    assert told is not None
    assert told["joules"] is None
    assert "shows no energy counter" in told["why"]
    assert meter.measure(100.0, True) is None


def test_a_counter_that_goes_away_leaves_what_was_measured(tmp_path: Path):
    one = package(tmp_path, "intel-rapl:0", 0)
    meter, view = EnergyMeter(tmp_path), RunView()
    meter.measure(0.0, True)
    one.write_text("2000000")
    view.feed({"time": 9.0, "kind": "energy", **(meter.measure(9.0, True) or {})})
    one.unlink()
    view.feed({"time": 20.0, "kind": "energy", **(meter.measure(20.0, True) or {})})
    assert (view.energy_joules, view.no_energy) == (2.0, why_no_energy(tmp_path))
