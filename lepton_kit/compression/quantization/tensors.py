"""Quantization error tensor by tensor: the weights of a LiteRT file against those of its float twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.scopes import plain
from lepton_kit.errors import CompressionError


def tensor_errors(float_file: str | Path, file: str | Path) -> Any:
    """A pandas table, one row a weight tensor that both files hold under one name.

    Columns: type, elements, root mean square error, that relative to the weights' own, and the largest error.
    """
    import pandas

    reference, given = weights(float_file), weights(file)
    rows = []
    for name in reference.keys() & given.keys():
        (exact, _), (rounded, kind) = reference[name], given[name]
        if exact.shape != rounded.shape or exact.ndim < 2:
            continue
        error = rounded - exact
        rms, own = float(np.sqrt(np.mean(error**2))), float(np.sqrt(np.mean(exact**2)))
        rows.append(
            {
                "tensor": name,
                "type": kind,
                "elements": exact.size,
                "rms error": rms,
                "relative": rms / own if own else 0.0,
                "largest error": float(np.abs(error).max()),
            }
        )
    if not rows:
        raise CompressionError(f"{Path(file).name}: shares no weight tensor with {Path(float_file).name}")
    table = pandas.DataFrame.from_records(rows).set_index("tensor")
    return table.sort_values("relative", ascending=False)


def weights(path: str | Path) -> dict[str, tuple[np.ndarray, str]]:
    """Name -> (real values, stored type) of every constant tensor with real numbers in a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    found = {}
    for details in interpreter.get_tensor_details():
        try:
            values = interpreter.get_tensor(details["index"])  # fails for what is computed
        except ValueError:
            continue
        real = dequantise_channels(values, details["quantization_parameters"])
        if real is not None:
            found[plain(details["name"])] = (real, np.dtype(details["dtype"]).name)
    return found


def dequantise_channels(values: np.ndarray, parameters: dict[str, Any]) -> np.ndarray | None:
    """Real values of a tensor with one scale a channel or one for all; None for integers that stand for themselves."""
    scales = np.asarray(parameters["scales"], np.float32)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if not scales.size:
        return None
    shape = [1] * values.ndim
    if scales.size > 1:
        shape[int(parameters["quantized_dimension"])] = scales.size
    zeros = np.asarray(parameters["zero_points"], np.float32)
    return (values.astype(np.float32) - zeros.reshape(shape)) * scales.reshape(shape)
