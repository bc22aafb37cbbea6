"""Pinned workers of real runs: each on its cores, through deaths, scaling and a resume; and held from other runs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

import lepton_kit as lk
from lepton_kit.errors import DeviceError, RunError
from lepton_kit.machine.topology import affinity, tell_cores
from lepton_kit.runtime.pool.seating import seats
from tests.processes import eventually, processes_of

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(len(affinity()) < 2, reason="two workers need a core each"),
]
FIRST, SECOND, *_ = [*affinity(), 0, 0]


def launched(folder: os.PathLike[str], **options: object) -> lk.Run:
    model = lk.LeptonModel(input_shape=(8, 8, 1), num_classes=10, hidden_size=16, num_layers=2)
    return lk.launch(
        model, lk.data.sample("digits"), global_batch=60, epochs=100_000, runs_dir=folder, hang_seconds=200, **options
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lk.Run]:
    places = [str(FIRST), f"cores:{SECOND}", "cpu"]
    made = launched(tmp_path_factory.mktemp("pinned"), workers=2, places=places)
    try:
        eventually(lambda: made.view().step > 5, "training")
        yield made
    finally:
        made.stop()
        made.wait(60)
        for process in processes_of(made.view().driver_pid or -1):
            process.kill()


def training(run: lk.Run) -> dict[int, set[frozenset[int]]]:
    """Worker -> the cores on which its threads may run, of those that train."""
    found = {}
    for one in run.view().workers:
        if one["state"] == "training":
            with contextlib.suppress(OSError):  # it has just ended
                threads = os.listdir(f"/proc/{one['pid']}/task")
                found[one["worker"]] = {frozenset(os.sched_getaffinity(int(thread))) for thread in threads}
    return found


def sit(run: lk.Run, *cores: set[int]) -> bool:
    found = [[sorted(one) for one in threads] for threads in training(run).values()]
    return sorted(found) == sorted([sorted(one)] for one in cores)


def test_every_thread_of_a_worker_runs_on_its_cores(run: lk.Run):
    assert sit(run, {FIRST}, {SECOND}), training(run)
    rows = {tuple(one.get("cores", ())) for one in run.view().workers}
    assert rows == {(FIRST,), (SECOND,)}


def test_others_see_who_holds_a_core_and_are_refused_it(run: lk.Run):
    (told,) = [one for one in seats() if one.run == run.id]
    assert told.held == tuple(sorted((FIRST, SECOND)))
    eventually(lambda: len([one for one in seats() if one.workers]) == 1, "workers that are told")
    cores = lk.devices(seconds=0.01).cores
    assert list(cores.run[[FIRST, SECOND]]) == [run.id, run.id]
    with pytest.raises(DeviceError, match=f"places.0: core {SECOND}: held by the run {run.id}"):
        launched(run.paths.root.parent, workers=1, places=[str(SECOND)])
    if len(affinity()) == 2:
        with pytest.raises(
            DeviceError, match=rf"0 of 2 cores are free \({tell_cores(affinity())} held by {run.id}\)"
        ):
            launched(run.paths.root.parent, workers=1, places="pinned")


def test_a_worker_that_takes_the_place_of_a_dead_one_has_its_cores(run: lk.Run):
    (pid,) = [one["pid"] for one in run.view().workers if one.get("cores") == [FIRST]]
    before = set(training(run))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(training(run)) - before) == 1 and sit(run, {FIRST}, {SECOND}), "its successor")


def test_scaling_takes_the_next_place_and_no_more_than_there_are(run: lk.Run):
    run.scale(3)
    eventually(lambda: sit(run, {FIRST}, {SECOND}, set(affinity())), "a third worker")
    with contextlib.suppress(RunError):  # where the answer comes soon
        run.scale(4)
    refused = "workers: got 4; expected at most 3 (the places that were chosen)"
    eventually(lambda: refused in [one.get("cause") for one in run.view().requests], "a refusal")
    run.scale(1)
    eventually(lambda: len(training(run)) == 1, "one worker")
    run.scale(2)
    eventually(lambda: len(training(run)) == 2, "two workers")
    assert len({next(iter(one)) for one in training(run).values()}) == 2, "no two at one place"


def test_a_run_that_goes_on_takes_its_cores_again(run: lk.Run):
    run.stop()
    run.wait(60)
    eventually(lambda: run.id not in {one.run for one in seats()}, "a core that is given back")
    step = run.view().step
    run.resume()
    eventually(lambda: run.view().step > step and sit(run, {FIRST}, {SECOND}), "the same places")
