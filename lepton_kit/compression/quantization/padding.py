"""Calibration samples of models with masks: what no sample fills would have no range, and be cut off later."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.compression.quantization.scopes import MARK
from lepton_kit.errors import CompressionError


def check_masks(model: Any) -> None:
    """Raise `CompressionError` for a mask that int8 would lose: a value other than 0 is not held exactly."""
    import keras

    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Masking) and layer.mask_value != 0:
            raise CompressionError(
                f"int8: layer {layer.name.removesuffix(MARK)!r} masks the value {layer.mask_value:g}, which int8 numbers "
                "don't hold exactly; pad with 0 and mask that, or use 'dynamic_int8' or 'float16'"
            )


def filled(model: Any, samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The samples of each input in the model's order, and after them those with padding once more without it.

    A step that is behind the mask in every calibration sample leaves tensors without a range: int8 kernels refuse them,
    or cut off what a longer sample brings. In the added samples the steps that count are repeated up to the full length.
    """
    if not any(_counts(model, tensor, part) is not None for tensor, part in _paired(model, samples)):
        return samples
    parts, rows = [], np.zeros(len(next(iter(samples.values()))), bool)
    for tensor, part in _paired(model, samples):
        counts = _counts(model, tensor, part)
        full = np.array(part)
        for row, steps in enumerate([] if counts is None else map(np.flatnonzero, counts)):
            if 0 < len(steps) < part.shape[1]:
                full[row] = part[row][np.resize(steps, part.shape[1])]
                rows[row] = True
        parts.append((part, full))
    return {key: np.concatenate([part, full[rows]]) for key, (part, full) in zip(samples, parts, strict=True)}


def _paired(model: Any, samples: dict[str, np.ndarray]) -> list[tuple[Any, np.ndarray]]:
    return list(zip(model.inputs, samples.values(), strict=True))


def _counts(model: Any, tensor: Any, part: np.ndarray) -> np.ndarray | None:
    """Which steps of an input count, shape ``(samples, steps)``; None where no layer masks it."""
    import keras

    for reader in readers(model, tensor):
        if isinstance(reader, keras.layers.Embedding) and reader.mask_zero and part.ndim == 2:
            return np.asarray(part != 0)
        if isinstance(reader, keras.layers.Masking) and part.ndim > 2:
            return np.asarray(
                (part != reader.mask_value).any(-1).reshape(len(part), part.shape[1], -1).any(-1)
            )
    return None


def readers(model: Any, tensor: Any) -> list[Any]:
    """The layers and operations of a model's own graph that take a tensor."""
    graph = getattr(model, "_functional", None) or model
    return [
        node.operation
        for level in getattr(graph, "_nodes_by_depth", {}).values()
        for node in level
        if any(one is tensor for one in node.input_tensors)
    ]
