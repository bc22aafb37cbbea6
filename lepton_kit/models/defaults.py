"""What training uses for a model that is not compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.errors import ModelError

PROBABILITIES = ("softmax", "sigmoid")


def compile_defaults(model: Any, prepared: Any) -> tuple[Any, Any, Any]:
    """(loss, metrics, from_logits) that suit the targets, per output name where the targets are a dictionary.

    Whole-number targets: cross-entropy (binary where the output has one unit) and accuracy; floating point
    targets: mean squared error and mean absolute error. ``from_logits`` is None where it does not apply.
    """
    targets = prepared.train.y
    if not isinstance(targets, dict):
        return _default(
            model.output_shape if hasattr(model, "output_shape") else None, _activation(model), targets
        )
    names = list(getattr(model, "output_names", None) or [])
    shapes = getattr(model, "output_shape", None)
    if isinstance(shapes, dict):
        names = list(shapes)
    elif isinstance(shapes, tuple | list) and shapes and isinstance(shapes[0], tuple | list):
        shapes = dict(zip(names, shapes, strict=False))
    else:
        shapes = {names[0]: shapes} if names else {}
    missing = sorted(set(targets) ^ set(names))
    if missing:
        raise ModelError(f"the model's outputs are {sorted(names)}; the targets are {sorted(targets)}")
    found = {name: _default(shapes.get(name), _activation(model, name), y) for name, y in targets.items()}
    losses, metrics, logits = ({name: value[i] for name, value in found.items()} for i in range(3))
    return losses, metrics, logits


def _default(shape: Any, activation: str | None, targets: np.ndarray) -> tuple[Any, list[Any], bool | None]:
    import keras

    if targets.dtype.kind not in "biu":
        return keras.losses.MeanSquaredError(), ["mae"], None
    logits = activation not in PROBABILITIES
    if isinstance(shape, tuple) and shape[-1] == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=logits)
        return loss, [keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if logits else 0.5)], logits
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return loss, [keras.metrics.SparseCategoricalAccuracy(name="accuracy")], logits


def _activation(model: Any, output: str | None = None) -> str | None:
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
