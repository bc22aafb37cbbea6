"""Objects are compiled into a copy of the model, and what can't go together is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

import lepton_kit as lk
from lepton_kit.client import compiled
from lepton_kit.client.launch import launch_config, plan
from lepton_kit.errors import ConfigError, ModelError

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
DATA = (X, (X[:, 0] > 0).astype(int))
COSINE = "CosineDecay(initial_learning_rate=0.1, decay_steps=10, alpha=0, warmup_steps=0)"


def cosine() -> Any:
    return keras.optimizers.schedules.CosineDecay(0.1, 10)


def network(**settings: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    if settings:
        model.compile(**settings)
    return model


def crossentropy() -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_objects_go_into_a_copy_and_the_user_s_model_stays_as_it_is(tmp_path: Path):
    model = network(optimizer=keras.optimizers.Adam(0.5), loss=crossentropy(), metrics=["accuracy"])
    optimizer, before = model.optimizer, model.get_weights()
    planned = plan(model, DATA, optimizer=keras.optimizers.SGD(0.25), loss_weights=[2.0])
    copy = planned.trained
    assert copy is not model
    assert model.optimizer is optimizer
    assert all(np.array_equal(one, two) for one, two in zip(before, copy.get_weights(), strict=True))
    assert (type(copy.optimizer).__name__, float(copy.optimizer.learning_rate)) == ("SGD", 0.25)
    config = planned.store(tmp_path)
    assert config.training.optimizer is None
    stored = lk.models.build(config.model, tmp_path, 0)
    assert float(stored.optimizer.learning_rate) == 0.25
    assert stored._compile_loss._user_loss_weights == [2.0]
    assert [str(m) for m in stored._compile_metrics._user_metrics] == ["accuracy"]


def test_names_beside_objects_are_compiled_in_too(tmp_path: Path):
    planned = plan(
        network(), DATA, loss=crossentropy(), optimizer="sgd", metrics=["accuracy"], learning_rate=0.5
    )
    training = planned.settings.training
    assert (training.optimizer, training.metrics, training.learning_rate) == (None, None, 0.5)
    assert type(planned.trained.optimizer).__name__ == "SGD"
    assert planned.trained._compile_metrics._user_metrics == ["accuracy"]


def test_what_an_uncompiled_model_is_not_given_suits_the_data():
    copy = plan(network(), DATA, optimizer=keras.optimizers.SGD(0.25)).trained
    assert isinstance(copy._compile_loss._user_loss, keras.losses.SparseCategoricalCrossentropy)
    assert [metric.name for metric in copy._compile_metrics._user_metrics] == ["accuracy"]
    copy = plan(network(), DATA, loss="sparse_categorical_crossentropy", metrics=[lambda y, p: p]).trained
    assert copy._compile_loss._user_loss == "sparse_categorical_crossentropy"
    assert float(copy.optimizer.learning_rate) == pytest.approx(0.001)


def test_a_lepton_model_takes_objects_as_well():
    model = lk.LeptonModel((3,), 2, 4, 1)
    copy = plan(model, DATA, optimizer=keras.optimizers.SGD(0.25), seed=4).trained
    assert not model.built
    assert float(copy.optimizer.learning_rate) == 0.25
    plain = lk.models.build(model.fitted_to(lk.data.arrays(*DATA).prepare()).spec(), ".", 4)
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), copy.get_weights(), strict=True))


def test_an_optimizer_that_has_trained_another_model_is_refused():
    used = keras.optimizers.SGD()
    used.build(network().trainable_variables)
    with pytest.raises(ConfigError, match=r"optimizer: got 'SGD'; expected a new one, .*SGD.from_config"):
        plan(network(), DATA, optimizer=used)


def test_a_schedule_given_as_learning_rate():
    for options in ({}, {"optimizer": "sgd"}):
        planned = plan(network(), DATA, learning_rate=cosine(), **options)
        assert planned.found["schedule"] == COSINE
        assert planned.settings.training.optimizer is None
    compiled_model = network(optimizer="sgd", loss=crossentropy())
    assert plan(compiled_model, DATA, learning_rate=cosine()).found["schedule"] == COSINE
    assert compiled.schedule_of(compiled_model) is None
    with pytest.raises(ConfigError, match=r"learning_rate: got 'CosineDecay'; .* give it to the optimizer"):
        plan(network(), DATA, learning_rate=cosine(), optimizer=keras.optimizers.SGD())


def test_a_number_beside_a_schedule_is_refused():
    model = network(optimizer=keras.optimizers.SGD(cosine()), loss=crossentropy())
    with pytest.raises(ConfigError, match=r"learning_rate: got 0.1; expected none: .* CosineDecay\(initial"):
        plan(model, DATA, learning_rate=0.1)
    assert plan(model, DATA, learning_rate=0.1, optimizer="sgd").settings.training.learning_rate == 0.1


class Bare(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step: Any) -> float:
        return 0.1


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((3,), (2,)), None),
        (((3, 1), (2,)), None),
        (((3,), (2,), (1,)), r"the model has 2 inputs \(first, second\); the data have 3"),
        (((3,), (3,)), r"input 'second': the model expects samples of shape \(2,\); the data have \(3,\)"),
        (((3, 2), (2,)), r"input 'first': the model expects samples of shape \(3,\); the data have \(3, 2\)"),
        (((), (2,)), r"input 'first': the model expects samples of shape \(3,\); the data have \(\)"),
    ],
)
def test_a_list_of_inputs_is_matched_in_order(shapes: Any, words: str | None):
    inputs = [keras.Input((3,), name="first"), keras.Input((2,), name="second")]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    prepared = lk.data.arrays(
        [np.zeros((10, *shape), np.float32) for shape in shapes], np.zeros(10)
    ).prepare()
    if words is None:
        compiled.check_inputs(model, prepared)
        return
    with pytest.raises(ModelError, match=words):
        compiled.check_inputs(model, prepared)


def test_a_schedule_in_words():
    assert compiled.schedule_of(None) is None
    assert compiled.schedule_of(lk.LeptonModel((3,), 2)) is None
    assert compiled.schedule_of(network()) is None
    assert compiled.schedule_of(network(optimizer=keras.optimizers.SGD(Bare()), loss="mse")) == "Bare()"
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(cosine()))
    assert compiled.schedule_of(network(optimizer=scaled, loss="mse")) == COSINE


def test_a_schedule_is_read_from_a_file_as_from_the_model(tmp_path: Path):
    path = tmp_path / "model.keras"
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(cosine()))
    for optimizer, expected in ((keras.optimizers.SGD(cosine()), COSINE), (scaled, COSINE), ("sgd", None)):
        network(optimizer=optimizer, loss="mse").save(path)
        assert compiled.schedule_in_file(path) == expected
    network().save(path)
    assert compiled.schedule_in_file(path) is None
    network(optimizer=keras.optimizers.SGD(cosine()), loss="mse").save(path)
    np.savez(tmp_path / "a.npz", x=X, y=X[:, :2])
    values = {
        "model": {"kind": "keras", "path": "model.keras"},
        "data": {"kind": "npz", "path": "a.npz"},
        "training": {"learning_rate": 0.1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"training.learning_rate: got 0.1; expected none: it follows"):
        launch_config(tmp_path / "run.yaml", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


class Own(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def compile(self, d_optimizer: Any, g_optimizer: Any) -> None:  # type: ignore[override]  # an own signature is what it tests
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def call(self, x: Any) -> Any:
        return self.dense(x)


@pytest.mark.parametrize("option", ["optimizer", "loss", "metrics", "learning_rate", "loss_weights"])
def test_options_around_an_own_compile_are_refused_by_name(option: str):
    model = Own()
    model.compile("sgd", "sgd")
    value = {"optimizer": keras.optimizers.SGD(), "learning_rate": 0.1, "loss_weights": [1]}.get(
        option, "mse"
    )
    words = rf"{option}: got .*; expected no {option}: Own has its own compile\(d_optimizer, g_optimizer\)"
    with pytest.raises(ConfigError, match=words):
        plan(model, DATA, **{option: value})


def test_an_own_compile_decides_the_rate_in_words():
    model = Own()
    model.compile("sgd", "sgd")
    assert compiled.rate_decided_by(model) == "set in Own.compile(d_optimizer, g_optimizer)"
    assert compiled.rate_decided_by(lk.LeptonModel((3,), 2)) is None
    assert compiled.rate_decided_by(network(optimizer=keras.optimizers.SGD(cosine()), loss="mse")) == COSINE


@pytest.mark.parametrize("best", ["loss", "val_accuracy", "val_loss:min"])
def test_a_quantity_that_the_run_has_may_be_kept_by(best: str):
    assert plan(lk.LeptonModel((3,), 2), DATA, keep_best=best).settings.training.keep_best == best
    model = network(optimizer="sgd", loss=crossentropy(), metrics=["accuracy"])
    assert plan(model, DATA, keep_best=best).settings.training.keep_best == best


def test_a_quantity_that_the_run_lacks_is_refused():
    model = network(
        optimizer="sgd", loss=crossentropy(), metrics=[keras.metrics.MeanSquaredError(name="far")]
    )
    with pytest.raises(
        ConfigError, match=r"keep_best: got 'val_fr'; expected one of loss, val_loss, far, val_far; did"
    ):
        plan(model, DATA, keep_best="val_fr")
    with pytest.raises(ConfigError, match=r"keep_best: got 'val_loss'; .* nothing is held out"):
        plan(model, DATA, keep_best="val_loss", validation_split=0.0)
    unknown = network(optimizer="sgd", loss=crossentropy(), metrics=[lambda y, p: p])
    assert plan(unknown, DATA, keep_best="val_x").settings.training.keep_best == "val_x"


def test_a_callback_that_keeps_the_best_says_by_what():
    stopping = keras.callbacks.EarlyStopping("val_accuracy", mode="max", restore_best_weights=True)
    planned = plan(lk.LeptonModel((3,), 2), DATA, callbacks=[stopping])
    assert planned.settings.training.keep_best == "val_accuracy:max"


def test_what_was_frozen_after_the_optimizer_was_built_is_refused_until_compiled_again():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(2)])
    model.compile("sgd", crossentropy())
    model.fit(*DATA, verbose=0)
    model.layers[0].trainable = False
    with pytest.raises(ModelError, match=r"'sequential.*/dense.*/kernel' was frozen after .*compile again"):
        plan(model, DATA)
    model.compile("sgd", crossentropy())
    plan(model, DATA)
    model.fit(*DATA, verbose=0)
    model.layers[0].trainable = True
    with pytest.raises(ModelError, match="was set free after"):
        plan(model, DATA)
