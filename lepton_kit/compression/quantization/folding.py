"""Folds batch normalisation into the dense or convolutional layer before it: the same function with fewer layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.compression.layers import kind_of
from lepton_kit.compression.quantization.rewire import Visit, copy_graph

_FOLDABLE = ("Dense", "Conv1D", "Conv2D", "DepthwiseConv2D")


def fold_batch_norm(model: Any) -> Any:
    """A functional copy in which BatchNormalization after a linear Dense, Conv or DepthwiseConv2D is gone.

    Kernel and bias take over its scale and shift (moving statistics), so inference gives the same up to rounding
    of float32. Batch normalisation elsewhere stays. Nested models become part of the copy.
    """
    import keras

    if isinstance(model, keras.Sequential):
        # Read from a file, its layers have been called twice, and would look shared; a clone's are called once.
        weights = model.get_weights()
        model = keras.models.clone_model(model)
        model.set_weights(weights)
    made: dict[int, Any] = {}
    folded: set[int] = set()

    def visit(call: Visit) -> Any:
        layer = call.layer
        if id(layer) in folded:
            return call.inputs[0]
        norm = _norm_after(call)
        new: Any = made.get(id(layer))
        if new is None and hasattr(layer, "get_config"):
            settings = layer.get_config() | {"name": call.name}
            if norm is not None:
                settings["use_bias"] = True
            new = type(layer).from_config(settings) if _is_layer(layer) else layer
            made[id(layer)] = new
        output = new(*call.args, **call.kwargs)
        if norm is not None:
            folded.add(id(norm))
            new.set_weights(_folded_weights(layer, norm))
        elif getattr(layer, "weights", None):
            new.set_weights(layer.get_weights())
        return list(output) if isinstance(output, (list, tuple)) else output

    return copy_graph(model, lambda tensor: tensor, visit)


def _is_layer(layer: Any) -> bool:
    import keras

    return isinstance(layer, keras.Layer)


def _norm_after(call: Visit) -> Any:
    """The batch normalisation that can be folded into this layer, or None."""
    layer = call.layer
    if type(layer).__name__ not in _FOLDABLE or len(call.consumers) != 1 or call.consumers[0] is None:
        return None
    norm = call.consumers[0]
    if kind_of(norm) != "BatchNormalization" or len(norm._inbound_nodes) > 1 or len(layer._inbound_nodes) > 1:
        return None
    linear = getattr(layer.activation, "__name__", "") == "linear"
    last = norm.axis in (-1, len(layer.output.shape) - 1)
    return norm if linear and last else None


def _folded_weights(layer: Any, norm: Any) -> list[np.ndarray]:
    values = {variable.name: np.asarray(variable.value, np.float64) for variable in norm.weights}
    factor = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + norm.epsilon)
    kernel, *bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    shift = ((bias[0] if bias else 0.0) - values["moving_mean"]) * factor + values.get("beta", 0.0)
    wide = factor.reshape(kernel.shape[-2:]) if type(layer).__name__ == "DepthwiseConv2D" else factor
    return [(kernel * wide).astype(np.float32), shift.astype(np.float32)]
