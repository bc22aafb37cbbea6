"""A run that answers: after its end, with its best epoch, with a checkpoint; its report; the same from a shell."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.client.launch import plan
from lepton_kit.client.run import Run
from lepton_kit.errors import ConfigError, DataError, RunError
from lepton_kit.fitting import reached
from lepton_kit.rundir import EventLog, RunPaths
from lepton_kit.training import job, saver, state

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = np.where(X[:, 0] > 0, "cat", "dog")
EMPTY = np.zeros((0, state.HISTORY_COLUMNS))


def trained(folder: Path, finished: bool = True, **options: Any) -> tuple[Run, Any]:
    """A run's folder as training leaves it, and the model in it, without any process."""
    paths = RunPaths(folder / "demo")
    paths.create()
    planned = plan(lk.LeptonModel((3,), 2, 4, 1), (X, Y), **options)
    paths.config.write_text(planned.store(paths.root).to_yaml())
    model = job.build_model(Run(paths).config, paths.root, planned.prepared)
    status = "finished" if finished else "stopped"
    EventLog(paths.events).append("status", status=status, cause=None, driver_pid=1)
    if finished:
        saver.save_final(paths.root, model, model.variables, pickle.dumps({"seen": 3}), planned.prepared)
    else:
        arrays = [variable.numpy() for variable in model.variables]
        state.save_checkpoint(paths.checkpoints, 12, arrays, EMPTY)
    return Run(paths), model


def expected(model: Any, x: np.ndarray) -> np.ndarray:
    logits = np.asarray(model.predict(x, verbose=0), np.float64)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_finished_run_answers_as_its_model_does(tmp_path: Path):
    run, model = trained(tmp_path)
    raw = X[:6].copy()
    raw[2, 1] = np.nan
    found = run.predict(raw)
    assert found["problem"].notna().tolist() == [False, False, True, False, False, False]
    good = [0, 1, 3, 4, 5]
    probabilities = expected(model, X[good])
    np.testing.assert_allclose(found["probability_dog"].iloc[good], probabilities[:, 1], atol=1e-6)
    assert found["class"].iloc[good].tolist() == [("cat", "dog")[k] for k in probabilities.argmax(axis=1)]
    assert found.attrs["notes"] == []
    assert run.predictor() is run.predictor()
    with pytest.raises(DataError, match=r"shape \(2, 5\)"):
        run.predict(np.zeros((2, 5)))
    with pytest.raises(ConfigError, match="model: got 'first'; expected one of last, best"):
        run.predict(X, model="first")


def test_a_finished_run_answers_without_its_data_and_an_older_one_from_them(tmp_path: Path):
    run, _ = trained(tmp_path)
    before = run.predict(X)
    shutil.move(run.directory / "data", tmp_path / "gone")
    pd.testing.assert_frame_equal(Run(run.paths).predict(X), before)
    assert "the data could not be opened" in Run(run.paths).report().facts.limits[0]
    shutil.move(tmp_path / "gone", run.directory / "data")
    for name in ("preprocessing.json", "answers.json"):  # as an earlier version left it
        (run.directory / "final" / name).unlink()
    pd.testing.assert_frame_equal(Run(run.paths).predict(X), before)


def spoil(file: Path) -> None:
    """Another last digit in text, which stays valid; another byte in the middle of anything else."""
    content = file.read_bytes()
    if file.suffix == ".json":
        places = [place for place, one in enumerate(content) if chr(one).isdigit()]
        place, other = places[-1], b"2" if content[places[-1]] == ord("1") else b"1"
        file.write_bytes(content[:place] + other + content[place + 1 :])
        json.loads(file.read_text())
    else:
        place = len(content) // 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("preprocessing.json", ("predict", "report", "export", "load")),
        ("answers.json", ("predict", "report", "export", "load")),
        ("model.keras", ("model", "predict", "report", "export", "compress", "infer", "load")),
        ("state.npz", ("reached",)),
        ("callbacks.pkl", ("reached",)),
    ],
)
def test_a_byte_that_changed_in_what_a_run_left_is_told_by_whoever_reads_it(tmp_path: Path, name, readers):
    run, _ = trained(tmp_path)
    read = {
        "model": run.model,
        "predict": lambda: run.predict(X),
        "report": run.report,
        "export": lambda: lk.export(run, tmp_path / "exported", formats="keras"),
        "compress": lambda: lk.compress(run),
        "infer": lambda: lk.infer(run, X),
        "load": lambda: lk.load(run.directory),
        "reached": lambda: reached(run, finished=True),
    }
    file = run.directory / "final" / name
    whole = file.read_bytes()
    spoil(file)
    for reader in readers:
        with pytest.raises(RunError, match=rf"final/{name}: damaged.*delete checksums\.json beside it"):
            read[reader]()
    file.write_bytes(whole)
    before = run.predict(X)
    (run.directory / "final" / "checksums.json").unlink()  # a run of an earlier version has none
    pd.testing.assert_frame_equal(Run(run.paths).predict(X), before)


