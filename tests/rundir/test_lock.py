"""One driver a run."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lepton_kit.errors import RunError
from lepton_kit.rundir import RunPaths, lock


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path / "run")
    made.create()
    return made


def test_a_run_that_nobody_drove_is_not_held(paths: RunPaths):
    assert not lock.held(paths)


def test_a_second_driver_is_refused_until_the_first_lets_go(paths: RunPaths):
    descriptor = lock.take(paths)
    assert lock.held(paths)
    with pytest.raises(RunError, match="has a driver already"):
        lock.take(paths, patience=0)
    os.close(descriptor)
    assert not lock.held(paths)
    os.close(lock.take(paths, patience=0))


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.name)])
def test_a_lock_file_that_is_none_keeps_nobody_out_and_leaves_no_lock_behind(
    paths: RunPaths, make: Callable[[Path], object]
):
    make(paths.lock)
    assert not lock.held(paths)
    os.close(lock.take(paths))
    assert not lock.held(paths)


def test_no_lock_is_left_where_its_file_cannot_be_made(paths: RunPaths, monkeypatch: pytest.MonkeyPatch):
    def full(file: Path, patience: float) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr(lock, "claim", full)
    with pytest.raises(OSError, match="No space left"):
        lock.take(paths)
    assert not lock.held(paths), "else the run would be under way for as long as this process lives"


def test_a_reader_that_looks_does_not_keep_a_driver_out(paths: RunPaths):
    descriptor = lock.take(paths)
    duplicate = os.dup(descriptor)
    os.close(descriptor)
    assert lock.held(paths), "the lock passes on with its descriptor"
    os.close(duplicate)
    assert not lock.held(paths)


def test_who_wants_a_lock_waits_for_it_a_moment(tmp_path: Path):
    file = tmp_path / "lock"
    held = lock.claim(file)
    assert held is not None
    timer = threading.Timer(0.3, os.close, [held])
    timer.start()
    mine = lock.claim(file, patience=10)
    timer.join()
    assert mine is not None
    os.close(mine)
