"""A class whose runs share a machine, and what may befall them: killed, hung, paused and stopped drivers, and files of the pool that are spoilt."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lepton_kit as lk
from lepton_kit.machine.devices import usable_cores
from lepton_kit.rundir import EventReader, Status
from tests.processes import processes_of
from tests.soak.saboteur import until

PATIENCE = 1500.0
MOST_STOPPED = 3
CONFIRM_SECONDS = 4.0
"""Runs are looked at one after the other, and may change meanwhile: what is too much has to be so again later."""


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


def told(run: lk.Run, kind: str) -> list[dict[str, Any]]:
    """The events of a kind in a run's log."""
    return [event for event in EventReader(run.paths.events).poll() if event["kind"] == kind]


def training(runs: Sequence[lk.Run]) -> int:
    """Workers of all runs that train or are paused."""
    return sum(
        run.view().world_size for run in runs if run.alive and run.status in (Status.RUNNING, Status.PAUSED)
    )


def look(runs: Sequence[lk.Run]) -> int:
    """See that nothing is overcommitted and nobody waits untold; the workers that are held."""
    now = lk.pool()
    held = sum(row["workers"] for row in now.rows)
    assert held <= usable_cores(), now
    if training(runs) > usable_cores():
        time.sleep(CONFIRM_SECONDS)
        assert training(runs) <= usable_cores(), [(run.id, run.view().world_size) for run in runs]
    assert {row["run"] for row in now.rows if not row["workers"]} <= {run.id for run in runs}
    for run in runs:
        view = run.view()
        if view.status is Status.QUEUED:
            assert view.workers == []
            assert not run.logs().count("Traceback")
    return held


def watch(runs: Sequence[lk.Run]) -> int:
    """Follow a class to its end; the most workers that there were at once."""
    deadline, most = time.monotonic() + PATIENCE, 0
    while any(run.alive for run in runs):
        assert time.monotonic() < deadline, [
            (run.id, str(run.status), run.cause) for run in runs if run.alive
        ]
        most = max(most, look(runs))
        time.sleep(0.3)
    return most


class Vandal:
    """Does one thing after another to a class; the first line of each deed names it in words."""

    def __init__(self, runs: Sequence[lk.Run], pool: Path, seed: int):
        self.runs, self.pool, self.random = runs, pool, random.Random(seed)
        self.sessions: set[int] = set()
        self.hung: set[int] = set()
        self.held_back: list[lk.Run] = []
        self.stopped: set[str] = set()
        self.done: Counter[str] = Counter()

    def act(self, deed: str) -> bool:
        """Do it to one of those to whom it can be done; whether there was one."""
        status, act = DEEDS[deed]
        able = [
            one
            for one in self.runs
            if one.alive and one.status is status and self._driver(one) not in self.hung
        ]
        if act is Vandal.stop and len(self.stopped) >= MOST_STOPPED:
            return False  # a class of stopped runs shows nothing
        if not able:
            return False
        run = self.random.choice(able)
        if (driver := self._driver(run)) is None:
            return False
        self.sessions.add(driver)
        act(self, run, driver)
        self.done[deed] += 1
        return True

    def mend(self) -> None:
        """What their owners do: wake what hangs, let go what is held back, resume what was killed."""
        for pid in self.hung:
            self._signal(pid, signal.SIGCONT)
        self.hung.clear()
        for run in self.held_back:
            if run.alive and run.status is Status.PAUSED:
                run.resume()
        self.held_back.clear()
        for run in self.runs:
            if not run.alive and run.status is Status.INTERRUPTED:
                run.resume()

    def left(self) -> int:
        """Processes of drivers that were touched, and still live; they are ended."""
        found = [process for session in self.sessions for process in processes_of(session)]
        for process in found:
            process.kill()
        return len(found)

    def _driver(self, run: lk.Run) -> int | None:
        return run.view().driver_pid

    def _signal(self, pid: int, number: int) -> None:
        if any(process.pid == pid for session in self.sessions for process in processes_of(session)):
            os.kill(pid, number)

    def kill_driver(self, run: lk.Run, driver: int) -> None:
        self._signal(driver, signal.SIGKILL)
        until(lambda: not run.alive, "dead")

    def kill_worker(self, run: lk.Run, driver: int) -> None:
        for worker in run.view().workers[:1]:
            if worker["pid"]:
                self._signal(worker["pid"], signal.SIGKILL)

    def hang_driver(self, run: lk.Run, driver: int) -> None:
        self._signal(driver, signal.SIGSTOP)
        self.hung.add(driver)

    def pause(self, run: lk.Run, driver: int) -> None:
        run.pause()
        self.held_back.append(run)
        # One that forms its ring anew is paused only then, and would be missed by who mends before.
        until(lambda: not run.alive or run.status is Status.PAUSED, "paused")

    def stop(self, run: lk.Run, driver: int) -> None:
        run.stop()
        self.stopped.add(run.id)

    def delete_file(self, run: lk.Run, driver: int) -> None:
        (self.pool / f"{run.id}.json").unlink(missing_ok=True)

    def spoil_file(self, run: lk.Run, driver: int) -> None:
        file = self.pool / f"{run.id}.json"
        if file.exists():
            file.write_bytes(self.random.randbytes(self.random.randrange(200)))


DEEDS = {
    "the driver of a run in line is killed": (Status.QUEUED, Vandal.kill_driver),
    "the driver of a run in line hangs": (Status.QUEUED, Vandal.hang_driver),
    "a run in line is held back": (Status.QUEUED, Vandal.pause),
    "a run in line is stopped": (Status.QUEUED, Vandal.stop),
    "the file of a run in line is deleted": (Status.QUEUED, Vandal.delete_file),
    "the file of a run in line is spoilt": (Status.QUEUED, Vandal.spoil_file),
    "the file of a run that trains is deleted": (Status.RUNNING, Vandal.delete_file),
    "the file of a run that trains is spoilt": (Status.RUNNING, Vandal.spoil_file),
    "a worker is killed": (Status.RUNNING, Vandal.kill_worker),
    "a run that trains is paused": (Status.RUNNING, Vandal.pause),
    "the driver of a run that trains hangs": (Status.RUNNING, Vandal.hang_driver),
    "the driver of a run that trains is killed": (Status.RUNNING, Vandal.kill_driver),
}
