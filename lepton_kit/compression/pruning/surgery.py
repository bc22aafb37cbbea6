"""Cuts channels out of one layer: its new settings, its new weights, and how much each channel weighs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.compression.layers import channel_multiplier
from lepton_kit.compression.pruning.graph import PRODUCERS

_GATED = ("GRU", "LSTM", "SimpleRNN")


def channel_sums(layer: Any, values: list[np.ndarray], *, biases: bool) -> np.ndarray:
    """Sum of per-weight values (same shapes as the layer's weights) for every channel the layer makes."""
    kind = type(layer).__name__
    width = int(getattr(layer, PRODUCERS[kind]))
    total: np.ndarray
    if kind in _GATED:
        kernels, rest = values[:2], values[2:]
        parts = [part.reshape(-1, part.shape[-1] // width, width).sum((0, 1)) for part in kernels]
        parts += [part.reshape(-1, width).sum(0) for part in rest if biases]
        total = np.sum(parts, axis=0)
        return total
    if kind == "Embedding":
        total = values[0].sum(0)
        return total
    if kind.endswith("Transpose"):
        kernel, rest = np.moveaxis(values[0], -2, -1), values[1:]
    elif kind.startswith("SeparableConv"):
        kernel, rest = values[1], values[2:]
    else:
        kernel, rest = values[0], values[1:]
    total = kernel.reshape(-1, width).sum(0)
    return total + sum(rest) if biases and rest else total


def new_settings(layer: Any, kept: np.ndarray, output_shape: tuple[int | None, ...]) -> dict[str, Any]:
    """The layer's config with as many channels as are kept; a Reshape's target ends in them."""
    config: dict[str, Any] = layer.get_config()
    kind = type(layer).__name__
    if kind in PRODUCERS:
        config[PRODUCERS[kind]] = len(kept)
        if multiplier := channel_multiplier(layer):
            config["groups"] = len(kept) // multiplier
    elif kind == "LayerScale":
        config["projection_dim"] = len(kept)
    elif kind == "Reshape":
        config["target_shape"] = [*output_shape[1:-1], len(kept)]
    return config


def new_weights(
    layer: Any, weights: list[np.ndarray], come: np.ndarray, kept: np.ndarray
) -> list[np.ndarray]:
    """The layer's weights for the inputs at positions `come` and the outputs at positions `kept`."""
    kind = type(layer).__name__
    if not weights:
        return weights
    if kind in _GATED:
        width = int(layer.units)
        gates = weights[0].shape[-1] // width
        columns = (np.arange(gates)[:, None] * width + kept[None]).ravel()
        return [
            weights[0][come][:, columns],
            weights[1][kept][:, columns],
            *(b[..., columns] for b in weights[2:]),
        ]
    if kind == "Embedding":
        return [weights[0][:, kept]]
    if kind.endswith("Transpose"):
        return [weights[0][..., kept, :][..., come], *(b[kept] for b in weights[1:])]
    if kind.startswith("SeparableConv"):
        multiplier = int(layer.depth_multiplier)
        rows = (come[:, None] * multiplier + np.arange(multiplier)).ravel()
        pointwise = weights[1][..., rows, :][..., kept]
        return [weights[0][..., come, :], pointwise, *(b[kept] for b in weights[2:])]
    if kind.startswith("DepthwiseConv"):
        return [weights[0][..., come, :], *(b[kept] for b in weights[1:])]
    if channel_multiplier(layer):
        return [weight[..., kept] for weight in weights]
    if kind in PRODUCERS:
        return [weights[0][..., come, :][..., kept], *(b[kept] for b in weights[1:])]
    # normalisation, PReLU, LayerScale: along the last axis
    return [weight if weight.shape[-1] == 1 and len(come) != 1 else weight[..., come] for weight in weights]
