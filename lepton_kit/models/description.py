"""What a model takes, gives and was compiled with, in plain types that are read without TensorFlow."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.models.lepton import LeptonModel
from lepton_kit.models.losses import fact
from lepton_kit.rundir.reading import read_mapping

FILE = "model.json"
SUFFIX = {"keras": ".keras", "object": ".pkl"}
KEYS = {"inputs", "outputs", "loss", "compiled", "free"}


def describe(model: Any, x: Any = None) -> dict[str, Any]:
    """The description of a Keras model, a `LeptonModel` or a `LeptonModel`'s spec.

    ``inputs`` is the shape of a sample or {name: shape}; ``outputs`` a list of name, shape and activation, None where
    nothing is known (a subclassed model, unless samples ``x`` are given); ``loss`` what `fact` says of the loss, one,
    a list or by name; ``free`` whether the model's own code computes the loss, so that nothing can be said of targets.
    """
    if isinstance(model, Mapping):
        model = LeptonModel.from_spec(model)
    if isinstance(model, LeptonModel):
        if not model.built or not model.network.compiled:
            return _of_lepton(model)
        model = model.network
    loss = _compiled_loss(model) if model.compiled else None
    return {
        "inputs": _plain(_input_shapes(model)),
        "outputs": _outputs(model, x),
        "loss": _facts(loss),
        "compiled": bool(model.compiled),
        "free": _own_code(model),
    }


def description(spec: Mapping[str, Any], base: str | Path) -> dict[str, Any]:
    """The description of a spec, without importing TensorFlow. Raises `ModelError` or `ConfigError`."""
    if spec.get("kind") == "lepton":
        return describe(spec)
    path = model_path(spec, base)
    file = path.with_name(FILE)
    if spec["kind"] == "keras":
        config = read_config(path)
        try:
            found = read_mapping(file)
        except (OSError, ValueError):
            found = None  # a file of the user's own
        return found if isinstance(found, dict) and found.keys() >= KEYS else _of_config(config)
    try:
        return read_mapping(file)
    except (OSError, ValueError) as failure:
        raise ModelError(f"{file}: not a readable description of a stored model ({failure})") from None


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


def read_config(path: Path) -> dict[str, Any]:
    """The model's configuration from inside a ``.keras`` file. Raises `ModelError` where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.read("config.json")))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as failure:
        raise ModelError(f"{path}: not a readable .keras file ({failure})") from None


def symbolic(x: Any) -> Any:
    """Keras' placeholders with the shapes and types of a batch of samples."""
    import keras

    if isinstance(x, dict):
        return {name: symbolic(one) for name, one in x.items()}
    if isinstance(x, tuple | list):
        return type(x)(symbolic(one) for one in x)
    kind = "string" if x.dtype.kind in "USO" else keras.backend.standardize_dtype(x.dtype)
    return keras.KerasTensor(x.shape, kind)


def activation_of(model: Any, output: str | None = None) -> str | None:
    """Name of the activation that makes an output, looking through reshaping layers and nested models."""
    layer = _output_layer(model, output)
    while layer is not None and getattr(layer, "layers", None):
        layer = _output_layer(layer, None)
    if layer is None:
        return None
    if type(layer).__name__ in ("Softmax", "Sigmoid"):
        return type(layer).__name__.lower()
    activation = getattr(layer, "activation", None)
    if isinstance(activation, str):
        return activation
    return getattr(
        activation, "__name__", type(activation).__name__.lower() if activation is not None else None
    )


def _output_layer(model: Any, output: str | None) -> Any:
    layers = list(getattr(model, "layers", None) or [])
    tensors = getattr(model, "outputs", None) or []
    names = list(getattr(model, "output_names", None) or [])
    if output is not None and output in names and len(tensors) == len(names):
        tensors = [tensors[names.index(output)]]
    if tensors and hasattr(tensors[0], "_keras_history"):
        return tensors[0]._keras_history.operation
    return layers[-1] if layers else None


def _of_lepton(model: LeptonModel) -> dict[str, Any]:
    loss = fact("mse") if model.task == "regression" else None
    outputs = [{"name": None, "shape": [model.num_classes], "activation": "linear"}]
    return {
        "inputs": list(model.input_shape),
        "outputs": outputs,
        "loss": loss,
        "compiled": loss is not None,
        "free": False,
    }


def _compiled_loss(model: Any) -> Any:
    settings = getattr(model, "_compile_config", None)
    given = settings.config.get("loss") if settings is not None else None
    return getattr(model, "loss", None) if given is None else given


def _own_code(model: Any) -> bool:
    kind = type(model)
    for name in ("train_step", "compute_loss", "compile"):
        if (getattr(kind, name).__module__ or "").split(".")[0] != "keras":
            return True
    return False


