"""Optimizers give variables new values while a checkpoint holds the ones before: the same bits, and nothing is copied."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.training import state
from lepton_kit.training.updates import as_new_values

SHAPE = (64, 32)
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01),
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "ftrl": lambda: keras.optimizers.Ftrl(0.01),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "averaged": lambda: keras.optimizers.Lion(0.01, use_ema=True, ema_momentum=0.9),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.01), initial_scale=1.0),
}


def trained(make: Any, *, renewed: bool, held: bool = False, dtype: str = "float32") -> list[Any]:
    numbers = np.random.default_rng(0)
    weights = [keras.Variable(numbers.normal(size=SHAPE), dtype=dtype) for _ in range(2)]
    optimizer = make()
    optimizer.build(weights)
    every = [*weights, *optimizer.variables]

    @tf.function(autograph=False)
    def step(gradients: Any) -> None:
        with as_new_values([optimizer] if renewed else []):
            optimizer.apply(gradients, weights)

    for _ in range(4):
        before = state.capture(every) if held else []
        copies = [array.copy() for array in before]
        step([tf.constant(numbers.normal(size=SHAPE), dtype) for _ in weights])
        for array, copy in zip(before, copies, strict=True):
            np.testing.assert_array_equal(array, copy)
    assert not {"assign_add", "assign_sub"} & set(vars(optimizer))
    return [array.tobytes() for array in state.capture(every)]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_new_values_are_the_same_bits_also_while_the_ones_before_are_held(name: str):
    expected = trained(OPTIMIZERS[name], renewed=False)
    assert trained(OPTIMIZERS[name], renewed=True) == expected
    assert trained(OPTIMIZERS[name], renewed=True, held=True) == expected


def test_new_values_have_the_type_of_the_variable():
    expected = trained(OPTIMIZERS["adam"], renewed=False, dtype="bfloat16")
    assert trained(OPTIMIZERS["adam"], renewed=True, dtype="bfloat16") == expected


def operations(change: Any) -> list[str]:
    graph = tf.function(change, autograph=False).get_concrete_function().graph
    return [one.type for one in graph.get_operations()]


def test_no_large_value_is_changed_in_its_own_memory():
    weights = [keras.Variable(np.ones(SHAPE, "float32"))]
    optimizer = keras.optimizers.Adam()
    optimizer.build(weights)

    def step() -> None:
        with as_new_values([optimizer]):
            optimizer.apply([tf.ones(SHAPE)], weights)

    found = operations(step)
    assert found.count("AssignVariableOp") >= 3
    in_place = [one for one in found if one in ("AssignAddVariableOp", "AssignSubVariableOp")]
    assert len(in_place) <= 1, "only the count of steps, a number, is"


def test_rows_of_an_embedding_and_an_optimizer_with_sums_of_its_own_are_left_alone():
    class Own(keras.optimizers.SGD):
        def assign_sub(self, variable: Any, value: Any) -> None:
            super().assign_sub(variable, 2 * value)

    weight = keras.Variable(np.ones(SHAPE, "float32"))
    optimizer = Own(0.5)
    optimizer.build([weight])
    with as_new_values([optimizer]):
        optimizer.apply([tf.ones(SHAPE)], [weight])
    np.testing.assert_array_equal(weight.numpy(), np.zeros(SHAPE))
    plain = keras.optimizers.SGD(0.5)
    plain.build([weight])
    rows = tf.IndexedSlices(tf.ones([1, SHAPE[1]]), [3], SHAPE)
    with as_new_values([plain]):
        plain.assign_sub(weight, rows)
    assert weight.numpy()[3].tolist() == [-1.0] * SHAPE[1]
    assert not weight.numpy()[4].any()
