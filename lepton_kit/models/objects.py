"""A whole Keras model as one pickle that keeps every attribute, also of objects that Keras' own formats can't carry.

Keras pickles a model through ``get_config``, which loses or changes what has none: closures, lambdas, attributes.
Here every Keras object travels as its class and its attributes. Objects refer to each other by number and are
written one after the other, so a deep model needs no deep recursion, and what was shared stays shared.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
import sysconfig
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import cloudpickle

from lepton_kit.errors import ModelError

__all__ = ["by_value", "dumps", "foreign", "loads", "users_module"]

# Modules whose classes a .keras file carries faithfully, or that are no part of a model's meaning.
STOCK = {"keras", "tensorflow", "lepton_kit", "numpy", "ml_dtypes", "wrapt", "cloudpickle"}
CONTAINERS = (OrderedDict, dict, list, set)
# TensorFlow's watch over plain dictionaries and tuples: what they watch travels.
PROXIES = ("_DictWrapper", "_TupleWrapper")
# What Keras traces on first use, in the process that uses it.
TRACED = ("train_function", "test_function", "predict_function")
LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}


def dumps(model: Any) -> bytes:
    """The pickle of a model, compiled or not. Raises `ModelError` that names what can't travel."""
    buffer = io.BytesIO()
    _write(_Writer(buffer), model)
    return buffer.getvalue()


def loads(content: bytes) -> Any:
    """The model of a pickle, with every attribute that it had. Raises `ModelError` for a torn one."""
    import keras  # noqa: F401  what the pickle holds refers to it

    reader = _Reader(io.BytesIO(content))
    try:
        model = reader.load()
        done = 0
        while done < len(reader.parts):
            _restore(reader.parts[done], reader.load())
            done += 1
        for part in reader.parts:
            _finish(part)
    except Exception as failure:
        raise ModelError(f"the stored model cannot be read ({_line(failure)})") from failure
    return model


def foreign(model: Any) -> list[str]:
    """Names of the classes and functions in a model that Keras, and so a ``.keras`` file, does not bring itself.

    Raises `ModelError` where something in the model can't be pickled.
    """
    writer = _Writer(io.BytesIO(), values=False)
    _write(writer, model)
    return sorted(writer.foreign)


@contextlib.contextmanager
def by_value(modules: Iterable[Any] | None = None) -> Iterator[None]:
    """Meanwhile classes and functions of these modules are pickled with their code, as those of a notebook.

    Without ``modules``: of all the user's own.
    """
    if modules is None:
        modules = [module for module in list(sys.modules.values()) if users_module(module)]
    known = set(cloudpickle.list_registry_pickle_by_value())
    modules = [module for module in modules if module.__name__ not in known]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def users_module(module: Any) -> bool:
    """Whether a module is the user's own: other processes may not be able to import it."""
    name, file = getattr(module, "__name__", None), getattr(module, "__file__", None)
    if not isinstance(name, str) or not isinstance(file, str) or name == "__main__":
        return False
    if name.split(".")[0] in STOCK or sys.modules.get(name) is not module:
        return False
    return "site-packages" not in file and "dist-packages" not in file and not file.startswith(_library())


@functools.cache
def _library() -> tuple[str, ...]:
    return sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"]


def _write(writer: _Writer, model: Any) -> None:
    done = 0
    at: Any = model
    try:
        with by_value():
            writer.dump(model)
            while done < len(writer.parts):
                at = writer.parts[done]
                writer.dump(_state(at))
                done += 1
    except Exception as failure:
        raise ModelError(
            f"{_label(at)} holds something that cannot be sent to other processes: {_line(failure)}"
        ) from failure


def _label(part: Any) -> str:
    name = getattr(part, "name", None)
    return f"{type(part).__name__} {name!r}" if isinstance(name, str) else type(part).__name__


def _line(failure: BaseException) -> str:
    text = next((line for line in str(failure).splitlines() if line.strip()), "")
    return f"{type(failure).__name__}: {text}"[:300]


class _Writer(cloudpickle.Pickler):
    """Keras objects go out as numbers; their attributes follow, each object's in a pickle of its own."""

    def __init__(self, file: io.BytesIO, values: bool = True):
        super().__init__(file, protocol=5)
        self.parts: list[Any] = []
        self.foreign: set[str] = set()
        self._numbers: dict[int, int] = {}
        self._values = values

    def persistent_id(self, value: Any) -> tuple[int, type] | None:
        if not _is_part(type(value)):  # type: ignore[arg-type]
            return None
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.parts)
            self.parts.append(value)
        return number, type(value)

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | types.FunctionType | functools.partial) and not _stock(value):
            self.foreign.add(getattr(value, "__qualname__", "functools.partial"))
        reduced = _reduce_tensorflow(value, self._values)
        if reduced is None:
            reduced = _reduce_python(value)
        return super().reducer_override(value) if reduced is None else reduced


