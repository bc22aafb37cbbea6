"""The driver's book: what it writes, what it recalls, and what a full disk or a crash of the machine does to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lepton_kit.rundir import EventLog, EventReader, RunPaths, Status
from lepton_kit.rundir.paths import RESERVE_BYTES
from lepton_kit.runtime.reports import Ledger
from lepton_kit.training.state import history_array, load_history, save_checkpoint

NO_HISTORY = history_array([])


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path / "run")
    made.create()
    return made


def open_ledger(paths: RunPaths) -> Ledger:
    return Ledger(paths, EventLog(paths.events))


def kinds(paths: RunPaths) -> list[str]:
    return [event["kind"] for event in EventReader(paths.events).poll()]


def steps(first: int, last: int) -> dict:
    count = last - first
    return {
        "generation": 1, "first": first, "last": last, "world_size": 1, "loss": [0.5] * count, "metrics": {},
        "seconds": 0.1, "busy": [0.1], "samples": [4 * count], "fed": [4] * count, "checksum": [0] * count,
    }  # fmt: skip


def epoch(number: int, step: int) -> dict:
    return {"epoch": number, "step": step, "metrics": {}, "validation": None, "seconds": 0.1}


def test_a_status_is_logged_when_it_changes_and_the_file_tells_the_last(paths: RunPaths):
    ledger = open_ledger(paths)
    for status in (Status.STARTING, Status.STARTING, Status.RUNNING):
        ledger.status(status)
    ledger.end(Status.FAILED, "a cause")
    assert kinds(paths).count("status") == 3
    assert json.loads(paths.status.read_text())["cause"] == "a cause"
    assert not paths.reserve.exists()


def test_workers_are_logged_when_their_memory_has_grown_by_much(paths: RunPaths):
    ledger = open_ledger(paths)
    row = {"worker": 0, "pid": 1, "state": "training", "rank": 0, "memory_bytes": 400_000_000}
    ledger.workers(1, [row])
    ledger.workers(1, [row | {"memory_bytes": 480_000_000}])
    assert kinds(paths).count("workers") == 1
    ledger.workers(1, [row | {"memory_bytes": 1_500_000_000}])
    assert kinds(paths).count("workers") == 2
    assert ledger.view.workers[0]["memory_bytes"] == 1_500_000_000


def test_workers_are_logged_when_a_state_changes_not_when_memory_hardly_does(paths: RunPaths):
    ledger = open_ledger(paths)
    row = {"worker": 0, "pid": 1, "state": "standby", "rank": None, "memory_bytes": 1}
    ledger.workers(1, [row])
    ledger.workers(1, [row | {"memory_bytes": 2}])
    ledger.workers(1, [row | {"state": "training", "rank": 0}])
    ledger.end(Status.STOPPED, None)
    assert kinds(paths).count("workers") == 3  # the third is the end, without workers


def test_without_a_checkpoint_everything_begins_anew(paths: RunPaths):
    ledger = open_ledger(paths)
    ledger.append("steps", steps(0, 5))
    ledger.append("epoch", epoch(0, 3))
    assert ledger.return_to_checkpoint() is None
    assert (ledger.reported_step, ledger.logged_epochs) == (0, 0)


def test_a_later_driver_goes_back_to_the_checkpoint(paths: RunPaths):
    first = open_ledger(paths)
    first.append("steps", steps(0, 9))
    first.append("epoch", epoch(0, 3))
    first.append("epoch", epoch(1, 6))
    save_checkpoint(paths.checkpoints, 4, [np.zeros(1)], NO_HISTORY, logged_epochs=1)
    second = open_ledger(paths)
    assert (second.reported_step, second.logged_epochs) == (9, 2)
    checkpoint = second.return_to_checkpoint()
    assert checkpoint is not None
    assert checkpoint.step == 4
    assert (second.reported_step, second.logged_epochs) == (4, 1)


def test_a_log_that_ends_before_the_checkpoint_is_completed_from_it(paths: RunPaths):
    ledger = open_ledger(paths)
    ledger.append("steps", steps(0, 2))
    history = history_array([(step, 0.5, np.arange(6.0)) for step in range(4)])
    save_checkpoint(paths.checkpoints, 4, [np.zeros(1)], history, logged_epochs=1)
    checkpoint = ledger.return_to_checkpoint()
    assert checkpoint is not None
    assert ledger.reported_step == 2
    assert [entry[0] for entry in load_history(checkpoint.path)] == [0, 1, 2, 3]
    assert ledger.logged_epochs == 1


def test_a_driver_that_dies_before_it_tells_what_a_checkpoint_told_leaves_that_to_the_next(paths: RunPaths):
    first = open_ledger(paths)
    first.append("steps", steps(0, 2))
    save_checkpoint(paths.checkpoints, 4, [np.zeros(1)], NO_HISTORY, logged_epochs=0)
    first.return_to_checkpoint()
    first.generation(1, [0], [1.0], 4, "resumed", None, "shared_memory")
    assert first.reported_step == 2
    assert open_ledger(paths).reported_step == 2


def test_a_new_driver_says_who_it_is_even_if_the_last_got_no_further(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
):
    for driver in (11, 12):
        monkeypatch.setattr(os, "getpid", lambda driver=driver: driver)
        ledger = open_ledger(paths)
        ledger.status(Status.STARTING)
        assert open_ledger(paths).view.driver_pid == driver


def test_what_the_disk_refuses_is_not_durable(paths: RunPaths, monkeypatch: pytest.MonkeyPatch):
    ledger = open_ledger(paths)
    ledger.append("steps", steps(0, 3))
    assert ledger.durable_step == 0
    ledger.sync()
    assert ledger.durable_step == 3

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    for refused in ("write", "fsync"):
        with monkeypatch.context() as disk:
            disk.setattr(os, refused, full)
            ledger.append("steps", steps(3, 5))
            ledger.sync()
            assert ledger.durable_step == 3
    ledger.flush()
    ledger.sync()
    assert ledger.durable_step == 5
    assert open_ledger(paths).durable_step == 5


@pytest.mark.parametrize("spoilt", ["arrays.npz", "meta.json"])
def test_a_checkpoint_that_a_crash_spoilt_is_passed_over(paths: RunPaths, spoilt: str):
    for step in (4, 8):
        save_checkpoint(paths.checkpoints, step, [np.zeros(9)], NO_HISTORY, logged_epochs=0)
    file = paths.checkpoints / "step-000000008" / spoilt
    file.write_bytes(bytes(file.stat().st_size))
    ledger = open_ledger(paths)
    checkpoint = ledger.last_checkpoint()
    assert checkpoint is not None
    assert checkpoint.step == 4
    assert "step-000000008 cannot be used" in ledger.view.warnings[-1]["text"]


def test_a_checkpoint_without_history_tells_nothing(tmp_path: Path):
    assert load_history(tmp_path) == []


def test_checkpoints_that_were_never_completed_are_cleared_away(paths: RunPaths):
    (paths.checkpoints / ".step-3.77").mkdir()
    open_ledger(paths)
    assert list(paths.checkpoints.iterdir()) == []


def test_on_a_full_disk_the_reserve_makes_room_for_the_last_words(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
):
    ledger = open_ledger(paths)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if paths.reserve.exists():
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    ledger.append("steps", steps(0, 3))
    assert kinds(paths) == []
    ledger.end(Status.FAILED, "the disk is full")
    assert kinds(paths) == ["steps", "workers", "status"]


def test_the_last_words_of_a_run_fit_into_the_reserve_whatever_waits(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
):
    ledger = open_ledger(paths)
    write, room = os.write, [0]

    def limited(descriptor: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    unlink = type(paths.reserve).unlink

    def released(path: object, **options: bool) -> None:
        if path == paths.reserve and paths.reserve.exists():
            room[0] += RESERVE_BYTES
        unlink(path, **options)  # type: ignore[arg-type]  # the path that it was called of

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", limited)
        disk.setattr(type(paths.reserve), "unlink", released)
        for k in range(2000):
            ledger.append("steps", steps(k, k + 1))
            ledger.append("warning", {"text": f"checkpoint at step {k} was not written"})
            ledger.append("epoch", epoch(k, k + 1))
        ledger.end(Status.FAILED, "the disk is full")
    view = open_ledger(paths).view
    assert (view.status, view.cause) == (Status.FAILED, "the disk is full")
    assert [warning["text"] for warning in view.warnings] == [
        f"the disk was full: 2000 events of the kind {kind!r} are not in this log"
        for kind in ("steps", "warning", "epoch")
    ]
