"""Launching real runs: objects, weights, schedules and callbacks arrive, and a refused wish does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.client import launch as module
from lepton_kit.client.given_data import as_dataset
from lepton_kit.client.launch import plan
from lepton_kit.client.options import read
from lepton_kit.client.script import absolute
from lepton_kit.config import RunConfig
from lepton_kit.errors import ConfigError, DataError, ModelError
from lepton_kit.rundir import send_request
from lepton_kit.runtime import folder
from tests.configs import any_config

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)


def network(optimizer: Any = "sgd", **settings: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer, "binary_crossentropy", **settings)
    return model


@pytest.mark.processes
def test_a_rate_asked_of_a_schedule_is_refused_and_the_run_lives(runs_dir: Path):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    run = lk.launch(
        network(), (X, Y), optimizer=keras.optimizers.SGD(schedule), workers=2, batch_size=16,
        epochs=100_000, callbacks=[], runs_dir=runs_dir,
    )  # fmt: skip
    try:
        assert run.config.schedule is not None
        assert run.config.schedule.startswith("ExponentialDecay(initial_learning_rate=0.1")
        with pytest.raises(ConfigError, match=r"learning_rate: got 0\.5; expected none: .* ExponentialDecay"):
            run.set(learning_rate=0.5)
        send_request(run.paths, "set", learning_rate=0.5)  # a client of another version
        while not run.view().requests or run.view().step < 20:
            assert run.alive, run.cause
        (answer,) = run.view().requests
        assert not answer["accepted"]
        assert "it follows the optimizer's schedule, ExponentialDecay" in answer["cause"]
        assert run.view().learning_rate != 0.5
    finally:
        run.stop().wait(120)
    assert run.status == "stopped"


def test_outputs_that_do_not_read_as_the_loss_or_the_classes_suggest_are_said_at_launch():
    def notes(units: int, activation: str | None, loss: str | None) -> str:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, activation)])
        if loss is not None:
            model.compile("sgd", loss)
        names = np.array(["no", "yes"])[Y]
        return " ".join(plan(model, (X, names), workers=1, batch_size=16).found["remarks"])

    assert "their activation is linear" in notes(1, None, "binary_crossentropy")
    assert "activation" not in notes(1, "sigmoid", "binary_crossentropy")
    assert "5 units, the data have 2 classes" in notes(5, "softmax", "sparse_categorical_crossentropy")
    assert "5 units" in notes(5, None, None)  # of a model without a loss, which gets the one that suits
    assert notes(2, None, None) == notes(1, None, None) == ""
    assert "units" not in notes(2, "softmax", "sparse_categorical_crossentropy")


@pytest.mark.parametrize(("rare", "named", "said"), [(5, True, "'no'"), (5, False, "'0'"), (12, True, None)])
def test_where_one_class_is_nearly_all_it_is_said_that_accuracy_misleads(rare, named, said):
    x, y = np.zeros((100, 3), np.float32) + np.arange(100)[:, None], (np.arange(100) < rare).astype(np.int32)
    labels = np.array(["no", "yes"])[y] if named else y
    data = lk.data.arrays(x, labels, validation_split=0)
    for model in (network(), lk.LeptonModel((3,), 2)):
        notes = [
            note
            for note in plan(model, data, workers=1, batch_size=16).found["remarks"]
            if "misleads" in note
        ]
        assert len(notes) == (said is not None)
        if said:
            assert f"95.0% of the training samples are of class {said}" in notes[0]
            assert "run.report()" in notes[0]


@pytest.mark.processes
def test_a_callback_ends_a_run_and_its_best_epoch_is_kept(runs_dir: Path):
    stopping = keras.callbacks.EarlyStopping("val_loss", min_delta=1e9, patience=1, restore_best_weights=True)
    run = lk.launch(
        network(metrics=["accuracy"]), (X, Y), workers=1, batch_size=16, epochs=50, callbacks=[stopping],
        runs_dir=runs_dir,
    ).wait(240)  # fmt: skip
    assert run.status == "finished"
    assert run.stopped_by is not None
    assert "EarlyStopping" in run.stopped_by
    assert run.config.training.keep_best == "val_loss"
    assert run.best is not None
    losses = [row["val_loss"] for row in run.view().epochs]
    assert run.best["value"] == pytest.approx(min(losses[: run.best["epoch"] + 1]))
    best = run.best_model()
    held = run.data().prepare().validation
    assert best.evaluate(held.x, held.y, verbose=0)[0] == pytest.approx(run.best["value"], abs=1e-5)


def test_data_may_be_whatever_fit_takes():
    w = np.linspace(1, 2, 64).astype(np.float32)
    assert len(as_dataset((X, Y)).prepare().validation) == 13
    assert len(as_dataset((X, Y, w)).prepare().train.w) == 51
    assert as_dataset(X).prepare().train.y is None
    assert as_dataset((X,)).prepare().validation is not None
    held = as_dataset((X, Y), read({"validation_data": (X[:5], Y[:5]), "sample_weight": w})).prepare()
    assert (len(held.train), len(held.validation)) == (64, 5)
    assert as_dataset((X, Y), read({"validation_split": 0.0})).prepare().validation is None
    own = lk.data.arrays(X, Y)
    assert as_dataset(own) is own
    with pytest.raises(
        DataError, match="class_weight: got dict beside x; a lepton_kit Dataset holds its own"
    ):
        as_dataset(own, read({"class_weight": {0: 1.0}}))


def test_the_batches_of_a_stream_are_the_global_batch_and_its_order_the_order():
    import tensorflow as tf

    stream = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    training = plan(network(), stream, workers=1).settings.training
    assert (training.global_batch, training.shuffle) == (16, False)
    assert plan(network(), stream, batch_size=8, workers=1).settings.training.global_batch == 8
    assert plan(network(), (X, Y)).settings.training.global_batch == 128


def test_the_notebook_s_policy_is_the_workers_policy():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        assert plan(lk.LeptonModel((3,), 2), (X, Y)).settings.training.dtype_policy == "mixed_bfloat16"
        other = plan(lk.LeptonModel((3,), 2), (X, Y), dtype_policy="float64").settings.training
        assert other.dtype_policy == "float64"
    finally:
        keras.config.set_dtype_policy(before)
    assert plan(lk.LeptonModel((3,), 2), (X, Y)).settings.training.dtype_policy is None
    assert module._policy() == "float32"


def test_what_is_not_exact_stands_in_the_notes(tmp_path: Path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    config = plan(model, (X, Y)).store(tmp_path / "keras")
    (note,) = config.model.notes
    assert "Dropout" in note
    config = plan(lk.LeptonModel((3,), 2, dropout=0.5), (X, Y)).store(tmp_path / "lepton")
    (note,) = config.model.notes
    assert "dropout=0.5" in note
    padded = [[1, 2], [3], [4, 5, 6], [7]]
    notes = as_dataset((padded, [0, 1, 0, 1])).prepare().differences
    assert list(module._notes(as_dataset((padded, [0, 1, 0, 1])).prepare(), ["a", "a"])) == ["a", *notes]


def test_an_unbuilt_model_is_built_from_the_data(tmp_path: Path):
    model = keras.Sequential([keras.layers.Dense(2)])
    assert plan(model, (X, Y)).store(tmp_path).model.kind in ("keras", "object")


def test_a_run_s_own_file_launches_the_same_run(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(folder, "start_driver", lambda _: None)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    stopping = keras.callbacks.EarlyStopping("loss", patience=3)
    options = {"learning_rate": schedule, "loss": lambda y, p: (y - p) ** 2, "callbacks": [stopping]}
    run = lk.launch(network(), (X, Y), batch_size=16, validation_freq=[1, 3], runs_dir=runs_dir, **options)
    assert run.config.model.kind == "object"
    assert run.config.training.callbacks[0]["kind"] == "object"
    run.to_config(tmp_path / "again.yaml")
    again = lk.launch_config(tmp_path / "again.yaml", runs_dir)
    assert absolute(again.config, again.directory) == absolute(run.config, run.directory)
    assert again.config.frozen == run.config.frozen
    assert again.to_config() == run.to_config()
    assert len(list(runs_dir.iterdir())) == 2


@pytest.mark.parametrize("inputs", [list, tuple, dict])
def test_several_inputs_are_matched_to_those_of_the_model(inputs: type, tmp_path: Path):
    first, second = keras.Input((3,), name="first"), keras.Input((2,), name="second")
    model = keras.Model([first, second], keras.layers.Dense(1)(keras.layers.Concatenate()([first, second])))
    model.compile("sgd", "mse")
    parts = {"first": X, "second": X[:, :2]}
    x = parts if inputs is dict else inputs(parts.values())
    assert plan(model, (x, Y.astype(np.float32))).store(tmp_path).data.kind == "arrays"
    wrong = {"first": X, "third": X} if inputs is dict else inputs([X, X])
    with pytest.raises(ModelError):
        plan(model, (wrong, Y.astype(np.float32)))


def test_a_warm_launch_prepares_what_a_launch_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "prepare", lambda fill: fill(tmp_path))
    lk.warm(lk.LeptonModel((3,), 2), (X, Y), epochs=3)
    assert RunConfig.load(tmp_path / "config.yaml").training.epochs == 3
    assert lk.data.Dataset.from_spec({"kind": "arrays", "path": "data"}, tmp_path).prepare()


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"optimizer": "adm"}, r"training\.optimizer: got 'adm'; .* did you mean 'adam'"),
        ({"loss": "mes"}, r"training\.loss: got 'mes'"),
        ({"metrics": ["acuracy"]}, r"training\.metrics: got 'acuracy'; .* did you mean 'accuracy'"),
    ],
)
def test_names_in_a_file_are_checked_before_anything_starts(
    tmp_path: Path, training: dict[str, Any], words: str
):
    (tmp_path / "run.yaml").write_text(any_config(training=training).to_yaml())
    with pytest.raises(ConfigError, match=words):
        lk.launch_config(tmp_path / "run.yaml", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "meant"), [("max_epochs", "epochs"), ("max_steps_per_epoch", "steps_per_epoch")]
)
def test_a_limit_that_keras_has_for_its_own_fit_is_not_passed_over(name: str, meant: str):
    getattr(keras.config, f"set_{name}")(2)
    try:
        with pytest.raises(ConfigError, match=rf"keras\.config\.{name}: got 2; .* say {meant}=2 instead"):
            plan(lk.LeptonModel((3,), 2), (X, Y))
    finally:
        getattr(keras.config, f"set_{name}")(None)
    assert plan(lk.LeptonModel((3,), 2), (X, Y))
