"""Updates that give variables new values, so that a value which a checkpoint holds need not be copied out of their way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lepton_kit.training import state


@contextlib.contextmanager
def as_new_values(optimizers: Sequence[Any]) -> Iterator[None]:
    """While a step is traced or run: what Keras optimizers add to variables makes new values, bit for bit the same.

    TensorFlow adds to a value in its own memory, and copies it first where somebody else still holds it: all of the state
    in the step after a checkpoint was begun. A new value lies in the memory of what is added, which is needed no more, and
    the one before stays with whoever holds it. What an optimizer changes in another way, as weight decay does, or by an
    ``assign_add`` of its own, stays as it is.
    """
    import keras
    import tensorflow as tf

    operations = {"assign_add": tf.add, "assign_sub": tf.subtract}
    patched: list[tuple[Any, str]] = []
    try:
        for optimizer in (getattr(one, "inner_optimizer", one) for one in optimizers):
            for name, operation in operations.items():
                given = getattr(optimizer, name)
                if getattr(given, "__func__", None) is getattr(keras.optimizers.Optimizer, name):
                    # Past Keras' own __setattr__, which would track what is put there.
                    object.__setattr__(optimizer, name, _renewing(given, operation))
                    patched.append((optimizer, name))
        yield
    finally:
        for optimizer, name in patched:
            object.__delattr__(optimizer, name)


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
