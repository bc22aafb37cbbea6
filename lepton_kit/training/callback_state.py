"""What a Keras callback changes while it runs, as bytes: taken from one copy of it and put into another.

A callback may refer to the model that it watches, or to a part of it. Such references travel by name, so that in
another process they mean that process' own model, and never a copy that nobody trains.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from lepton_kit.models.objects import by_value, reached
from lepton_kit.models.origins import installed

DIRECTORY = "_lepton_directory"
"""An attribute that a loaded callback gets: the directory that relative paths count from in it."""
NOT_STATE = frozenset({"_model", "params", DIRECTORY})
REOPENED = {
    "CSVLogger": frozenset({"csv_file", "writer", "append_header"}),
    "TensorBoard": frozenset({"_writers", "_summary_module", "_prev_summary_state", "_batch_trace_context"}),
}
"""Attributes of Keras' own callbacks that belong to a process: its `on_train_begin` makes them anew."""
LARGEST_ARRAY_BYTES = 8_000_000
"""A larger array outside the callback is taken for data that it reads, not for something that it writes into."""
_CONTAINERS = (list, dict, set, collections.deque, bytearray)


class Parts:
    """The parts of a model under names that are the same in every process that built it."""

    def __init__(self, model: Any = None, held_by: Any = None):
        self._of_name: dict[tuple[Any, ...], Any] = {}
        if model is not None:
            self._of_name["model",] = model
            for index, layer in enumerate(model._flatten_layers(include_self=False)):
                self._of_name["layer", index, layer.name] = layer
            for index, variable in enumerate(model.variables):
                self._of_name["variable", index] = variable
            optimizer = getattr(model, "optimizer", None)
            for index, variable in enumerate(getattr(optimizer, "variables", ())):
                self._of_name["optimizer variable", index] = variable
            if optimizer is not None:
                self._of_name["optimizer",] = optimizer
                if hasattr(optimizer, "inner_optimizer"):
                    self._of_name["inner optimizer",] = optimizer.inner_optimizer
        self._name_of = {id(part): name for name, part in self._of_name.items()}
        # What the model only reads, such as a variable in its loss or a teacher, is the same object in a callback.
        held = reached(model if held_by is None else held_by)
        for kind, parts in (("part", held.parts), ("held variable", held.variables)):
            for index, part in enumerate(parts):
                self._of_name[kind, index] = part
                self._name_of.setdefault(id(part), (kind, index))

    def name_of(self, part: Any) -> tuple[Any, ...] | None:
        """The name under which a part of the model is known; None for other objects."""
        return self._name_of.get(id(part))

    def named(self, name: tuple[Any, ...]) -> Any:
        """The part of that name. Raises `pickle.UnpicklingError` if there is none."""
        if name in self._of_name:
            return self._of_name[name]
        same = [part for known, part in self._of_name.items() if known[0] == "layer" == name[0]]
        for layer in same:  # the place of a layer may differ, its name seldom does
            if layer.name == name[2]:
                return layer
        raise pickle.UnpicklingError(f"the model has no {' '.join(map(str, name))}")


def pack(value: Any, parts: Parts) -> bytes:
    """Pickle by value what other processes can't import, and by name what belongs to the model."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def persistent_id(self, part: Any) -> Any:
            return parts.name_of(part)

    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()


def unpack(data: bytes, parts: Parts) -> Any:
    """What `pack` was given, with this process' parts of the model, and its classes where it has them already."""
    from cloudpickle import cloudpickle

    known = set(map(id, cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.values()))

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name: Any) -> Any:
            return parts.named(name)

        def find_class(self, module: str, name: str) -> Any:
            found = super().find_class(module, name)
            if name != "_class_setstate":
                return found
            # cloudpickle would give a notebook's own class the methods of a copy, which see copied globals.
            return lambda kind, state: kind if id(kind) in known else found(kind, state)

    return Unpickler(io.BytesIO(data)).load()


def code_by_value(values: Iterable[Any]) -> AbstractContextManager[None]:
    """While this lasts, code of these objects' modules that workers can't import is pickled by value."""
    modules = {
        sys.modules[kind.__module__]
        for value in values
        for kind in _code_of(value)
        if kind.__module__ in sys.modules and kind.__module__ != "__main__" and not importable(kind)
    }
    return by_value(modules)


def importable(kind: Any) -> bool:
    """Whether every process of this installation can import a class or function by its name."""
    module = getattr(kind, "__module__", None) or "__main__"
    if module == "__main__" or "<" in getattr(kind, "__qualname__", ""):
        return False
    if module.split(".")[0] in {"lepton_kit", *sys.stdlib_module_names}:
        return True
    origin = getattr(sys.modules.get(module), "__file__", None) or ""
    return installed(origin)


def _code_of(value: Any) -> list[Any]:
    own = [one for one in vars(value).values() if isinstance(one, types.FunctionType | type)]
    held = [type(one) for one in vars(value).values()]
    return [*type(value).__mro__[:-1], *own, *(kind for kind in held if kind.__module__ != "builtins")]


