"""Updates that give variables new values, so that a value which a checkpoint holds need not be copied out of their way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lepton_kit.training import state


@contextlib.contextmanager
def as_new_values(optimizers: Sequence[Any]) -> Iterator[None]:
    """While a step is traced or run: what Keras optimizers add to variables makes new values, bit for bit the same.

    TensorFlow adds to a value in its own memory, and copies it first where somebody else still holds it: all of the state
    in the step after a checkpoint was begun. A new value lies in the memory of what is added, which is needed no more, and
    the one before stays with whoever holds it. That holds of weight decay too, which Keras takes off past the optimizer's
    own ``assign_sub``, and of the optimizers inside others. Rows of an embedding, and what an optimizer of the user's adds
    in a way of its own, stay as they are.
    """
    import keras
    import tensorflow as tf

    renewing: dict[str, Callable[[Any, Any], Any]] = {
        "assign_add": lambda _, given: _renewing(given, tf.add),
        "assign_sub": lambda _, given: _renewing(given, tf.subtract),
        "_apply_weight_decay": lambda optimizer, _: _decaying(optimizer),
    }
    patched: list[tuple[Any, str]] = []
    try:
        for optimizer in _each(optimizers):
            for name, renewed in renewing.items():
                given = getattr(optimizer, name)
                if getattr(given, "__func__", None) is getattr(keras.optimizers.Optimizer, name):
                    # Past Keras' own __setattr__, which would track what is put there.
                    object.__setattr__(optimizer, name, renewed(optimizer, given))
                    patched.append((optimizer, name))
        yield
    finally:
        for optimizer, name in patched:
            object.__delattr__(optimizer, name)


def _each(optimizers: Iterable[Any]) -> Iterator[Any]:
    """Those that change variables: of one that only scales a loss, or divides the variables among others, these."""
    import keras

    for one in optimizers:
        if isinstance(one, keras.optimizers.LossScaleOptimizer):
            yield from _each([one.inner_optimizer])
        elif isinstance(one, keras.optimizers.MultiOptimizer):
            yield from _each(one.optimizers)
        else:
            yield one


def _renewing(
    change: Callable[[Any, Any], None], operation: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], None]:
    import tensorflow as tf

    def renewed(variable: Any, value: Any) -> None:
        held = state.held_by_tensorflow(variable)
        if not tf.is_tensor(value) or isinstance(value, tf.IndexedSlices) or value.shape != held.shape:
            change(variable, value)
        else:
            held.assign(operation(held, tf.cast(value, held.dtype)))

    return renewed


def _decaying(optimizer: Any) -> Callable[[Iterable[Any]], None]:
    """Keras' weight decay with the same operations in the same order, up to the last one."""
    import tensorflow as tf

    def decayed(variables: Iterable[Any]) -> None:
        if optimizer.weight_decay is None:
            return
        for variable in map(state.held_by_tensorflow, variables):
            if optimizer._use_weight_decay(variable):
                rate = tf.cast(optimizer.learning_rate, variable.dtype)
                part = tf.cast(optimizer.weight_decay, variable.dtype)
                variable.assign(variable - variable * part * rate)

    return decayed