def test_a_run_that_is_not_over_answers_with_its_checkpoint_and_says_so(tmp_path: Path):
    run, model = trained(tmp_path, finished=False)
    found = run.predict(X)
    np.testing.assert_allclose(found["probability_dog"], expected(model, X)[:, 1], atol=1e-6)
    assert found.attrs["notes"] == ["the run is stopped: the checkpoint of step 12 answers"]
    assert run.report().facts.limits[0] == found.attrs["notes"][0]
    assert not (run.directory / "final").exists()


def test_the_best_epoch_answers_where_it_is_kept(tmp_path: Path):
    run, model = trained(tmp_path, keep_best="val_loss")
    with pytest.raises(RunError, match="no epoch with val_loss has ended yet"):
        run.predict(X, model="best")
    zeros = [np.zeros(variable.shape, np.float32) for variable in model.variables]
    about = {"epoch": 2, "quantity": "val_loss", "value": 0.25}
    state.save_checkpoint(run.paths.best, 9, zeros, EMPTY, **about)
    found = run.predict(X, model="best")
    np.testing.assert_allclose(found["probability_dog"], 0.5)
    assert found.attrs["notes"] == ["weights of epoch 2, the best by val_loss"]
    assert not np.allclose(run.predict(X)["probability_dog"], 0.5)


def test_the_report_is_made_once_and_kept_with_the_run(tmp_path: Path):
    run, model = trained(tmp_path)
    card = run.report()
    held = run.data().prepare().validation
    right = expected(model, np.asarray(held.x)).argmax(axis=1) == np.asarray(held.y)
    assert card.metrics().loc["accuracy", "value"] == pytest.approx(right.mean())
    assert card.facts.configuration["model"]["kind"] == "lepton"
    assert len(card.facts.data.fingerprint) == 32
    assert (run.directory / "final" / "card.html").is_file()
    assert Run(run.paths).report().facts == card.facts


def test_a_report_on_samples_that_are_given_is_made_anew_and_not_kept(tmp_path: Path):
    run, model = trained(tmp_path)
    own = run.report()
    card = run.report(on=(X[:9], Y[:9]))
    right = np.array(["cat", "dog"])[expected(model, X[:9]).argmax(axis=1)] == Y[:9]
    assert card.metrics().loc["accuracy", "value"] == pytest.approx(right.mean())
    assert card.facts.data.validation_samples == 9
    assert card.facts.split == "given"
    assert Run(run.paths).report().facts == own.facts
    with pytest.raises(DataError, match="9 inputs and 8 true answers"):
        run.report(on=(X[:9], Y[:8]))


def test_the_shell_predicts_and_reports(tmp_path: Path, capsys):
    run, _ = trained(tmp_path)
    base = ["--runs-dir", str(tmp_path)]
    np.save(tmp_path / "x.npy", X[:3])
    before = run.predict(X[:3])
    assert main([*base, "predict", "demo", str(tmp_path / "x.npy"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["class"] for row in rows] == before["class"].tolist()
    assert [row["name"] for row in rows] == [0, 1, 2]
    assert main([*base, "predict", "demo", str(tmp_path / "x.npy"), "--output", str(tmp_path / "a.csv")]) == 0
    captured = capsys.readouterr()
    assert "3 rows in" in captured.err
    assert captured.out == ""
    np.testing.assert_allclose(pd.read_csv(tmp_path / "a.csv")["probability"], before["probability"])
    assert main([*base, "predict", str(run.directory / "final"), str(tmp_path / "x.npy")]) == 0
    assert "probability_cat" in capsys.readouterr().out
    assert main([*base, "predict", "demo", str(tmp_path / "x.npy"), "--top", "1", "--json"]) == 0
    ranked = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(row) for row in ranked] == 3 * [["name", "class", "probability"]]
    assert run.predict(X[:3], top=1)["class"].tolist() == before["class"].tolist()
    assert main([*base, "predict", "demo", str(tmp_path / "x.npy"), "--output", "a.txt"]) == 1
    assert "output: got 'a.txt'" in capsys.readouterr().err
    assert main([*base, "report", "demo"]) == 0
    assert "| accuracy |" in capsys.readouterr().out
    assert main([*base, "report", "demo", "--output", str(tmp_path / "card.html")]) == 0
    assert (tmp_path / "card.html").read_text().startswith("<!doctype html>")


def test_notes_and_problems_are_told_by_the_shell(tmp_path: Path, capsys):
    trained(tmp_path, finished=False)
    raw = X[:2].copy()
    raw[0, 0] = np.inf
    np.save(tmp_path / "x.npy", raw)
    assert main(["--runs-dir", str(tmp_path), "predict", "demo", str(tmp_path / "x.npy")]) == 0
    captured = capsys.readouterr()
    assert "lepton: the run is stopped: the checkpoint of step 12 answers" in captured.err
    assert "a number that is not finite" in captured.out
