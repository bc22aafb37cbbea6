"""The options of a launch: Keras' names, what goes where, and what a wrong one is told."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lepton_kit.client.options import OPTIONS, RENAMED, SAME, LaunchOptions, OptionError, read
from lepton_kit.config import PruningConfig, QuantizationAwareConfig, TrainingConfig
from lepton_kit.errors import ConfigError
from lepton_kit.workers import WorkersConfig


def test_every_setting_of_training_and_workers_is_an_option():
    named = {RENAMED.get(name, name) for name in LaunchOptions.__annotations__}
    assert {*TrainingConfig.model_fields, *WorkersConfig.model_fields} <= named
    assert set(SAME).isdisjoint(OPTIONS)


def test_the_page_of_options_names_every_option():
    page = (Path(__file__).parents[2] / "docs" / "options.md").read_text(encoding="utf-8")
    assert [name for name in OPTIONS if f"`{name}`" not in page] == []
    assert [name for name in SAME if f"training.{name}" not in page] == []


def test_keras_names_and_ours_mean_the_same():
    keras_names = read({"batch_size": 64, "validation_freq": {4, 2}, "workers": 3}).settings
    assert keras_names == read({"global_batch": 64, "validate_every_epochs": (2, 4), "workers": 3}).settings
    assert (keras_names.training.global_batch, keras_names.workers.count) == (64, 3)
    assert keras_names.training.validate_every_epochs == (2, 4)
    assert read({"batch_size": None}).settings.training.global_batch == 128
    assert read({"epochs": np.int64(3), "validation_freq": range(2, 4)}).settings.training.epochs == 3


def test_pruning_and_rounding_take_a_number_settings_or_a_section():
    for given in (0.5, {"sparsity": 0.5}, PruningConfig(sparsity=0.5)):
        assert read({"pruning": given}).settings.pruning == PruningConfig(sparsity=0.5)
    for bits in (4, {"bits": 4}, QuantizationAwareConfig(bits=4)):
        assert read({"quantization_aware": bits}).settings.quantization_aware == QuantizationAwareConfig(
            bits=4
        )
    assert read({"pruning": None}).settings.pruning is None


def test_names_stay_in_the_settings_and_objects_do_not():
    asked = read(
        {"optimizer": "sgd", "loss": "mse", "metrics": "mae", "weighted_metrics": ["mse"], "learning_rate": 1}
    )
    training = asked.settings.training
    assert (training.optimizer, training.loss, training.learning_rate) == ("sgd", "mse", 1.0)
    assert (training.metrics, training.weighted_metrics, asked.compiled) == (("mae",), ("mse",), {})
    loss = {"a": "mse", "b": lambda y, p: p}
    objects = {
        "optimizer": keras.optimizers.SGD(),
        "loss": loss,
        "metrics": ["mae", keras.metrics.AUC()],
        "loss_weights": [1, 0.5],
        "learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 10),
    }
    asked = read(objects)
    assert asked.compiled == objects
    assert asked.settings == read({}).settings
    assert asked.given == set(objects)
    assert read({"batch_size": None, "epochs": 2}).given == {"epochs"}
    described = read({"optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.5}}})
    assert float(described.compiled["optimizer"].learning_rate) == 0.5


def test_options_of_the_data_are_for_the_data():
    asked = read(
        {"class_weight": {0: 1.0}, "validation_split": 0.5, "sample_weight": None, "callbacks": ["x"]}
    )
    assert (asked.data, asked.callbacks) == ({"class_weight": {0: 1.0}, "validation_split": 0.5}, ["x"])


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("learning_rte", "learning_rate"),
        ("lr", "learning_rate"),
        ("nworkers", "workers"),
        ("num_workers", "workers"),
        ("metric", "metrics"),
        ("globl_batch", "global_batch"),
        ("call_backs", "callbacks"),
    ],
)
def test_an_unknown_option_is_told_the_nearest_and_all_of_launch(name: str, nearest: str):
    with pytest.raises(OptionError) as caught:
        read({name: 1})
    text = str(caught.value)
    assert text.startswith(
        f"launch: no option {name!r}; did you mean {nearest!r}? options: workers, batch_size"
    )
    assert "global_batch" not in text.partition("options:")[2]
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"batch_size": 4, "global_batch": 4},
            "global_batch: got 4; expected one of global_batch and batch_size",
        ),
        ({"global_batch": 0}, "global_batch: got 0; expected greater than or equal to 1"),
        ({"batch_size": 0}, "batch_size: got 0; expected greater"),
        ({"validation_freq": 0}, "validation_freq: got 0; expected a whole number of at least 1, or a list"),
        ({"validation_freq": "b"}, "validation_freq: got 'b'"),
        ({"initial_epoch": 5}, r"initial_epoch: got 5; expected a number below epochs \(5\)"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: got 0; expected greater"),
        ({"max_workers": 1}, r"max_workers: got 1; expected at least count \(2\)"),
        ({"weights": (1, "x")}, r"weights\.1: got 'x'; expected a valid number"),
        ({"seed": -1}, "seed: got -1"),
        ({"pruning": True}, "pruning: got True; expected a share of zeros .* {'sparsity': 0.8}"),
        ({"pruning": {"sparsty": 1}}, "pruning.sparsty: got 1; .* did you mean 'sparsity'"),
        ({"quantization_aware": "int8"}, "quantization_aware: got 'int8'; expected 2, 3, 4 or 8 bits"),
        ({"optimizer": object()}, "optimizer: got 'object'; expected a Keras optimizer's name or object"),
        ({"optimizer": keras.optimizers.SGD}, "optimizer: got 'SGD'; expected"),
        ({"optimizer": {"class_name": "Sgdd"}}, "optimizer: got {'class_name': 'Sgdd'}; expected"),
        ({"learning_rate": "fast"}, "learning_rate: got 'fast'; expected a number above 0 or a Keras"),
        ({"learning_rate": True}, "learning_rate: got True; expected a number"),
        ({"learning_rate": 0}, "learning_rate: got 0; expected greater than 0"),
        ({"loss": 3}, "loss: got 3; expected a Keras loss's name or object, or a function"),
        ({"loss": keras.losses.Huber}, "loss: got 'Huber'; expected"),
        ({"metrics": ["mae", object()]}, "metrics: got 'object'; expected a Keras metric's name"),
        ({"loss_weights": {"a": "much"}}, "loss_weights: got {'a': 'much'}; expected a number for each"),
    ],
)
def test_a_wrong_value_names_the_option_and_the_rule(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        read(options)


def test_checking_names_loads_no_keras():
    code = (
        "import sys; from lepton_kit.client.options import read;"
        "read({'optimizer': 'sgd', 'loss': 'mse', 'metrics': ['mae']}); print('keras' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
