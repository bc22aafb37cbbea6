"""A rank without samples: it computes nothing, and comes to hold the very bits that the others hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import lepton_kit as lk
from lepton_kit.data.proofs import PROOF_SIZE
from lepton_kit.models.layers import SyncBatchNormalization
from lepton_kit.training.own import OwnStep
from lepton_kit.training.step import Block, Step
from lepton_kit.training.traces import IDLE_BLOCKS
from tests.conformance.steps import AsInTheGuide, adversaries, made

L = keras.layers
STEPS, BATCH = 4, 6


class Sums:
    """What a rank with all samples sums, step by step; another rank hears the same and has to bring nothing."""

    def __init__(self) -> None:
        self.told: list[list[np.ndarray]] = []
        self.heard: int | None = None

    def sum(self, means: Any, totals: Any, scale: Any, gradients: Any = ()) -> list[Any]:
        given = [*(tf.cast(mean, tf.float32) * scale for mean in means), *totals, *gradients]

        def together(*values: np.ndarray) -> list[np.ndarray]:
            if self.heard is None:
                self.told.append([np.array(value) for value in values])
                return list(values)
            expected = self.told[self.heard]
            self.heard += 1
            assert [value.shape for value in values] == [value.shape for value in expected]
            assert not any(value.any() for value in values), "a rank without samples brings something"
            return expected

        found = tf.numpy_function(together, given, [tf.float32] * len(given))
        for value, like in zip(found, given, strict=True):
            value.set_shape(like.shape)
        return list(found)


class Counting(L.Layer):
    """Counts how often it is computed, forward and backward; of no effect that would keep it in a graph."""

    calls = 0

    def call(self, x: Any) -> Any:
        @tf.custom_gradient
        def counted(value: Any) -> Any:
            return self._count(value), lambda upstream: self._count(upstream)

        return counted(x)

    def _count(self, value: Any) -> Any:
        def count(array: np.ndarray) -> np.ndarray:
            Counting.calls += 1
            return array

        found = tf.numpy_function(count, [value], value.dtype, stateful=False)
        found.set_shape(value.shape)
        return found

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


def dense() -> Any:
    model = keras.Sequential([keras.Input((4,)), L.Dense(5, activation="relu"), Counting(), L.Dense(3)])
    model.compile(
        keras.optimizers.Adam(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def normalized() -> Any:
    layers = [L.Dense(5), SyncBatchNormalization(), Counting(), L.Dropout(0.5, seed=1), L.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers, L.GaussianNoise(0.1), SyncBatchNormalization()])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def several_outputs() -> Any:
    inputs = keras.Input((4,))
    inner = Counting()(L.Dense(5, activation="tanh", kernel_regularizer="l2")(inputs))
    model = keras.Model(inputs, {"a": L.Dense(3, name="a")(inner), "b": L.Dense(1, name="b")(inner)})
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", {"a": sparse, "b": "mse"}, metrics={"a": ["accuracy"], "b": ["mae"]})
    return model


def words() -> Any:
    layers = [L.Embedding(9, 5), Counting(), L.GlobalAveragePooling1D(), L.Dense(3)]
    model = keras.Sequential([keras.Input((4,), dtype="int32"), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def gathered() -> Any:
    """A loss of the user's own, of which means need not add up."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(5), Counting(), L.Dense(3, activation="softmax")])
    model.compile(
        "adam", lambda y, p: tf.reduce_max(tf.reduce_sum(p, 1) - tf.reduce_max(p, 1)), metrics=["mse"]
    )
    return model


