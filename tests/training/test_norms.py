"""Norms of gradients: what a run logs is what plain gradients of the same samples give, by every way to sum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import lepton_kit as lk
from lepton_kit.data import arrays, sharding
from lepton_kit.training.norms import EVERY, EVERY_WITH_SLICES, Norms, squared
from tests.training.harness import prepare, train

SGD = keras.optimizers.SGD


def noted(own: Any, summed: Any, share: float, optimizer: Any = None, **more: Any) -> tuple[float, ...]:
    norms, optimizer = Norms(), optimizer or SGD()

    @tf.function
    def step() -> None:
        norms.note(own, summed, tf.constant(share), optimizer, **more)

    step()
    return norms.take()


def test_the_own_norm_counts_by_the_share_and_the_sum_as_it_is():
    own, summed = [tf.constant([1.0, 2.0]), tf.constant([[2.0]])], [tf.constant([4.0])]
    assert noted(own, summed, 0.25) == (36.0, 16.0, 1)


def test_a_rank_without_samples_brings_nothing_even_of_nan_and_one_with_all_measures_nothing():
    lost, summed = [tf.constant([np.nan])], [tf.constant([3.0])]
    assert noted(lost, summed, 0.0) == (0.0, 9.0, 1)
    assert noted([tf.constant([1.0])], summed, 1.0) == (0.0, 0.0, 0)


def test_one_step_of_so_many_is_measured_and_the_mean_of_them_taken_once():
    norms, sgd = Norms(), SGD()
    for index in range(2 * EVERY):
        norms.note([tf.constant([1.0 + index])], [tf.constant([2.0])], tf.constant(0.5), sgd, position=index)
    assert norms.take() == ((1 + (1 + EVERY) ** 2) / 2 / 0.5, 4.0, 2)
    assert norms.take() == (0.0, 0.0, 0)


def test_a_loss_scale_is_taken_out():
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(), initial_scale=8.0)
    optimizer.build([keras.Variable([1.0])])
    assert noted([tf.constant([8.0])], [tf.constant([16.0])], 0.5, optimizer) == (2.0, 4.0, 1)


def test_rows_of_one_place_are_added_up_before_they_are_squared():
    slices = tf.IndexedSlices(tf.constant([[1.0], [2.0], [5.0]]), tf.constant([3, 3, 0]), tf.constant([4, 1]))
    assert float(squared([slices, tf.constant([2.0])])) == 3.0**2 + 5.0**2 + 2.0**2


def test_parts_of_a_step_are_one_step():
    norms = Norms()
    for _ in range(2):
        norms.note([tf.constant([1.0])], [tf.constant([2.0])], tf.constant(0.5), SGD(), steps=0.0)
    norms.count(tf.constant(0.5))
    assert norms.take() == (4.0, 8.0, 1)


class Own(keras.Model):
    """With a train_step of its own, which trains as Keras' does."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def dense(kind: type[keras.Model] = keras.Model) -> tuple[Any, np.ndarray]:
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, "tanh", kernel_regularizer="l2")(inputs)
    model = kind(inputs, keras.layers.Dense(3)(hidden))
    return model, np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)


def words() -> tuple[Any, np.ndarray]:
    inputs = keras.Input((5,), dtype="int32")
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    return model, np.random.default_rng(1).integers(0, 20, (60, 5)).astype(np.int32)


def gradient(model: Any, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Of the mean over these samples, by plain Keras."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=y, y_pred=model(x, training=True), sample_weight=w)
    found = tape.gradient(loss, model.trainable_variables)
    return np.concatenate([np.ravel(tf.convert_to_tensor(one)) for one in found])


@pytest.mark.processes
@pytest.mark.parametrize(
    ("make", "allreduce", "weights", "every"),
    [
        (dense, "shared_memory", (1.0, 40.0, 70.0), EVERY),
        pytest.param(lambda: dense(Own), "shared_memory", (1.0, 2.0), 1, marks=pytest.mark.long),
        (words, "horovod", (2.0, 3.0), EVERY_WITH_SLICES),
    ],
    ids=["a rank without samples", "own train_step", "embedding over Horovod"],
)
def test_the_log_has_the_norms_that_plain_gradients_of_the_same_samples_have(
    tmp_path: Path,
    make: Callable[[], tuple[Any, np.ndarray]],
    allreduce: str,
    weights: tuple[float, ...],
    every: int,
):
    keras.utils.set_random_seed(4)
    model, x = make()
    y = np.arange(60) % 3
    w = np.random.default_rng(2).uniform(0.5, 2.0, 60).astype(np.float32)
    still = keras.optimizers.Adam(1e-12, clipnorm=1e-3)  # so that the weights stay as they are
    model.compile(still, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    run = lk.launch(
        model, (x, y, w), workers=len(weights), weights=weights, global_batch=12, max_steps=90, epochs=20,
        allreduce=allreduce, validation_split=0.0, runs_dir=tmp_path,
    )  # fmt: skip
    run.wait(300)
    rows, seed, done = list(run.view().norms), run.config.seed, 0
    assert len(rows) >= 2
    for step, batch, ranks, count, small, large in rows:
        steps = [one for one in range(done, int(step) + 1) if one % every == 0]
        done = int(step) + 1
        assert (batch, count) == (12, len(steps))
        expected = np.zeros(2)
        for one in steps:
            parts = sharding.shard(
                seed=seed, step=one, samples=60, global_batch=12, weights=weights, shuffle=True
            )
            full = [part for part in parts if len(part)]
            own = [gradient(model, x[part], y[part], w[part]) for part in full]
            whole = np.concatenate(full)
            expected += [
                sum(len(part) / 12 * float(g @ g) for part, g in zip(full, own, strict=True)),
                float(np.sum(gradient(model, x[whole], y[whole], w[whole]) ** 2)),
            ]
        assert ranks == len(full)
        assert [small, large] == pytest.approx(expected / len(steps), rel=2e-4)


def test_one_worker_has_nothing_to_compare_with(tmp_path: Path):
    model, x = dense()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    config = prepare(tmp_path, model, arrays(x, np.arange(60) % 3), workers=1, global_batch=12, epochs=1)
    _, _, channel = train(tmp_path, config)
    told = channel.of("steps")
    assert told
    assert not any(event["norms"] for event in told)
