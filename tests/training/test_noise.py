"""Ranks draw different noise from one seed, and what is no noise is the same on all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lepton_kit.data import arrays
from lepton_kit.training.job import Job
from lepton_kit.training.variables import fold_rank
from tests.training.harness import prepare, train, weights_of


class Own(keras.Model):
    """With a train_step of its own, which trains as Keras' does."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def network(kind: type[keras.Model], rate: float) -> Any:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(16, "relu")(inputs)
    outputs = keras.layers.Dense(2)(keras.layers.Dropout(rate, seed=5)(hidden))
    model = kind(inputs, outputs)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("kind", [keras.Model, Own], ids=["keras", "own"])
@pytest.mark.parametrize(("rate", "equal"), [(0.0, True), (0.5, False)])
def test_another_rank_drops_other_units_of_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[keras.Model], rate: float, equal: bool
):
    random = np.random.default_rng(0)
    data = arrays(
        random.normal(size=(32, 4)).astype(np.float32), random.integers(0, 2, 32), validation_split=0
    )
    config = prepare(tmp_path, network(kind, rate), data, global_batch=32, epochs=1)
    block = Job.block

    def weights(rank: int) -> list[Any]:
        monkeypatch.setattr(Job, "block", lambda *given: dataclasses.replace(block(*given), rank=rank))
        return weights_of(train(tmp_path, config)[1])

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True)) is equal


def test_a_rank_is_mixed_into_seeds_alone_and_twice_is_none():
    import tensorflow as tf

    seed = keras.random.SeedGenerator(5).state
    states = {tuple(fold_rank(seed, tf.constant(rank)).numpy()) for rank in range(4)}
    assert len(states) == 4
    assert tuple(seed.numpy()) in states  # rank 0 draws as one process does
    before = seed.numpy()
    for _ in range(2):
        seed.assign(fold_rank(seed, tf.constant(3)))
    assert np.array_equal(seed.numpy(), before)
    counter = keras.Variable([5, 6], dtype="int32", trainable=False, name="counter")
    assert fold_rank(counter, tf.constant(3)).numpy().tolist() == [5, 6]