class Keeper:
    """Takes what one callback has changed since it was made, and gives it to another copy of it.

    That is its attributes, and the lists, dictionaries and variables outside it that its own functions write into:
    ``LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]))`` changes ``losses``.
    """

    def __init__(self, callback: Any, parts: Parts):
        self.callback = callback
        self._parts = parts
        self._skipped = NOT_STATE.union(*(REOPENED.get(kind.__name__, ()) for kind in type(callback).__mro__))
        self._functions = {id(value): value for value in vars(callback).values() if _is_code(value)}
        self._outside = _outside(callback)
        packed, _ = self._pack()
        self._initial = {name: _digest(data) for name, data in packed.items()}

    def take(self) -> dict[str, Any]:
        """What differs from the beginning, and the names of attributes that cannot travel."""
        packed, stuck = self._pack()
        changed = {name: data for name, data in packed.items() if self._initial.get(name) != _digest(data)}
        return {"changed": changed, "stuck": stuck}

    def give(self, taken: dict[str, Any]) -> None:
        """Put what another copy has changed into this one; lists and dictionaries stay the same objects."""
        for (place, name), data in taken["changed"].items():
            value = unpack(data, self._parts)
            if place == "attribute":
                if not _fill(vars(self.callback).get(name), value):
                    vars(self.callback)[name] = value
            elif name in self._outside:
                read, write = self._outside[name]
                if not _fill(read(), value):
                    write(value)

    def _pack(self) -> tuple[dict[tuple[str, str], bytes], list[str]]:
        packed: dict[tuple[str, str], bytes] = {}
        stuck: list[str] = []
        for name, value in vars(self.callback).items():
            if name in self._skipped or id(value) in self._functions:
                continue
            try:
                packed["attribute", name] = pack(value, self._parts)
            except Exception:  # whatever a file, a lock or a thread says to being pickled
                stuck.append(name)
        for name, (read, _) in self._outside.items():
            with contextlib.suppress(Exception):
                packed["outside", name] = pack(_content(read()), self._parts)
        if any(kind.__name__ in REOPENED for kind in type(self.callback).__mro__):
            stuck.append("files")
        return packed, stuck


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _is_code(value: Any) -> bool:
    return isinstance(value, types.FunctionType | types.MethodType | types.ModuleType | type)


def _content(value: Any) -> Any:
    """The inside of an object of the user's own class; other values as they are."""
    return vars(value) if _is_own_object(value) else value


def _is_own_object(value: Any) -> bool:
    if _is_code(value) or not hasattr(value, "__dict__") or importable(type(value)):
        return False
    return not any(kind.__module__.startswith(("keras.", "tensorflow.")) for kind in type(value).__mro__)


def _fill(target: Any, value: Any) -> bool:
    """Make a container hold what another holds, and keep it the same object; False if it is none."""
    if _is_own_object(target) and isinstance(value, dict):
        vars(target).update(value)
        return True
    if type(target) is not type(value):
        return False
    if isinstance(target, list | bytearray):
        target[:] = value
    elif isinstance(target, dict | set):
        target.clear()
        target.update(value)
    elif isinstance(target, collections.deque):
        target.clear()
        target.extend(value)
    elif isinstance(target, np.ndarray) and target.shape == value.shape and target.dtype == value.dtype:
        if not target.flags.writeable:
            return False
        target[...] = value
    else:
        return False
    return True


Place = tuple[Callable[[], Any], Callable[[Any], None]]


def _outside(callback: Any) -> dict[str, Place]:
    """Where the callback's own functions may write outside it: how to read each place and how to write it."""
    functions = [value for value in vars(callback).values() if isinstance(value, types.FunctionType)]
    functions += [
        value
        for kind in type(callback).__mro__
        if not importable(kind)
        for value in vars(kind).values()
        if isinstance(value, types.FunctionType)
    ]
    found: dict[str, Place] = {}
    seen: set[int] = set()
    while functions:
        function = functions.pop()
        if id(function) in seen or importable(function):
            continue
        seen.add(id(function))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # an empty cell
                value = cell.cell_contents
                functions += [value] if isinstance(value, types.FunctionType) else []
                if _may_change(value):
                    contents = (cell, "cell_contents")
                    found[f"{function.__qualname__} {name}"] = (
                        partial(getattr, *contents),
                        partial(setattr, *contents),
                    )
        scope = function.__globals__
        for name in _names(function.__code__) & scope.keys():
            value = scope[name]
            functions += [value] if isinstance(value, types.FunctionType) else []
            if _may_change(value):
                found[f"global {name}"] = partial(scope.get, name), partial(scope.__setitem__, name)
    return found


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(one) for one in code.co_consts if isinstance(one, types.CodeType)]
    return set(code.co_names).union(*inner)


def _may_change(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.nbytes <= LARGEST_ARRAY_BYTES
    plain = isinstance(value, bool | int | float | str | type(None))
    return plain or isinstance(value, _CONTAINERS) or _is_own_object(value)
