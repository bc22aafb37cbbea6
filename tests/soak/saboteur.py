"""What may befall a run: each deed of the saboteur is one kind of fault, and its first line names it in reports."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import lepton_kit as lk
from tests.processes import processes_of

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

    @property
    def faults(self) -> Counter[str]:
        """How often each kind of fault was done, by its name in words."""
        return Counter(str(getattr(type(self), name).__doc__) for name in self.done)

    def driver(self) -> int:
        pid = self.run.view().driver_pid
        assert pid is not None
        self.sessions.add(pid)
        return pid

    def workers(self) -> list[int]:
        return [worker["pid"] for worker in self.run.view().workers if worker["pid"]]

    def worker(self) -> int | None:
        pids = self.workers()
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

    def let_train(self, steps: int, seconds: float) -> None:
        """Let it train so many steps, but wait no longer than that."""
        self.mend()
        wanted, deadline = self.run.view().step + steps, time.monotonic() + seconds
        while self.run.view().step < wanted and time.monotonic() < deadline:
            time.sleep(0.05)

    # ------------------------------------------------------------------ deeds

    def kill_worker(self) -> None:
        """a worker is killed"""
        self.signal(self.worker(), signal.SIGKILL)

    def kill_all_workers(self) -> None:
        """all workers are killed"""
        for pid in self.workers():
            self.signal(pid, signal.SIGKILL)

    def kill_after_forming(self) -> None:
        """a worker is killed just after a ring has formed"""
        formed = len(self.run.view().generations)
        self.scale()
        deadline = time.monotonic() + 10
        while len(self.run.view().generations) == formed and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill_worker()

    def hang_worker(self) -> None:
        """a worker hangs (SIGSTOP) and never goes on"""
        self.signal(self.worker(), signal.SIGSTOP)

    def hold_worker(self) -> None:
        """a worker is held up for up to a second"""
        pid = self.worker()
        self.signal(pid, signal.SIGSTOP)
        time.sleep(self.random.random())
        self.signal(pid, signal.SIGCONT)

    def hold_driver(self) -> None:
        """the driver is held up for up to three seconds"""
        pid = self.driver()
        self.signal(pid, signal.SIGSTOP)
        time.sleep(3 * self.random.random())
        self.signal(pid, signal.SIGCONT)

    def kill_driver(self) -> None:
        """the driver is killed, the run is resumed"""
        self.signal(self.driver(), signal.SIGKILL)
        until(lambda: not self.run.alive, "dead")

    def tear_the_log(self) -> None:
        """the driver is killed in the middle of a line of the log"""
        self.kill_driver()
        with open(self.run.paths.events, "ab") as file:
            file.write(self.random.randbytes(self.random.randrange(1, 80)).replace(b"\n", b"?"))

    def resume_at_once(self) -> None:
        """the driver is killed, and the run resumed while it still dies"""
        self.signal(self.driver(), signal.SIGKILL)
        self.run.resume()

    def damage_a_checkpoint(self) -> None:
        """the driver is killed, and a bit of the newest checkpoint flips"""
        self.kill_driver()
        newest = max(self.run.paths.checkpoints.glob("step-*"), default=None)
        if newest is not None:
            file = self.random.choice([path for path in sorted(newest.iterdir()) if path.stat().st_size])
            content = bytearray(file.read_bytes())
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            file.write_bytes(content)

    def stop_during_start(self) -> None:
        """a run is stopped while it starts, and resumed"""
        self.kill_driver()
        self.mend()
        self.driver()
        time.sleep(2 * self.random.random())
        self.run.stop()
        until(lambda: not self.run.alive, "stopped")

    def kill_zygote(self) -> None:
        """the process that forks workers is killed"""
        for process in processes_of(self.driver()):
            if process.ppid() == self.driver():
                self.signal(process.pid, signal.SIGKILL)

    def scale(self) -> None:
        """the number of workers changes"""
        if self.run.alive:
            self.run.scale(self.random.randint(1, 3))

    def scale_storm(self) -> None:
        """the number of workers changes ten times in a row"""
        for _ in range(10):
            self.scale()
            time.sleep(0.2 * self.random.random())

    def pause_and_resume(self) -> None:
        """the run is paused and goes on, up to four times"""
        for _ in range(self.random.randint(1, 4)):
            if self.run.alive:
                self.run.pause()
                time.sleep(0.2 * self.random.random())
            if self.run.alive:
                self.run.resume()

    def move_the_folder(self) -> None:
        """the run's folder is moved while it trains"""
        place = self.run.directory.with_name(f"moved-{len(self.done)}")
        self.run.directory.rename(place)
        self.run = lk.open_run(place)

    def fill_the_disk(self) -> None:
        """the disk is full for a while"""
        # No file of the run may grow beyond what its log has: writes fail as they do on a full disk.
        size = self.run.paths.events.stat().st_size
        for process in processes_of(self.driver()):
            try:
                before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, before[1]))
                self.full.append((process.pid, before))
            except (ProcessLookupError, PermissionError):
                continue

    # ------------------------------------------------------------------ what a user does

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


EVERYTHING = [
    name
    for name, deed in vars(Saboteur).items()
    if str(getattr(deed, "__doc__", "")).startswith(("a ", "all ", "the "))
]
CHEAP = [
    "kill_worker", "kill_after_forming", "hold_worker", "hold_driver", "scale", "scale_storm", "pause_and_resume",
    "fill_the_disk", "move_the_folder",
]  # fmt: skip
