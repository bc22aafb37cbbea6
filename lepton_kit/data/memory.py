"""Arrays from a notebook's memory: checked, labelled and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lepton_kit.data.prepared import Arrays, PreparedData, Split
from lepton_kit.data.splitting import split_rows
from lepton_kit.errors import DataError

CHUNK = 4096


def build(
    x: Any, y: Any, validation: tuple[Any, Any] | None, validation_split: float, class_names: Any, seed: int
) -> PreparedData:
    """Check arrays and split them. Raises `DataError` that names the array and the row."""
    inputs, targets = _as_arrays(x, "x"), _as_arrays(y, "y")
    count = same_length({**_named(inputs, "x"), **_named(targets, "y")})
    for name, array in _named(inputs, "x").items():
        check_finite(array, name)
    labels, names = _labels(targets, class_names)
    if validation is not None:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise DataError("validation: expected a pair (x, y)")
        held_x, held_y = _as_arrays(validation[0], "validation x"), _as_arrays(validation[1], "validation y")
        same_length({**_named(held_x, "validation x"), **_named(held_y, "validation y")})
        for name, array in _named(held_x, "validation x").items():
            check_finite(array, name)
        same_kind(inputs, held_x, "x")
        held_labels, _ = _labels(held_y, names, held_out=True)
        same_kind(labels, held_labels, "y")
        train: Split = Split(inputs, labels)
        held: Split | None = Split(held_x, held_labels)
    else:
        strata = None
        if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu":
            strata = labels
        rows, held_rows = split_rows(count, validation_split, seed, labels=strata)
        whole = Split(inputs, labels)
        train = Split(*whole.take(rows)) if len(held_rows) else whole
        held = Split(*whole.take(held_rows)) if len(held_rows) else None
    return describe(train, held, names)


def describe(
    train: Split, validation: Split | None, names: Sequence[str] | None, **more: Any
) -> PreparedData:
    """Wrap splits with what their targets say: the task, the classes and the range of values."""
    task, classes = task_of(train.y, validation.y if validation else None, names)
    return PreparedData(
        train=train,
        validation=validation,
        task=task,
        class_names=tuple(names) if names is not None and task == "classification" else None,
        num_classes=classes,
        value_range=more.pop("value_range", None) or _map_range(train.x),
        **more,
    )


def task_of(train: Arrays, validation: Arrays | None, names: Sequence[str] | None) -> tuple[str, int | None]:
    """(task, number of classes) of the targets. Raises `DataError` for one class only."""
    if isinstance(train, dict) or train.ndim != 1:
        return ("regression" if not isinstance(train, dict) and train.dtype.kind == "f" else "other"), None
    if train.dtype.kind == "f":
        return "regression", None
    low, high = int(train.min()), int(train.max())
    if low == high:
        raise DataError(f"y: one class only ({names[low] if names else low}); expected at least two")
    if isinstance(validation, np.ndarray) and len(validation):
        low, high = min(low, int(validation.min())), max(high, int(validation.max()))
    limit = len(names) if names is not None else None
    if low < 0 or (limit is not None and high >= limit):
        allowed = f"0 to {limit - 1}" if limit is not None else "0 or above"
        raise DataError(f"y: label {low if low < 0 else high} is out of range; allowed: {allowed}")
    if limit is None and high > max(1000, len(train)):
        raise DataError(
            f"y: whole numbers up to {high} are no class labels; for regression give floating point"
        )
    return "classification", limit if limit is not None else high + 1


def check_finite(array: np.ndarray, name: str, first_row: int = 0) -> None:
    """Raise `DataError` that names array and row where a number is missing or infinite."""
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), CHUNK):
        good = np.isfinite(array[start : start + CHUNK])
        if not good.all():
            where = np.argwhere(~good)[0]
            row, rest = first_row + start + int(where[0]), tuple(int(i) for i in where[1:])
            value = array[start : start + CHUNK][tuple(where)]
            place = f"row {row}" + (f", position {rest if len(rest) > 1 else rest[0]}" if rest else "")
            raise DataError(f"{name}: {place} is {value}; expected finite numbers")


def range_of(array: np.ndarray) -> tuple[float, float]:
    """(lowest, highest) value: 0..255 for bytes, else as found, read piecewise."""
    if array.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.inf, -np.inf
    for start in range(0, len(array), CHUNK):
        piece = array[start : start + CHUNK]
        if piece.size:
            low, high = min(low, float(piece.min())), max(high, float(piece.max()))
    return low, high


def as_array(value: Any, name: str) -> np.ndarray:
    """A real numeric or text array; float64 becomes float32. Raises `DataError` for anything else."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{name}: rows of different lengths; expected numbers of one shape") from None
    if array.dtype == object and array.ndim == 1 and all(isinstance(v, str) for v in array):
        array = array.astype(str)
    if array.dtype.kind not in "biufU":
        raise DataError(f"{name}: type {array.dtype} cannot be trained on; expected numbers of one shape")
    if array.ndim == 0:
        raise DataError(f"{name}: a single value; expected an array with one row a sample")
    return array.astype(np.float32) if array.dtype in (np.float64, np.float16) else array


