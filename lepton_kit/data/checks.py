"""Checks of arrays before they are trained on, and the task that targets look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lepton_kit.data import labels as rules
from lepton_kit.data.convert import TEXT
from lepton_kit.data.structure import form, named
from lepton_kit.errors import DataError

CHUNK = 4096


def task_of(
    train: Any, validation: Any, names: Sequence[str] | None, asked: str | None = rules.KEEP
) -> tuple[str, int | None]:
    """(task, number of classes) that the targets look like: a hint, since the compiled loss decides what they are.

    One small whole number >= 0 a row is a classification, and so are one-hot rows; floating point is a regression, all
    else other. With ``names`` a label that has none raises `DataError`.
    """
    if not isinstance(train, np.ndarray) or train.dtype.kind in TEXT:
        return "other", None
    if asked == "regression":
        return "regression", None
    if train.ndim == 2 and train.shape[1] > 1:
        found = rules.task_of_flags([train], asked, "y")
        if found and names is not None and len(names) != train.shape[1]:
            raise DataError(f"y: {train.shape[1]} columns; there are {len(names)} class names")
        if found:
            return found, train.shape[1]
    if train.dtype.kind == "f":
        return "regression", None
    if train.ndim > 1 and train.shape[1:] != (1,):
        return "other", None if names is None else map_classes(train, validation, names)
    low, high = int(train.min()), int(train.max())
    if isinstance(validation, np.ndarray) and len(validation):
        low, high = min(low, int(validation.min())), max(high, int(validation.max()))
    if names is not None:
        if low < 0 or high >= len(names):
            wrong = low if low < 0 else high
            raise DataError(
                f"y: label {wrong} is out of range; allowed: 0 to {len(names) - 1}, one a class name"
            )
        return "classification", len(names)
    if low < 0 or high > max(1000, len(train)):
        return "other", None
    return "classification", max(2, high + 1)


def is_map(targets: Any) -> bool:
    """Whether targets are maps of whole numbers, such as masks: one for each of several places of a row."""
    return (
        isinstance(targets, np.ndarray)
        and targets.dtype.kind in "biu"
        and targets.shape[1:] not in ((), (1,))
    )


def map_classes(train: np.ndarray, validation: Any, names: Sequence[str]) -> int:
    """How many classes maps have that were given ``names``. Raises `DataError` for a number without a name."""
    for split, array in (("y", train), ("validation y", validation)):
        if isinstance(array, np.ndarray) and array.size:
            low, high = int(array.min()), int(array.max())
            if low < 0 or high >= len(names):
                wrong = low if low < 0 else high
                raise DataError(
                    f"{split}: class {wrong} is out of range; allowed: 0 to {len(names) - 1}, one a class name"
                )
    return len(names)


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


def range_of(array: np.ndarray) -> tuple[float, float] | None:
    """(lowest, highest) value: 0..255 for bytes, else as found, read piecewise; None for text."""
    if array.dtype.kind in TEXT:
        return None
    if array.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.inf, -np.inf
    for start in range(0, len(array), CHUNK):
        piece = array[start : start + CHUNK]
        if piece.size:
            low, high = min(low, float(piece.min())), max(high, float(piece.max()))
    return low, high


def same_length(arrays: Mapping[str, np.ndarray], empty: bool = False) -> int:
    """The common number of rows; `DataError` names two arrays that differ, or says that there are none (``empty``)."""
    (first, one), *rest = arrays.items()
    for name, other in rest:
        if len(other) != len(one):
            raise DataError(f"{first} has {len(one)} rows but {name} has {len(other)}; expected as many")
    if not len(one) and not empty:
        raise DataError(f"{first}: no samples")
    return len(one)


def same_kind(train: Any, held: Any, name: str) -> None:
    """Raise `DataError` where validation arrays differ from the training ones in form, names or shape."""
    one, two = named(train, name), named(held, name)
    if one.keys() != two.keys():
        raise DataError(
            f"{name}: {form(train)} to train on but {form(held)} in validation; expected the same form"
        )
    for key, array in one.items():
        if array.shape[1:] != two[key].shape[1:]:
            raise DataError(f"{key}: shape {array.shape[1:]} in train but {two[key].shape[1:]} in validation")
        if (array.dtype.kind in TEXT) != (two[key].dtype.kind in TEXT):
            raise DataError(f"{key}: type {array.dtype} in train but {two[key].dtype} in validation")


def check_classes(labels: np.ndarray, names: Sequence[str] | None) -> None:
    """Raise `DataError` where all labels are one class: a file of such rows is a mistake."""
    if len(labels) and labels.min() == labels.max():
        only = int(labels[0])
        raise DataError(f"y: one class only ({names[only] if names else only}); expected at least two")
