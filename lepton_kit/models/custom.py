"""The classes and functions of a model that Keras does not bring itself, in a file beside its ``.keras`` file."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit.errors import ModelError
from lepton_kit.models import trust
from lepton_kit.models.objects import CodeReader, by_value
from lepton_kit.models.origins import users_module

CODE = "custom.pkl"


def custom_objects(model: Any) -> dict[str, Any]:
    """Classes and functions of the model that another process can't import by name, by their name.

    One that was registered with Keras stands under that name as well: Keras looks for it there, and another process, which
    gets the class without its decorator, doesn't know it.
    """
    from keras.saving import get_registered_name

    found: dict[str, Any] = {}
    queue: list[Any] = [model]
    seen: set[int] = set()
    while queue:
        value = queue.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = value if isinstance(value, type) or _is_function(value) else type(value)
        if not _importable(kind):
            found.setdefault(kind.__name__, kind)
            found.setdefault(get_registered_name(kind), kind)
        if not isinstance(value, type) and not _is_function(value):
            queue.extend(_parts(value))
    return found


def _parts(value: Any) -> list[Any]:
    import keras

    parts: list[Any] = []
    if isinstance(value, keras.Model):
        parts += [getattr(value, "optimizer", None), getattr(value, "loss", None)]
        compile_config = getattr(value, "_compile_config", None)
        for entry in (getattr(compile_config, "config", None) or {}).values():
            parts += _flat(entry)
    if isinstance(value, keras.layers.Layer):
        parts += list(getattr(value, "_layers", [])) + list(getattr(value, "layers", []) or [])
    if isinstance(value, keras.layers.Layer | keras.losses.Loss | keras.metrics.Metric):
        for name, one in vars(value).items():
            if _wraps_method_of(one, value):
                continue  # Keras wraps `build` in each object; the class brings the method itself
            if _is_function(one) or (not name.startswith("_") and _is_keras_part(one)):
                parts.append(one)
    return [part for one in parts for part in _flat(one) if part is not None and not isinstance(part, str)]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [part for one in value.values() for part in _flat(one)]
    if isinstance(value, list | tuple):
        return [part for one in value for part in _flat(one)]
    return [value] if _is_function(value) or _is_keras_part(value) else []


def _is_keras_part(value: Any) -> bool:
    import keras

    kinds = (
        keras.layers.Layer,
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.initializers.Initializer,
    )
    return isinstance(value, kinds)


def _wraps_method_of(one: Any, value: Any) -> bool:
    return _is_function(one) and getattr(getattr(one, "__wrapped__", None), "__self__", None) is value


def _is_function(value: Any) -> bool:
    return type(value).__name__ == "function"


def _importable(kind: Any) -> bool:
    module = getattr(kind, "__module__", None) or "__main__"
    if module.split(".")[0] in ("keras", "tensorflow", "builtins", "lepton_kit"):
        return True
    if module == "__main__" or "<" in kind.__qualname__ or module not in sys.modules:
        return False
    return not users_module(sys.modules[module])


def write_custom(custom: dict[str, Any], directory: Path) -> None:
    """Write the file, or remove it where there is nothing to write. Raises `ModelError`."""
    target = directory / CODE
    if not custom:
        target.unlink(missing_ok=True)
        return
    import cloudpickle

    try:
        with by_value():
            content = cloudpickle.dumps(custom)
    except Exception as failure:
        names = ", ".join(sorted({one.__name__ for one in custom.values()}))
        raise ModelError(f"{names}: cannot be pickled ({failure}); move the code into a module") from failure
    temporary = directory / f".{os.getpid()}.{CODE}"
    temporary.write_bytes(content)
    os.replace(temporary, target)
    trust.note(content)


def copy_code(stored: Path, copied: Path) -> None:
    """Put the code that a stored model needs beside a copy of it, if it needs any."""
    code = stored.with_name(CODE)
    if code.is_file() and code.parent != copied.parent:
        shutil.copyfile(code, copied.with_name(CODE))


def read_custom(path: Path) -> dict[str, Any]:
    """Name -> class or function, also by the name under which Keras registers it. Raises `ModelError`, also for a file
    from elsewhere that is not trusted."""
    if not path.is_file():
        return {}
    content = trust.read(path)
    import keras

    registered = {}
    try:
        for name, one in CodeReader(io.BytesIO(content)).load().items():
            registered[name] = one
            registered[keras.saving.get_registered_name(one)] = one
    except Exception as failure:
        raise ModelError(f"{path}: the stored classes cannot be read ({failure})") from failure
    return registered
