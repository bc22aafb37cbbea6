from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import pytest

from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.models import trust
from lepton_kit.training import callback_specs
from lepton_kit.training.callback_specs import KINDS, absolute, load, monitored, store


def made() -> Any:
    layers = [keras.layers.Dense(3, name="first"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((4,)), *layers])


class Own(keras.callbacks.Callback):
    """One from the user's session."""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("EarlyStoping", "did you mean 'EarlyStopping'"),
        ("early_stopping", "did you mean 'EarlyStopping'"),
        ("LambdaCallback", "an object from Python for LambdaCallback"),
        ({"kind": "EarlyStopping", "patients": 3}, "did you mean 'patience'"),
        ({"kind": "EarlyStopping", "patience": "3"}, r"EarlyStopping\.patience: got '3'; expected int"),
        ({"kind": "EarlyStopping", "patience": True}, r"EarlyStopping\.patience: got True; expected int"),
        ("CSVLogger", r"CSVLogger\.filename: got None; expected this option to be there"),
        ({"kind": "ModelCheckpoint", "filepath": "a.pt"}, r"ends in \.keras or \.h5"),
        ({"kind": "ReduceLROnPlateau", "factor": 2.0}, "less than 1"),
        (keras.callbacks.EarlyStopping, r"an object: EarlyStopping\(…\), not the class"),
        (3, "got 'int'; expected Keras callbacks"),
        (keras.callbacks.LambdaCallback(on_test_batch_end=print), "no on_test_batch_end"),
        (keras.callbacks.LambdaCallback(file=(n for n in ())), r"LambdaCallback\.file: got 'generator'"),
    ],
)
def test_what_no_run_can_do_is_refused_before_it(given: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        store([given], tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_file_of_callbacks_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    specs = store([Own()], tmp_path / "model")
    (tmp_path / "model" / "callbacks.pkl").write_bytes(b"no pickle")
    with pytest.raises(ModelError, match=r"callbacks\.pkl.*trust=True"):
        load(specs, tmp_path)
    trust.note(b"no pickle")
    with pytest.raises(ConfigError, match=r"callbacks\.pkl.*a readable file of callbacks"):
        load(specs, tmp_path)


def test_keras_own_refusal_of_an_option_keeps_its_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unrecognized save_freq: often"):
        load([{"kind": "ModelCheckpoint", "filepath": "a.keras", "save_freq": "often"}], tmp_path)


def test_the_table_of_kinds_is_that_of_keras() -> None:
    for kind, options in KINDS.items():
        known = inspect.signature(getattr(keras.callbacks, kind).__init__).parameters
        assert set(options) == set(known) - {"self", "kwargs"}, kind


def test_the_model_of_an_earlier_fit_does_not_travel_and_stays(tmp_path: Path) -> None:
    noted = keras.callbacks.LambdaCallback()
    noted.set_model(made())
    before = noted.model
    (spec,) = store(noted, tmp_path / "model")
    assert noted.model is before
    assert (tmp_path / "model" / "callbacks.pkl").stat().st_size < 1000
    assert spec["index"] == 0
    assert load([spec], tmp_path)[0].model is None


def test_what_a_run_does_anyway_is_said_and_left_out(tmp_path: Path) -> None:
    given = [
        keras.callbacks.BackupAndRestore(tmp_path / "b"),
        [keras.callbacks.EarlyStopping()],
        "TerminateOnNaN",
    ]
    specs = store(given, tmp_path / "model")
    assert [spec["kind"] for spec in specs] == ["BackupAndRestore", "object", "TerminateOnNaN"]
    assert [type(one).__name__ for one in load(specs, tmp_path)] == ["EarlyStopping", "TerminateOnNaN"]
    assert "keeps checkpoints" in callback_specs.GIVEN["BackupAndRestore"]  # what the run's log says of it
    assert callback_specs.objects(given) == [given[1][0], None]
    assert load([{"kind": "BackupAndRestore", "backup_dir": "b"}], tmp_path) == []
    assert store(keras.callbacks.CallbackList(given[1]), tmp_path / "model")[0]["name"] == "EarlyStopping"
    assert store(None, tmp_path / "none") == ()


def test_the_quantity_whose_best_weights_are_kept() -> None:
    assert monitored([keras.callbacks.EarlyStopping("loss")]) is None
    assert (
        monitored([keras.callbacks.EarlyStopping("val_f", mode="max", restore_best_weights=True)])
        == "val_f:max"
    )
    assert monitored({"kind": "ModelCheckpoint", "filepath": "a.keras", "save_best_only": True}) == "val_loss"


def test_tensorboard_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for given in ("TensorBoard", keras.callbacks.TensorBoard()):
        with pytest.raises(ConfigError, match="pip install tensorboard"):
            store([given], tmp_path)


def test_a_part_that_the_workers_model_lacks_is_named(tmp_path: Path) -> None:
    model = made()
    holder = keras.callbacks.LambdaCallback(layer=model.get_layer("first"))
    specs = store([holder], tmp_path / "model", model)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="else")])
    with pytest.raises(ConfigError, match=r"the model has no layer \d first"):
        load(specs, tmp_path, other)


def test_paths_of_named_callbacks_count_from_the_folder_they_were_named_in(tmp_path: Path) -> None:
    specs = [{"kind": "CSVLogger", "filename": "a.csv"}, "TerminateOnNaN"]
    stored = store(specs, tmp_path / "model")
    assert stored[0]["filename"] == str(Path.cwd() / "a.csv")
    moved = absolute([{"kind": "object", "path": "model/callbacks.pkl", "index": 0}], tmp_path)
    assert moved[0]["path"] == str(tmp_path / "model" / "callbacks.pkl")
