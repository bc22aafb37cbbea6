"""The same function in layers that can be rounded: separable convolutions as their two, batch normalisation folded away.

Where nothing comes before it that could take it over, batch normalisation becomes a depthwise convolution of size 1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from lepton_kit.compression.layers import channel_multiplier, kind_of, walk_layers
from lepton_kit.compression.quantization.deployable import in_float
from lepton_kit.compression.quantization.rewire import Visit, copy_graph
from lepton_kit.models.copying import give_weights

_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_FOLDABLE = ("Dense", "Conv1D", "Conv2D", "Conv1DTranspose", "Conv2DTranspose", *_DEPTHWISE)
_NORMS = ("BatchNormalization", "LayerScale")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")


def split_separable(model: Any, whole: Collection[str] = ()) -> Any:
    """A functional copy in which separable convolutions are a depthwise one, called ``NAME_depthwise``, and one of size 1;
    and those in as many groups as channels come in are depthwise ones.

    Those named in ``whole`` stay. A model without any is given back as it is.
    """
    import keras

    found = [
        layer for _, layer in walk_layers(model) if type(layer).__name__ in _SEPARABLE or _in_groups(layer)
    ]
    if not any(type(layer).__module__.startswith("keras.") for layer in found):
        return model
    made: dict[int, Any] = {}

    def visit(call: Visit) -> Any:
        layer = call.layer
        if _in_groups(layer) and call.name not in whole:
            new = made.setdefault(id(layer), _depthwise(layer, call.name))
            output = new(*call.args, **call.kwargs)
            kernel, *bias = layer.get_weights()
            new.set_weights([kernel.reshape(new.kernel.shape), *bias])
            return output
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


def _in_groups(layer: Any) -> bool:
    """Whether it is a convolution over one or two axes with as many groups as channels come in."""
    kind = type(layer).__name__
    causal = getattr(layer, "padding", "") == "causal"  # of which there is no depthwise one
    return kind in ("Conv1D", "Conv2D") and channel_multiplier(layer) > 0 and not causal


def _depthwise(layer: Any, name: str) -> Any:
    """The depthwise layer, not yet built, of a convolution in as many groups as channels come in."""
    import keras

    given = in_float(layer.get_config())
    sides = {
        f"depthwise_{what}": given.pop(f"kernel_{what}")
        for what in ("initializer", "regularizer", "constraint")
    }
    for other in ("filters", "groups"):
        del given[other]
    kind = getattr(keras.layers, f"Depthwise{type(layer).__name__}")
    return kind.from_config(given | sides | {"depth_multiplier": channel_multiplier(layer), "name": name})


def fold_batch_norm(model: Any) -> Any:
    """A functional copy in which BatchNormalization, or LayerScale, after a linear dense or convolutional layer is gone.

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


def norms_as_convolutions(model: Any, whole: Collection[str] = ()) -> Any:
    """A functional copy in which BatchNormalization over the last axis, or LayerScale, is a depthwise convolution of size 1 of the same name.

    That is how networks are rounded that normalise before they convolve, or behind a join or an activation: a kernel of one
    number a channel is exact in 8 bits. Those named in ``whole``, behind a mask or called more than once stay.
    """
    import keras

    if not any(_is_norm(layer) for _, layer in walk_layers(model)):
        return model
    made: dict[int, Any] = {}

    def visit(call: Visit) -> Any:
        layer, x = call.layer, call.inputs[0]
        rank = len(x.shape)
        masked = call.kwargs.get("mask") is not None
        if (
            not _is_norm(layer)
            or call.name in whole
            or masked
            or rank not in (2, 3, 4)
            or len(layer._inbound_nodes) > 1
            or not _over_channels(layer, rank)
        ):
            return _copied(call, made)
        kind = keras.layers.DepthwiseConv2D if rank == 4 else keras.layers.DepthwiseConv1D
        scale = kind(1, trainable=layer.trainable, name=call.name)
        if rank == 2:
            flat = keras.layers.Reshape((1, x.shape[-1]), name=f"{call.name}_step")(x)
            output = keras.layers.Reshape((x.shape[-1],), name=f"{call.name}_flat")(scale(flat))
        else:
            output = scale(x)
        factor, shift = _scale_and_shift(layer)
        channels = np.ones(x.shape[-1])
        kernel = (channels * factor).reshape(scale.kernel.shape)
        scale.set_weights([kernel.astype(np.float32), (channels * shift).astype(np.float32)])
        return output

    return copy_graph(model, lambda tensor: tensor, visit)


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
    if not _is_norm(norm) or len(norm._inbound_nodes) > 1 or len(layer._inbound_nodes) > 1:
        return None
    linear = getattr(layer.activation, "__name__", "") == "linear"
    return norm if linear and _over_channels(norm, len(layer.output.shape)) else None


def _is_norm(layer: Any) -> bool:
    """Whether it is Keras' own, or this package's synchronized one."""
    return kind_of(layer) in _NORMS and type(layer).__module__.startswith(("keras.", "lepton_kit."))


def _over_channels(norm: Any, rank: int) -> bool:
    """Whether a normalisation has one scale a channel."""
    return kind_of(norm) == "LayerScale" or norm.axis in (-1, rank - 1)


def _scale_and_shift(norm: Any) -> tuple[Any, Any]:
    """What a batch normalisation multiplies by and adds, of each channel, once it is trained."""
    if kind_of(norm) == "LayerScale":
        return np.asarray(norm.gamma.value, np.float64), 0.0
    values = {variable.name: np.asarray(variable.value, np.float64) for variable in norm.weights}
    factor = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + norm.epsilon)
    return factor, values.get("beta", 0.0) - values["moving_mean"] * factor


def _folded_weights(layer: Any, norm: Any) -> list[np.ndarray]:
    factor, offset = _scale_and_shift(norm)
    kernel, *bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    shift = (bias[0] if bias else 0.0) * factor + offset
    wide = factor
    if type(layer).__name__ in _DEPTHWISE:
        wide = factor.reshape(kernel.shape[-2:])
    elif type(layer).__name__.endswith("Transpose"):
        wide = factor[:, None]  # its kernel ends in (outputs, inputs)
    return [(kernel * wide).astype(np.float32), shift.astype(np.float32)]
