"""Random faults, from a seed: after them no sample is lost or repeated and no process, zombie or port is left."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import lepton_kit as lk
from tests.processes import processes_of

pytestmark = pytest.mark.processes
PATIENCE = 240.0


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not {what} in {PATIENCE:.0f} s"
        time.sleep(0.05)


class Saboteur:
    """Does one random thing after another to a run, and mends what a user would mend."""

    def __init__(self, run: lk.Run, seed: int):
        self.run, self.random = run, random.Random(seed)
        self.sessions: set[int] = set()
        self.done: list[str] = []
        self.full: list[tuple[int, tuple[int, int]]] = []

    def driver(self) -> int:
        pid = self.run.view().driver_pid
        assert pid is not None
        self.sessions.add(pid)
        return pid

    def worker(self) -> int | None:
        pids = [worker["pid"] for worker in self.run.view().workers if worker["pid"]]
        return self.random.choice(pids) if pids else None

    def act(self, deeds: list[str]) -> None:
        self.mend()
        deed = self.random.choice(deeds)
        self.done.append(deed)
        self.driver()
        getattr(self, deed)()

    def signal(self, pid: int | None, number: int) -> None:
        if pid is not None and any(
            process.pid == pid for session in self.sessions for process in processes_of(session)
        ):
            os.kill(pid, number)

    def kill_worker(self) -> None:
        self.signal(self.worker(), signal.SIGKILL)

    def hang_worker(self) -> None:
        self.signal(self.worker(), signal.SIGSTOP)

    def hold_worker(self) -> None:
        pid = self.worker()
        self.signal(pid, signal.SIGSTOP)
        time.sleep(self.random.random())
        self.signal(pid, signal.SIGCONT)

    def hold_driver(self) -> None:
        pid = self.driver()
        self.signal(pid, signal.SIGSTOP)
        time.sleep(3 * self.random.random())
        self.signal(pid, signal.SIGCONT)

    def kill_driver(self) -> None:
        self.signal(self.driver(), signal.SIGKILL)
        until(lambda: not self.run.alive, "dead")

    def kill_driver_and_tear_the_log(self) -> None:
        self.kill_driver()
        with open(self.run.paths.events, "ab") as file:
            file.write(self.random.randbytes(self.random.randrange(1, 80)).replace(b"\n", b"?"))

    def kill_zygote(self) -> None:
        for process in processes_of(self.driver()):
            if process.ppid() == self.driver():
                self.signal(process.pid, signal.SIGKILL)

    def scale(self) -> None:
        if self.run.alive:
            self.run.scale(self.random.randint(1, 3))

    def pause_and_resume(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            if self.run.alive:
                self.run.pause()
                time.sleep(0.2 * self.random.random())
            if self.run.alive:
                self.run.resume()

    def fill_the_disk(self) -> None:
        """No file of the run may grow beyond what its log has: writes fail as they do on a full disk."""
        size = self.run.paths.events.stat().st_size
        for process in processes_of(self.driver()):
            try:
                before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, before[1]))
                self.full.append((process.pid, before))
            except (ProcessLookupError, PermissionError):
                continue

    def mend(self) -> None:
        for pid, before in self.full:
            try:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
            except (ProcessLookupError, PermissionError):
                continue
        self.full.clear()
        if not self.run.alive:
            before = self.run.view().driver_pid
            self.run.resume()
            until(lambda: self.run.view().driver_pid != before, "driven by another")


EVERYTHING = [name for name in vars(Saboteur) if "_" in name and not name.startswith("_")] + [
    "scale",
    "scale",
]
CHEAP = [
    "kill_worker",
    "kill_worker",
    "hold_worker",
    "hold_driver",
    "scale",
    "scale",
    "pause_and_resume",
    "fill_the_disk",
]


def soak(folder: Path, seed: int, seconds: float, deeds: list[str], last: list[str]) -> None:
    run = lk.launch(
        lk.LeptonModel((8, 8, 1), 10, 32, 2), lk.data.sample("digits"), workers=2, max_workers=3, standby=1,
        global_batch=100, epochs=100_000, hang_seconds=4, max_failures=1000, checkpoint_seconds=0.5,
        log_seconds=0.1, runs_dir=folder,
    )  # fmt: skip
    saboteur = Saboteur(run, seed)
    story = ""
    try:
        until(lambda: run.view().step > 0 or not run.alive, "training")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            saboteur.act(deeds)
            time.sleep(3 * saboteur.random.random())
        for deed in last:
            saboteur.act([deed])
        saboteur.mend()
        story = f"seed {seed}: {', '.join(saboteur.done)}"
        step = run.view().step
        until(
            lambda: run.status == "running" and run.view().generations[-1]["step"] < run.view().step > step,
            story,
        )
        run.set(learning_rate=1e-4)
        saboteur.driver()
        run.stop()
        until(lambda: not run.alive, "ended")
        assert run.status == "stopped", (story, run.cause)
        found = lk.audit(run)
        assert found.problems == (), (story, found)
        assert found.steps == run.view().step > 0
    finally:
        for session in saboteur.sessions:
            left = processes_of(session)
            ports = [port for process in left for port in process.net_connections("inet")]
            for process in left:
                process.kill()
            assert left == [], (story, ports)
    zombies = [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    assert zombies == [], story
    assert run.status.is_final


def test_a_short_storm(tmp_path: Path):
    soak(tmp_path, seed=7, seconds=20, deeds=CHEAP, last=["kill_worker", "kill_driver_and_tear_the_log"])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_a_long_storm(tmp_path: Path, seed: int):
    soak(tmp_path, seed, seconds=300, deeds=EVERYTHING, last=["kill_driver_and_tear_the_log"])
