"""What shapes a model takes and gives, read without TensorFlow, and whether data fit it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit.data import PreparedData
from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.models.lepton import LeptonModel

DESCRIPTION = "model.json"
SUFFIX = {"keras": ".keras", "object": ".pkl"}


def describe(model: Any) -> dict[str, Any]:
    """What a pickled model takes and gives, in plain types: the file beside the pickle."""
    shapes = _shapes_of(model)
    inputs = (
        {name: list(shape) for name, shape in shapes.items()}
        if isinstance(shapes, dict)
        else list(shapes)
        if shapes is not None
        else None
    )
    outputs = _outputs_of(model)
    return {"inputs": inputs, "outputs": list(outputs) if outputs else None}


def model_path(spec: Mapping[str, Any], base: str | Path) -> Path:
    """The file of a stored model. Raises `ConfigError` for a wrong spec, `ModelError` for a missing file."""
    kind = spec.get("kind")
    if kind not in SUFFIX:
        raise ConfigError("model.kind", given=kind, rule="lepton, keras or object")
    for name in spec:
        if name not in ("kind", "path", "notes"):
            raise ConfigError(f"model.{name}", given=spec[name], rule=f"for {kind} only kind, path and notes")
    if not isinstance(spec.get("path"), str):
        raise ConfigError("model.path", given=spec.get("path"), rule=f"a {SUFFIX[kind]} file")
    path = Path(base, spec["path"])
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    return path


def _read_description(path: Path) -> dict[str, Any]:
    file = path.with_name(DESCRIPTION)
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as failure:
        raise ModelError(f"{file}: not a readable description of a stored model ({failure})") from None


def input_shapes(spec: Mapping[str, Any], base: str | Path) -> Any:
    """Shape of one sample, without the batch: a tuple, or a dictionary name -> tuple. None where unknown.

    Read without importing TensorFlow. Raises `ModelError` or `ConfigError`.
    """
    if spec.get("kind") == "lepton":
        return LeptonModel.from_spec(spec).input_shape
    path = model_path(spec, base)
    if spec["kind"] == "object":
        shapes = _read_description(path)["inputs"]
        return _tuples(shapes)
    config = read_config(path)
    found = _input_layers(config)
    if len(found) == 1 and not _named_inputs(config):
        return next(iter(found.values()))
    if found:
        return found
    shape = config.get("build_config", {}).get("input_shape")
    if isinstance(shape, list | tuple) and shape and not isinstance(shape[0], list | dict):
        return tuple(shape[1:])
    return None


def _tuples(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {name: tuple(shape) for name, shape in shapes.items()}
    return tuple(shapes) if shapes is not None else None


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
    path = model_path(spec, base)
    if spec["kind"] == "object":
        found = _read_description(path)["outputs"]
        return tuple(found) if found else None
    inner = read_config(path).get("config", {})
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
