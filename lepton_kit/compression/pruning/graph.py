"""Which channels of a Keras graph belong together: follows every channel from its producer through the model.

Each position of a tensor's last axis carries the number of a channel. Producers (Dense, Conv, GRU, …) make new
numbers; activations and pooling hand them on; Flatten repeats them; Concatenate lines them up; an Add unites the
numbers that meet in it. Channels that reach something that can't be rewired are pinned, with the reason in words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_kit.compression.layers import channel_multiplier, functional_of, is_graph, kind_of, walk_layers

# Layers that create channels, and the setting that holds their number.
PRODUCERS = {
    "Dense": "units",
    "Conv1D": "filters",
    "Conv2D": "filters",
    "Conv3D": "filters",
    "Conv1DTranspose": "filters",
    "Conv2DTranspose": "filters",
    "SeparableConv1D": "filters",
    "SeparableConv2D": "filters",
    "GRU": "units",
    "LSTM": "units",
    "SimpleRNN": "units",
    "Embedding": "output_dim",
}
_RECURRENT = ("GRU", "LSTM", "SimpleRNN")
# Layers that hand every channel on at its place, with weights along the last axis or none.
_SAME_WORDS = (
    "Activation ReLU LeakyReLU ELU PReLU Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D"
    " GaussianNoise GaussianDropout AlphaDropout ActivityRegularization BatchNormalization LayerNormalization"
    " RMSNormalization MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D"
    " GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D"
    " GlobalAveragePooling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D"
    " UpSampling1D UpSampling2D UpSampling3D RepeatVector LayerScale StochasticDepth"
)
_SAME = frozenset(_SAME_WORDS.split())
_JOIN = frozenset(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "CustomScaleLayer"))
# keras.ops that act on each value by itself.
_POINTWISE_WORDS = (
    "Relu Relu6 Sigmoid Tanh Silu Gelu Elu Selu Softplus Softsign HardSigmoid HardSilu LeakyRelu Abs Absolute Square"
    " Sqrt Exp Negative Clip Identity"
)
_POINTWISE_OPS = frozenset(_POINTWISE_WORDS.split())
_JOIN_OPS = frozenset(("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"))
# Activations whose value depends on the other channels.
_MIXING_ACTIVATIONS = frozenset(("softmax", "log_softmax", "sparsemax", "glu"))


class Channels:
    """Channel numbers, which of them are united, and which are pinned and why (union-find)."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pins: list[tuple[np.ndarray, str]] = []

    def new(self, count: int) -> np.ndarray:
        """Numbers of `count` new channels, shape ``(count,)``."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, channel: int) -> int:
        """The channel that stands for all that must be kept or removed together with this one."""
        while self._parent[channel] != channel:
            self._parent[channel] = self._parent[self._parent[channel]]
            channel = self._parent[channel]
        return channel

    def roots(self, channels: np.ndarray) -> np.ndarray:
        """`root` of each channel."""
        return np.array([self.root(channel) for channel in channels], int)

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Have the channels of both lists, pair by pair, kept or removed together."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self.root(one), self.root(other)))
            self._parent[high] = low

    def pin(self, channels: np.ndarray, reason: str) -> None:
        """Keep these channels whatever their scores, for this reason."""
        self._pins.append((np.asarray(channels), reason))

    def survivors(self, removed: set[int]) -> np.ndarray:
        """One flag per channel: whether its root is not among the removed ones."""
        return np.array([self.root(channel) not in removed for channel in range(len(self._parent))], bool)

    def pinned(self) -> dict[int, str]:
        """Root of every pinned channel -> the first reason given."""
        reasons: dict[int, str] = {}
        for channels, reason in self._pins:
            for root in self.roots(channels).tolist():
                reasons.setdefault(root, reason)
        return reasons


@dataclass
class Place:
    """One layer in the graph: its path, and the channels that come in and go out (of its first call)."""

    path: str
    layer: Any
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


@dataclass
class ChannelGraph:
    """All layers of a model by identity, their channels, and what is pinned."""

    channels: Channels = field(default_factory=Channels)
    places: dict[int, Place] = field(default_factory=dict)
    model_inputs: dict[int, list[np.ndarray]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def producers(self) -> list[Place]:
        """The places of layers that make channels."""
        return [place for place in self.places.values() if is_producer(place.layer)]

    def refused(self) -> dict[str, str]:
        """Path -> why it can't be followed, of every other layer that has kernels; of a wrapper the layers inside."""
        found: dict[str, str] = {}
        for place in self.places.values():
            kind, problem = kind_of(place.layer), self.problems.get(place.path)
            if problem is None or is_producer(place.layer) or kind in _SAME or not _has_kernel(place.layer):
                continue
            inside = [
                path for path, one in walk_layers(place.layer) if one is not place.layer and is_producer(one)
            ]
            found |= {
                f"{place.path}/{path}": f"it is inside {place.path} ({kind}), which {problem}"
                for path in inside
            }
            if not inside:
                found[place.path] = f"it {problem}"
        return found


