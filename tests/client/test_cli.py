"""Each verb of the shell: what it prints, what it leaves behind, and how it says no."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lepton_kit import cli, data, deploy
from lepton_kit.client import asking
from lepton_kit.data import cache
from lepton_kit.deploy import answering, exports
from lepton_kit.deploy.frames import frame
from lepton_kit.deploy.report import compress as compressing
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.rundir import EventLog, RunPaths, lock, read_requests
from tests.configs import any_config


def make(folder: Path, name: str = "demo-1", status: str = "finished") -> RunPaths:
    paths = RunPaths(folder / name)
    paths.create()
    paths.config.write_text(any_config(name="demo").to_yaml())
    log = EventLog(paths.events)
    log.append("status", status="starting", cause=None, driver_pid=1)
    log.append(
        "plan",
        samples=8,
        validation_samples=0,
        global_batch=4,
        steps_per_epoch=2,
        epochs=5,
        total_steps=10,
        parameters=3,
    )
    log.append(
        "workers",
        wanted=2,
        workers=[{"worker": 0, "pid": 5, "state": "training", "rank": 0, "memory_bytes": 9}],
    )
    log.append("status", status=status, cause="the reason" if status == "failed" else None, driver_pid=1)
    log.close()
    paths.driver_log.write_text("driver's words\n")
    paths.worker_log(3).write_text("worker's words\n")
    return paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def call(folder: Path, *arguments: str) -> int:
    return cli.main(["--runs-dir", str(folder), *arguments])


def test_runs_as_a_table_and_as_json(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "runs") == 0
    assert "no runs in" in capsys.readouterr().out
    make(folder)
    assert call(folder, "runs") == 0
    assert "demo-1" in capsys.readouterr().out
    assert call(folder, "runs", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["status"], row["total_steps"]) == ("demo-1", "finished", 10)


def test_watch_tells_the_end_and_its_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]):
    make(folder, "good")
    make(folder, "bad", "failed")
    make(folder, "cut", "running").lock.touch()
    assert call(folder, "watch", "good") == 0
    assert "finished · step 0/10" in capsys.readouterr().out
    assert call(folder, "watch", "bad", "--json") == 1
    state = json.loads(capsys.readouterr().out)
    assert (state["status"], state["cause"], state["workers"]["wanted"]) == ("failed", "the reason", 2)
    assert call(folder, "watch", "cut", "--json", "--once") == 1
    state = json.loads(capsys.readouterr().out)
    assert state["status"] == "interrupted"
    assert f"lepton --runs-dir {folder.resolve()} resume cut" in state["cause"]
    assert (state["eta_seconds"], state["workers"]["training"]) == (None, 0)
    assert call(folder, "watch", "cut") == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("interrupted · step 0/10 · the driver died; `lepton")


@pytest.mark.parametrize("verb", ["pause", "resume", "stop"])
def test_a_run_under_way_is_asked(folder: Path, verb: str):
    paths = make(folder, status="running")
    held = lock.take(paths)
    assert call(folder, verb, "demo") == 0
    ((request,), _) = read_requests(paths)
    assert request.verb == verb
    os.close(held)


def test_scale_and_set_leave_their_values(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asking, "HEARD_SECONDS", 0.0)
    paths = make(folder, status="running")
    held = lock.take(paths)
    assert call(folder, "scale", "demo", "3") == 0
    assert call(folder, "scale", "demo", "auto") == 0
    assert call(folder, "set", "demo", "--learning-rate", "0.5", "--log-seconds", "2") == 0
    requests, _ = read_requests(paths)
    assert [request.arguments for request in requests] == [
        {"workers": 3},
        {"workers": "auto"},
        {"learning_rate": 0.5, "log_seconds": 2.0},
    ]
    os.close(held)


def test_a_worker_is_made_slow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(asking, "HEARD_SECONDS", 0.0)
    paths = make(folder, status="running")
    held = lock.take(paths)
    assert call(folder, "slow", "demo", "1", "--factor", "3", "--data-seconds", "0.05") == 0
    requests, _ = read_requests(paths)
    assert [one.arguments for one in requests] == [
        {"rank": 1, "factor": 3.0},
        {"rank": 1, "data_seconds": 0.05},
    ]
    assert call(folder, "slow", "demo", "1") == 1
    assert "--factor or --data-seconds" in capsys.readouterr().err
    os.close(held)


def test_a_refused_number_of_workers_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    paths = make(folder, status="running")
    held = lock.take(paths)

    def refuse(*_: object) -> None:
        log = EventLog(paths.events)
        for one in read_requests(paths)[0]:
            cause = "workers: got 9; at most 4"
            log.append("request", verb="scale", workers=9, id=one.id, accepted=False, cause=cause)
        log.close()

    monkeypatch.setattr(asking.time, "sleep", refuse)
    assert call(folder, "scale", "demo", "9") == 1
    assert "scale: workers: got 9; at most 4" in capsys.readouterr().err
    os.close(held)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scale", "demo", "0"], "workers: got 0; expected a whole number of at least 1"),
        (["scale", "demo", "many"], "workers: got 'many'"),
        (["scale", "demo", "2"], "is finished; scale needs a run that is under way"),
        (["pause", "demo"], "is finished; pause needs"),
        (["resume", "demo"], "has finished; there is nothing to resume"),
        (["stop", "other"], "other is no run in"),
        (["logs", "demo", "--worker", "7"], "there are: driver.log, worker-3.log"),
        (["run", "none.yaml"], "none.yaml: got"),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_code_1(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
):
    paths = make(folder)
    held = None
    if arguments[:1] == ["scale"] and arguments[2] in ("0", "many"):
        held = lock.take(paths)
    assert call(folder, *arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("lepton: ")
    assert words in captured.err
    if held is not None:
        os.close(held)


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["scale", "demo"], ["set", "demo", "--learning-rate", "fast"]]
)
def test_wrong_usage_has_exit_code_2(folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        call(folder, *arguments)
    assert caught.value.code == 2
    assert "usage: lepton" in capsys.readouterr().err


def test_describe_says_what_a_file_holds(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = tmp_path / "t.csv"
    table.write_text("size,price\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(40)))
    assert call(folder, "describe", str(table)) == 1
    assert "which column is to be predicted?" in capsys.readouterr().out
    assert call(folder, "describe", str(table), "target=price", "validation_split=0.25", "--json") == 0
    assert json.loads(capsys.readouterr().out)["facts"]["for validation"] == "10"
    assert call(folder, "describe", str(table), "price") == 1
    assert "expected NAME=VALUE" in capsys.readouterr().err
    assert call(folder, "describe", str(tmp_path / "missing")) == 1


def test_logs_config_and_schema(folder: Path, capsys: pytest.CaptureFixture[str]):
    make(folder)
    assert call(folder, "logs", "demo") == 0
    assert capsys.readouterr().out == "driver's words\n"
    assert call(folder, "logs", "demo", "--worker", "3") == 0
    assert capsys.readouterr().out == "worker's words\n"
    assert call(folder, "config", "demo") == 0
    assert "global_batch: 128" in capsys.readouterr().out
    assert call(folder, "schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "RunConfig"


def test_an_audit_that_proves_nothing_has_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]):
    make(folder)
    assert call(folder, "audit", "demo", "--json") == 1
    assert json.loads(capsys.readouterr().out)["exactly_once"] is False
    assert call(folder, "audit", "demo") == 1
    assert "finished after 0 of 10 steps" in capsys.readouterr().out


def test_compress_passes_its_options_on_and_names_every_variant(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make(folder)
    asked = []

    def compress(run, tell, **options):
        asked.append(options)
        tell("timing 1 variant")
        row = Row("int8", "LiteRT", "int8", figures={"score": Figure(0.9, "measured")})
        return ReportCard((row,), "accuracy", True, 10)

    monkeypatch.setattr(compressing, "compress", compress)
    arguments = [
        "--structured",
        "0.5",
        "--quantize",
        "int8",
        "qat4",
        "--fine-tune-epochs",
        "2",
        "--skip",
        "logits",
        "--no-control",
    ]
    assert call(folder, "compress", "latest", *arguments, "--json") == 0
    said = capsys.readouterr()
    assert asked == [
        {
            "structured": 0.5,
            "quantize": ["int8", "qat4"],
            "fine_tune_epochs": 2,
            "skip": ["logits"],
            "control": False,
        }
    ]
    assert [line["variant"] for line in json.loads(said.out)] == ["int8"]
    assert said.err == "timing 1 variant\n"
    assert call(folder, "compress", "latest") == 0
    assert "| int8 |" in capsys.readouterr().out
    for option, value in (("--target", "latency <= 0.02 ms"), ("--max-drop", "auc=2%")):
        assert call(folder, "compress", "latest", option, value) == 0
        assert asked[-1] == {option.strip("-").replace("-", "_"): value, "control": True}


def test_doctor_says_whether_this_machine_can_train(folder: Path, capsys: pytest.CaptureFixture[str]):
    code = call(folder, "doctor", "--json")
    assert json.loads(capsys.readouterr().out)["ok"] == (code == 0)


def test_export_writes_every_format_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make(folder)
    asked = []

    def export(run, target, **options):
        asked.append((run.id, target, options))
        return {"keras": exports.Exported("keras", Path(target) / "model.keras", 0.0, 16)}

    monkeypatch.setattr(exports, "export", export)
    assert call(folder, "export", "latest", "out", "--formats", "keras") == 0
    assert "out/model.keras  differs by at most 0.0e+00 (measured on 16 samples)" in capsys.readouterr().out
    assert call(folder, "export", "latest", "out", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"keras": {"path": "out/model.keras", "difference": 0.0}}
    assert [options for _, _, options in asked] == [{"formats": ["keras"]}, {}]


@pytest.fixture
def decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> cache.Entry:
    """One entry of a cache, which a run has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    np.savez(folder / "a.npz", x=np.eye(10), y=np.arange(10) % 2)
    prepared = data.npz(folder / "a.npz").prepare()
    assert prepared.folder is not None
    cache.hold(prepared.folder, make(folder).root, linked=True)
    (entry,) = cache.entries()
    return entry


