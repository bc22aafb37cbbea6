"""A class starts its runs at about the same time: all finish, nobody waits untold, and nothing is overcommitted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.machine.devices import usable_cores
from lepton_kit.rundir import EventReader, Status
from tests.processes import eventually

PATIENCE = 1500.0


def started(count: int, folder: Path, epochs: int, endless: int = 0) -> list[lk.Run]:
    """So many runs of so many epochs; the first ones, ``endless`` of them, end only when they are stopped."""
    x = np.random.default_rng(0).normal(size=(1000, 16)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int64")
    runs = []
    for number in range(count):
        model = lk.LeptonModel(input_shape=(16,), num_classes=2, hidden_size=16, num_layers=1)
        options = {
            "workers": "auto",
            "epochs": 1_000_000 if number < endless else epochs,
            "global_batch": 20,
            "name": f"pupil-{number:02d}",
        }
        runs.append(lk.launch(model, (x, y), runs_dir=folder, seed=number, **options))
    return runs


def watch(runs: list[lk.Run]) -> int:
    """Follow a class to its end; the most workers that there were at once."""
    deadline, most = time.monotonic() + PATIENCE, 0
    while any(run.alive for run in runs):
        assert time.monotonic() < deadline, [str(run.status) for run in runs]
        now = lk.pool()
        held = sum(row["workers"] for row in now.rows)
        assert held <= usable_cores(), now
        assert {row["run"] for row in now.rows if not row["workers"]} <= {run.id for run in runs}
        most = max(most, held)
        for run in runs:
            view = run.view()
            if view.status is Status.QUEUED:
                assert view.workers == []
                assert not run.logs().count("Traceback")
        time.sleep(0.3)
    return most


def told(run: lk.Run, kind: str) -> list[dict[str, Any]]:
    """The events of a kind in a run's log."""
    return [event for event in EventReader(run.paths.events).poll() if event["kind"] == kind]


def check(runs: list[lk.Run]) -> int:
    """All have finished and trained on each sample once; how many had to wait."""
    waited = 0
    for run in runs:
        assert run.status == Status.FINISHED, f"{run.id}: {run.status}: {run.cause}"
        states = [event["status"] for event in told(run, "status")]
        queued = told(run, "queue")
        assert states[-3:] == ["starting", "running", "finished"]
        assert bool(queued) == ("queued" in states), "who waits is told its place"
        waited += bool(queued)
        assert max(run.view().report_world_size.array) <= usable_cores()
    assert lk.audit(runs[-1]).exactly_once
    return waited


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEPTON_POOL", str(tmp_path / "pool"))
    return tmp_path / "pool"


@pytest.mark.processes
def test_six_runs_share_the_machine(tmp_path: Path, pool: Path):
    warm = lk.launch(
        lk.LeptonModel(input_shape=(2,), num_classes=2, hidden_size=2, num_layers=1),
        (np.zeros((8, 2), "float32"), np.arange(8) % 2),
        workers=1, epochs=1, runs_dir=tmp_path / "runs",
    )  # fmt: skip
    warm.wait()  # the others are forked from what it has loaded
    first, others = usable_cores(), 4  # as long as the first ones train no other finds a core
    runs = started(first + others, tmp_path / "runs", epochs=10, endless=first)
    eventually(lambda: all(told(one, "queue") for one in runs[first:]), "the others wait")
    eventually(lambda: all(one.view().step > 0 for one in runs[:first]), "the first ones train")
    for one in runs[:first]:
        one.stop()
    assert watch(runs) >= 1
    assert check(runs[first:]) == others
    for one in runs[:first]:
        assert one.status == Status.STOPPED, one.cause
        assert lk.audit(one).problems == ()
    assert [one.name for one in pool.iterdir()] == ["lock"]


@pytest.mark.soak
@pytest.mark.processes
def test_thirty_runs_within_ten_seconds(tmp_path: Path, pool: Path):
    began = time.monotonic()
    runs = started(30, tmp_path / "runs", epochs=40)
    seconds = time.monotonic() - began
    most = watch(runs)
    waited = check(runs)
    whole = time.monotonic() - began
    print(
        f"30 runs started within {seconds:.1f} s: {whole:.0f} s in all, {waited} waited, {most} workers at most"
    )
