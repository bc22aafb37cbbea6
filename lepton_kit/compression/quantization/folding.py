"""The same function in layers that can be rounded: separable convolutions as their two, batch normalisation folded away."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from lepton_kit.compression.layers import kind_of, walk_layers
from lepton_kit.compression.quantization.deployable import in_float
from lepton_kit.compression.quantization.rewire import Visit, copy_graph
from lepton_kit.models.copying import give_weights

_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_FOLDABLE = ("Dense", "Conv1D", "Conv2D", "Conv1DTranspose", "Conv2DTranspose", *_DEPTHWISE)
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")


def split_separable(model: Any, whole: Collection[str] = ()) -> Any:
    """A functional copy in which separable convolutions are a depthwise one, called ``NAME_depthwise``, and one of size 1.

    Those named in ``whole`` stay. A model without any is given back as it is.
    """
    import keras

    found = [layer for _, layer in walk_layers(model) if type(layer).__name__ in _SEPARABLE]
    if not any(type(layer).__module__.startswith("keras.") for layer in found):
        return model
    made: dict[int, Any] = {}

    def visit(call: Visit) -> Any:
        layer = call.layer
        if type(layer).__name__ not in _SEPARABLE or call.name in whole:
            return _copied(call, made)
        if id(layer) not in made:
            made[id(layer)] = _halves(layer, call.name)
        (deep, wide), weights = made[id(layer)], layer.get_weights()
        output = wide(deep(*call.args, **call.kwargs))
        deep.set_weights(weights[:1])
        wide.set_weights(weights[1:])
        return output

    def _halves(layer: Any, name: str) -> tuple[Any, Any]:
        given, size = in_float(layer.get_config()), type(layer).__name__[-2:]
        kinds = [getattr(keras.layers, f"{kind}{size}") for kind in ("DepthwiseConv", "Conv")]
        shared = {key: given[key] for key in ("data_format", "trainable", "dtype")}
        space = {
            key: given[key]
            for key in ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
        }
        rest = (
            "filters",
            "use_bias",
            "activation",
            "bias_initializer",
            "bias_regularizer",
            "bias_constraint",
        )
        sides = [
            {f"{to}_{what}": given[f"{of}_{what}"] for what in ("initializer", "regularizer", "constraint")}
            for of, to in (("depthwise", "depthwise"), ("pointwise", "kernel"))
        ]
        return (
            kinds[0].from_config(
                {**shared, **space, **sides[0], "use_bias": False, "name": f"{name}_depthwise"}
            ),
            kinds[1].from_config(
                {**shared, **{key: given[key] for key in rest}, **sides[1], "kernel_size": 1, "name": name}
            ),
        )

    return copy_graph(_called_once(model), lambda tensor: tensor, visit)


def fold_batch_norm(model: Any) -> Any:
    """A functional copy in which BatchNormalization after a linear dense or convolutional layer is gone.

    Kernel and bias take over its scale and shift (moving statistics), so inference gives the same up to rounding
    of float32. Batch normalisation elsewhere stays. Nested models become part of the copy.
    """
    made: dict[int, Any] = {}
    folded: set[int] = set()

    def visit(call: Visit) -> Any:
        layer = call.layer
        if id(layer) in folded:
            return call.inputs[0]
        norm = _norm_after(call)
        if norm is None:
            return _copied(call, made)
        output = _copied(call, made, use_bias=True)
        folded.add(id(norm))
        made[id(layer)].set_weights(_folded_weights(layer, norm))
        return output

    return copy_graph(_called_once(model), lambda tensor: tensor, visit)


def _called_once(model: Any) -> Any:
    """A Sequential that was read from a file has layers that have been called twice and look shared; a clone's are called
    once."""
    import keras

    if not isinstance(model, keras.Sequential):
        return model
    weights = model.get_weights()
    model = keras.models.clone_model(model)
    give_weights(model, weights)
    return model


def _copied(call: Visit, made: dict[int, Any], **changed: Any) -> Any:
    """The output of a copy of the layer in float32, with its weights where its settings are not ``changed``."""
    layer = call.layer
    new: Any = made.get(id(layer))
    if new is None and hasattr(layer, "get_config"):
        settings = in_float(layer.get_config()) | {"name": call.name} | changed
        new = type(layer).from_config(settings) if _is_layer(layer) else layer
        made[id(layer)] = new
    output = new(*call.args, **call.kwargs)
    if not changed and getattr(layer, "weights", None):
        give_weights(new, layer.get_weights())
    return list(output) if isinstance(output, (list, tuple)) else output


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
    wide = factor
    if type(layer).__name__ in _DEPTHWISE:
        wide = factor.reshape(kernel.shape[-2:])
    elif type(layer).__name__.endswith("Transpose"):
        wide = factor[:, None]  # its kernel ends in (outputs, inputs)
    return [(kernel * wide).astype(np.float32), shift.astype(np.float32)]