def same_length(arrays: Mapping[str, np.ndarray]) -> int:
    """The common number of rows; `DataError` names two arrays that differ, or says that there are none."""
    (first, one), *rest = arrays.items()
    for name, other in rest:
        if len(other) != len(one):
            raise DataError(f"{first} has {len(one)} rows but {name} has {len(other)}; expected as many")
    if not len(one):
        raise DataError(f"{first}: no samples")
    return len(one)


def same_kind(train: Arrays, held: Arrays, name: str) -> None:
    """Raise `DataError` where validation arrays differ from the training ones in name or shape."""
    one, two = _named(train, name), _named(held, name)
    if one.keys() != two.keys():
        raise DataError(f"{name}: train has {sorted(one)} but validation has {sorted(two)}")
    for key, array in one.items():
        if array.shape[1:] != two[key].shape[1:]:
            raise DataError(f"{key}: shape {array.shape[1:]} in train but {two[key].shape[1:]} in validation")


def _labels(
    targets: Arrays, class_names: Any, held_out: bool = False
) -> tuple[Arrays, tuple[str, ...] | None]:
    names = tuple(str(n) for n in class_names) if class_names is not None else None
    if isinstance(targets, dict):
        return {name: _target(array, name) for name, array in targets.items()}, names
    if targets.dtype.kind == "U":
        flat = targets.reshape(len(targets), -1)
        if flat.shape[1] != 1:
            raise DataError(f"y: text of shape {targets.shape}; expected one label a row")
        names = names or tuple(sorted({str(v) for v in flat[:, 0]}))
        index = {name: i for i, name in enumerate(names)}
        for row, value in enumerate(flat[:, 0]):
            if str(value) not in index:
                raise DataError(
                    f"y: row {row} has the label {str(value)!r}; allowed: {', '.join(names[:10])}"
                )
        return np.array([index[str(v)] for v in flat[:, 0]], np.int32), names
    return _target(targets, "validation y" if held_out else "y"), names


def _target(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind == "U":
        raise DataError(f"{name}: text labels are taken for a single output only; give whole numbers")
    check_finite(array, name)
    if array.dtype.kind in "biu":
        array = array.astype(np.int32)
        return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    return array


def _as_arrays(value: Any, name: str) -> Arrays:
    if isinstance(value, Mapping):
        if not value:
            raise DataError(f"{name}: an empty dictionary; expected name -> array")
        return {str(key): as_array(one, f"{name}[{key!r}]") for key, one in value.items()}
    array = as_array(value, name)
    if name.endswith("x") and array.dtype.kind == "U":
        raise DataError(f"{name}: text; use data.text, or give numbers")
    return array


def _named(value: Arrays, name: str) -> dict[str, np.ndarray]:
    return (
        {f"{name}[{key!r}]": array for key, array in value.items()}
        if isinstance(value, dict)
        else {name: value}
    )


def _map_range(value: Arrays) -> Any:
    return (
        {name: range_of(array) for name, array in value.items()}
        if isinstance(value, dict)
        else range_of(value)
    )
