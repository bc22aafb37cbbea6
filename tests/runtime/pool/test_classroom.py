"""A class starts its runs at about the same time: all finish, nobody waits untold, and nothing is overcommitted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.machine.devices import usable_cores
from lepton_kit.rundir import Status
from tests.processes import eventually
from tests.soak.classroom import DEEDS, PATIENCE, Vandal, look, started, told, watch


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


DISTURBED_SECONDS = 240.0


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEPTON_POOL", str(tmp_path / "pool"))
    return tmp_path / "pool"


@pytest.mark.processes
@pytest.mark.long
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


def check_disturbed(vandal: Vandal, pool: Path) -> None:
    """All have ended as their owners wanted, each with each sample once, and nothing is left of any."""
    ended = {run.id: (run.status, run.cause) for run in vandal.runs}
    for run in vandal.runs:
        assert run.status is (Status.STOPPED if run.id in vandal.stopped else Status.FINISHED), ended
        if run.view().step:
            assert lk.audit(run).problems == (), (run.id, lk.audit(run).problems)
    assert vandal.left() == 0
    assert [one.name for one in pool.iterdir() if one.suffix == ".json"] == []


@pytest.mark.processes
def test_a_small_class_in_which_runs_are_killed_hang_and_are_held_back(tmp_path: Path, pool: Path):
    cores = usable_cores()
    runs = started(cores + 5, tmp_path / "runs", epochs=3, endless=cores)
    vandal = Vandal(runs, pool, seed=1)
    try:
        eventually(lambda: any(one.view().step > 0 for one in runs), "one trains")
        for deed in DEEDS:
            eventually(lambda deed=deed: look(runs) >= 0 and vandal.act(deed), deed)
            if deed == "the driver of a run that trains hangs":
                vandal.mend()
        vandal.mend()
        for one in runs[:cores]:
            eventually(lambda one=one: one.status is not Status.STARTING, "it is under way")
            one.stop()
            vandal.stopped.add(one.id)
        watch(runs)
        check_disturbed(vandal, pool)
        assert vandal.done.total() == len(DEEDS)
    finally:
        vandal.mend()
        end(runs)


def end(runs: Sequence[lk.Run]) -> None:
    """Leave nothing that trains on."""
    for run in runs:
        if run.alive:
            run.stop().wait(PATIENCE)


@pytest.mark.soak
@pytest.mark.processes
def test_thirty_runs_that_are_disturbed(tmp_path: Path, pool: Path):
    began = time.monotonic()
    runs = started(30, tmp_path / "runs", epochs=40)
    vandal = Vandal(runs, pool, seed=2)
    try:
        most = 0
        while sum(run.alive for run in runs) > 8 and time.monotonic() - began < DISTURBED_SECONDS:
            most = max(most, look(runs))
            vandal.act(vandal.random.choice(list(DEEDS)))
            if vandal.random.random() < 0.3:
                vandal.mend()
            time.sleep(2 * vandal.random.random())
        vandal.mend()
        eventually(lambda: all(run.alive or run.status.is_final for run in runs), "all go on")
        most = max(most, watch(runs))
        check_disturbed(vandal, pool)
        whole = time.monotonic() - began
        print(f"30 runs, {vandal.done.total()} disturbances: {whole:.0f} s in all, {most} workers at most")
        print("\n".join(f"{count} × {deed}" for deed, count in vandal.done.items()))
    finally:
        vandal.mend()
        end(runs)


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
