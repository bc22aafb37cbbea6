"""Quantization-aware training: a model that rounds as LiteRT's int8 kernels will, yet trains by gradients.

Importing this module loads Keras and registers the layers, so that saved models can be read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from lepton_kit.compression.layers import check_names, is_named, walk_layers
from lepton_kit.compression.quantization.deployable import AUGMENTING
from lepton_kit.compression.quantization.folding import (
    fold_batch_norm,
    norms_as_convolutions,
    split_separable,
)
from lepton_kit.compression.quantization.qat_layers import (
    QUANTIZED,
    ActivationRange,
    SameRange,
    _Quantized,
)
from lepton_kit.compression.quantization.rewire import Visit, copy_graph
from lepton_kit.config import QuantizationAwareConfig
from lepton_kit.errors import CompressionError
from lepton_kit.models.copying import give_weights

# Layers that hand int8 numbers on with their range.
_PASS_WORDS = (
    "MaxPooling1D MaxPooling2D GlobalMaxPooling1D GlobalMaxPooling2D Flatten Reshape Permute RepeatVector Identity"
    " ZeroPadding1D ZeroPadding2D Cropping1D Cropping2D Dropout SpatialDropout1D SpatialDropout2D GaussianNoise"
    " StochasticDepth GaussianDropout AlphaDropout ActivityRegularization UpSampling1D"
)
_PASS = frozenset(_PASS_WORDS.split())
_SAME_RANGE = frozenset(("AveragePooling1D", "AveragePooling2D", "UpSampling2D"))
_NEW_RANGE = frozenset(("GlobalAveragePooling1D", "GlobalAveragePooling2D", "Add", "Subtract", "Multiply"))
# Between two ranges; LiteRT has int8 kernels for some and computes the others in float.
_CURVES = frozenset(("Activation", "ReLU", "Softmax", "PReLU", "LeakyReLU", "ELU"))
_RESIZING = ("nearest", "bilinear")
# Done in float before the first range: they only scale the input or look it up.
_PREPARE = frozenset(("Rescaling", "Normalization", "Embedding"))
_FUSED = frozenset(("linear", "relu", "relu6"))
# Output ranges that the int8 kernels prescribe (LiteRT 8-bit quantization specification, 2026-11).
_FIXED = {"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


class _Value:
    """A tensor of the new graph with its range (None: not rounded yet) and whether only preparation came before."""

    def __init__(self, tensor: Any, bounds: Any = None, raw: bool = False):
        self.tensor, self.bounds, self.raw = tensor, bounds, raw


def quantization_aware(model: Any, config: QuantizationAwareConfig | None = None) -> Any:
    """A trainable copy that rounds weights to ``config.bits`` and activations to int8 in its forward pass.

    Batch normalisation that follows a dense or convolutional layer is folded into it first, and a separable convolution
    becomes a depthwise one and one of size 1. Inputs, outputs and
    their shapes stay; the copy is a functional model of registered layers, so it can be saved and read back (after
    importing this module). Kernels: symmetric, narrow range, one step per output channel. Activations: int8
    [-128, 127], one step and zero point per tensor, ranges that follow the data. Biases: int32. An activation such as
    GELU stands between two rounded tensors; the file computes it in float where LiteRT has no int8 kernel of it.
    Operations of the graph that are no layers stay in float, and half precision becomes float32.

    Raises `CompressionError` that names a layer it can't round, and says what to do.
    """
    config = config or QuantizationAwareConfig()
    paths = {path.replace("/", "_"): path for path, _ in walk_layers(model)}  # inner models open up
    check_names(config.skip, paths.values(), "quantization_aware.skip")
    if is_quantization_aware(model):
        raise CompressionError(
            f"model {model.name!r} is quantization-aware already; train it on, or strip(model) first"
        )
    left_float = {flat for flat, path in paths.items() if any(is_named(path, name) for name in config.skip)}
    build = _Builder(config.bits, left_float, paths)
    aware = copy_graph(
        norms_as_convolutions(fold_batch_norm(split_separable(model, left_float)), left_float),
        lambda tensor: _Value(tensor, raw=True),
        build,
        lambda value: value.tensor,
        name=f"{model.name}_int{config.bits}",
    )
    if build.refused:
        raise CompressionError(_refusal(build.refused))
    if not any(isinstance(layer, _Quantized) for layer in aware._flatten_layers()):
        raise CompressionError(
            f"model {model.name!r}: nothing is left to be trained quantization-aware beside what is in "
            "quantization_aware.skip; use 'int8' or 'dynamic_int8', which round after training"
        )
    return aware


class _Builder:
    """Makes the rounding counterpart of each layer."""

    def __init__(self, bits: int, left_float: set[str], paths: dict[str, str]):
        self.bits, self.left_float, self.paths = bits, left_float, paths
        self.refused: dict[str, str] = {}
        """Path -> kind of the layers that can't be rounded."""
        self._made: dict[int, Any] = {}
        self._names: dict[str, int] = {}

    def __call__(self, visit: Visit) -> Any:
        if (
            isinstance(visit.layer, keras.layers.TimeDistributed)
            and type(visit.layer.layer) is keras.layers.Dense
        ):
            visit = replace(visit, layer=visit.layer.layer)  # over time it does what it does by itself
        layer, kind = visit.layer, type(visit.layer).__name__
        values = visit.inputs
        own = type(layer).__module__.startswith("keras.")
        if visit.name in self.left_float or not isinstance(layer, keras.Layer):
            return self._float(visit)
        if own and (kind in _PREPARE or kind.startswith(AUGMENTING)) and values[0].raw:
            return _Value(self._call(visit, layer), raw=True)
        if own and kind in QUANTIZED:
            return self._quantized(visit, kind)
        if own and kind in _CURVES:
            return self._activation(visit)
        if own and (kind in _PASS or getattr(layer, "interpolation", "") == "nearest"):
            value = values[0]
            return _Value(self._call(visit, layer), value.bounds, value.raw)
        if own and kind in _SAME_RANGE and getattr(layer, "interpolation", "bilinear") in _RESIZING:
            value = self._ranged(values[0], visit.name + "_input")
            pooled = self._call(visit, layer, [value.tensor])
            return _Value(
                SameRange(name=self._name(visit.name + "_range"))([pooled, value.bounds]), value.bounds
            )
        if own and kind in _NEW_RANGE:
            ready = [self._ranged(value, f"{visit.name}_input") for value in values]
            return self._closed(visit, self._call(visit, layer, [value.tensor for value in ready]))
        if own and kind == "Concatenate":
            return self._closed(visit, self._call(visit, layer))
        return self._refuse(visit, kind)

    def _quantized(self, visit: Visit, kind: str) -> Any:
        layer = visit.layer
        if (
            getattr(layer, "groups", 1) != 1
            or getattr(layer, "data_format", "channels_last") != "channels_last"
        ):
            return self._refuse(visit, f"{kind} in groups or with channels first")
        value = self._ranged(visit.inputs[0], visit.name + "_input")
        activation = _activation_of(layer)
        fused = activation in _FUSED
        new = self._made.get(id(layer))
        if new is None:
            settings = layer.get_config() | {"name": visit.name, "bits": self.bits}
            if not fused:
                settings["activation"] = "linear"
            new = self._made[id(layer)] = QUANTIZED[kind].from_config(settings)
        tensor = new([value.tensor, value.bounds])
        if not new.get_weights() or new.weights[0] is None:
            del self._made[id(layer)]
            return self._refuse(visit, kind)
        new.set_weights(layer.get_weights())
        if not fused:
            ranged = self._track(tensor, visit.name)
            named = f"{visit.name}_{activation}"
            made = keras.layers.Activation(layer.activation, name=self._name(named))(ranged.tensor)
            return self._track(made, named, _FIXED.get(activation))
        if (activation == "linear" and _relu_follows(visit)) or _only_joined(visit):
            return _Value(tensor)  # LiteRT rounds once, to the range of what follows
        return self._track(tensor, visit.name, non_negative=activation != "linear")

    def _activation(self, visit: Visit) -> _Value:
        name = _activation_of(visit.layer)
        if name == "linear":
            result: _Value = visit.inputs[0]
            return result
        if name in _FUSED and _only_joined(visit):
            return _Value(self._call(visit, visit.layer))
        if name in _FUSED:
            return self._track(self._call(visit, visit.layer), visit.name, non_negative=True)
        value = self._ranged(visit.inputs[0], visit.name + "_input")
        return self._track(self._call(visit, visit.layer, [value.tensor]), visit.name, _FIXED.get(name))

    def _closed(self, visit: Visit, tensor: Any) -> _Value:
        """With a range after it, unless the relu that follows will have one."""
        return (
            _Value(tensor) if _relu_follows(visit) or _only_joined(visit) else self._track(tensor, visit.name)
        )

    def _ranged(self, value: _Value, name: str) -> _Value:
        if value.bounds is None and "float" in str(value.tensor.dtype):  # a mask has no range
            tracked = self._track(value.tensor, name)
            value.tensor, value.bounds, value.raw = tracked.tensor, tracked.bounds, False
        return value

    def _track(self, tensor: Any, name: str, fixed: Any = None, non_negative: bool = False) -> _Value:
        layer = ActivationRange(fixed=fixed, non_negative=non_negative, name=self._name(f"{name}_range"))
        rounded, bounds = layer(tensor)
        return _Value(rounded, bounds)

    def _float(self, visit: Visit) -> Any:
        """In float; what an operation of the graph makes of a raw input stays raw."""
        made = self._call(visit, visit.layer)
        raw = not isinstance(visit.layer, keras.Layer) and all(value.raw for value in visit.inputs)
        return (
            [_Value(part, raw=raw) for part in made]
            if isinstance(made, (list, tuple))
            else _Value(made, raw=raw)
        )

    def _call(self, visit: Visit, layer: Any, tensors: list[Any] | None = None) -> Any:
        """Call a fresh copy of a layer that isn't rounded itself."""
        new: Any = self._made.get(id(layer))
        fresh = new is None
        if fresh:
            named = isinstance(layer, keras.Layer)  # an operation of the graph holds nothing
            new = type(layer).from_config(layer.get_config() | {"name": visit.name}) if named else layer
            self._made[id(layer)] = new
        replaced = {id(value): value.tensor for value in visit.inputs}
        if tensors is not None:
            replaced = {id(value): tensor for value, tensor in zip(visit.inputs, tensors, strict=True)}

        def swap(part: Any) -> Any:
            return replaced.get(id(part), part)

        args, kwargs = keras.tree.map_structure(swap, (visit.args, visit.kwargs))
        made = new(*args, **kwargs)
        if fresh and getattr(layer, "weights", None):
            give_weights(new, layer.get_weights())
        return made

    def _refuse(self, visit: Visit, kind: str) -> Any:
        """Go on in float, so that all that is in the way can be named together."""
        self.refused.setdefault(self.paths.get(visit.name, visit.name), kind)
        return self._float(visit)

    def _name(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else f"{name}_{count}"


def _activation_of(layer: Any) -> str:
    if type(layer).__name__ == "ReLU":
        plain = not layer.negative_slope and not layer.threshold
        return (
            {None: "relu", 6.0: "relu6"}.get(layer.max_value, "relu with a bound") if plain else "leaky relu"
        )
    if type(layer).__name__ == "Softmax":
        return "softmax" if layer.axis == -1 else "softmax over another axis"
    function = getattr(layer, "activation", None)  # PReLU and the like have none
    return str(getattr(function, "__name__", type(layer).__name__.lower()))


def _relu_follows(visit: Visit) -> bool:
    if len(visit.consumers) != 1 or type(visit.consumers[0]).__name__ not in ("ReLU", "Activation"):
        return False
    return _activation_of(visit.consumers[0]) in ("relu", "relu6")


def _only_joined(visit: Visit) -> bool:
    return len(visit.consumers) == 1 and type(visit.consumers[0]).__name__ == "Concatenate"


def _refusal(refused: dict[str, str]) -> str:
    (name, kind), *others = refused.items()
    if kind == "BatchNormalization":
        cure = "let it normalise the last axis of a tensor without a mask"
    elif kind == "UpSampling2D":
        cure = "give it interpolation='nearest' or 'bilinear'"
    else:
        cure = "use 'int8' or 'dynamic_int8', which round after training"
    more = ", ".join(f"{path!r} ({kind})" for path, kind in others)
    return (
        f"layer {name!r} ({kind}) can't be trained quantization-aware; {cure}, or name it in skip "
        "(quantization_aware.skip in a configuration) to leave it in float. "
        + (f"The same holds for {len(others)} more: {more}. " if others else "")
        + f"Supported: {', '.join(QUANTIZED)}, SeparableConv1D, SeparableConv2D, BatchNormalization, "
        f"{', '.join(sorted(_PREPARE | _PASS | _CURVES | _SAME_RANGE | _NEW_RANGE | {'Concatenate'}))}"
    )


# ------------------------------------------------------------------------------------------- what was trained


def is_quantization_aware(model: Any) -> bool:
    """Whether a model holds layers that `quantization_aware` made."""
    return any(isinstance(layer, (ActivationRange, _Quantized)) for layer in model.layers)


def trained_bits(model: Any) -> int | None:
    """The bits of the weights of a quantization-aware model; None for another one."""
    return next((layer.bits for layer in model.layers if isinstance(layer, _Quantized)), None)


def activation_ranges(model: Any) -> dict[str, tuple[float, float]]:
    """Range of every rounded tensor, by the name of the layer that made it; untrained ones are left out."""
    found = {
        layer.name.removesuffix("_range"): layer.bounds()
        for layer in model.layers
        if isinstance(layer, ActivationRange)
    }
    return {name: bounds for name, bounds in found.items() if bounds is not None}


def strip(model: Any) -> Any:
    """The plain float Keras model of a quantization-aware one: same layers, weights on the grid, no rounding.

    Batch normalisation stays folded. Biases stay as trained; LiteRT rounds them to its int32 grid.
    """
    _require(model)
    made: dict[int, Any] = {}

    def visit(call: Visit) -> Any:
        layer = call.layer
        if isinstance(layer, ActivationRange):
            return [call.args[0], None]
        if isinstance(layer, SameRange):
            return call.args[0][0]
        quantized = isinstance(layer, _Quantized)
        new = made.get(id(layer))
        args = (call.args[0][0],) if quantized else call.args
        if new is None:
            base: Any = next(kind for kind in type(layer).__mro__ if not issubclass(kind, _Quantized))
            settings = layer.get_config() | {"name": call.name}
            settings.pop("bits", None)
            new = made[id(layer)] = base.from_config(settings)
        output = new(*args, **call.kwargs)
        if getattr(layer, "weights", None):  # operations of the graph have none
            weights = layer.get_weights()
            if quantized:
                weights[0] = layer.grid_weights().reshape(weights[0].shape)
            give_weights(new, weights)
        return output

    return copy_graph(model, lambda tensor: tensor, visit, name=f"{model.name}_float")


def takes_float(model: Any) -> bool:
    """Whether the input of the int8 model stays float, because the model itself scales it first."""
    _require(model)
    return any(type(layer).__name__ in _PREPARE for layer in model.layers)


@contextlib.contextmanager
def exporting(model: Any) -> Iterator[Callable[[Any], Any]]:
    """Within it, a function to trace for the converter, in which all ranges are fake-quant nodes with constants.

    Convert it to int8 *without* a representative dataset: the converter takes the trained ranges. With models that
    start with Rescaling or Normalization the input stays float.
    """
    _require(model)
    layers: list[Any] = [
        layer for layer in model.layers if isinstance(layer, (ActivationRange, SameRange, _Quantized))
    ]
    for layer in layers:
        if isinstance(layer, ActivationRange):
            layer.exported = layer.bounds()
            if layer.exported is None:
                raise CompressionError(
                    f"layer {layer.name!r} has no range yet; train the model for a step or more first"
                )
        elif isinstance(layer, SameRange):
            layer.exported = True
        else:
            bias = None if layer.bias is None else np.asarray(layer.bias.value)
            layer.exported = (layer.grid_weights(), bias)
    try:
        yield lambda x: model(x, training=False)
    finally:
        for layer in layers:
            layer.exported = False if isinstance(layer, SameRange) else None


def _require(model: Any) -> None:
    if not is_quantization_aware(model):
        raise CompressionError(
            f"model {model.name!r} is not quantization-aware; make it with quantization_aware(model)"
        )
