"""The runs of a folder: listed with right figures, called by names, deleted and brought back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit import data
from lepton_kit.client.run import Run
from lepton_kit.data import cache
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import EventLog, RunPaths, Status, lock
from lepton_kit.runtime.reports import Ledger
from tests.configs import any_config


def make(
    folder: Path, name: str, *, epochs: int = 1, workers: int = 3, end: Status | None = Status.FINISHED
) -> Run:
    """A run as a driver leaves it: so many epochs of 4 steps, on ``workers`` at its end; not ended if ``end`` is None."""
    paths = RunPaths(folder / name)
    paths.create()
    paths.config.write_text(any_config(name="demo").to_yaml())
    paths.lock.touch()
    book = Ledger(paths, EventLog(paths.events), workers=2)
    book.status(Status.RUNNING)
    book.append(
        "plan",
        {"samples": 32, "validation_samples": 8, "global_batch": 8, "steps_per_epoch": 4, "epochs": 5,
         "total_steps": 20, "parameters": 3},
    )  # fmt: skip
    book.generation(0, [0, 1], [1, 1], 0, "start", None, "shared_memory")
    book.generation(1, list(range(workers)), [1] * workers, 0, "scaled", 0.1, "shared_memory")
    for epoch in range(epochs):
        first = epoch * 4
        book.append(
            "steps",
            {"generation": 1, "first": first, "last": first + 4, "world_size": workers, "loss": [1 / (first + k + workers) for k in range(4)],
             "metrics": {"accuracy": 0.25}, "seconds": 0.1, "busy": [0.1] * workers, "samples": [8] * workers,
             "fed": [8] * 4, "checksum": [1] * 4, "learning_rate": 0.1},
        )  # fmt: skip
        if epoch < 4:  # the last one is still to end
            book.append(
                "epoch",
                {"epoch": epoch, "step": first + 4, "metrics": {"loss": 0.4, "accuracy": 0.75},
                 "validation": {"loss": 0.6, "accuracy": 0.5}, "seconds": 0.1},
            )  # fmt: skip
    if end is not None:
        book.end(end, None)
    book.flush()
    return Run(paths)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_table_has_the_figures_of_the_last_epoch_and_the_workers_that_trained_last(folder: Path):
    make(folder, "a-20260101-000000-0000", epochs=2)
    table = lk.runs(folder).table()
    row = table.iloc[0]
    assert list(table.columns[:7]) == ["id", "name", "status", "workers", "step", "total_steps", "loss"]
    assert list(table.columns[-5:]) == ["energy_joules", "energy_origin", "began", "tags", "note"]
    assert (row["name"], row["workers"], row["step"]) == ("a", 3, 8)
    assert (row["loss"], row["accuracy"], row["val_loss"], row["val_accuracy"]) == (0.4, 0.75, 0.6, 0.5)
    assert np.isnan(row["energy_joules"])
    assert row["began"].count(":") == 2


def test_a_run_under_way_has_right_steps_and_workers_whenever_it_is_looked_at(folder: Path):
    run = make(folder, "live", epochs=1, workers=2, end=None)
    held = lock.take(run.paths)
    try:
        found = lk.runs(folder)
        assert found.table()[["status", "workers", "step"]].iloc[0].tolist() == ["running", 2, 4]
        log = EventLog(run.paths.events)
        log.append("generation", generation=2, world_size=4, ranks=[0, 1, 2, 3], cut=[2] * 4, step=4, cause="scaled",
                   seconds=0.1)  # fmt: skip
        log.append("steps", generation=2, first=4, last=7, world_size=4, loss=[0.3] * 3, metrics={"accuracy": 0.9},
                   seconds=0.1, busy=[0.1] * 4, samples=[2] * 4, fed=[8] * 3, checksum=[1] * 3, learning_rate=0.1)  # fmt: skip
        log.close()
        assert found.table()[["status", "workers", "step"]].iloc[0].tolist() == ["running", 4, 7]
    finally:
        os.close(held)


def test_a_compression_shows_as_work_on_its_run_while_it_lasts(folder: Path):
    run = make(folder, "done")
    (run.directory / "compression").mkdir()
    held = lock.take(RunPaths(run.directory / "compression"))
    assert lk.runs(folder).find("work=compression").table()["work"].tolist() == ["compression"]
    os.close(held)
    assert "work" not in lk.runs(folder).table().columns


def test_before_its_first_epoch_ends_a_run_shows_its_last_report(folder: Path):
    run = make(folder, "young", epochs=0, end=None)
    log = EventLog(run.paths.events)
    log.append("steps", generation=1, first=0, last=2, world_size=3, loss=[0.9, 0.8], metrics={"accuracy": 0.3},
               seconds=0.1, busy=[0.1] * 3, samples=[2] * 3, fed=[8] * 2, checksum=[1] * 2, learning_rate=0.1)  # fmt: skip
    log.close()
    row = lk.runs(folder).table().iloc[0]
    assert (row["loss"], row["accuracy"], row["status"]) == (0.8, 0.3, "interrupted")


def test_names_tags_and_notes_stand_in_the_table_and_not_in_the_configuration(folder: Path):
    run = make(folder, "a-20260101-000000-0000")
    before = run.paths.config.read_bytes(), run.paths.config.stat().st_mtime_ns
    run.name, run.tags, run.note = "wide", ["baseline", "old"], "too wide"
    row = lk.runs(folder).table().iloc[0]
    assert (row["id"], row["name"], row["tags"], row["note"]) == (run.id, "wide", "baseline, old", "too wide")
    assert (run.paths.config.read_bytes(), run.paths.config.stat().st_mtime_ns) == before
    assert repr(run) == "<Run wide: finished>"
    run.tags = [*run.tags, "new"]
    assert run.tags == ("baseline", "old", "new")
    run.name, run.tags, run.note = None, [], ""
    assert (run.name, run.tags, run.note) == ("a", (), "")


def test_runs_are_found_and_sorted_and_what_is_no_column_is_told(folder: Path):
    make(folder, "a", epochs=1).name = "wide"
    make(folder, "b", epochs=3).tags = ["baseline"]
    make(folder, "c", epochs=2, end=Status.FAILED)
    found = lk.runs(folder)
    assert [run.id for run in found.find("status=finished step>=4").sort_by("-step")] == ["b", "a"]
    assert [run.id for run in found.find("WIDE")] == ["a"]
    assert [run.id for run in found.find("tag=baseline")] == ["b"]
    assert found.find("nothing") == []
    with pytest.raises(
        ConfigError, match=r"query: got 'los'; expected 'loss', perhaps\? one of the columns id"
    ):
        found.find("los<1")
    with pytest.raises(ConfigError, match="sort: got 'acuracy'; expected 'accuracy', perhaps"):
        found.sort_by("-acuracy")
    with pytest.raises(ConfigError, match="query: loss<: got 'low'; expected a number"):
        found.find("loss<low")
    assert "wide" in found._repr_html_()
    assert repr(found) == f"<Runs: 3 in {folder}>"


def test_refresh_keeps_handles_and_sees_what_came_and_went(folder: Path):
    first, second = make(folder, "a"), make(folder, "b")
    found = lk.runs(folder)
    second.delete()
    make(folder, "c")
    again = found.refresh()
    assert [run.id for run in again] == ["a", "c"]
    assert again[0] is found[0]
    assert first.id == "a"


def test_an_ended_run_is_read_once_until_a_file_of_it_changes(folder: Path, monkeypatch: pytest.MonkeyPatch):
    run = make(folder, "a")
    found = lk.runs(folder)
    before = found.rows()
    with monkeypatch.context() as patch:
        patch.setattr(RunPaths, "read_summary", None)
        assert found.refresh().rows() == before
    run.note = "seen"
    assert found.rows()[0]["note"] == "seen"
    log = EventLog(run.paths.events)
    log.append("status", status="failed", cause="the disk is full", driver_pid=1)
    log.close()
    assert found.rows()[0]["cause"] == "the disk is full"


def test_an_empty_folder_has_an_empty_table_with_columns(tmp_path: Path):
    table = lk.runs(tmp_path).table()
    assert len(table) == 0
    assert {"id", "status", "loss", "tags"} <= set(table.columns)
    assert lk.runs(tmp_path).find("anything loss<1").sort_by("loss") == []


def test_the_environment_names_the_folder_where_none_is_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    make(folder, "a")
    monkeypatch.chdir(tmp_path)
    assert [run.id for run in lk.runs()] == ["a"]
    monkeypatch.setenv("LEPTON_RUNS_DIR", str(tmp_path / "other"))
    assert lk.runs() == []
    make(tmp_path / "other", "b")
    assert lk.open_run("latest").id == "b"
    assert [run.id for run in lk.runs(folder)] == ["a"]


def test_a_deleted_run_comes_back_whole(folder: Path):
    run = make(folder, "a")
    other = lk.open_run("a", folder)
    run.tags = ["keep"]
    kept = sorted(path.relative_to(run.directory) for path in run.directory.rglob("*"))
    run.delete()
    assert (run.deleted, run.status) == (True, "finished")
    assert lk.runs(folder) == []
    assert [one.id for one in lk.runs(folder, trash=True)] == ["a"]
    with pytest.raises(RunError, match=r"is in the trash; restore\(\) brings it back"):
        run.delete()
    with pytest.raises(
        RunError, match=r"a is in the trash; restore\(\) or `lepton restore a` brings it back"
    ):
        run.resume()
    with pytest.raises(RunError, match=r"folder was deleted or moved; `lepton restore a` brings it back"):
        other.resume()  # a handle of before
    with pytest.raises(RunError, match="is in the trash"):
        lk.compress(run)
    with pytest.raises(RunError, match="folder was deleted or moved"):
        lk.compress(other)
    assert not (folder / "a").exists(), "nothing has begun it anew"
    with pytest.raises(RunError, match=r"the trash has it: `lepton restore` brings it back"):
        lk.open_run("a", folder)
    run.restore()
    assert sorted(path.relative_to(run.directory) for path in run.directory.rglob("*")) == kept
    assert (run.deleted, run.tags, len(run.history)) == (False, ("keep",), 4)
    assert not (folder / ".trash").exists()
    assert lk.open_run("a", folder).labels.deleted is None
    with pytest.raises(RunError, match="a is not in the trash, but in"):
        run.restore()


def test_the_trash_lists_the_last_deleted_one_at_the_end(folder: Path):
    for name in ("a", "b", "c"):
        make(folder, name)
    for name in ("b", "c", "a"):
        lk.open_run(name, folder).delete()
    assert [run.id for run in lk.runs(folder, trash=True)] == ["b", "c", "a"]


def test_a_run_under_way_is_not_deleted(folder: Path):
    run = make(folder, "a", end=None)
    held = lock.take(run.paths)
    for forever in (False, True):
        with pytest.raises(RunError, match="a is under way; stop it before it is deleted"):
            run.delete(forever=forever)
    os.close(held)
    assert run.directory.is_dir()
    assert run.delete().deleted


def test_a_run_that_went_on_in_the_trash_is_not_removed(folder: Path):
    run = make(folder, "a").delete()
    held = lock.take(run.paths)  # by a driver of a version that did not look
    with pytest.raises(RunError, match="a is under way"):
        run.delete(forever=True)
    os.close(held)
    assert run.restore().status == "finished"


def test_a_run_that_is_compressed_now_is_not_deleted(folder: Path):
    run = make(folder, "a")
    (run.directory / "compression").mkdir()
    held = lock.claim(run.directory / "compression" / "lock")
    assert held is not None
    with pytest.raises(RunError, match="is being compressed"):
        run.delete()
    os.close(held)
    assert run.delete().deleted


def test_a_run_that_never_started_reads_the_same_after_a_delete_and_a_restore(folder: Path):
    paths = RunPaths(folder / "new")
    paths.create()
    paths.config.write_text(any_config().to_yaml())
    run = Run(paths)
    assert run.delete().restore().status == "created"


def test_a_place_that_is_taken_is_not_overwritten(folder: Path):
    run = make(folder, "a")
    shutil.copytree(run.directory, folder / ".trash" / "a")
    with pytest.raises(RunError, match="the trash has a run a already"):
        run.delete()
    (buried,) = lk.runs(folder, trash=True)
    with pytest.raises(RunError, match=f"{folder} has a run a already"):
        buried.restore()
    assert run.directory.is_dir()
    assert buried.directory.is_dir()


def test_a_run_that_cannot_be_read_can_be_deleted(folder: Path):
    run = make(folder, "a")
    run.paths.config.write_text("{")
    shutil.rmtree(run.paths.control)
    run.delete()
    assert lk.runs(folder) == []


def test_a_run_deleted_for_good_leaves_nothing(folder: Path):
    run, buried = make(folder, "a"), make(folder, "b").delete()
    run.delete(forever=True)
    buried.delete(forever=True)
    assert list(folder.iterdir()) == []
    with pytest.raises(RunError, match="there is no such run any more"):
        run.delete()


@pytest.fixture
def from_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Any]:
    """A run that has no other copy of its data than the cache's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.savez(tmp_path / "a.npz", x=np.eye(10), y=np.arange(10) % 2)
    prepared = data.npz(tmp_path / "a.npz").prepare()
    assert prepared.folder is not None
    run = make(folder, "a")
    cache.hold(prepared.folder, run.directory, linked=False)
    return run, prepared


def test_data_in_the_cache_stay_while_a_run_is_in_the_trash_and_go_with_it(from_cache: tuple[Run, Any]):
    run, _ = from_cache
    run.delete()
    assert cache.clear(everything=True) == []
    run.restore()
    assert cache.clear(everything=True) == []
    run.delete(forever=True)
    assert len(cache.clear()) == 1
