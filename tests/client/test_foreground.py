"""A run in the foreground of a command: a scheduler that ends all its processes politely leaves a checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import lepton_kit as lk
from lepton_kit.cli import foreground
from lepton_kit.client import jobs
from lepton_kit.processes.detached import start_detached
from lepton_kit.processes.ends import ENDS, Heard
from lepton_kit.processes.program import command as program
from lepton_kit.rundir import RunPaths, Status, read_requests

PATIENCE = 180.0


@pytest.mark.processes
@pytest.mark.parametrize("early", [True, False], ids=["while-it-begins", "while-it-trains"])
def test_sigterm_to_all_processes_interrupts_with_a_checkpoint_that_resume_goes_on_from(
    early: bool, runs_dir: Path
):
    def there() -> bool:
        found = lk.runs(runs_dir)
        return bool(found) and (early or found[0].view().step >= 10)

    values = {
        "model": {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10},
        "data": {"kind": "sample", "name": "digits"},
        "training": {"epochs": 100_000, "checkpoint_seconds": 1000, "log_seconds": 0.1},
    }
    file = runs_dir.parent / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    lepton = [sys.executable, "-P", "-m", "lepton_kit.cli", "--runs-dir", str(runs_dir)]
    command = subprocess.Popen([*lepton, "run", str(file), "--foreground"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not there():
            assert command.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        run = lk.open_run("latest", runs_dir)
        for process in psutil.Process(command.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        os.kill(command.pid, signal.SIGTERM)
        assert command.wait(PATIENCE) == 1
    finally:
        if command.poll() is None:
            command.kill()
    assert run.status == "interrupted"
    assert str(run.cause).startswith("its machine or its job ends")
    assert [one["what"] for one in run.view().incidents] == []
    assert [one["step"] for one in run.view().checkpoints][-1:] == [run.view().step][: run.view().step]
    assert early or lk.audit(run).problems == ()


class Cut:
    """A run that a time limit interrupts after some steps, or before it has begun."""

    id, status, alive = "run", Status.INTERRUPTED, False

    def __init__(self, folder: Path, steps: int, early: bool):
        self.paths, self.step, self.steps, self.early = RunPaths(folder), 5, steps, early

    def view(self) -> Cut:
        return self

    def begin(self) -> Any:
        if self.early:
            os.kill(os.getpid(), signal.SIGUSR1)
        return self

    def follow(self, _: object, look: Callable[[], None]) -> int:
        if not self.early:
            os.kill(os.getpid(), signal.SIGUSR1)
        self.step += self.steps
        look()
        look()
        return 1


@pytest.fixture
def signals() -> Iterator[None]:
    """What this process does about the ends of a job is as before, afterwards."""
    before = {one: signal.getsignal(one) for one in ENDS}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("early", [True, False], ids=["while-it-begins", "while-it-trains"])
@pytest.mark.parametrize(
    ("steps", "says", "queued"), [(3, "in the queue again", ["7"]), (0, "no step was trained", [])]
)
def test_a_time_limit_puts_a_job_back_that_has_trained(
    steps: int, says: str, queued: list[str], early: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], signals: None,
):  # fmt: skip
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    back: list[str] = []
    monkeypatch.setattr(jobs, "requeue", lambda _, number: not back.append(number))
    (tmp_path / "control").mkdir()
    run = Cut(tmp_path, steps, early)
    assert foreground.hold(run.begin, run.follow) == 1
    assert says in capsys.readouterr().out
    assert back == queued
    (request,) = read_requests(run.paths)[0]
    assert request.verb == "interrupt"


@pytest.mark.parametrize(
    ("status", "came", "job", "queued"),
    [
        (Status.INTERRUPTED, signal.SIGUSR1, "7", True),
        (Status.INTERRUPTED, signal.SIGTERM, "7", False),  # it was cancelled
        (Status.INTERRUPTED, signal.SIGINT, "7", False),
        (Status.INTERRUPTED, signal.SIGUSR1, None, False),  # no job of Slurm
        (Status.FINISHED, signal.SIGUSR1, "7", False),
        (Status.FINISHED, None, "7", False),
        (Status.INTERRUPTED, None, "7", False),  # somebody else has asked for it
    ],
)
def test_only_the_time_limit_of_a_job_puts_it_back_and_only_when_its_run_has_ended(
    status: Status, came: signal.Signals | None, job: str | None, queued: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, signals: None,
):  # fmt: skip
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job is not None:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    back: list[bool] = []
    (tmp_path / "control").mkdir()

    class Ending(Cut):
        looks = 3

        @property
        def alive(self) -> bool:
            self.looks -= 1
            return self.looks > 0

        def follow(self, _: object, look: Callable[[], None]) -> int:
            look()
            if came is not None:
                os.kill(os.getpid(), came)
            self.step += self.steps
            look()
            return 5

    run = Ending(tmp_path, 3, early=False)
    run.status = status
    monkeypatch.setattr(jobs, "requeue", lambda *_: back.append(run.looks > 0))
    assert foreground.hold(lambda: run, run.follow) == 5
    assert back == ([False] if queued else [])
    assert [one.verb for one in read_requests(run.paths)[0]] == (["interrupt"] if came is not None else [])


@pytest.mark.parametrize("one", ENDS)
def test_what_is_begun_ignores_the_end_that_this_process_hears(one: signal.Signals, signals: None):
    signal.signal(
        one, lambda *_: None
    )  # whatever started this process may have had it ignore what is to be told apart
    for ignores in (False, True):
        if ignores:
            Heard()
        child = subprocess.Popen(
            program("lepton_kit.processes.isolated", "signal:pause", "{}"),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            # Nothing while the kernel sets it up, then the shell, then the program.
            while not (words := Path(f"/proc/{child.pid}/cmdline").read_text().split("\0"))[2:3] or not words[
                2
            ].endswith("program.py"):
                assert child.poll() is None
                time.sleep(0.01)
            ignored = int(
                Path(f"/proc/{child.pid}/status").read_text().partition("SigIgn:")[2].split()[0], 16
            )
            assert bool(ignored >> (one - 1) & 1) is ignores
        finally:
            child.kill()
            child.wait()


@pytest.mark.parametrize("one", ENDS)
def test_a_signal_that_comes_before_a_child_can_ignore_it_ends_it_as_little(
    one: signal.Signals, signals: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Struck(subprocess.Popen):
        """The signal comes at once: the shell has yet to say what is ignored."""

        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self.send_signal(one)

    monkeypatch.setattr(subprocess, "Popen", Struck)
    heard = Heard()
    child = start_detached(
        "lepton_kit.processes.isolated", ["signal:pause", "{}"], tmp_path / "log", stdin=subprocess.PIPE
    )
    try:
        blocked = 1
        while blocked:
            assert child.poll() is None
            time.sleep(0.01)
            status = Path(f"/proc/{child.pid}/status").read_text()
            blocked, ignored = (
                int(status.partition(f"{name}:")[2].split()[0], 16) >> (one - 1) & 1
                for name in ("SigBlk", "SigIgn")
            )
        assert ignored
        os.kill(os.getpid(), one)
        assert heard.signals == [one]  # and this process still hears it
    finally:
        child.kill()
        child.wait()
