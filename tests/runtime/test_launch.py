"""Launching real runs: objects, weights, schedules and callbacks arrive, and a refused wish does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.errors import ConfigError, DataError
from lepton_kit.rundir import send_request
from lepton_kit.runtime import launch as module
from lepton_kit.runtime.launch import as_dataset, plan
from lepton_kit.runtime.options import read

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
    notes = as_dataset((padded, [0, 1, 0, 1])).prepare().details.get("notes", [])
    assert list(module._notes(as_dataset((padded, [0, 1, 0, 1])).prepare(), ["a", "a"])) == ["a", *notes]


def test_an_unbuilt_model_is_built_from_the_data(tmp_path: Path):
    model = keras.Sequential([keras.layers.Dense(2)])
    assert plan(model, (X, Y)).store(tmp_path).model.kind in ("keras", "object")
