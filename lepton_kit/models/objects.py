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
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import cloudpickle

from lepton_kit.errors import ModelError
from lepton_kit.models.origins import STOCK, users_module
from lepton_kit.models.reductions import PROXIES, is_variable, noting, reduce_python, reduce_tensorflow

__all__ = [
    "CodeReader",
    "Reached",
    "by_value",
    "dumps",
    "foreign",
    "forget",
    "loads",
    "own_classes",
    "reached",
]

CONTAINERS = (OrderedDict, dict, list, set)
# What Keras traces on first use, in the process that uses it.
TRACED = ("train_function", "test_function", "predict_function")
REACHED = "_lepton_reached"
"""An attribute that a model gets: what its pickle holds."""


@dataclass(frozen=True)
class Reached:
    """What the pickle of a model holds, in its order: Keras objects and TensorFlow's variables.

    That is more than the model tracks: a closure of its loss may read a variable, or another model.
    """

    parts: list[Any]
    variables: list[Any]


def reached(model: Any) -> Reached:
    """What the last pickle of this model held, alike in the process that wrote it and in those that read it."""
    return getattr(model, REACHED, None) or Reached([], [])


def forget(model: Any) -> None:
    """`reached` of this model is nothing from now on: other processes read it from another file."""
    if vars(model).get(REACHED) is not None:
        object.__setattr__(model, REACHED, None)


def dumps(model: Any) -> bytes:
    """The pickle of a model, compiled or not. Raises `ModelError` that names what can't travel."""
    buffer = io.BytesIO()
    writer = _Writer(buffer)
    _write(writer, model)
    object.__setattr__(model, REACHED, Reached(writer.parts, writer.variables))
    return buffer.getvalue()


def loads(content: bytes) -> Any:
    """The model of a pickle, with every attribute that it had. Raises `ModelError` for a torn one."""
    import keras  # noqa: F401  what the pickle holds refers to it

    reader = _Reader(io.BytesIO(content))
    try:
        with noting() as variables:
            model = reader.load()
            done = 0
            while done < len(reader.parts):
                _restore(reader.parts[done], reader.load())
                done += 1
        parts = [reader.parts[number] for number in range(done)]
        for part in parts:
            _finish(part)
        object.__setattr__(model, REACHED, Reached(parts, variables))
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
    by_name = {module.__name__: module for module in modules}  # one may go by several names in sys.modules
    modules = [module for name, module in by_name.items() if name not in known]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        with owning():
            yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


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
        self.variables: list[Any] = []
        self.foreign: set[str] = set()
        self._numbers: dict[int, int] = {}
        self._values = values

    def persistent_id(self, value: Any) -> tuple[int, type] | None:
        if not _is_part(type(value)):  # type: ignore[arg-type]  # a cached function asks for what can be hashed; a class can
            return None
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.parts)
            self.parts.append(value)
        return number, type(value)

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | types.FunctionType | functools.partial) and not _stock(value):
            self.foreign.add(getattr(value, "__qualname__", "functools.partial"))
        reduced = reduce_tensorflow(value, self._values)
        if is_variable(value):
            self.variables.append(value)
        if reduced is None:
            reduced = reduce_python(value)
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


OWN: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes that began in this process and have been written; those that came with a pickle are not among them."""
TRACKER = {"_make_skeleton_class": 4, "_make_skeleton_enum": 5}
"""Functions by which cloudpickle makes a class, and where among their arguments its identity stands."""


@contextlib.contextmanager
def owning() -> Iterator[None]:
    """Notes which classes are written meanwhile that no pickle has brought: they get an identity now."""
    from cloudpickle import cloudpickle as tracking

    before = set(tracking._DYNAMIC_CLASS_TRACKER_BY_ID)
    try:
        yield
    finally:
        for identity, kind in list(tracking._DYNAMIC_CLASS_TRACKER_BY_ID.items()):
            if identity not in before:
                OWN.add(kind)


_AS_THEY_ARE: ContextVar[bool] = ContextVar("classes of this process as they are", default=False)


@contextlib.contextmanager
def own_classes() -> Iterator[None]:
    """What is read meanwhile is of this process's own classes, as they are now, where it has them.

    So `isinstance` tells what one expects of a trained model. Without it what is read has classes of its own, with the
    code that was written.
    """
    token = _AS_THEY_ARE.set(True)
    try:
        yield
    finally:
        _AS_THEY_ARE.reset(token)


class CodeReader(pickle.Unpickler):
    """Reads classes that travel with their code; those that a notebook has itself stay as they are there.

    cloudpickle would give a notebook's own class the methods that it reads, which see a copy of the notebook's
    variables. Here what is read gets a class of its own then, under the same identity in other processes.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of that name, with the notebook's own classes in the place of copies."""
        found = super().find_class(module, name)
        if module.split(".")[0] != "cloudpickle":
            return found
        if _AS_THEY_ARE.get():
            return functools.partial(_unless_own, found) if name == "_class_setstate" else found
        if name not in TRACKER:
            return found
        return functools.partial(_class_of_its_own, found, TRACKER[name])


def _unless_own(fill: Any, kind: type, state: Any) -> type:
    return kind if kind in OWN else fill(kind, state)


def _class_of_its_own(make: Any, place: int, *arguments: Any) -> type:
    from cloudpickle import cloudpickle as tracking

    identity = arguments[place]
    known = tracking._DYNAMIC_CLASS_TRACKER_BY_ID.get(identity)
    if known not in OWN:
        kind: type = make(*arguments)
        return kind
    kind = make(*arguments[:place], None, *arguments[place + 1 :])
    with tracking._DYNAMIC_CLASS_TRACKER_LOCK:
        tracking._DYNAMIC_CLASS_TRACKER_BY_CLASS[kind] = identity
    return kind


class _Reader(CodeReader):
    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.parts: dict[int, Any] = {}

    def persistent_load(self, reference: tuple[int, type]) -> Any:
        # Not always in their order: the code of a class may name objects, and it is read before its own object is.
        number, kind = reference
        if number not in self.parts:
            base = next((base for base in CONTAINERS if issubclass(kind, base)), object)
            self.parts[number] = base.__new__(kind)
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
    attributes.pop(REACHED, None)
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
    from keras.src.ops.function import Function, make_node_key
    from keras.src.utils.tracking import Tracker

    if (
        isinstance(part, Function) and "_nodes_by_depth" in part.__dict__
    ):  # without which Keras can't write it
        nodes = [node for level in part._nodes_by_depth.values() for node in level]
        keys = {make_node_key(one.operation, one.operation._inbound_nodes.index(one)) for one in nodes}
        object.__setattr__(part, "_nodes", keys)
    if isinstance(part, Tracker):
        part.stored_ids = {name: {id(one) for one in store} for name, (_, store) in part.config.items()}
    elif isinstance(part, keras.optimizers.Optimizer):
        known = part.__dict__.get("_trainable_variables_indices")
        if known:
            variables = part.__dict__["_trainable_variables"]
            indices = {part._var_key(variable): index for index, variable in enumerate(variables)}
            object.__setattr__(part, "_trainable_variables_indices", indices)
    if isinstance(part, Function) and "_nodes" in part.__dict__:  # without them Keras can't write the graph
        nodes = [node for level in part._nodes_by_depth.values() for node in level]
        keys = {make_node_key(node.operation, node.operation._inbound_nodes.index(node)) for node in nodes}
        object.__setattr__(part, "_nodes", keys)
    if isinstance(part, keras.layers.Layer) and "_loss_ids" in part.__dict__:
        object.__setattr__(part, "_loss_ids", {id(loss) for loss in part.__dict__.get("_losses", ())})
