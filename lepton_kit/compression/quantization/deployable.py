"""The same function as a Keras model that converts well: a copy whose layers are replaced where runtimes need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.padding import readers
from lepton_kit.errors import CompressionError
from lepton_kit.models.copying import give_weights

UNROLL_STEPS = 64  # longer sequences make the unrolled graph larger than the weights (our choice, 2026-11)
AUGMENTING = ("Random", "AugMix", "MixUp", "CutMix", "RandAugment")
"""How the names of layers begin that only change samples while training."""


@dataclass(frozen=True)
class Deployable:
    """A model to convert: ``batch`` is None or the size that it has to be fixed at; ``looping`` names recurrent layers
    that could not be unrolled."""

    model: Any
    batch: int | None = None
    notes: tuple[str, ...] = ()
    looping: tuple[str, ...] = ()


def deployable(model: Any, *, lookups: bool = False, onnx: bool = False, paired: bool = False) -> Deployable:
    """A copy of a Sequential or functional model, of inner models too; any other model as it is.

    Recurrent layers over a short, known number of time steps are unrolled; with others the batch is fixed at 1. Flatten
    becomes a reshape to a known size, which the runtime can hand to its fast kernels in one piece; layers that only
    augment become nothing, half precision float32, and an input that holds nothing but ids of an embedding whole
    numbers, which are never rounded. Activations that TensorFlow computes by exponentials of what is large take a form
    whose parts fit int8. ``lookups``: embeddings become an operation whose table litert-quantizer can round.
    ``paired``: convolutions of one or two channels compute two columns at once, which int8 kernels do faster.
    ``onnx``: for that format, which has loops, but neither the function that GELU uses nor constants beside the graph.

    Raises `CompressionError` for a layer that keeps state between calls.
    """
    check_stateless(model)
    recurrent = list(_recurrent(model))
    looping = [layer.name for layer in recurrent if not 0 < _time_steps(layer) <= UNROLL_STEPS]
    unrolled = [layer.name for layer in recurrent if layer.name not in looping]
    if onnx:
        looping, unrolled = [], []
    notes = []
    if type(model).__name__ not in ("Sequential", "Functional"):
        unrolled, looping = [], [layer.name for layer in recurrent]
    if unrolled:
        notes.append(f"recurrent layers unrolled: {', '.join(unrolled)}")
    if looping:
        notes.append(f"batch fixed at 1 because these recurrent layers loop: {', '.join(looping)}")
    if half := [layer.name for layer in _inner(model) if computes_in_half(layer)]:
        notes.append(f"computed in float32 instead of half precision: {', '.join(half)}")
    ids = set() if onnx else _id_inputs(model)
    replace = _Replacer(model, set(unrolled), lookups, onnx, paired)
    beside = onnx and any(True for _ in _constants(model))
    if type(model).__name__ in ("Sequential", "Functional") and (replace.needed or ids or beside):
        model = _copy(model, replace, ids)
        for arguments in _constants(model) if beside else ():
            _make_arrays(arguments)
    return Deployable(model, 1 if looping else None, tuple(notes), tuple(looping))


def without_augmentation(model: Any) -> Any:
    """A copy of a Sequential or functional model in which layers that only augment do nothing; any other as it is.

    Keras exports them as they train: their own default is ``training=True``.
    """
    import keras

    if type(model).__name__ not in ("Sequential", "Functional") or not any(map(_augments, _inner(model))):
        return model

    def clone(layer: Any) -> Any:
        if _augments(layer):
            return keras.layers.Identity(name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    dropped = {id(weight) for layer in _inner(model) if _augments(layer) for weight in layer.weights}
    give_weights(copy, [np.asarray(one) for one in model.weights if id(one) not in dropped])
    copy(structure_of(copy))  # Keras exports what was called once
    return copy


def structure_of(model: Any) -> Any:
    """The input tensors of a functional model in the form in which it takes them."""
    structure = getattr(_graph(model), "_inputs_struct", None)
    return model.inputs[0] if structure is None or len(model.inputs) == 1 else structure


def _augments(layer: Any) -> bool:
    kind = type(layer)
    return (
        kind.__module__.startswith("keras.")
        and kind.__name__.startswith(AUGMENTING)
        and kind.__name__ != "RandomCrop"
    )


def check_stateless(model: Any) -> None:
    """Raise `CompressionError` that names a recurrent layer which keeps its state from one call to the next."""
    import keras

    for layer in _inner(model):
        if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional) and layer.stateful:
            raise CompressionError(
                f"layer {layer.name!r} keeps its state between calls (stateful=True), so an answer depends on the calls "
                "before it and can't be compared; build the model with stateful=False and copy its weights"
            )


def computes_in_half(layer: Any) -> bool:
    """Whether a layer computes in float16 or bfloat16."""
    return str(getattr(layer, "compute_dtype", "")) in ("float16", "bfloat16")


def _inner(model: Any) -> list[Any]:
    return list(model._flatten_layers(include_self=False))


def _recurrent(model: Any) -> Iterator[Any]:
    """Recurrent layers, of a bidirectional one the wrapper alone."""
    import keras

    wrapped = {
        id(inner)
        for layer in _inner(model)
        if isinstance(layer, keras.layers.Bidirectional)
        for inner in (layer.forward_layer, layer.backward_layer)
    }
    for layer in _inner(model):
        bidirectional = isinstance(layer, keras.layers.Bidirectional)
        if (bidirectional or hasattr(layer, "unroll")) and id(layer) not in wrapped:
            yield layer


def _shape_taken(layer: Any) -> tuple[int | None, ...]:
    """The shape of what a layer takes; a mask or a state may come as another input."""
    import keras

    return tuple(keras.tree.flatten(layer.input)[0].shape)


def _time_steps(layer: Any) -> int:
    try:
        return int(_shape_taken(layer)[1] or 0)
    except (AttributeError, ValueError):  # inside a layer of the user's own: nothing is known of its input
        return 0


def _id_inputs(model: Any) -> set[str]:
    """Floating point inputs that only embeddings read."""
    import keras

    found = set()
    for tensor in getattr(model, "inputs", None) or []:
        reading = readers(model, tensor)
        floating = "float" in str(tensor.dtype)
        if floating and reading and all(isinstance(one, keras.layers.Embedding) for one in reading):
            found.add(tensor.name)
    return found


def _graph(model: Any) -> Any:
    return getattr(model, "_functional", None) or model


def _constants(model: Any) -> Iterator[Any]:
    """The arguments of operations of the graph, and of layers, that hold tensors which are no part of the graph."""
    import keras

    for one in model._flatten_layers():
        for nodes in getattr(_graph(one), "_nodes_by_depth", {}).values():
            for node in nodes:
                given = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
                if any(map(keras.ops.is_tensor, given)):
                    yield node.arguments


def _make_arrays(arguments: Any) -> None:
    """Tensors that are no part of the graph become arrays, which are written into it where it is traced."""
    import keras

    given = keras.tree.map_structure(
        lambda one: np.asarray(one) if keras.ops.is_tensor(one) else one, (arguments.args, arguments.kwargs)
    )
    arguments.args, arguments.kwargs = given


class _Replacer:
    """Makes the layer of a copy from that of the model."""

    def __init__(self, model: Any, unrolled: set[str], lookups: bool, onnx: bool, paired: bool):
        self._unrolled, self._lookups, self._onnx, self._paired = unrolled, lookups, onnx, paired
        self.needed = any(self._kind(layer) is not None for layer in _inner(model))

    def __call__(self, layer: Any) -> Any:
        """The layer of the copy; one of the same settings where nothing has to change."""
        make = self._kind(layer)
        return layer.__class__.from_config(layer.get_config()) if make is None else make(layer)

    def drops(self, layer: Any) -> bool:
        """Whether the layer of the copy holds its numbers as constants instead of weights."""
        import keras

        return self._onnx and type(layer) is keras.layers.Normalization

    def _kind(self, layer: Any) -> Callable[[Any], Any] | None:
        import keras

        kind = type(layer)
        if _augments(layer):
            return lambda one: keras.layers.Identity(name=one.name)
        if not layer._inbound_nodes:  # a wrapper calls it by its own means: nothing is known of its input
            return self._changed if computes_in_half(layer) or self._activation(layer) else None
        if kind is keras.layers.Flatten and layer.data_format == "channels_last":
            return _flatten if None not in layer.output.shape[1:] else None
        if kind is keras.layers.CategoryEncoding and not layer.sparse and len(_shape_taken(layer)) > 1:
            return _encoding
        if kind is keras.layers.TimeDistributed and None not in _shape_taken(layer)[1:]:
            return self._time_distributed
        if self._lookups and kind is keras.layers.Embedding and None not in _shape_taken(layer)[1:]:
            return _lookup
        if self._onnx and kind is keras.layers.Normalization:
            return _affine
        if self._onnx and kind.__name__ in ("Conv1D", "Conv2D", "Conv3D") and layer.groups > 1:
            return _groups_apart
        if self._paired and _can_pair(layer):
            return _pair
        if layer.name in self._unrolled or computes_in_half(layer) or self._activation(layer):
            return self._changed
        return None

    def _changed(self, layer: Any) -> Any:
        config, kind = layer.get_config(), type(layer)
        if layer.name in self._unrolled:
            from lepton_kit.compression.quantization.deploy_layers import MASKED_STEPS

            config = _unrolled(config, MASKED_STEPS)
            if kind.__module__.startswith("keras."):
                kind = MASKED_STEPS.get(kind.__name__, kind)
        if function := self._activation(layer):
            config["activation"] = function
        return kind.from_config(in_float(config) if computes_in_half(layer) else config)

    def _activation(self, layer: Any) -> Callable[[Any], Any] | None:
        """What takes the place of an activation that the format, or int8 in it, has in no good form."""
        import keras

        from lepton_kit.compression.quantization import deploy_layers as forms

        kinds = keras.activations
        table = (
            {kinds.gelu: forms.gelu_of_erf}
            if self._onnx
            else {kinds.selu: forms.selu, kinds.softplus: forms.softplus, kinds.mish: forms.mish}
        )
        given = getattr(layer, "activation", None)
        return table.get(given) if callable(given) else None

    def _time_distributed(self, layer: Any) -> Any:
        from lepton_kit.compression.quantization.deploy_layers import FoldedTime

        inner = self(layer.layer)
        return FoldedTime(inner, name=layer.name)


def _unrolled(config: dict[str, Any], kinds: dict[str, Any]) -> dict[str, Any]:
    """Settings of a recurrent layer, or of a bidirectional one, with its steps written out."""
    import keras

    if "unroll" in config:
        config["unroll"] = True
    for key in ("layer", "backward_layer"):
        if inner := config.get(key):
            inner["config"]["unroll"] = True
            kind = kinds.get(inner["class_name"])
            if kind is not None and str(inner["module"]).startswith("keras."):
                config[key] = keras.saving.serialize_keras_object(kind.from_config(inner["config"]))
    return config


def in_float(config: Any) -> Any:
    """Settings with every half precision policy replaced."""
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and _is_half(value) else in_float(value)
            for key, value in config.items()
        }
    return [in_float(one) for one in config] if isinstance(config, list) else config


def _is_half(policy: Any) -> bool:
    name = policy.get("config", {}).get("name", "") if isinstance(policy, dict) else str(policy)
    return "float16" in name


def _affine(layer: Any) -> Any:
    from lepton_kit.compression.quantization.deploy_layers import Affine

    mean, deviation = np.asarray(layer.mean), np.sqrt(np.asarray(layer.variance))
    deviation = np.maximum(deviation, 1e-7)  # Keras' epsilon
    if layer.invert:
        return Affine(deviation, mean, name=layer.name)
    return Affine(1 / deviation, -mean / deviation, name=layer.name)


def _groups_apart(layer: Any) -> Any:
    from lepton_kit.compression.quantization.deploy_layers import GROUPS_APART

    return GROUPS_APART[type(layer).__name__].from_config(layer.get_config())


def _can_pair(layer: Any) -> bool:
    from lepton_kit.compression.quantization.deploy_layers import can_pair

    return can_pair(layer)


def _pair(layer: Any) -> Any:
    from lepton_kit.compression.quantization.deploy_layers import PairedConv2D

    return PairedConv2D.from_config(in_float(layer.get_config()))


def _flatten(layer: Any) -> Any:
    from lepton_kit.compression.quantization.deploy_layers import StaticFlatten

    return StaticFlatten(size=int(layer.output.shape[-1]), name=layer.name)


def _encoding(layer: Any) -> Any:
    from lepton_kit.compression.quantization.deploy_layers import Encoding

    return Encoding(layer.num_tokens, layer.output_mode, name=layer.name)


def _lookup(layer: Any) -> Any:
    from lepton_kit.compression.quantization.deploy_layers import LookupEmbedding

    return LookupEmbedding.from_config(layer.get_config())


def _copy(model: Any, replace: _Replacer, ids: set[str]) -> Any:
    """The copy, with the same weights; inputs of ids take whole numbers."""
    import keras

    graph = _graph(model)
    inputs = {
        id(one): keras.Input(
            batch_shape=one.shape, dtype="int32" if one.name in ids else one.dtype, name=one.name
        )
        for one in graph.inputs
    }
    outer = keras.Model(graph._inputs_struct, graph._outputs_struct, name=model.name)
    start = keras.tree.map_structure(lambda one: inputs[id(one)], graph._inputs_struct)
    copy = keras.models.clone_model(outer, input_tensors=start, clone_function=replace, recursive=True)
    _set_weights(model, copy, replace)
    return copy


def _set_weights(model: Any, copy: Any, replace: _Replacer) -> None:
    """Weights of the copy from the model's: the same in order, without those of layers that have none in the copy."""
    dropped = {id(weight) for layer in _inner(model) if replace.drops(layer) for weight in layer.weights}
    give_weights(copy, [np.asarray(weight) for weight in model.weights if id(weight) not in dropped])
