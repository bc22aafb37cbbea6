"""Structured pruning: whole filters and units are removed, and the graph is rewired into a smaller model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_kit.compression.layers import check_names, functional_of, is_graph, is_named
from lepton_kit.compression.pruning import graph as graphs
from lepton_kit.compression.pruning.masks import check_sparsity
from lepton_kit.compression.pruning.shares import leaning, places
from lepton_kit.compression.pruning.surgery import channel_sums, new_settings, new_weights
from lepton_kit.compression.pruning.taylor import taylor_scores
from lepton_kit.errors import CompressionError
from lepton_kit.models.copying import give_weights

SALIENCIES = ("l1", "taylor")


@dataclass(frozen=True)
class StructuredResult:
    """A smaller model and what happened to each layer.

    ``kept``: layer -> positions of the channels that stay (all layers that make channels). ``left_alone``: layer
    -> why nothing was removed from it although that was asked for, also of layers inside wrappers and of other kinds.
    """

    model: Any
    kept: dict[str, np.ndarray]
    left_alone: dict[str, str]
    parameters_before: int
    parameters_after: int

    def __repr__(self) -> str:
        removed = {layer: int(kept.size) for layer, kept in self.kept.items()}
        return (
            f"StructuredResult({self.parameters_before:,} -> {self.parameters_after:,} parameters, "
            f"channels {removed}, left alone {list(self.left_alone)})"
        )


@dataclass
class _Cell:
    """Channels that the same producers make together, so that they are ranked and removed together."""

    members: tuple[str, ...]
    roots: list[int] = field(default_factory=list)


def remove_channels(
    model: Any,
    ratio: float | Mapping[str, float],
    *,
    skip: Iterable[str] = (),
    divisor: int = 1,
    lean: float = 0.0,
    saliency: str = "l1",
    data: Any = None,
) -> StructuredResult:
    """A copy of the model without its least salient filters and units; the original stays as it is.

    Parameters
    ----------
    model : Sequential or functional Keras model, nested ones too.
    ratio : share of channels to remove from each layer, in [0, 1); or {layer: share}.
    skip : layers to leave whole, by name or path.
    divisor : the number of channels that stay is a multiple of this, where the layer has as many.
    lean : how much more the layers lose that work at many places, convolutions of large images most of all: they cost
        time, and dense layers bytes. What a layer keeps falls with its places to the power of ``lean``, while ``ratio``
        stays the share of all channels that go; 0 removes the same share everywhere.
    saliency : ``l1``, the sum of a channel's absolute weights (Li et al. 2017, arXiv:1608.08710); or ``taylor``,
        the square of the sum of weight times gradient (Molchanov et al. 2019, arXiv:1906.10771), which needs
        ``data`` (x, y) or prepared data, and a compiled model for its loss.

    Layers whose outputs meet in an Add (or in a layer that both feed) lose the same channels, chosen by their
    joint score. The outputs of the model stay whole. What can't be rewired stands in ``left_alone`` with the
    reason. Layer normalisation averages over channels, so removing even zero ones changes what it gives a little.
    """
    if saliency not in SALIENCIES:
        raise CompressionError(f"saliency: got {saliency!r}; expected one of {', '.join(SALIENCIES)}")
    if isinstance(divisor, bool) or not isinstance(divisor, (int, np.integer)) or divisor < 1:
        raise CompressionError(f"divisor: got {divisor!r}; expected a whole number of at least 1")
    if isinstance(lean, bool) or not isinstance(lean, (int, float, np.number)) or not 0 <= lean <= 1:
        raise CompressionError(f"lean: got {lean!r}; expected a number from 0 to 1")
    if lean and isinstance(ratio, Mapping):
        raise CompressionError(
            f"lean: got {lean!r} beside a ratio for each layer; expected one ratio for all"
        )
    graph = graphs.trace(model)
    producers = {place.path: place for place in graph.producers()}
    if isinstance(skip, str):
        skip = (skip,)
    skip = tuple(skip)
    check_names(skip, (place.path for place in graph.places.values()), "skip")
    ratios = _ratios(ratio, producers, skip)
    if lean and ratio and not isinstance(ratio, Mapping):
        ratios |= _leaning(graph, {path: producers[path] for path in ratios}, float(ratio), float(lean))
    scores = _scores(model, producers, saliency, data)
    removed, left_alone = _choose(graph, producers, ratios, skip, scores, int(divisor))
    if not isinstance(ratio, Mapping) and ratio:
        left_alone |= {
            path: reason
            for path, reason in graph.refused().items()
            if not any(is_named(path, name) for name in skip)
        }

    alive = graph.channels.survivors(removed)

    def stay(channels: np.ndarray) -> np.ndarray:
        return np.flatnonzero(alive[channels])

    smaller = _Rebuild(graph, stay).model(model)
    smaller.name = f"{model.name}_smaller"
    return StructuredResult(
        smaller,
        {path: stay(place.outputs[0]) for path, place in producers.items()},
        left_alone,
        model.count_params(),
        smaller.count_params(),
    )


def _ratios(ratio: Any, producers: Mapping[str, Any], skip: tuple[str, ...]) -> dict[str, float]:
    """Layer path -> asked ratio, only for layers that were asked for and are not skipped."""
    if isinstance(ratio, Mapping):
        check_names(ratio, producers, "ratio")
        asked = {
            path: check_sparsity(share, f"ratio[{name!r}]")
            for name, share in ratio.items()
            for path in producers
            if is_named(path, name)
        }
    else:
        asked = dict.fromkeys(producers, check_sparsity(ratio, "ratio"))
    return {path: share for path, share in asked.items() if not any(is_named(path, name) for name in skip)}


def _leaning(
    graph: graphs.ChannelGraph, producers: Mapping[str, graphs.Place], ratio: float, lean: float
) -> dict[str, float]:
    """Shares of the layers that can lose channels."""
    pinned = graph.channels.pinned()
    widths = {}
    for path, place in producers.items():
        free = sum(root not in pinned for root in graph.channels.roots(place.outputs[0]).tolist())
        if free:
            widths[path] = free
    return leaning(widths, {path: places(producers[path].layer) for path in widths}, ratio, lean)


def _choose(
    graph: graphs.ChannelGraph,
    producers: Mapping[str, graphs.Place],
    ratios: Mapping[str, float],
    skip: tuple[str, ...],
    scores: Mapping[str, np.ndarray],
    divisor: int,
) -> tuple[set[int], dict[str, str]]:
    """Roots of the channels to remove, and the layers that were asked for and lose nothing, with the reason."""
    pinned = graph.channels.pinned()
    total: dict[int, float] = {}
    makers: dict[int, set[str]] = {}
    for path, place in producers.items():
        share = scores[path] / max(
            float(scores[path].mean()), 1e-30
        )  # producers of any scale have an equal say
        for root, score in zip(graph.channels.roots(place.outputs[0]).tolist(), share.tolist(), strict=True):
            total[root] = total.get(root, 0.0) + score
            makers.setdefault(root, set()).add(path)
    cells: dict[tuple[str, ...], _Cell] = {}
    left: dict[str, str] = {}
    for root, paths in sorted(makers.items()):
        if root in pinned:
            for path in paths:
                left.setdefault(path, pinned[root])
            continue
        members = tuple(sorted(paths))
        cells.setdefault(members, _Cell(members)).roots.append(root)
    removed: set[int] = set()
    touched: set[str] = set()
    for cell in cells.values():
        skipped = [path for path in cell.members if any(is_named(path, name) for name in skip)]
        asked = [ratios[path] for path in cell.members if path in ratios]
        if not asked or (skipped and len(skipped) == len(cell.members)):
            continue
        if skipped:
            for path in set(cell.members) - set(skipped):
                left.setdefault(path, f"its channels are joined with those of {skipped[0]}, which is skipped")
            continue
        count, ratio = len(cell.roots), min(asked)
        keep = _count_to_keep(count, ratio, divisor)
        if keep >= count:
            if ratio > 0:
                for path in cell.members:
                    left.setdefault(path, _why_none(count, ratio, divisor))
            continue
        order = np.argsort([total[root] for root in cell.roots], kind="stable")
        removed.update(cell.roots[position] for position in order[: count - keep])
        touched.update(cell.members)
    named = {path: reason for path, reason in left.items() if ratios.get(path, 0) > 0 and path not in touched}
    return removed, named


def _count_to_keep(count: int, ratio: float, divisor: int) -> int:
    """How many channels stay: a multiple of the divisor, at least one of them.

    >>> _count_to_keep(32, 0.6, 8), _count_to_keep(10, 0.99, 1), _count_to_keep(6, 0.5, 8)
    (16, 1, 6)
    """
    if ratio == 0 or count < divisor:
        return count
    return min(count, max(divisor, round(count * (1 - ratio) / divisor) * divisor))


def _why_none(count: int, ratio: float, divisor: int) -> str:
    if count == 1:
        return "all its channels belong together, so none can go alone"
    if divisor > 1:
        return f"with {count} channels and divisor {divisor} none can go at ratio {ratio}"
    return f"ratio {ratio} of {count} channels rounds to none"


def _scores(model: Any, producers: Mapping[str, Any], saliency: str, data: Any) -> dict[str, np.ndarray]:
    if saliency == "l1":
        return {
            path: channel_sums(place.layer, [np.abs(w) for w in place.layer.get_weights()], biases=False)
            for path, place in producers.items()
        }
    return taylor_scores(model, producers, data)


class _Rebuild:
    """Builds the smaller model: every layer cloned with its new settings, then given its new weights."""

    def __init__(self, graph: graphs.ChannelGraph, stay: Any):
        self.graph, self.stay = graph, stay
        self._clones: dict[int, Any] = {}

    def model(self, model: Any) -> Any:
        smaller = self._clone_graph(model, None)
        for key, place in self.graph.places.items():
            clone = self._clones.get(key)
            weights = place.layer.get_weights() if hasattr(place.layer, "get_weights") else []
            if clone is None or clone is place.layer or not weights:
                continue
            whole = all(len(self.stay(part)) == len(part) for part in (*place.inputs, *place.outputs))
            if not whole:
                come, kept = self.stay(place.inputs[0]), self.stay(place.outputs[0])
                if type(place.layer).__name__ == "Embedding":
                    come = np.arange(0)
                weights = new_weights(place.layer, weights, come, kept)
            give_weights(clone, weights)
        return smaller

    def _clone_graph(self, model: Any, inputs: Any) -> Any:
        import keras

        return keras.models.clone_model(model, input_tensors=inputs, clone_function=self._clone)

    def _clone(self, layer: Any) -> Any:
        if id(layer) not in self._clones:
            self._clones[id(layer)] = self._clone_new(layer)
        return self._clones[id(layer)]

    def _clone_new(self, layer: Any) -> Any:
        import keras

        if is_graph(layer):
            functional = functional_of(layer)
            widths = [len(self.stay(channels)) for channels in self.graph.model_inputs[id(layer)]]
            tensors = {
                id(tensor): keras.Input(
                    batch_shape=(*tensor.shape[:-1], width) if width else tensor.shape,
                    dtype=tensor.dtype,
                    name=tensor.name,
                )
                for tensor, width in zip(functional.inputs, widths, strict=True)
            }
            return self._clone_graph(
                layer, keras.tree.map_structure(lambda t: tensors[id(t)], functional.input)
            )
        if not isinstance(layer, keras.Layer):
            return layer  # an operation without weights
        place = self.graph.places.get(id(layer))
        if place is None:
            return type(layer).from_config(layer.get_config())
        shape = layer.output.shape if type(layer).__name__ == "Reshape" else ()
        return type(layer).from_config(new_settings(layer, self.stay(place.outputs[0]), shape))
