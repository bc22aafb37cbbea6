"""The verbs that keep order among runs: what they print, what they change, and how they say no."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

import lepton_kit as lk
from lepton_kit import cli
from lepton_kit.rundir import lock
from tests.client.test_table import make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path, "conv-20260101-000000-0001", epochs=1)
    make(tmp_path, "lstm-20260102-000000-0002", epochs=2)
    return tmp_path


def call(folder: Path, *arguments: str) -> int:
    return cli.main(["--runs-dir", str(folder), *arguments])


def test_runs_are_listed_found_and_sorted(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "runs", "--sort=-step", "--ids") == 0
    assert capsys.readouterr().out.split() == ["lstm-20260102-000000-0002", "conv-20260101-000000-0001"]
    assert call(folder, "runs", "step<8", "conv", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["step"], row["energy_joules"]) == ("conv", 4, None)
    assert call(folder, "runs") == 0
    heading = capsys.readouterr().out.splitlines()[0].split()
    assert heading[:5] == ["id", "status", "workers", "step", "total_steps"]
    assert not {"name", "energy_joules", "note", "tags"} & set(heading)
    assert call(folder, "runs", "step>100") == 0
    assert "no runs that fit 'step>100' in" in capsys.readouterr().out
    assert call(folder, "runs", "stepp>100") == 1
    assert "'step', perhaps?" in capsys.readouterr().err


def test_runs_as_csv_to_the_screen_and_to_a_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "runs", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["name"], row["val_accuracy"]) for row in rows] == [("conv", "0.5"), ("lstm", "0.5")]
    assert call(folder, "runs", "conv", "--csv", str(folder / "runs.csv")) == 0
    assert "1 runs in" in capsys.readouterr().err
    assert len((folder / "runs.csv").read_text().splitlines()) == 2
    assert call(folder, "runs", "--csv", str(folder / "none" / "runs.csv")) == 1
    assert "--csv: got" in capsys.readouterr().err


def test_a_name_tags_and_a_note_are_given_and_taken(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "rename", "conv", "wide net") == 0
    assert call(folder, "tag", "conv", "base", "8bit") == 0
    assert call(folder, "tag", "conv", "new", "--remove", "8bit") == 0
    assert call(folder, "note", "conv", "too wide") == 0
    assert call(folder, "note", "conv") == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["base", "8bit", "base", "new", "too wide", "too wide"]
    run = lk.open_run("conv", folder)
    assert (run.name, run.tags, run.note) == ("wide net", ("base", "new"), "too wide")
    assert call(folder, "runs") == 0
    assert "wide net" in capsys.readouterr().out
    assert call(folder, "rename", "conv") == 0
    assert "is called conv" in capsys.readouterr().out
    assert call(folder, "tag", "conv", "--remove", "8bit") == 1
    assert "--remove: got '8bit'; expected one of its tags: base, new" in capsys.readouterr().err
    assert call(folder, "tag", "conv", "two words") == 1
    assert "tags: got 'two words'" in capsys.readouterr().err


def test_runs_go_into_the_trash_and_come_back(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "trash") == 0
    assert "nothing in" in capsys.readouterr().out
    assert call(folder, "restore") == 1
    assert "is empty" in capsys.readouterr().err
    assert call(folder, "rm", "conv", "lstm") == 0
    said = capsys.readouterr()
    assert said.out.count("is in the trash") == 2
    assert "`lepton restore`" in said.err
    assert call(folder, "trash", "--json") == 0
    assert [row["id"][:4] for row in json.loads(capsys.readouterr().out)] == ["conv", "lstm"]
    assert call(folder, "runs", "--trash", "--ids") == 0
    assert len(capsys.readouterr().out.split()) == 2
    assert call(folder, "restore") == 0
    assert capsys.readouterr().out.startswith("lstm-20260102-000000-0002 is back in")
    assert call(folder, "restore", "conv") == 0
    assert len(lk.runs(folder)) == 2


def test_a_wrong_name_deletes_none_of_the_others(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "rm", "conv", "nothing") == 1
    assert "nothing is no run in" in capsys.readouterr().err
    assert len(lk.runs(folder)) == 2


def test_a_run_under_way_is_left_and_the_others_go(folder: Path, capsys: pytest.CaptureFixture[str]):
    held = lock.take(lk.open_run("conv", folder).paths)
    assert call(folder, "rm", "conv", "lstm") == 1
    assert "conv-20260101-000000-0001 is under way; stop it" in capsys.readouterr().err
    assert [run.id[:4] for run in lk.runs(folder)] == ["conv"]
    os.close(held)


def test_nothing_is_removed_for_good_unasked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert call(folder, "rm", "conv", "--forever") == 1
    assert "--yes: got 'nothing'" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    assert call(folder, "rm", "conv", "--forever") == 1
    assert "nothing was removed" in capsys.readouterr().err
    assert len(lk.runs(folder)) == 2
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert call(folder, "rm", "conv", "--forever") == 0
    assert call(folder, "rm", "lstm") == 0
    assert call(folder, "rm", "lstm", "--forever", "--yes") == 0
    assert lk.runs(folder) == lk.runs(folder, trash=True) == []


def test_the_trash_is_emptied(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "rm", "conv") == 0
    assert call(folder, "trash", "list") == 0
    assert "megabytes" in capsys.readouterr().out
    assert call(folder, "trash", "clear", "--yes") == 0
    assert "1 run removed from" in capsys.readouterr().out
    assert call(folder, "trash", "clear") == 0
    assert "0 runs removed" in capsys.readouterr().out
    assert len(lk.runs(folder)) == 1
