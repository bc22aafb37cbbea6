"""A run whose driver is on another host: what is here only follows it, and may end and come back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import lepton_kit as lk
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.hosts.away_talk import Standing
from lepton_kit.runtime.hosts.follower import Follower
from lepton_kit.training import state
from tests.configs import any_config
from tests.hosts.lab import Lab
from tests.soak.storm import alone, apart, compiled

pytestmark = pytest.mark.processes
PATIENCE = 240.0


def until(condition: Callable[[], Any], what: str, run: lk.Run) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert not run.status.is_over, (what, run.status, run.cause)
        assert time.monotonic() < deadline, (what, run.status, run.cause)
        time.sleep(0.05)


def followers(run: lk.Run) -> list[psutil.Process]:
    """What follows a run on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "lepton_kit.runtime.hosts.follower" in words and str(run.directory) in words:
            found.append(process)
    return found


@pytest.mark.long
def test_a_driver_on_a_host_goes_on_while_nobody_follows_it(net: Lab, runs_dir: Path):
    data = lk.data.sample("digits")
    run = lk.launch(
        compiled(), data, workers=2, driver="one", global_batch=700, epochs=1_000_000, checkpoint_seconds=2,
        log_seconds=0.1, runs_dir=runs_dir,
    )  # fmt: skip
    until(lambda: run.view().step > 10, "training there", run)
    assert run.view().driver_pid in net["one"].processes()
    for process in followers(run):
        for child in process.children():
            child.kill()
    before = run.view().step
    until(lambda: run.view().step > before, "coming back after the connection was lost", run)
    for process in followers(run):  # as a laptop that is closed
        os.kill(process.pid, signal.SIGKILL)
    until(lambda: run.status == "away", "knowing that nobody follows it", run)
    assert "lk.attach('one:" in str(run.cause)
    with pytest.raises(RunError, match="away: its driver is on one"):
        run.wait(PATIENCE)
    before = run.view().step
    other = lk.attach(f"one:{run.id}", runs_dir / "elsewhere")
    assert lk.attach(f"one:{run.id}", runs_dir).id == run.id
    for one in (run, other):
        until(lambda one=one: one.view().step > before + 10, "hearing of it again", one)
    run.scale(1)
    until(lambda: run.view().generations[-1]["world_size"] == 1, "carrying a request there", run)
    other.stop()
    for one in (run, other):
        one.wait(PATIENCE)
        assert one.status == "stopped", one.cause
        assert one.view().step == run.view().step
        assert one.model() is not None
    assert lk.audit(run).problems == ()
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = alone(run.config.replace(**{"training.max_steps": run.view().step}), data.prepare())
    assert apart(expected, arrays) < 1e-5
    deadline = time.monotonic() + PATIENCE
    while net["one"].processes() or followers(run) or followers(other):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_can_not_be_attached_to_is_said(runs_dir: Path):
    with pytest.raises(ConfigError, match="attach: got 'gpu-box'; expected HOST:ID"):
        lk.attach("gpu-box", runs_dir)
    with pytest.raises(RunError, match=r"localhost/x: has no run no-such; there: "):
        lk.attach("localhost/x:no-such", runs_dir)
    assert list(runs_dir.iterdir()) == []


def test_a_driver_is_looked_for_before_anything_begins(runs_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEPTON_SSH_COMMAND", "false")
    with pytest.raises(RunError, match="driver: nowhere: "):
        lk.launch(compiled(), lk.data.sample("digits"), workers=1, driver="nowhere", runs_dir=runs_dir)
    assert list(runs_dir.iterdir()) == []


def test_a_run_that_ended_meanwhile_is_not_started_again(tmp_path: Path):
    paths = RunPaths(tmp_path / "run")
    paths.create()
    paths.config.write_text(any_config(workers={"driver": "one"}).to_yaml())
    follower = Follower(paths, drive=True)
    follower._hear(Standing(driven=True))
    assert not follower._drive