def test_the_cache_is_listed(folder: Path, decoded: cache.Entry, capsys: pytest.CaptureFixture[str]):
    assert call(folder, "cache") == 0
    listed, total = capsys.readouterr().out.splitlines()
    assert listed.startswith(decoded.key)
    assert listed.endswith(f"npz {folder / 'a.npz'}  (demo-1)")
    assert total.startswith(f"1 in {folder / 'cache'}")
    assert call(folder, "cache", "list", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry == decoded.to_dict()


def test_the_cache_is_cleared_of_what_no_run_has(
    folder: Path, decoded: cache.Entry, capsys: pytest.CaptureFixture[str]
):
    assert call(folder, "cache", "clear") == 0
    assert capsys.readouterr().out.startswith("0 removed from")
    assert call(folder, "cache", "clear", decoded.key[:8], "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == decoded.key
    assert call(folder, "cache", "clear", "--all") == 0
    assert "0 are kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("list", "--all"), "cache list: got '--all'"),
        (("list", "abc"), "cache list: got 'abc'"),
        (("clear", "abc", "--all"), "an id or --all, not both"),
        (("clear", "abc"), "'abc' is nothing in the data cache"),
    ],
)
def test_a_wrong_word_to_the_cache_is_told(
    folder: Path,
    decoded: cache.Entry,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    text: str,
):
    assert call(folder, "cache", *arguments) == 1
    assert text in capsys.readouterr().err
    assert len(cache.entries()) == 1