def is_known(layer: Any) -> bool:
    """Whether the class is Keras' own (or the one above), not a user's namesake."""
    return type(layer).__module__.startswith(("keras.", "lepton_kit.models."))


def is_producer(layer: Any) -> bool:
    """Whether a layer makes channels that could be removed: a Keras class of `PRODUCERS`, not a user's namesake."""
    return kind_of(layer) in PRODUCERS and is_known(layer) and not channel_multiplier(layer)


def trace(model: Any) -> ChannelGraph:
    """Follow every channel of a Sequential or functional model, nested models too."""
    graph = ChannelGraph()
    inputs = []
    for tensor in functional_of(model).inputs:
        channels = graph.channels.new(_width(tensor))
        graph.channels.pin(channels, "joined with an input of the model")
        inputs.append(channels)
    for channels in _follow(graph, model, inputs, ()):
        graph.channels.pin(channels, "its channels are an output of the model")
    return graph


def _follow(
    graph: ChannelGraph, model: Any, inputs: list[np.ndarray], path: tuple[str, ...]
) -> list[np.ndarray]:
    functional = functional_of(model)
    if id(model) in graph.model_inputs:  # the same model called again: its weights serve both
        _unite_all(graph, graph.model_inputs[id(model)], inputs)
    else:
        graph.model_inputs[id(model)] = inputs
    known = {id(tensor): channels for tensor, channels in zip(functional.inputs, inputs, strict=True)}
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.is_input:
                continue
            masks = _masks(node)  # they tell steps apart, and have no channels
            incoming = [known[id(tensor)] for tensor in node.input_tensors if id(tensor) not in masks]
            layer = node.operation
            if is_graph(layer):
                outgoing = _follow(graph, layer, incoming, (*path, layer.name))
            else:
                outgoing = _step(graph, layer, node, incoming, "/".join((*path, layer.name)))
            for tensor, channels in zip(node.output_tensors, outgoing, strict=True):
                known[id(tensor)] = channels
    return [known[id(tensor)] for tensor in functional.outputs]


def _masks(node: Any) -> set[int]:
    """Which of a call's tensors are masks: Keras makes one behind ``Embedding(mask_zero=True)`` and hands it to every layer
    that takes one."""
    import keras

    return {id(one) for one in keras.tree.flatten(node.arguments.kwargs.get("mask")) if _symbolic(one)}


def _step(
    graph: ChannelGraph, layer: Any, node: Any, incoming: list[np.ndarray], path: str
) -> list[np.ndarray]:
    """Channels of one layer's outputs; records the layer, or unites with its earlier call if it is shared."""
    before = graph.places.get(id(layer))
    if before is not None and _has_state(layer):
        _unite_all(graph, before.inputs, incoming)
        if kind_of(layer) in PRODUCERS and not channel_multiplier(layer):
            _join_states(graph, layer, incoming, before.outputs[0])
            return before.outputs
    outgoing = _outgoing(graph, layer, node, incoming, path)
    if before is None:
        graph.places[id(layer)] = Place(path, layer, incoming, outgoing)
    return outgoing


def _outgoing(
    graph: ChannelGraph, layer: Any, node: Any, incoming: list[np.ndarray], path: str
) -> list[np.ndarray]:
    kind = kind_of(layer)
    problem = _problem(layer, node)
    if problem is None:
        if multiplier := channel_multiplier(layer):
            return [np.repeat(incoming[0], multiplier)]
        if kind in PRODUCERS:
            made = graph.channels.new(_width(node.output_tensors[0]))
            if _mixes(layer):
                graph.channels.pin(made, f"its activation {_activation(layer)} mixes the channels")
            _join_states(graph, layer, incoming, made)
            return [made] * len(node.output_tensors)
        if kind in _SAME or kind in _POINTWISE_OPS:
            return [incoming[0]]
        if kind in _JOIN or kind in _JOIN_OPS:
            return [_join(graph, incoming)]
        if kind == "Concatenate":
            return [_concatenate(graph, layer, node, incoming)]
        if kind in ("Flatten", "Reshape"):
            return [_reshape(graph, node, incoming[0])]
        problem = "is of a kind that can't be rewired"
    graph.problems[path] = problem
    reason = f"it meets {path} ({kind}), which {problem}"
    for channels in incoming:
        graph.channels.pin(channels, reason)
    outgoing = [graph.channels.new(_width(tensor)) for tensor in node.output_tensors]
    for channels in outgoing:
        graph.channels.pin(
            channels, f"it {problem}" if is_producer(layer) else f"it joins the output of {path} ({kind})"
        )
    return outgoing


