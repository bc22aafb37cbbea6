"""Optimizers give variables new values while a checkpoint holds the ones before: the same bits, and nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.training import state
from lepton_kit.training.updates import as_new_values

SHAPE = (64, 32)
WRAPPERS = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
CLASSES = sorted(
    name
    for name, one in vars(keras.optimizers).items()
    if isinstance(one, type) and issubclass(one, keras.optimizers.Optimizer) and name not in WRAPPERS
)
SETTINGS: dict[str, dict[str, Any]] = {
    "alone": {},
    "decay": {"weight_decay": 0.01},
    "together": {
        "weight_decay": 0.01, "clipnorm": 0.5, "gradient_accumulation_steps": 2,
        "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 2,
    },
}  # fmt: skip
WAYS = [("alone", False), ("decay", False), ("together", False), ("together", True)]
"""Settings, and whether the step is compiled by XLA."""
OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01),
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "ftrl": lambda: keras.optimizers.Ftrl(0.01),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "averaged": lambda: keras.optimizers.Lion(0.01, use_ema=True, ema_momentum=0.9),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.01), initial_scale=1.0),
}


def trained(
    make: Any, *, renewed: bool, held: bool = False, dtype: str = "float32", jit: bool = False
) -> list[Any]:
    numbers = np.random.default_rng(0)
    weights = [keras.Variable(numbers.normal(size=SHAPE), dtype=dtype, name=name) for name in "ab"]
    optimizer = make()
    optimizer.build(weights)
    every = [*weights, *optimizer.variables]

    @tf.function(autograph=False, jit_compile=jit)
    def step(gradients: Any) -> None:
        with as_new_values([optimizer] if renewed else []):
            optimizer.apply(gradients, weights)

    for _ in range(4):
        before = state.capture(every) if held else []
        copies = [array.copy() for array in before]
        step([tf.constant(numbers.normal(size=SHAPE), dtype) for _ in weights])
        for array, copy in zip(before, copies, strict=True):
            np.testing.assert_array_equal(array, copy)
    assert not {"assign_add", "assign_sub", "_apply_weight_decay"} & set(vars(optimizer))
    return [array.tobytes() for array in state.capture(every)]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_new_values_are_the_same_bits_also_while_the_ones_before_are_held(name: str):
    expected = trained(OPTIMIZERS[name], renewed=False)
    assert trained(OPTIMIZERS[name], renewed=True) == expected
    assert trained(OPTIMIZERS[name], renewed=True, held=True) == expected


@contextmanager
def no_sums_in_place() -> Iterator[None]:
    """Nothing but numbers is changed in its own memory by what is traced meanwhile, in conditions too."""
    from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable as Held

    def refused(name: str) -> Any:
        given = getattr(Held, name)

        def changed(variable: Any, *arguments: Any, **more: Any) -> Any:
            assert variable.shape.num_elements() == 1, f"{variable.name}: {name}"
            return given(variable, *arguments, **more)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for name in vars(Held):
            if name in ("assign_add", "assign_sub") or "scatter" in name:
                patch.setattr(Held, name, refused(name))
        yield


def divided() -> keras.optimizers.Optimizer:
    optimizers = keras.optimizers
    others = optimizers.OptimizerMap(
        optimizers.AdamW(0.01), {"a": optimizers.SGD(0.01, momentum=0.9, **SETTINGS["decay"])}
    )
    return optimizers.MultiOptimizer(others)


@pytest.mark.parametrize(
    ("name", "setting", "jit"),
    [
        pytest.param(name, setting, jit, marks=pytest.mark.long if jit and name != "Adam" else ())
        for name in CLASSES
        for setting, jit in WAYS
    ],
)
def test_every_optimizer_of_keras_gives_new_values_of_the_same_bits(name: str, setting: str, jit: bool):
    def make() -> Any:
        return getattr(keras.optimizers, name)(learning_rate=0.01, **SETTINGS[setting])

    expected = trained(make, renewed=False, jit=jit)
    with no_sums_in_place():
        assert trained(make, renewed=True, held=True, jit=jit) == expected


@pytest.mark.parametrize("scaled", [False, True])
def test_so_do_optimizers_within_others(scaled: bool):
    def make() -> Any:
        return keras.optimizers.LossScaleOptimizer(divided(), initial_scale=1.0) if scaled else divided()

    expected = trained(make, renewed=False)
    with no_sums_in_place():
        assert trained(make, renewed=True, held=True) == expected
    inner = make()
    inner = inner.inner_optimizer if scaled else inner
    with as_new_values([inner]):
        assert all("assign_sub" in vars(one) for one in inner.optimizers)
    assert not any("assign_sub" in vars(one) for one in inner.optimizers)


def test_weights_that_are_left_out_of_the_decay_stay_so():
    weights = [keras.Variable(np.ones(SHAPE), name=name) for name in ("kernel", "bias")]
    optimizer = keras.optimizers.SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(weights)
    with as_new_values([optimizer]):
        optimizer.apply([tf.zeros(SHAPE)] * 2, weights)
    assert [float(one.numpy().mean()) for one in weights] == [0.75, 1.0]


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
