"""Turns with real drivers: an endless run on the only core lets one that is more urgent go first, and goes on after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.rundir import EventReader
from lepton_kit.runtime import start
from tests.processes import eventually

pytestmark = pytest.mark.processes
ROOT = Path(__file__).parents[3]


@pytest.fixture
def one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of one core, with drivers that take turns soon; a folder for runs."""
    monkeypatch.setenv("LEPTON_POOL", str(tmp_path / "pool"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(start, "DRIVER", "tests.runtime.pool.quick_driver")
    cores = os.sched_getaffinity(0)
    lk.cool()  # what is warm has the usual turns
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield tmp_path / "runs"
    finally:
        os.sched_setaffinity(0, cores)
        lk.cool()


def launched(folder: Path, name: str, epochs: int, priority: int) -> lk.Run:
    model = lk.LeptonModel(input_shape=(4,), num_classes=2, hidden_size=4, num_layers=1)
    data = (np.zeros((64, 4), "float32"), np.arange(64) % 2)
    return lk.launch(
        model, data, workers="auto", epochs=epochs, global_batch=8, name=name, priority=priority,
        runs_dir=folder, hang_seconds=200,
    )  # fmt: skip


def states(run: lk.Run) -> list[str]:
    return [one["status"] for one in EventReader(run.paths.events).poll() if one["kind"] == "status"]


def test_an_endless_run_lets_an_urgent_one_go_first_and_goes_on_after_it(one_core: Path):
    endless = launched(one_core, "endless", 10**6, priority=0)
    try:
        eventually(lambda: endless.view().step > 0, "training")
        urgent = launched(one_core, "urgent", 2, priority=3)
        eventually(lambda: endless.status == "queued", "the endless run waits in line")
        at = endless.view().step
        urgent.wait()
        assert states(urgent) == ["queued", "starting", "running", "finished"]
        eventually(lambda: endless.view().step > at, "the endless run goes on")
        told = states(endless)
        assert told[-3:] == ["queued", "starting", "running"]
        lines = [one for one in EventReader(endless.paths.events).poll() if one["kind"] == "queue"]
        assert [one["before"] for one in lines][:1] == [0], "it was told its place"
        assert endless.view().steps.tolist() == list(range(endless.view().step)), "each step once"
    finally:
        if endless.alive:
            endless.stop().wait()
    assert lk.audit(endless).exactly_once


@pytest.mark.long
def test_a_run_that_was_paused_and_forgotten_lets_another_go_first_and_goes_on_when_it_is_resumed(
    one_core: Path,
):
    forgotten = launched(one_core, "forgotten", 10**6, priority=3)
    try:
        eventually(lambda: forgotten.view().step > 0, "training")
        forgotten.pause()
        other = launched(one_core, "other", 2, priority=0)
        other.wait()
        assert states(other)[-1] == "finished"
        assert (forgotten.status, forgotten.view().workers) == ("paused", [])
        assert "held back" in str(forgotten.cause)
        at = forgotten.view().step
        forgotten.resume()
        eventually(lambda: forgotten.view().step > at, "it goes on")
        assert "held back" not in str(forgotten.cause)
    finally:
        if forgotten.alive:
            forgotten.stop().wait()
    assert lk.audit(forgotten).exactly_once