def spectral() -> Any:
    layers = [L.SpectralNormalization(L.Dense(5)), Counting(), L.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def recurrent() -> Any:
    layers = [L.Reshape((2, 2)), L.LSTM(3, return_sequences=True), Counting(), L.LSTM(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def half() -> Any:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((4,)), L.Dense(5), Counting(), L.Dense(3, dtype="float32")])
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


KINDS = [normalized, several_outputs, words, gathered, spectral, half]


def data_for(kind: Callable[[], Any]) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    shape = (STEPS, BATCH, 4)
    x = generator.integers(0, 9, shape).astype(np.int32) if kind is words else generator.normal(size=shape)
    y: Any = generator.integers(0, 3, (STEPS, BATCH)).astype(np.int32)
    if kind is several_outputs:
        y = {"a": y, "b": generator.normal(size=(STEPS, BATCH, 1)).astype(np.float32)}
    if kind is gathered:
        y = np.eye(3, dtype=np.float32)[y]
    return x if kind is words else x.astype(np.float32), y


def step_of(kind: Callable[[], Any], sums: Sums, *, sizes: Any) -> Step:
    keras.utils.set_random_seed(3)
    x, y = data_for(kind)
    example = tf.nest.map_structure(lambda part: part[0, :2], (x, y))
    step = Step(kind(), sums, (*example, None), batch=BATCH, sizes=sizes)
    step.warm()
    return step


def block(kind: Callable[[], Any], step: Step, rows: int) -> Block:
    x, y = data_for(kind)
    whole = (x, y, None) if step.needs_whole else (None, None, None)
    proofs = np.ones((STEPS, PROOF_SIZE), np.float32) * (rows > 0)
    own = tf.nest.map_structure(lambda part: part if rows else part[:, :1], (x, y))
    return Block(*own, None, whole, proofs, 0 if rows else 1, 0 if rows else BATCH, rows, BATCH)


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_nothing_and_holds_what_the_others_hold(kind):
    sums = Sums()
    full = step_of(kind, sums, sizes=())
    sums.told.clear()  # of warming
    Counting.calls = 0
    full.train(block(kind, full, BATCH))
    assert Counting.calls == 2 * STEPS, "forward and backward of each step, or this test can tell nothing"
    idle = step_of(kind, sums, sizes={0})
    sums.heard, Counting.calls = 0, 0
    idle.train(block(kind, idle, 0))
    assert Counting.calls == 0
    assert sums.heard == len(sums.told), "as many sums as the others"
    for one, other in zip(full.state_variables, idle.state_variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    for one, other in zip(full.recorded(STEPS), idle.recorded(STEPS), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_graph_without_samples_is_traced_where_none_come_for_some_blocks():
    sums = Sums()
    step = step_of(dense, sums, sizes=())
    Counting.calls = 0
    for _ in range(IDLE_BLOCKS):
        step.train(block(dense, step, 0))
    seen = Counting.calls
    assert seen > 0, "a last, short batch is not worth a graph: it takes the one that is there"
    for _ in range(3):
        step.train(block(dense, step, 0))
    assert Counting.calls == seen


def test_sums_inside_a_loop_of_the_model_keep_the_ordinary_graph():
    def looped() -> Any:
        class Summing(L.Layer):
            def call(self, x: Any, training: bool = False) -> Any:
                from lepton_kit.models import layers

                add = layers._addition(layers._counted.get()[2])
                once = tf.reduce_sum(tf.stop_gradient(x))
                return x + (
                    0.0 if add is None else tf.cond(once > -1e9, lambda: add(once, "s"), lambda: once)
                )

        model = keras.Sequential([keras.Input((4,)), L.Dense(3), Summing(), Counting()])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    step = step_of(looped, Sums(), sizes={0})
    Counting.calls = 0
    step.train(block(looped, step, 0))
    assert Counting.calls > 0


class Own(keras.Sequential):
    """The train step of a user, who writes out what Keras does."""

    traced = 0

    def train_step(self, data: Any) -> Any:
        self.traced += 1
        x, y = data[:2]
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=predicted)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, predicted)
        return {metric.name: metric.result() for metric in self.metrics} | self.more(tape, x, predicted)

    def more(self, tape: Any, x: Any, predicted: Any) -> Any:
        return {}


class Penalised(Own):
    """Two updates a step, of which the second has a gradient of a gradient, and a figure of its own."""

    def more(self, tape: Any, x: Any, predicted: Any) -> Any:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                found = tf.reduce_sum(self(x, training=True))
            penalty = tf.reduce_mean(tf.square(inner.gradient(found, x)))
        weights = self.trainable_variables
        pairs = zip(outer.gradient(penalty, weights), weights, strict=True)
        self.optimizer.apply_gradients((g, v) for g, v in pairs if g is not None)
        return {"penalty": penalty, "spread": tf.math.reduce_std(predicted)}


class Changing(Own):
    """One that sums something else each time that it is traced."""

    def more(self, tape: Any, x: Any, predicted: Any) -> Any:
        return {f"figure_{k}": tf.reduce_mean(x) for k in range(self.traced)}


def own_step_of(kind: type[Own], sums: Sums, *, sizes: Any) -> Step:
    keras.utils.set_random_seed(3)
    layers = [L.Dense(5, activation="tanh"), Counting(), L.Dropout(0.5, seed=1), SyncBatchNormalization()]
    model = kind([keras.Input((4,)), *layers, L.Dense(3)])
    model.compile(
        keras.optimizers.Adam(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x, y = data_for(dense)
    step = OwnStep(model, sums, (x[0, :2], y[0, :2], None), batch=BATCH, sizes=sizes)
    step.warm()
    return step


@pytest.mark.parametrize("kind", [Own, Penalised])
def test_a_train_step_of_the_users_own_computes_nothing_either(kind: type[Own]):
    sums = Sums()
    full, idle = own_step_of(kind, sums, sizes=()), own_step_of(kind, sums, sizes={0})
    sums.told.clear()
    Counting.calls = 0
    for _ in range(3):
        full.train(block(dense, full, BATCH))
    assert Counting.calls >= 3 * 2, "forward and backward of each step, or this test can tell nothing"
    sums.heard, Counting.calls = 0, 0
    for _ in range(3):
        idle.train(block(dense, idle, 0))
    assert Counting.calls == 0
    assert sums.heard == len(sums.told), "as many sums as the others"
    for one, other in zip(full.state_variables, idle.state_variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    for one, other in zip(full.recorded(1), idle.recorded(1), strict=True):
        np.testing.assert_array_equal(one, other)
    assert full.metrics() == idle.metrics()


def test_a_train_step_that_sums_something_else_when_it_is_traced_again_keeps_the_ordinary_graph():
    step = own_step_of(Changing, Sums(), sizes={0})
    Counting.calls = 0
    step.train(block(dense, step, 0))
    assert Counting.calls > 0


@pytest.mark.processes
@pytest.mark.parametrize("allreduce", ["horovod", pytest.param("auto", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("model", "options"),
    [
        pytest.param(adversaries, {"weights": [1, 0, 2], "global_batch": 9}, marks=pytest.mark.long),
        # The last batch of an epoch has 2 samples for 3 ranks.
        (lambda: made(AsInTheGuide, metrics=["accuracy"]), {"weights": [0, 1, 1], "global_batch": 29}),
    ],
    ids=["adversaries", "metrics"],
)
def test_a_train_step_of_ones_own_learns_the_same_beside_a_worker_without_samples(
    model: Callable[[], Any], options: Any, allreduce: str
):
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    data = lk.data.arrays(x, np.arange(60) % 3, validation_split=0)
    found = lk.certify(model(), data, steps=14, workers=3, allreduce=allreduce, **options)
    assert found.max_difference < 1e-5
