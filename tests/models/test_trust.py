"""Code from elsewhere runs only when its user says so: what was not written here is refused, by the names it would run."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.errors import ModelError
from lepton_kit.models import payload, trust


class Bomb:
    """Leaves a file behind when its pickle is read."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


class Scaled(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2.0


def model() -> keras.Model:
    made = keras.Sequential([keras.Input((4,)), Scaled(), keras.layers.Dense(3)])
    made.compile("sgd", "mse")
    return made


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with a plain model from elsewhere, and a bomb beside it."""
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(tmp_path / "model.keras")
    (tmp_path / "custom.pkl").write_bytes(pickle.dumps({"Layer": Bomb(tmp_path / "exploded")}))
    return tmp_path


def test_what_was_written_here_opens_wherever_it_lies(tmp_path: Path):
    spec = payload.store(model(), tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "copied" / "model")
    for base in (tmp_path, tmp_path / "copied"):
        x = np.ones((1, 4), np.float32)
        assert payload.build(spec, base, 0)(x).shape == (1, 3)
    trust.check(tmp_path)


@pytest.mark.parametrize("name", ["custom.pkl", "model.pkl"])
def test_the_same_from_elsewhere_is_refused_until_it_is_trusted(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    spec = payload.store(model(), tmp_path / "model")
    assert (tmp_path / "model" / name).exists()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    keras_spec = {"kind": "keras", "path": "model/model.keras"}
    spec = spec if name == "model.pkl" else keras_spec
    with pytest.raises(ModelError, match=rf"{name}: code from elsewhere.* would run .*Scaled.*trust=True"):
        payload.build(spec, tmp_path, 0)
    trust.trust(tmp_path)
    payload.build(spec, tmp_path, 0)


def test_no_door_opens_a_bomb(elsewhere: Path, capsys: pytest.CaptureFixture[str]):
    path = elsewhere / "model.keras"
    config = elsewhere / "config-of-a-run.yaml"
    config.write_text(
        "model: {kind: keras, path: model.keras}\ndata: {kind: sample, name: digits}\n", encoding="utf-8"
    )
    words = r"custom\.pkl: code from elsewhere.* would run posix\.mkdir"
    with pytest.raises(ModelError, match=words):
        lk.load(path)
    with pytest.raises(ModelError, match=words):
        lk.load(elsewhere)
    with pytest.raises(ModelError, match=words):
        lk.launch_config(config, elsewhere / "runs")
    with pytest.raises(ModelError, match=words):
        lk.compress(path, lk.data.sample("digits"))
    with pytest.raises(ModelError, match=words):
        payload.build({"kind": "keras", "path": "model.keras"}, elsewhere, 0)
    np.save(elsewhere / "some.npy", np.zeros((1, 4), np.float32))
    assert main(["run", str(config)]) == 1
    assert main(["predict", str(path), str(elsewhere / "some.npy")]) == 1
    assert "posix.mkdir" in capsys.readouterr().err
    assert not (elsewhere / "exploded").exists()
    assert not (elsewhere / "runs").exists()


def test_trust_opens_this_content_and_no_other(elsewhere: Path):
    trust.trust(elsewhere / "model.keras")
    with pytest.raises(ModelError, match="cannot be read"):  # for it gives no class
        payload.read_custom(elsewhere / "custom.pkl")
    assert (elsewhere / "exploded").is_dir()
    (elsewhere / "custom.pkl").write_bytes(pickle.dumps({"Layer": Bomb(elsewhere / "again")}))
    with pytest.raises(ModelError, match="posix"):
        payload.read_custom(elsewhere / "custom.pkl")


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_marks_that_others_could_have_made_count_for_nothing(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, mode: int
):
    monkeypatch.setenv("XDG_STATE_HOME", str(elsewhere / "state"))
    trust.trust(elsewhere)
    trust.check(elsewhere)
    (elsewhere / "state" / "lepton_kit" / "trusted").chmod(mode)
    with pytest.raises(ModelError, match="code from elsewhere"):
        trust.check(elsewhere)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80garbage", "no whole pickle"),
        (pickle.dumps(eval), "builtins.eval"),
        (pickle.dumps([os.system, shutil.rmtree]), "posix.system, shutil.rmtree"),
        (pickle.dumps(np.zeros), "functions of Keras and TensorFlow alone"),
    ],
)
def test_what_a_pickle_would_run_is_said_without_running_it(content: bytes, said: str):
    assert said in trust.runs(content)
