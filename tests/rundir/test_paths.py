"""Run directories: private, found by id, and never half written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lepton_kit.errors import RunError
from lepton_kit.rundir import RunPaths, find_run, list_runs, new_run_id
from lepton_kit.rundir.paths import write_atomically


def make(folder: Path, name: str) -> RunPaths:
    paths = RunPaths(folder / name)
    paths.create()
    paths.config.write_text("{}")
    os.utime(paths.config, (len(list(folder.iterdir())),) * 2)
    return paths


def test_a_run_directory_is_its_owners_alone_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        paths = make(tmp_path, "a")
    finally:
        os.umask(before)
    for folder in (paths.root, paths.control, paths.checkpoints, paths.logs):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_run_directory_is_made_once(tmp_path: Path):
    make(tmp_path, "a")
    with pytest.raises(FileExistsError):
        RunPaths(tmp_path / "a").create()


def test_runs_are_listed_oldest_first(tmp_path: Path):
    for name in ("b", "a", "c"):
        make(tmp_path, name)
    (tmp_path / "no-run").mkdir()
    assert [run.id for run in list_runs(tmp_path)] == ["b", "a", "c"]
    assert list_runs(tmp_path / "none") == []


def test_a_run_is_found_by_id_beginning_path_and_latest(tmp_path: Path):
    first, second = make(tmp_path, "alpha"), make(tmp_path, "beta")
    assert find_run("alpha", tmp_path) == first
    assert find_run("be", tmp_path) == second
    assert find_run(first.root) == first
    assert find_run("latest", tmp_path) == second


def test_an_id_that_begins_another_is_found(tmp_path: Path):
    first = make(tmp_path, "run")
    make(tmp_path, "run-2")
    assert find_run("run", tmp_path) == first


def test_no_run_and_several_runs_are_told_with_what_is_there(tmp_path: Path):
    with pytest.raises(RunError, match="there: no run at all"):
        find_run("x", tmp_path)
    make(tmp_path, "run-1")
    make(tmp_path, "run-2")
    with pytest.raises(RunError, match=r"beginning of several runs.*run-1, run-2"):
        find_run("run", tmp_path)
    with pytest.raises(RunError, match=r"x is no run.*run-1, run-2"):
        find_run("x", tmp_path)
    with pytest.raises(RunError, match="is no run"):
        find_run("", tmp_path)


def test_a_status_that_was_never_written_reads_as_created(tmp_path: Path):
    assert make(tmp_path, "a").read_status()["status"] == "created"


def test_a_status_that_cannot_be_read_names_its_file(tmp_path: Path):
    paths = make(tmp_path, "a")
    paths.status.write_text("{")
    with pytest.raises(RunError, match=r"status\.json: cannot be read"):
        paths.read_status()


def test_a_failed_write_leaves_the_old_text_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_ids_differ_and_begin_with_the_name():
    assert re.fullmatch(r"run-\d{8}-\d{6}-[0-9a-f]{4}", new_run_id("run"))