def _stock(value: Any) -> bool:
    module = getattr(value, "__module__", None) or "builtins"
    root = module.split(".")[0]
    if isinstance(value, types.FunctionType):
        # TensorFlow's functions have no name in a .keras file; those named here rebuild values.
        ours = root == "tensorflow" and value.__name__ in ("as_dtype", "get_strategy", "convert_to_tensor")
        return (
            ours
            or root in ("keras", "lepton_kit", "cloudpickle", "collections")
            or root.startswith("namedtuple_")
        )
    if isinstance(value, functools.partial) or root == "__main__":
        return False
    return root in STOCK or root in sys.stdlib_module_names or root == "builtins"


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.parts: list[Any] = []

    def persistent_load(self, reference: tuple[int, type]) -> Any:
        number, kind = reference
        if number == len(self.parts):
            base = next((base for base in CONTAINERS if issubclass(kind, base)), object)
            self.parts.append(base.__new__(kind))
        return self.parts[number]


@functools.cache
def _is_part(kind: type) -> bool:
    """Whether objects of this class go out as their attributes: Keras' own and what derives from them."""
    if issubclass(kind, type | tuple | BaseException | types.ModuleType | str | int):
        return False
    names = [(base.__module__, base.__name__) for base in kind.__mro__]
    if kind.__name__ in PROXIES:
        return False
    if any(name == "TrackableDataStructure" for _, name in names):
        return True  # TensorFlow's lists; they track what they hold, and would do so again when loaded
    if not any(module.split(".")[0] == "keras" for module, _ in names):
        return False
    # A class that says itself how it is pickled is believed.
    own = [name for name in ("__reduce__", "__reduce_ex__") if not _usual(getattr(kind, name))]
    return not own


def _usual(method: Any) -> bool:
    return getattr(method, "__module__", None) in (None, "keras.src.saving.keras_saveable")


def _state(part: Any) -> tuple[Any, dict[str, Any]]:
    """(what a container holds or what the class's own __getstate__ gives, attributes) of an object."""
    kind = type(part)
    content: Any = None
    if isinstance(part, CONTAINERS):
        content = list(part.items()) if isinstance(part, dict) else list(part)
    if _own_state(kind):
        return part.__getstate__(), {}
    attributes = dict(vars(part)) if hasattr(part, "__dict__") else {}
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(part, name):
                attributes[name] = getattr(part, name)
    for name in TRACED:
        if name in attributes and not isinstance(attributes[name], types.MethodType):
            attributes[name] = None
    return content, attributes


def _own_state(kind: type) -> bool:
    return hasattr(kind, "__setstate__") and "__getstate__" in {n for b in kind.__mro__[:-1] for n in vars(b)}


def _restore(part: Any, state: tuple[Any, dict[str, Any]]) -> None:
    content, attributes = state
    if _own_state(type(part)):
        part.__setstate__(content)
        return
    if content is not None:
        # Not the class's own methods: they would track every entry a second time.
        if isinstance(part, list):
            list.extend(part, content)
        elif isinstance(part, set):
            set.update(part, content)
        else:
            for key, value in content:
                (OrderedDict if isinstance(part, OrderedDict) else dict).__setitem__(part, key, value)
    for name, value in attributes.items():
        # Without the class's own __setattr__, which would track every object a second time.
        object.__setattr__(part, name, value)


def _finish(part: Any) -> None:
    """Renew what refers to objects by their address, once all are there."""
    import keras
    from keras.src.utils.tracking import Tracker

    if isinstance(part, Tracker):
        part.stored_ids = {name: {id(one) for one in store} for name, (_, store) in part.config.items()}
    elif isinstance(part, keras.optimizers.Optimizer):
        known = part.__dict__.get("_trainable_variables_indices")
        if known:
            variables = part.__dict__["_trainable_variables"]
            indices = {part._var_key(variable): index for index, variable in enumerate(variables)}
            object.__setattr__(part, "_trainable_variables_indices", indices)
    elif isinstance(part, keras.layers.Layer) and "_loss_ids" in part.__dict__:
        object.__setattr__(part, "_loss_ids", {id(loss) for loss in part.__dict__.get("_losses", ())})


def _reduce_tensorflow(value: Any, values: bool) -> Any:
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


def _reduce_python(value: Any) -> Any:
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
    return tf.Variable(value, **settings)


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