def _problem(layer: Any, node: Any) -> str | None:
    """Why this layer can't be followed although its kind could; None where it can."""
    kind = kind_of(layer)
    if not is_known(layer):
        return "is of a class that is not Keras' own"
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return "keeps its channels first"
    if getattr(layer, "groups", 1) != 1 and not channel_multiplier(layer):
        return f"{'normalises' if kind.endswith('Normalization') else 'convolves'} in groups"
    if getattr(layer, "stateful", False) and kind in _RECURRENT:
        return "is stateful"
    if kind == "Activation" and _mixes(layer):
        return f"mixes the channels ({_activation(layer)})"
    if kind.endswith("Normalization") and kind in _SAME:
        axis = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
        rank = len(node.input_tensors[0].shape)
        if [position % rank for position in axis] != [rank - 1]:
            return "normalises over more than the last axis"
    if kind in ("Flatten", "Reshape"):
        shapes = [*node.input_tensors[0].shape[1:], *node.output_tensors[0].shape[1:]]
        if None in shapes:
            return "reshapes an axis of unknown length"
    if kind in _JOIN_OPS and not _is_layer(layer):
        tensors = len(node.input_tensors)
        if tensors == 1 and not all(
            np.ndim(value) == 0 for value in node.arguments.args if not _symbolic(value)
        ):
            return "joins a constant array"
    return None


def _is_layer(layer: Any) -> bool:
    import keras

    return isinstance(layer, keras.Layer)


def _symbolic(value: Any) -> bool:
    import keras

    return isinstance(value, keras.KerasTensor)


def _has_kernel(layer: Any) -> bool:
    return any(len(weight.shape) > 1 for weight in getattr(layer, "weights", ()))


def _has_state(layer: Any) -> bool:
    return bool(getattr(layer, "weights", ())) or type(layer).__name__ == "Reshape"


def _activation(layer: Any) -> str:
    return getattr(getattr(layer, "activation", None), "__name__", "") or ""


def _mixes(layer: Any) -> bool:
    return _activation(layer) in _MIXING_ACTIVATIONS


def _width(tensor: Any) -> int:
    shape = tensor.shape
    return int(shape[-1]) if len(shape) > 1 and shape[-1] is not None else 0


def _unite_all(graph: ChannelGraph, first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        if len(one) == len(other):
            graph.channels.unite(one, other)
        else:
            for channels in (one, other):
                graph.channels.pin(channels, "a shared layer sees it at different widths")


def _join_states(graph: ChannelGraph, layer: Any, incoming: list[np.ndarray], made: np.ndarray) -> None:
    if type(layer).__name__ in _RECURRENT:  # states handed in have the units' own channels
        for state in incoming[1:]:
            graph.channels.unite(state, made)


def _join(graph: ChannelGraph, incoming: list[np.ndarray]) -> np.ndarray:
    width = max(len(channels) for channels in incoming)
    wide = [channels for channels in incoming if len(channels) == width]
    for channels in incoming:
        if len(channels) != width:
            graph.channels.pin(channels, "it is broadcast against other channels")
    for other in wide[1:]:
        graph.channels.unite(wide[0], other)
    return wide[0]


def _concatenate(graph: ChannelGraph, layer: Any, node: Any, incoming: list[np.ndarray]) -> np.ndarray:
    rank = len(node.output_tensors[0].shape)
    if layer.axis % rank == rank - 1:
        return np.concatenate(incoming)
    return _join(graph, incoming)


def _reshape(graph: ChannelGraph, node: Any, incoming: np.ndarray) -> np.ndarray:
    """Flat positions keep their order: position p of the input is position p of the output."""
    source, target = node.input_tensors[0].shape[1:], node.output_tensors[0].shape[1:]
    if not source:
        return incoming
    flat = np.tile(incoming, int(np.prod(source[:-1])))
    if len(target) == 1:
        return flat
    rows = flat.reshape(-1, int(target[-1]))
    for row in rows[1:]:
        graph.channels.unite(rows[0], row)
    result: np.ndarray = rows[0]
    return result