def _facts(loss: Any) -> Any:
    """The same structure (one, list or by name) with a fact for each loss."""
    if isinstance(loss, Mapping) and "class_name" not in loss:
        return {str(name): _facts(one) for name, one in loss.items()}
    if isinstance(loss, list | tuple):
        return [_facts(one) for one in loss]
    return fact(loss)


def _input_shapes(model: Any) -> Any:
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, dict):
        return {name: tuple(one[1:]) for name, one in shape.items()}
    if isinstance(shape, list | tuple) and shape and isinstance(shape[0], list | tuple):
        return {tensor.name: tuple(tensor.shape[1:]) for tensor in model.inputs}
    return tuple(shape[1:]) if shape is not None else None


def _plain(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {name: list(shape) for name, shape in shapes.items()}
    return list(shapes) if shapes is not None else None


def _outputs(model: Any, x: Any) -> list[dict[str, Any]] | None:
    tensors = getattr(model, "outputs", None)
    if tensors:
        names = list(getattr(model, "output_names", None) or [None] * len(tensors))
        by_name = isinstance(getattr(model, "output", None), dict)
        names = sorted(model.output) if by_name else names
        given = [model.output[name] for name in names] if by_name else tensors
        return [
            {"name": name, "shape": list(tensor.shape[1:]), "activation": activation_of(model, name)}
            for name, tensor in zip(names, given, strict=True)
        ]
    if x is None:
        return None
    try:
        import keras

        found = keras.src.backend.compute_output_spec(model, x, training=False)
    except Exception:
        return None
    flat = (
        sorted(found.items())
        if isinstance(found, dict)
        else [(None, one) for one in keras.tree.flatten(found)]
    )
    return [{"name": name, "shape": list(one.shape[1:]), "activation": None} for name, one in flat]


def _of_config(config: dict[str, Any]) -> dict[str, Any]:
    """The description of a ``.keras`` file that holds nothing but Keras' own configuration."""
    compiled = config.get("compile_config") or {}
    return {
        "inputs": _plain(_config_inputs(config)),
        "outputs": _config_outputs(config),
        "loss": _facts(compiled.get("loss")),
        "compiled": bool(compiled),
        "free": str(config.get("module") or "").split(".")[0] != "keras",
    }


def _config_inputs(config: dict[str, Any]) -> Any:
    inner = config.get("config", {})
    layers = inner.get("layers", []) if isinstance(inner, dict) else []
    found = {
        layer["config"]["name"]: tuple(layer["config"]["batch_shape"][1:])
        for layer in layers
        if isinstance(layer, dict) and layer.get("class_name") == "InputLayer"
    }
    if len(found) == 1 and not isinstance(inner.get("input_layers"), dict):
        return next(iter(found.values()))
    if found:
        return found
    shape = config.get("build_config", {}).get("input_shape")
    if isinstance(shape, list | tuple) and shape and not isinstance(shape[0], list | dict):
        return tuple(shape[1:])
    return None


def _config_outputs(config: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The outputs of a functional or sequential configuration; the shape is known where the last layer keeps it."""
    inner = config.get("config", {})
    layers = inner.get("layers", []) if isinstance(inner, dict) else []
    if not layers:
        return None
    by_name = {layer["config"].get("name"): layer for layer in layers if isinstance(layer, dict)}
    ends = inner.get("output_layers")
    if ends is None:
        return [_config_output(None, layers[-1])]
    if isinstance(ends, dict):
        return [_config_output(name, by_name.get(ends[name][0])) for name in sorted(ends)]
    if ends and isinstance(ends[0], str):
        ends = [ends]
    return [_config_output(end[0], by_name.get(end[0])) for end in ends]


def _config_output(name: str | None, layer: dict[str, Any] | None) -> dict[str, Any]:
    output: dict[str, Any] = {"name": name, "shape": None, "activation": None}
    while layer is not None and layer.get("class_name") in ("Sequential", "Functional"):
        nested = layer["config"]
        layer = (nested.get("layers") or [None])[-1] if "output_layers" not in nested else None
    if layer is None:
        return output
    settings, kind = layer["config"], layer.get("class_name")
    activation = settings.get("activation")
    output["activation"] = activation if isinstance(activation, str) else None
    if kind in ("Softmax", "Sigmoid"):
        output["activation"] = kind.lower()
    given = (layer.get("build_config") or {}).get("input_shape")
    if isinstance(given, list | tuple) and given and not isinstance(given[0], list):
        if kind == "Dense":
            output["shape"] = [*given[1:-1], settings["units"]]
        elif kind in ("Activation", "Softmax"):
            output["shape"] = list(given[1:])
    return output
