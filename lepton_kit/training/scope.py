"""Calling a Keras model as its own train step does, with all that it assigns kept apart from its variables."""

from __future__ import annotations

from typing import Any

import numpy as np


def call(model: Any, x: Any, training: bool) -> Any:
    """The model's predictions, called as Keras' own train step calls it."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def leaf_scope(tape: Any, mapping: Any) -> Any:
    """A StatelessScope in which an assignment makes a new leaf of the gradient, as it does for a variable.

    SpectralNormalization, say, assigns its kernel before it uses it: what the kernel was before gets no gradient.
    """
    import keras
    import tensorflow as tf

    class Scope(keras.StatelessScope):
        def __init__(self) -> None:
            super().__init__(state_mapping=mapping, collect_losses=True)
            self._made: dict[int, list[Any]] = {}

        def add_update(self, update: tuple[Any, Any]) -> None:
            variable, value = update
            value = tf.stop_gradient(tf.convert_to_tensor(value))
            if value.dtype.is_floating:
                tape.watch(value)
            self._made.setdefault(id(variable), []).append(value)
            super().add_update((variable, value))

        def leaves(self, variables: list[Any], first: list[Any]) -> list[list[Any]]:
            """Each variable's values in turn: the one that it came with, then those that it was given."""
            return [[value, *self._made.get(id(v), [])] for v, value in zip(variables, first, strict=True)]

        def value(self, variable: Any) -> Any:
            found = self.get_current_value(variable)
            return variable.value if found is None else found

    return Scope()


def first(part: Any) -> Any:
    """The first step of a block's structure of arrays."""
    import tensorflow as tf

    return None if part is None else tf.nest.map_structure(lambda array: array[0], part)


def flat(results: dict[str, Any]) -> dict[str, float]:
    """Metric results as numbers: a vector under ``name`` becomes ``name_0``, ``name_1`` and so on.

    >>> flat({"f1": np.array([0.5, 1.0]), "auc": 0.75})
    {'f1_0': 0.5, 'f1_1': 1.0, 'auc': 0.75}
    """
    found: dict[str, float] = {}
    for name, value in results.items():
        if isinstance(value, dict):
            found |= flat(value)
            continue
        array = np.asarray(value)
        parts = (
            [(name, array)] if array.ndim == 0 else [(f"{name}_{k}", v) for k, v in enumerate(array.ravel())]
        )
        found |= {key: float(number) for key, number in parts}
    return found
