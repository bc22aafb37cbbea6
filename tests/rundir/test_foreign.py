"""Whatever lies in a folder of runs, the run that it spoils is listed as such and the others are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lepton_kit import cli
from lepton_kit.client.run import Run, open_run
from lepton_kit.client.table import runs
from lepton_kit.errors import LeptonError
from lepton_kit.rundir import EventLog, RunPaths, RunView, Status, list_runs
from lepton_kit.runtime.reports import Ledger
from tests.configs import any_config

DEEP = "[" * 100_000
TOLD = {
    "generation": 1, "first": 0, "last": 2, "world_size": 1, "loss": [0.5, 0.25], "metrics": {"accuracy": 0.5},
    "seconds": 0.1, "busy": [0.1], "samples": [8], "fed": [4, 4], "checksum": [1, 2], "learning_rate": 0.1,
}  # fmt: skip


def make(folder: Path, name: str, *, ended: bool = True) -> RunPaths:
    paths = RunPaths(folder / name)
    paths.create()
    paths.config.write_text(any_config(name="demo").to_yaml())
    ledger = Ledger(paths, EventLog(paths.events), workers=2)
    ledger.status(Status.RUNNING)
    ledger.append("steps", TOLD)
    ledger.append(
        "epoch", {"epoch": 0, "step": 2, "seconds": 0.1, "metrics": {}, "validation": {"loss": 0.3}}
    )
    if ended:
        ledger.end(Status.FINISHED, None)
    return paths


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


SPOILT: dict[str, Callable[[RunPaths], object]] = {
    "log is a pipe": lambda run: pipe(run.events),
    "log is a folder": lambda run: folder_instead(run.events),
    "configuration is a pipe": lambda run: pipe(run.config),
    "configuration is a folder": lambda run: folder_instead(run.config),
    "configuration is foreign": lambda run: run.config.write_text("services:\n  web: {image: nginx}\n"),
    "configuration is no YAML": lambda run: run.config.write_bytes(b"\x00\xff{"),
    "configuration is deep": lambda run: run.config.write_text(DEEP),
    "configuration has a wrong date": lambda run: run.config.write_text("a: 2020-13-45\n"),
    "configuration is of a later version": lambda run: run.config.write_text("version: 99\nmodel: {}\n"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_run_is_listed_as_such_and_the_others_are_read(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
):
    make(tmp_path, "good")
    bad = make(tmp_path, "bad", ended=False)
    SPOILT[how](bad)
    os.utime(bad.config, (2e9, 2e9))
    table = runs(tmp_path).table().set_index("id")
    assert list(table.index) == ["good", "bad"]
    assert list(table.loc["good", ["status", "step", "loss", "val_loss", "workers"]]) == [
        "finished",
        2,
        0.25,
        0.3,
        2,
    ]
    assert table.loc["bad", "status"] == "unreadable"
    assert str(bad.root) in table.loc["bad", "problem"]
    assert cli.main(["--runs-dir", str(tmp_path), "runs", "--json"]) == 0
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["finished", "unreadable"]
    assert repr(runs(tmp_path)[0]) == "<Run demo: finished>"
    assert "bad" in repr(runs(tmp_path)[1]) or "demo" in repr(runs(tmp_path)[1])
    with pytest.raises(LeptonError, match="bad"):
        _ = open_run("bad", tmp_path).status


@pytest.mark.parametrize("text", [DEEP, "[]", '{"status": 7}', "\0", '{"cause": null}'])
def test_a_spoilt_status_file_leaves_the_log_to_tell(tmp_path: Path, text: str):
    paths = make(tmp_path, "run")
    paths.status.write_text(text)
    assert runs(tmp_path).table()["status"].tolist() == ["finished"]
    assert Run(paths).status == "finished"


def test_an_ended_run_is_listed_without_its_log_unless_that_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = make(tmp_path, "run")
    before = runs(tmp_path).table().to_json()
    with monkeypatch.context() as patch:
        patch.setattr(RunView, "refresh", None)
        patch.setattr("lepton_kit.client.standing.RunConfig.load", None)
        assert runs(tmp_path).table().to_json() == before
    EventLog(paths.events).append("steps", **{**TOLD, "first": 2, "last": 4})
    assert runs(tmp_path).table()["step"].tolist() == [4]


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        '{"kind": 7, "time": 1}',
        '{"kind": "steps"}',
        '{"kind": "steps", "time": 1, "first": 0}',
        json.dumps({"kind": "steps", "time": 1, **TOLD, "loss": [0.5]}),
        json.dumps({"kind": "steps", "time": 1, **TOLD, "loss": ["a", "b"]}),
        json.dumps({"kind": "steps", "time": 1, **TOLD, "last": -3}),
        json.dumps({"kind": "steps", "time": "now", **TOLD}),
        json.dumps({"kind": "steps", "time": 1, **TOLD, "metrics": {"accuracy": [1]}}),
        '{"kind": "status", "time": 1, "status": ["finished"]}',
        '{"kind": "workers", "time": 1, "wanted": 1, "workers": [7]}',
        '{"kind": "workers", "time": 1, "wanted": 1, "workers": [{}]}',
        '{"kind": "generation", "time": 1, "step": "0", "ranks": [0]}',
        '{"kind": "epoch", "time": 1, "epoch": 0, "step": 1, "metrics": 3}',
        '{"kind": "tea", "time": 1, "cups": 3}',
        '{"kind": "__init__", "time": 1}',
    ],
)  # fmt: skip
def test_a_foreign_line_changes_nothing(tmp_path: Path, line: str):
    paths = make(tmp_path, "run", ended=False)
    with open(paths.events, "a") as log:
        log.write(line + "\n")
    EventLog(paths.events).append("steps", **{**TOLD, "first": 2, "last": 4})
    view = RunView(paths.events)
    view.refresh()
    assert view.status == "running"
    assert view.steps.tolist() == [0, 1, 2, 3]
    assert view.loss.tolist() == [0.5, 0.25, 0.5, 0.25]
    assert view.metrics["accuracy"].tolist() == [0.5, 0.5]
    assert view.counts()["training"] == 0
    assert len(Run(paths).history) == 4


def test_what_is_no_run_is_not_listed(tmp_path: Path):
    good = make(tmp_path, "good")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(good.root)
    assert [paths.root for paths in list_runs(tmp_path)] == [good.root, good.root]
