"""What a worker will need: the weights are counted as Keras counts them, without building anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

import lepton_kit as lk
from lepton_kit.models import footprint


@pytest.mark.parametrize(
    "settings",
    [
        {"input_shape": (5,), "num_layers": 3},
        {"input_shape": (28, 28, 1), "num_layers": 3},
        {"input_shape": (130, 200, 3), "num_layers": 5},
        {"input_shape": (8, 3, 2), "num_layers": 1},
        {"input_shape": (100, 4), "num_layers": 3},
        {"input_shape": (3, 4), "num_layers": 4},
        {"input_shape": (30, 4), "num_layers": 3, "cell": "lstm"},
        {"input_shape": (30, 4), "num_layers": 2, "cell": "gru"},
        {"input_shape": (30,), "num_layers": 4, "vocabulary_size": 50},
        {"input_shape": (30,), "num_layers": 3, "vocabulary_size": 50, "cell": "gru"},
    ],
)
def test_the_weights_of_a_lepton_model_are_counted_as_keras_counts_them(settings: dict[str, Any]):
    model = lk.LeptonModel(num_classes=7, hidden_size=40, **settings)
    assert footprint.lepton_parameters(model.spec()) == model.count_params()


def dense(optimizer: Any = None) -> Any:
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dense(1000, use_bias=False)])
    if optimizer is not None:
        model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize(("optimizer", "state"), [(None, 12), ("adam", 12), ("sgd", 4)])
def test_a_keras_model_counts_with_the_state_of_its_optimizer(optimizer: str | None, state: int):
    expected = footprint.worker_bytes(state * 10**6, 4 * 10**6)
    assert footprint.estimated(dense(optimizer)) == expected


def test_an_optimizer_that_exists_counts_as_it_is():
    model = dense("rmsprop")
    model.optimizer.build(model.trainable_variables)
    more = footprint.estimated(model) - footprint.worker_bytes(8 * 10**6, 4 * 10**6)
    assert 0 <= more < 100


def test_a_file_is_looked_into_without_loading_it(tmp_path: Path):
    dense().save(tmp_path / "one.keras")
    found = footprint.estimated({"kind": "keras", "path": "one.keras"}, tmp_path)
    least = footprint.worker_bytes(12 * 10**6, 4 * 10**6)
    assert least <= found < 1.2 * least


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_a_file_that_can_not_be_read_counts_as_a_small_model(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "one.keras").write_bytes(content)
    found = footprint.estimated({"kind": "keras", "path": "one.keras"}, tmp_path)
    assert found == footprint.WORKER_BYTES
