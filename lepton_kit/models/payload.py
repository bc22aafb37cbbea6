"""How a model travels: from a notebook's memory into a run directory, and from there into every process."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit.data import PreparedData
from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.models.lepton import LeptonModel

__all__ = [
    "build",
    "check_fits",
    "copy_code",
    "custom_objects",
    "input_shapes",
    "read_config",
    "store",
]
FILE = "model.keras"
CODE = "custom.pkl"


def store(model: Any, directory: str | Path) -> dict[str, Any]:
    """Write what ``build`` needs into ``directory``; the spec's path counts from the directory's parent.

    A LeptonModel without weights is its spec alone. Everything else is written as ``model.keras``, with
    ``custom.pkl`` beside it for classes and functions that other processes can't import. Raises `ModelError`.
    """
    directory = Path(directory)
    if isinstance(model, LeptonModel):
        if not model.built:
            return model.spec()
        model = model.network
    import keras

    if not isinstance(model, keras.Model):
        raise ModelError(f"a {type(model).__name__} is no model; expected a LeptonModel or a Keras 3 model")
    if not model.built:
        raise ModelError(
            f"model {model.name!r} has no weights yet; call it once on a batch, or give it keras.Input first"
        )
    directory.mkdir(parents=True, exist_ok=True)
    custom = custom_objects(model)
    temporary = directory / f".{os.getpid()}.{FILE}"
    try:
        model.save(temporary)
        _write_custom(custom, directory)
        os.replace(temporary, directory / FILE)
    except ModelError:
        raise
    except Exception as failure:
        raise ModelError(_why_not(model, failure)) from failure
    finally:
        temporary.unlink(missing_ok=True)
    spec = {"kind": "keras", "path": f"{directory.name}/{FILE}"}
    try:
        _load(directory / FILE)
    except ModelError as failure:
        raise ModelError(
            f"model {model.name!r} cannot be rebuilt from what Keras stores of it: {failure}"
        ) from None
    return spec


def build(spec: Mapping[str, Any], base: str | Path, seed: int) -> Any:
    """The Keras model of a spec, with equal weights in every process; compiled if it was when stored."""
    kind = spec.get("kind")
    if kind == "lepton":
        from lepton_kit.models.networks import build_network

        model = LeptonModel.from_spec(spec)
        values = model.spec()
        if model.input_range is None and len(model.input_shape) == 3:
            values["input_range"] = [0.0, 255.0]
        return build_network(values, seed)
    path = _keras_path(spec, base)
    import keras

    keras.utils.set_random_seed(seed)
    return _load(path)


def _load(path: Path) -> Any:
    import keras

    from lepton_kit.models import layers  # noqa: F401  registers the layers that stored models may hold

    custom = _read_custom(path.with_name(CODE))
    try:
        with warnings.catch_warnings():
            # An optimizer that has not trained has no slots to load; that is no news to anyone.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return keras.models.load_model(path, custom_objects=custom)
    except Exception as failure:
        lines = [line for line in str(failure).splitlines() if line.strip()] or [type(failure).__name__]
        text = next(
            (line for line in lines if "Exception encountered" in line), lines[0]
        )  # the layer's own words
        raise ModelError(f"{path.name}: Keras cannot read it: {text[:300]}") from failure


def input_shapes(spec: Mapping[str, Any], base: str | Path) -> Any:
    """Shape of one sample, without the batch: a tuple, or a dictionary name -> tuple. None where unknown.

    Read without importing TensorFlow. Raises `ModelError` or `ConfigError`.
    """
    if spec.get("kind") == "lepton":
        return LeptonModel.from_spec(spec).input_shape
    config = read_config(_keras_path(spec, base))
    found = _input_layers(config)
    if len(found) == 1 and not _named_inputs(config):
        return next(iter(found.values()))
    if found:
        return found
    shape = config.get("build_config", {}).get("input_shape")
    if isinstance(shape, list | tuple) and shape and not isinstance(shape[0], list | dict):
        return tuple(shape[1:])
    return None


def read_config(path: Path) -> dict[str, Any]:
    """The model's configuration from inside a ``.keras`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as failure:
        raise ModelError(f"{path}: not a readable .keras file ({failure})") from None


def check_fits(spec: Mapping[str, Any] | Any, prepared: PreparedData, base: str | Path = ".") -> None:
    """Raise `ModelError` where a model (or a spec, or a LeptonModel) does not fit the data."""
    if isinstance(spec, Mapping) and spec.get("kind") == "lepton":
        spec = LeptonModel.from_spec(spec)
    if isinstance(spec, LeptonModel):
        spec.fitted_to(prepared)
        return
    shapes = input_shapes(spec, base) if isinstance(spec, Mapping) else _shapes_of(spec)
    _check_shapes(shapes, prepared.sample_shape)
    outputs = _outputs(spec, base) if isinstance(spec, Mapping) else _outputs_of(spec)
    if prepared.task == "classification" and outputs is not None:
        units, activation = outputs
        allowed = 2 if units == 1 else units
        if units is not None and prepared.num_classes and prepared.num_classes > allowed:
            raise ModelError(
                f"the model's last layer has {units} outputs ({activation or 'linear'}), so labels 0 to "
                f"{allowed - 1}; the data have labels up to {prepared.num_classes - 1}"
            )


