"""Variables of a model as a step sees them: their shapes, seeds that differ by rank, and those that Keras does not track."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lepton_kit.models.objects import reached


def shaped(variable: Any, value: Any) -> Any:
    """A value of a variable; its shape is known then, even where it comes from a part of the model that hides it."""
    import tensorflow as tf

    value = tf.convert_to_tensor(value)
    value.set_shape(variable.shape)
    return value


def with_outside(model: Any, variables: list[Any], position: Any) -> list[Any]:
    """These variables, then those of metrics, the position, and what the model reads without tracking it."""
    known = {id(v) for v in variables}
    found = [*variables, *(v for v in model.metrics_variables if id(v) not in known), position]
    return [*found, *outside(model, found)]


def outside(model: Any, known: Sequence[Any]) -> list[Any]:
    """The numbers that a model's pickle holds beside its known variables: a closure's, a callback may change them."""
    inside = {id(v) for v in known} | {id(getattr(v, "_value", None)) for v in known}
    held = {
        id(v): v
        for v in reached(model).variables
        if v.dtype.is_floating or v.dtype.is_integer or v.dtype.is_bool
    }
    return [v for key, v in held.items() if key not in inside]


def is_seed(variable: Any) -> bool:
    """Whether a variable is the state of a Keras SeedGenerator."""
    return variable.name == "seed_generator_state" and tuple(variable.shape) == (2,)


def fold_rank(variable: Any, rank: Any) -> Any:
    """A generator's state with the rank mixed in, so that ranks draw different noise; other counters as they are.

    Mixed in twice, it is the state of before.
    """
    import tensorflow as tf

    value = tf.convert_to_tensor(variable.value)
    if not is_seed(variable):
        return value
    mixed = tf.cast(rank, value.dtype) * tf.constant(0x1E3779B9, value.dtype)
    return tf.stack([tf.bitwise.bitwise_xor(value[0], mixed), value[1]])
