"""How much memory a worker needs for a model, before any is built: its parameters, counted or read off its file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WORKER_BYTES = 350_000_000
"""Memory that one worker adds to the pages it shares, without its model (Linux, TensorFlow 2.21, measured 2026-11)."""
ADAM_SLOTS = 2
_NUMBER_BYTES = 4
_STATES, _GRADIENTS = 2, 5
"""What a worker holds at most: its state, once more while a checkpoint is written, and the gradients of a step, their
sums and the optimizer's passing results (dense networks of 24 and 100 million parameters, measured 2026-11)."""


def worker_bytes(state_bytes: int, parameter_bytes: int) -> int:
    """Memory that one worker needs, estimated.

    >>> worker_bytes(0, 0)
    350000000
    """
    return WORKER_BYTES + _STATES * state_bytes + _GRADIENTS * parameter_bytes


def estimated(model: Any, base: Path | None = None) -> int:
    """Bytes for one worker that trains ``model``: a `LeptonModel`, a Keras model, or the spec of one with its file.

    An optimizer that is not there yet is taken for Adam. A model that can't be looked into counts as a small one.
    """
    parameters = _parameter_bytes(model, base)
    optimizer = getattr(model, "optimizer", None)
    state = parameters * (1 + ADAM_SLOTS)
    if optimizer is not None and getattr(optimizer, "built", False):
        state = parameters + sum(_bytes_of(variable) for variable in optimizer.variables)
    elif type(optimizer).__name__ == "SGD" and not getattr(optimizer, "momentum", 0):
        state = parameters
    return worker_bytes(state, parameters)


def _parameter_bytes(model: Any, base: Path | None) -> int:
    spec = model if isinstance(model, Mapping) else None
    if getattr(model, "hidden_size", None) is not None and hasattr(model, "spec"):
        spec = model.spec()
    if spec is None:
        return sum(_bytes_of(variable) for variable in getattr(model, "variables", ()))
    if spec["kind"] == "lepton":
        return _NUMBER_BYTES * lepton_parameters(spec)
    return _in_file((base or Path()) / spec["path"]) if spec.get("path") else 0


def _bytes_of(variable: Any) -> int:
    count = 1
    for size in variable.shape:
        count *= int(size)
    return count * _NUMBER_BYTES


def _in_file(path: Path) -> int:
    """Bytes of the weights in a ``.keras`` file; those of an optimizer in it are counted too."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.getinfo("model.weights.h5").file_size
    except (OSError, KeyError, zipfile.BadZipFile):
        return 0


def lepton_parameters(spec: Mapping[str, Any]) -> int:
    """The number of weights of a `LeptonModel`, as `networks.build_network` builds it, without building it.

    >>> lepton_parameters(
    ...     {
    ...         "input_shape": [4],
    ...         "num_classes": 3,
    ...         "hidden_size": 8,
    ...         "num_layers": 1,
    ...         "vocabulary_size": None,
    ...         "cell": "conv",
    ...     }
    ... )
    67
    """
    shape, hidden, layers = tuple(spec["input_shape"]), spec["hidden_size"], spec["num_layers"]
    if spec["vocabulary_size"]:
        found, width = _text(shape[0], spec)
    elif len(shape) == 1:
        found, width = sum(_dense(shape[0] if k == 0 else hidden, hidden) for k in range(layers)), hidden
    elif len(shape) == 2:
        found, width = _sequence(shape[0], shape[1], spec)
    else:
        found, width = _image(shape, spec)
    return found + _dense(width, spec["num_classes"])


def _dense(before: int, after: int) -> int:
    return (before + 1) * after


def _text(length: int, spec: Mapping[str, Any]) -> tuple[int, int]:
    hidden = spec["hidden_size"]
    found = spec["vocabulary_size"] * hidden
    if spec["cell"] != "conv":
        more, width = _sequence(length, hidden, spec)
        return found + more, width
    width = hidden
    for _ in range(max(1, spec["num_layers"] - 2)):
        found, width = found + _dense(3 * width, 2 * hidden), 2 * hidden
    return found + _dense(width, hidden), hidden


def _sequence(length: int, width: int, spec: Mapping[str, Any]) -> tuple[int, int]:
    hidden, layers, found = spec["hidden_size"], max(1, spec["num_layers"] - 1), 0
    gates = {"gru": 3, "lstm": 4}.get(spec["cell"])
    for _ in range(layers):
        if gates:
            biases = 2 if gates == 3 else 1  # of Keras' GRU, for its reset after the product
            found += gates * hidden * (width + hidden + biases)
        else:
            found += _dense(3 * width, hidden)
            length = length // 2 if length >= 4 else length
        width = hidden
    if not gates:
        extra = length // 8
        width = hidden * (length // extra if extra >= 2 else length)
    return found + _dense(width, hidden), hidden


def _image(shape: Sequence[int], spec: Mapping[str, Any]) -> tuple[int, int]:
    height, breadth, channels = shape
    hidden, found, first = spec["hidden_size"], 0, max(8, spec["hidden_size"] // 4)
    for k in range(max(1, spec["num_layers"] - 1)):
        filters = min(first * 2**k, 4 * hidden)
        found, channels = found + _dense(9 * channels, filters), filters
        if min(height, breadth) >= 4:
            height, breadth = height // 2, breadth // 2
    extra = min(height, breadth) // 8
    if extra >= 2:
        height, breadth = height // extra, breadth // extra
    return found + _dense(height * breadth * channels, hidden), hidden
