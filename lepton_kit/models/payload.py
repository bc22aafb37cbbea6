"""How a model travels: from a notebook's memory into a run directory, and from there into every process."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit.errors import FULL, ModelError
from lepton_kit.models import objects, trust
from lepton_kit.models.custom import CODE, copy_code, custom_objects, read_custom, write_custom
from lepton_kit.models.description import FILE as DESCRIPTION
from lepton_kit.models.description import describe, model_path
from lepton_kit.models.lepton import LeptonModel
from lepton_kit.models.shapes import check_fits, input_shapes

__all__ = ["build", "check_fits", "copy_code", "custom_objects", "input_shapes", "store"]
FILE = "model.keras"
OBJECT = "model.pkl"


def store(model: Any, directory: str | Path) -> dict[str, Any]:
    """Write what ``build`` needs into ``directory``; the spec's path counts from the directory's parent.

    A LeptonModel without weights is its spec alone. A model that is made of Keras' own classes, with their losses
    and metrics, is written as ``model.keras``; any other as ``model.pkl``, the object with all that it holds, and
    beside it, where Keras can, as ``model.keras`` with ``custom.pkl``. Raises `ModelError`.
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
    stock = not objects.foreign(model)
    copy = _store_keras(model, directory)
    _put(directory / DESCRIPTION, json.dumps(describe(model), indent=1).encode())
    if stock and copy is not None and faithful(model, copy):
        (directory / OBJECT).unlink(missing_ok=True)
        return {"kind": "keras", "path": f"{directory.name}/{FILE}"}
    content = objects.dumps(model)
    _put(directory / OBJECT, content)
    trust.note(content)
    return {"kind": "object", "path": f"{directory.name}/{OBJECT}"}


def _store_keras(model: Any, directory: Path) -> Any:
    """Write ``model.keras``, and the code that it needs, and read it back; None, and no file, where Keras can't."""
    temporary = directory / f".{os.getpid()}.{FILE}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about what has no config: that is why the pickle stands beside it
            model.save(temporary)
            write_custom(custom_objects(model), directory)
            os.replace(temporary, directory / FILE)
            return _load(directory / FILE)
    except Exception as failure:
        for name in (FILE, CODE):
            (directory / name).unlink(missing_ok=True)
        if isinstance(failure, OSError) and failure.errno in FULL:
            raise  # that is no fault of the model
        return None
    finally:
        temporary.unlink(missing_ok=True)


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    path = model_path(spec, base)
    import keras

    keras.utils.set_random_seed(seed)
    if kind == "object":
        return objects.loads(trust.read(path))
    return _load(path)


def _load(path: Path) -> Any:
    import keras

    from lepton_kit.models import layers, metrics, overlap  # noqa: F401  registers what stored models may hold

    custom = read_custom(path.with_name(CODE))
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


def faithful(model: Any, copy: Any) -> bool:
    """Whether what Keras read back has the weights, the optimizer and the settings of the model that it wrote."""
    optimizer = getattr(model, "optimizer", None)
    # One that has not trained has no variables yet; Keras makes them when it reads the copy.
    trained = optimizer is not None and optimizer.built
    return bool(_facts(model, trained) == _facts(copy, trained))


def _facts(model: Any, trained: bool) -> Any:
    """What must be equal in a model and its copy: all weights, what is trained, and the compile settings."""
    variables = [(v.trainable, v.dtype, _bytes(v)) for v in model.variables]
    layers = [(layer.name, type(layer).__name__, layer.trainable) for layer in model._flatten_layers()]
    settings = model.get_compile_config() if model.compiled else None
    optimizer = getattr(model, "optimizer", None)
    slots = [_bytes(v) for v in _optimizer(model, trained).variables] if optimizer is not None else None
    # Keras keeps the metrics and the loss of an earlier compile where a later one names none.
    kept = [getattr(model, name, None) is None for name in ("_compile_loss", "_compile_metrics")]
    return variables, layers, repr(settings), slots, model.trainable, kept


def _optimizer(model: Any, trained: bool) -> Any:
    """The optimizer of a model, or one of the same settings that begins from the model's weights now.

    Averages of weights begin there, and Keras builds an optimizer that it reads before it has read the weights.
    """
    if trained or model.optimizer.built:
        return model.optimizer
    fresh = type(model.optimizer).from_config(model.optimizer.get_config())
    fresh.build(model.trainable_variables)
    return fresh


def _bytes(variable: Any) -> bytes:
    return bytes(variable.numpy().tobytes())