def test_a_target_with_a_name_of_ours_is_printed_beside_it_and_it_is_said(tmp_path, capsys, monkeypatch):
    class Fixed:
        def predict(self, raw, **options):
            return frame(["a", "b"], np.array([0]), {"name": np.array([1.5])}, {1: "no number"})

    monkeypatch.setattr(deploy, "load", lambda path, trust: Fixed())
    monkeypatch.setattr(answering, "is_export", lambda name: True)
    np.save(tmp_path / "x.npy", np.zeros(2))
    assert cli.main(["predict", "model", str(tmp_path / "x.npy"), "--json"]) == 0
    printed = capsys.readouterr()
    first, second = map(json.loads, printed.out.splitlines())
    assert first == {"name_of_input": "a", "name": 1.5, "problem": None}
    assert second == {"name_of_input": "b", "name": None, "problem": "no number"}
    assert "'name' is the target, so the inputs' names stand in 'name_of_input'" in printed.err


def test_a_report_is_refused_before_it_is_made_where_it_cannot_be_written(tmp_path, capsys):
    paths = make(tmp_path)
    assert cli.main(["report", str(paths.root), "--output", str(tmp_path / "x.pdf")]) != 0
    assert "path: got" in capsys.readouterr().err
    assert not (tmp_path / "x.pdf").exists()


def test_version_names_what_a_report_of_a_fault_needs(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert said.count("\n") == 1
    assert all(
        name in said for name in ("lepton_kit 0.", "Python 3.", "TensorFlow 2.", "Keras 3.", "Horovod 0.")
    )


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["wacth", "latest"], "did you mean watch?"),
        (["cache", "lst"], "did you mean list?"),
        (["watch", "latest", "--jsn"], "did you mean --json?"),
        (["report", "latest", "--ouput=x"], "did you mean --output?"),
        (["frobnicate"], "not one of run, runs, rename"),
    ],
)
def test_a_misspelt_word_is_told_the_nearest_one(words, meant, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert meant in capsys.readouterr().err
