"""Ranks that are killed one after another, and checkpoints that are damaged: the run goes on, and waits for no time-out."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from tests.processes import processes_of

pytestmark = pytest.mark.processes
HANG_SECONDS = 2000.0
"""Far longer than the test waits: a survivor that waits it out fails the test."""
PATIENCE = 300.0


def until(run: lk.Run, condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline or not run.alive:
            raise AssertionError(
                f"not {what}: {run.status}, {run.cause}, {run.view().counts()}\n{run.logs()}"
            )
        time.sleep(0.01)


def launch(folder: Path, **options: Any) -> lk.Run:
    options = {"workers": 2, "global_batch": 100, "log_seconds": 0.05, **options}
    return lk.launch(
        lk.LeptonModel((8, 8, 1), 10, 8, 1),
        lk.data.sample("digits"),
        epochs=100_000,
        runs_dir=folder,
        **options,
    )


@pytest.mark.parametrize("allreduce", ["auto", pytest.param("horovod", marks=pytest.mark.long)])
def test_survivors_see_a_killed_rank_without_waiting_for_the_time_out(tmp_path: Path, allreduce: str):
    """Also one that dies just after the ring has formed, when not every rank may have the state yet."""
    draw = random.Random(4)
    run = launch(
        tmp_path, workers=3, standby=1, allreduce=allreduce, hang_seconds=HANG_SECONDS, max_failures=99,
        checkpoint_seconds=1,
    )  # fmt: skip
    try:
        until(
            run,
            lambda: run.view().counts()["training"] == 3,
            "forming for the first time, without a checkpoint",
        )
        for pause in [draw.uniform(0, 0.3) for _ in range(5)]:
            ranks = [worker for worker in run.view().workers if worker["state"] == "training"]
            generations = len(run.view().generations)
            os.kill(draw.choice(ranks)["pid"], signal.SIGKILL)
            until(run, lambda n=generations: len(run.view().generations) > n, "formed again")
            time.sleep(pause)
            ranks = [worker for worker in run.view().workers if worker["state"] == "training"]
            if len(ranks) > 1:
                generations = len(run.view().generations)
                os.kill(draw.choice(ranks)["pid"], signal.SIGKILL)
                until(run, lambda n=generations: len(run.view().generations) > n, "formed once more")
            step = run.view().step
            until(
                run, lambda n=step: run.view().counts()["training"] == 3 and run.view().step > n, "going on"
            )
        assert not any("hung" in incident["what"] for incident in run.view().incidents)
        run.stop().wait(PATIENCE)
        assert lk.audit(run).problems == ()
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()


def test_a_ring_goes_on_while_who_is_to_join_it_is_held_up(tmp_path: Path):
    run = launch(tmp_path, workers=1, standby=1, hang_seconds=HANG_SECONDS)
    held: int | None = None
    try:
        until(run, lambda: run.view().step > 0 and run.view().counts()["standby"] == 1, "training")
        held = next(one["pid"] for one in run.view().workers if one["state"] == "standby")
        os.kill(held, signal.SIGSTOP)
        run.scale(2)
        until(run, lambda: any(one["verb"] == "scale" for one in run.view().requests), "hearing of it")
        for _ in range(3):  # a block that was under way may still come
            step = run.view().step
            until(run, lambda n=step: run.view().step > n, "training beside one that is held up")
        assert len(run.view().generations) == 1
        os.kill(held, signal.SIGCONT)
        until(run, lambda: run.view().counts()["training"] == 2, "taking it in")
        run.stop().wait(PATIENCE)
        assert lk.audit(run).problems == ()
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()


@pytest.mark.parametrize("name", ["arrays.npz", "history.npy", "meta.json"])
def test_a_damaged_checkpoint_is_passed_over_and_the_one_before_counts(tmp_path: Path, name: str):
    run = launch(tmp_path, checkpoint_seconds=0.1, workers=1)
    try:
        until(run, lambda: len(run.view().checkpoints) > 3, "saving")
        driver = run.view().driver_pid
        assert driver is not None
        os.kill(driver, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while processes_of(driver):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        older, newest = sorted(run.paths.checkpoints.glob("step-*"))[-2:]
        file = newest / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0x04
        file.write_bytes(content)
        generations = len(run.view().generations)
        run.resume()
        until(run, lambda: len(run.view().generations) > generations, "going on")
        assert any(
            f"checkpoints/{newest.name} cannot be used" in text and f"{newest.name}/{name}" in text
            for text in run.warnings
        )
        resumed = run.view().generations[-1]
        assert (
            resumed["cause"] == f"resumed from the checkpoint at step {int(older.name.removeprefix('step-'))}"
        )
        run.stop().wait(PATIENCE)
        assert lk.audit(run).problems == ()
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()
