"""Weights of samples: given per sample, step or pixel and output, or made of class weights by Keras' rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lepton_kit.data.convert import as_array, as_arrays
from lepton_kit.data.structure import Arrays, Key, form, items, joined, label
from lepton_kit.errors import DataError


def sample_weights(given: Any, targets: Arrays | None, count: int, name: str = "sample_weight") -> Any:
    """Weights as float32 in the form of the targets; None where none are given.

    For several outputs either one array per output (None for weights of 1), or one of a weight per sample for all.
    Raises `DataError` for another form or shape than the targets', and for a weight that is not finite.
    """
    if given is None:
        return None
    if isinstance(targets, dict | tuple):
        parts = _per_output(given, targets, count, name)
    else:
        value = as_arrays(given, name, rows=count)
        if not isinstance(value, np.ndarray):
            raise DataError(f"{name}: got {form(value)}; expected one array, as y is one")
        parts = {None: value}
    return joined({key: _checked(part, targets, key, count, label(name, key)) for key, part in parts.items()})


def _per_output(given: Any, targets: Any, count: int, name: str) -> dict[Key, np.ndarray]:
    keys = [key for key, _ in items(targets)]
    if isinstance(given, Mapping) and isinstance(targets, dict):
        given = {str(key): part for key, part in given.items()}
        found: list[Key] = list(given)
    elif isinstance(given, list | tuple) and isinstance(targets, tuple) and len(given) != count:
        found = list(range(len(given)))
    elif isinstance(given, Mapping | list | tuple) and not (
        isinstance(given, list | tuple) and len(given) == count
    ):
        raise DataError(
            f"{name}: got {type(given).__name__}; y is {form(targets)}, so give that form or one array"
        )
    else:
        array = as_array(given, name)
        if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
            raise DataError(
                f"{name}: shape {array.shape} for several outputs; give one array per output, or one weight a sample"
            )
        return dict.fromkeys(keys, array)
    if set(found) != set(keys):
        raise DataError(
            f"{name}: given for {_list(found)}; the outputs in y are {_list(keys)}: one array for each"
        )
    return {
        key: np.ones(count, np.float32) if given[key] is None else as_array(given[key], label(name, key))
        for key in keys
    }


def _list(keys: Sequence[Key]) -> str:
    return ", ".join(map(repr, keys)) or "none"


def _checked(array: np.ndarray, targets: Any, key: Key, count: int, name: str) -> np.ndarray:
    if array.dtype.kind == "S":
        raise DataError(f"{name}: text; expected numbers")
    if len(array) != count:
        raise DataError(f"{name} has {len(array)} rows but there are {count} samples; expected as many")
    wrong = np.flatnonzero(~np.isfinite(array.reshape(count, -1)).all(1))
    if len(wrong):
        raise DataError(f"{name}: row {wrong[0]} is not finite; expected finite weights")
    target = dict(items(targets)).get(key)
    if target is not None and array.ndim > 1 and array.shape[1:] != (1,):
        steps = array.shape[1:-1] if array.shape[-1] == 1 and array.ndim > target.ndim else array.shape[1:]
        if steps != target.shape[1 : len(steps) + 1]:
            raise DataError(
                f"{name}: shape {array.shape} does not fit the targets {target.shape}; "
                "expected a weight for each sample, or for each of its steps or pixels"
            )
    return array.astype(np.float32, copy=False)


def class_weights(
    targets: Any,
    given: Mapping[Any, Any],
    class_names: Sequence[str] | None = None,
    name: str = "class_weight",
) -> np.ndarray:
    """The weight of each row's class, float32 ``(n,)``, by Keras' rule: rows of several values count by their largest,
    a class that is not named weighs 1. Text labels may be named by their text.

    >>> class_weights(np.array([0, 1, 1]), {1: 5.0}).tolist()
    [1.0, 5.0, 5.0]
    """
    if targets is None or not isinstance(targets, np.ndarray):
        raise DataError(f"{name}: y is {form(targets)}; class weights need one output with classes")
    weights = check_class_weights(given, class_names, name)
    labels = targets
    if targets.ndim > 1:
        labels = targets.argmax(-1) if targets.shape[-1] != 1 else targets[..., 0]
    if labels.ndim > 1:
        raise DataError(
            f"{name}: y has the shape {targets.shape}; class weights are one a sample, so give sample_weight instead"
        )
    kinds, member = np.unique(np.round(labels).astype(np.int64), return_inverse=True)
    return np.array([weights.get(int(kind), 1.0) for kind in kinds], np.float32)[member.reshape(-1)]


def check_class_weights(
    given: Any, class_names: Sequence[str] | None = None, name: str = "class_weight"
) -> dict[int, float]:
    """{class: weight} with whole-number classes. Raises `DataError` that names the wrong key or weight."""
    if not isinstance(given, Mapping):
        raise DataError(f"{name}: got {type(given).__name__}; expected a dictionary class -> weight")
    index = {text: place for place, text in enumerate(class_names or ())}
    weights = {}
    for key, weight in given.items():
        whole = isinstance(key, int | float | np.number) and not isinstance(key, bool) and int(key) == key
        if not whole and key not in index:
            known = f" or one of {', '.join(class_names[:10])}" if class_names else ""
            raise DataError(f"{name}: the class {key!r}; expected a whole number{known}")
        if not isinstance(weight, int | float | np.number) or not np.isfinite(weight):
            raise DataError(f"{name}: the class {key!r} weighs {weight!r}; expected a finite number")
        weights[int(key) if whole else index[key]] = float(weight)
    return weights
