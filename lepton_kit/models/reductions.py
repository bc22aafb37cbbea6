"""How values that pickle can't carry travel: variables, tensors, tables, locks and weak references are rebuilt."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

PROXIES = ("_DictWrapper", "_TupleWrapper")
"""TensorFlow's watch over plain dictionaries and tuples: what they watch travels."""
LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}

_made: list[Any] | None = None


@contextlib.contextmanager
def noting() -> Iterator[list[Any]]:
    """Meanwhile the variables that are rebuilt are collected, in their order."""
    global _made
    before, _made = _made, []
    try:
        yield _made
    finally:
        _made = before


def is_variable(value: Any) -> bool:
    """Whether this is a variable of TensorFlow's (of Keras' own it is the inside)."""
    import tensorflow as tf

    return isinstance(value, tf.Variable)


def reduce_tensorflow(value: Any, values: bool) -> Any:
    """How TensorFlow's object is rebuilt, as `object.__reduce__` says it; None for another one. Without ``values`` empty."""
    import tensorflow as tf
    from tensorflow.python.eager.polymorphic_function.polymorphic_function import Function
    from tensorflow.python.framework.composite_tensor import CompositeTensor

    if isinstance(value, tf.Variable):
        return _variable, (_array(value) if values else None, _settings(value))
    if isinstance(value, tf.Tensor):
        if not hasattr(value, "numpy"):
            return _nothing, ()  # of a graph that was traced here: nobody can use it outside of it
        return (tf.convert_to_tensor, (_array(value),)) if values else (_nothing, ())
    if isinstance(value, tf.lookup.StaticHashTable | tf.lookup.experimental.MutableHashTable):
        keys, found = value.export()
        return _table, (
            type(value).__name__,
            keys,
            found,
            value._default_value,
            value.key_dtype,
            value.value_dtype,
        )
    if isinstance(value, tf.lookup.KeyValueTensorInitializer):
        if not hasattr(value, "_keys") or not hasattr(value._keys, "numpy"):
            return _nothing, ()  # it has filled its table already
        return tf.lookup.KeyValueTensorInitializer, (
            value._keys,
            value._values,
            value.key_dtype,
            value.value_dtype,
        )
    if type(value).__name__ in PROXIES and hasattr(value, "__wrapped__"):
        return _same, (value.__wrapped__,)
    if isinstance(value, CompositeTensor) and not isinstance(value, tf.Module):
        return _composite, (value._type_spec, tf.nest.flatten(value, expand_composites=True))
    if isinstance(value, Function):
        options = {
            "input_signature": value.input_signature,
            "autograph": value._autograph,
            "jit_compile": value._jit_compile,
            "reduce_retracing": value._reduce_retracing,
        }
        return _traced, (value.python_function, options)
    if isinstance(value, tf.distribute.Strategy):
        return tf.distribute.get_strategy, ()
    if isinstance(value, tf.random.Generator):
        return _generator, (_array(value.state), int(value.algorithm))
    return None


def reduce_python(value: Any) -> Any:
    """The same for what Python itself does not pickle."""
    if type(value) in LOCKS:
        return LOCKS[type(value)], ()
    if isinstance(value, threading.local):
        return threading.local, ()
    if type(value) is weakref.ref:
        return (weakref.ref, (value(),)) if value() is not None else (_dead, ())
    if isinstance(value, weakref.WeakKeyDictionary | weakref.WeakValueDictionary):
        return type(value), (dict(value),)
    if isinstance(value, weakref.WeakSet):
        return weakref.WeakSet, (list(value),)
    return None


def _array(tensor: Any) -> Any:
    return tensor.numpy()


def _settings(variable: Any) -> dict[str, Any]:
    return {
        "dtype": variable.dtype,
        "trainable": variable.trainable,
        "name": variable.name.split(":")[0].split("/")[-1],
        "shape": variable.shape,
        "aggregation": int(variable.aggregation.value),
        "synchronization": int(variable.synchronization.value),
    }


def _variable(value: Any, settings: dict[str, Any]) -> Any:
    import tensorflow as tf

    settings["aggregation"] = tf.VariableAggregation(settings["aggregation"])
    settings["synchronization"] = tf.VariableSynchronization(settings["synchronization"])
    made = tf.Variable(value, **settings)
    if _made is not None:
        _made.append(made)
    return made


def _table(kind: str, keys: Any, values: Any, default: Any, key_dtype: Any, value_dtype: Any) -> Any:
    import tensorflow as tf

    if kind == "MutableHashTable":
        table = tf.lookup.experimental.MutableHashTable(key_dtype, value_dtype, default)
        table.insert(keys, values)
        return table
    start = tf.lookup.KeyValueTensorInitializer(keys, values, key_dtype, value_dtype)
    return tf.lookup.StaticHashTable(start, default)


def _composite(spec: Any, flat: list[Any]) -> Any:
    import tensorflow as tf

    return tf.nest.pack_sequence_as(spec, flat, expand_composites=True)


def _traced(function: Any, options: dict[str, Any]) -> Any:
    import tensorflow as tf

    return tf.function(function, **options)


def _generator(state: Any, algorithm: int) -> Any:
    import tensorflow as tf

    return tf.random.Generator.from_state(state, algorithm)


def _same(value: Any) -> Any:
    return value


def _nothing() -> None:
    return None


def _dead() -> Any:
    return _nothing