def _check_shapes(expected: Any, given: Any) -> None:
    if expected is None:
        return
    if isinstance(expected, dict) != isinstance(given, dict):
        if isinstance(expected, dict) and len(expected) == 1:
            expected = next(iter(expected.values()))
        elif isinstance(given, dict) and len(given) == 1:
            raise ModelError(
                f"the model takes a plain array of shape {expected}; the data are named: {list(given)}"
            )
        else:
            raise ModelError(f"the model expects inputs {_text(expected)}; the data have {_text(given)}")
    pairs = [("", expected, given)]
    if isinstance(expected, dict):
        if set(expected) != set(given):
            raise ModelError(f"the model's inputs are {sorted(expected)}; the data have {sorted(given)}")
        pairs = [(f"input {name!r}: ", expected[name], given[name]) for name in expected]
    for name, one, two in pairs:
        if len(one) != len(two) or any(a is not None and a != b for a, b in zip(one, two, strict=True)):
            raise ModelError(
                f"{name}the model expects samples of shape {tuple(one)}; the data have {tuple(two)}"
            )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {tuple(shape)}" for name, shape in value.items())
    return str(tuple(value))


def _keras_path(spec: Mapping[str, Any], base: str | Path) -> Path:
    if spec.get("kind") != "keras":
        raise ConfigError("model.kind", given=spec.get("kind"), rule="lepton or keras")
    for name in spec:
        if name not in ("kind", "path"):
            raise ConfigError(f"model.{name}", given=spec[name], rule="for keras only kind and path")
    if not isinstance(spec.get("path"), str):
        raise ConfigError("model.path", given=spec.get("path"), rule="a .keras file")
    path = Path(base, spec["path"])
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    return path


def _input_layers(config: dict[str, Any]) -> dict[str, tuple[int | None, ...]]:
    inner = config.get("config", {})
    layers = inner.get("layers", []) if isinstance(inner, dict) else []
    return {
        layer["config"]["name"]: tuple(layer["config"]["batch_shape"][1:])
        for layer in layers
        if isinstance(layer, dict) and layer.get("class_name") == "InputLayer"
    }


def _named_inputs(config: dict[str, Any]) -> bool:
    return isinstance(config["config"].get("input_layers"), dict)


def _outputs(spec: Mapping[str, Any], base: str | Path) -> tuple[int, str | None] | None:
    """(units, activation) of the last layer where it is a plain Dense one."""
    inner = read_config(_keras_path(spec, base)).get("config", {})
    layers = inner.get("layers", []) if isinstance(inner, dict) else []
    names = inner.get("output_layers")
    if isinstance(names, list) and names and isinstance(names[0], str):
        last = next((one for one in layers if one["config"].get("name") == names[0]), None)
    elif names:
        return None
    else:
        last = layers[-1] if layers else None
    if not last or last.get("class_name") != "Dense":
        return None
    activation = last["config"].get("activation")
    return last["config"]["units"], activation if isinstance(activation, str) else None


def _shapes_of(model: Any) -> Any:
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, dict):
        return {name: tuple(one[1:]) for name, one in shape.items()}
    if isinstance(shape, list):
        return {tensor.name: tuple(tensor.shape[1:]) for tensor in model.inputs}
    return tuple(shape[1:]) if shape is not None else None


def _outputs_of(model: Any) -> tuple[int, str | None] | None:
    last = model.layers[-1] if getattr(model, "layers", None) else None
    shape = getattr(model, "output_shape", None)
    if last is None or type(last).__name__ != "Dense" or not isinstance(shape, tuple) or len(shape) != 2:
        return None
    return last.units, last.activation.__name__


def custom_objects(model: Any) -> dict[str, Any]:
    """Classes and functions of the model that another process can't import by name."""
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


def _is_function(value: Any) -> bool:
    return type(value).__name__ == "function"


def _importable(kind: Any) -> bool:
    module = getattr(kind, "__module__", None) or "__main__"
    if module.split(".")[0] in ("keras", "tensorflow", "builtins", "lepton_kit"):
        return True
    if module == "__main__" or "<" in kind.__qualname__:
        return False
    origin = getattr(sys.modules.get(module), "__file__", None)
    return origin is not None and "site-packages" in origin


def _write_custom(custom: dict[str, Any], directory: Path) -> None:
    target = directory / CODE
    if not custom:
        target.unlink(missing_ok=True)
        return
    import cloudpickle

    modules = {sys.modules[o.__module__] for o in custom.values() if o.__module__ in sys.modules}
    modules -= {sys.modules["__main__"]}
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        content = cloudpickle.dumps(custom)
    except Exception as failure:
        names = ", ".join(sorted(custom))
        raise ModelError(f"{names}: cannot be pickled ({failure}); move the code into a module") from failure
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    temporary = directory / f".{os.getpid()}.{CODE}"
    temporary.write_bytes(content)
    os.replace(temporary, target)


def copy_code(stored: Path, copied: Path) -> None:
    """Put the code that a stored model needs beside a copy of it, if it needs any."""
    code = stored.with_name(CODE)
    if code.is_file() and code.parent != copied.parent:
        shutil.copyfile(code, copied.with_name(CODE))


def _read_custom(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import cloudpickle

    try:
        found = cloudpickle.loads(path.read_bytes())
    except Exception as failure:
        raise ModelError(f"{path}: the stored classes cannot be read ({failure})") from failure
    import keras

    registered = {}
    for name, one in found.items():
        registered[name] = one
        known = keras.saving.get_registered_name(one)
        registered[known] = one
    return registered


def _why_not(model: Any, failure: Exception) -> str:
    text = next((line for line in str(failure).splitlines() if line.strip()), type(failure).__name__)
    return f"model {model.name!r} ({type(model).__name__}) cannot be stored: {text[:300]}"
