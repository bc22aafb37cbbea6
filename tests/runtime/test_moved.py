"""A run's folder that is moved, deleted, replaced, or loses a file while the run is under way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lepton_kit as lk
from lepton_kit.errors import RunError
from lepton_kit.panels.live import LivePanel
from lepton_kit.runtime.start import start_driver
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.processes
PATIENCE = 120.0


@pytest.fixture
def run(runs_dir: Path) -> Iterator[lk.Run]:
    """A run that trains, with small checkpoints all the time."""
    started = lk.launch(
        lk.LeptonModel((8, 8, 1), 10, 4), lk.data.sample("digits"), workers=2, global_batch=500, epochs=100_000,
        checkpoint_seconds=0.05, log_seconds=0.05, runs_dir=runs_dir,
    )  # fmt: skip
    driver = None
    try:
        eventually(lambda: started.view().step > 1, "training")
        driver = started.view().driver_pid
        yield started
    finally:
        for process in processes_of(driver or -1):
            process.kill()


def driver_of(run: lk.Run) -> int:
    pid = run.view().driver_pid
    assert pid is not None
    return pid


def ended(driver: int) -> None:
    start = time.monotonic()
    eventually(lambda: not processes_of(driver), "all ended")
    print(f"ended after {time.monotonic() - start:.1f} s")


@pytest.mark.long
def test_a_moved_run_goes_on_in_its_new_place(run: lk.Run, runs_dir: Path, tmp_path: Path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    old, place = run.directory, other / "renamed"
    old.rename(place)
    old.mkdir()
    (old / "checkpoints").mkdir()  # not the run's: whoever writes here by name is found out
    (old / "logs").mkdir()
    moved = lk.open_run(place)
    assert moved.alive
    step = moved.view().step
    eventually(lambda: moved.view().step > step + 100, "training on")
    assert any("was moved" in text and str(place) in text for text in moved.warnings)
    moved.scale(3)
    eventually(lambda: moved.view().world_size == 3, "scaled there")
    eventually(lambda: moved.paths.worker_log(2).exists(), "logs there")
    step = moved.view().step
    eventually(lambda: moved.view().checkpoints[-1]["step"] > step, "saving there")
    moved.stop().wait(PATIENCE)
    assert moved.status == "stopped"
    assert lk.audit(moved).problems == ()
    assert sorted(path.name for path in old.rglob("*")) == ["checkpoints", "logs"]
    assert run.directory == place, "who launched it has followed it"
    assert (run.status, run.id) == ("stopped", "renamed")
    moved.resume()
    eventually(lambda: moved.view().step > step + 200, "resumed there")
    moved.stop().wait(PATIENCE)


@pytest.mark.long
def test_a_moved_run_ends_with_its_model_in_the_new_place(runs_dir: Path, tmp_path: Path):
    run = lk.launch(
        lk.LeptonModel((8, 8, 1), 10, 4), lk.data.sample("digits"), workers=1, global_batch=500,
        epochs=1000, max_steps=400, keep_best="val_loss", runs_dir=runs_dir,
    )  # fmt: skip
    place = tmp_path / "moved before it has begun"
    run.directory.rename(place)
    moved = lk.open_run(place)
    moved.wait(PATIENCE)
    assert moved.status == "finished"
    assert moved.best is not None
    assert moved.paths.final_model.exists()
    assert list(runs_dir.iterdir()) == []


@pytest.mark.long
def test_a_panel_follows_a_run_whose_folder_is_renamed_and_says_when_it_is_deleted(run: lk.Run):
    panel = LivePanel(run)
    place = run.directory.with_name("renamed")
    run.directory.rename(place)
    try:
        step = panel.seen.step if panel.seen else 0
        eventually(lambda: panel.seen is not None and panel.seen.step > step + 100, "followed")
        assert panel.state == "running"
        assert "renamed</b>" in panel.summary.value
        run.pause()  # heard there
        eventually(lambda: panel.state == "paused", "paused")
        run.resume()
        driver = driver_of(run)
        while place.exists():
            shutil.rmtree(place, ignore_errors=True)
        ended(driver)
        eventually(lambda: panel.state == "interrupted", "told")
        assert "its folder was deleted" in panel.summary.value
        assert "Resume" not in panel.summary.value
    finally:
        panel.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_run_ends_and_nothing_comes_back(run: lk.Run, runs_dir: Path, replaced: bool):
    driver = driver_of(run)
    while run.directory.exists():  # a checkpoint may come in between
        shutil.rmtree(run.directory, ignore_errors=True)
    if replaced:
        run.directory.mkdir()
    ended(driver)
    assert not run.alive
    assert [list(path.iterdir()) for path in runs_dir.iterdir()] == ([[]] if replaced else [])
    assert "deleted" in str(run.cause)
    with pytest.raises(RunError, match="deleted"):
        run.wait()
    if not replaced:
        with pytest.raises(RunError, match="deleted or moved"):
            run.resume()


def test_a_run_without_its_log_ends_and_says_why(run: lk.Run):
    driver = driver_of(run)
    run.paths.events.unlink()
    ended(driver)
    assert run.paths.read_status()["status"] == "failed"
    assert "events.jsonl: was deleted" in run.paths.read_status()["cause"]
    assert not run.paths.events.exists()


def test_no_second_driver_comes_where_the_lock_file_was_deleted(run: lk.Run):
    run.paths.lock.unlink()
    assert run.alive
    with pytest.raises(RunError, match="has a driver"):
        start_driver(run.paths)
    run.stop().wait(PATIENCE)
    assert run.status == "stopped"
