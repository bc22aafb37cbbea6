"""Pure functions that decide which samples are held out, for validation and for a test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_kit.errors import ConfigError, DataError


def check_split(validation_split: float, seed: int) -> None:
    """Raise `ConfigError` for a share outside [0, 1) or a seed that is not a whole number >= 0."""
    number = isinstance(validation_split, int | float) and not isinstance(validation_split, bool)
    if not number or not 0 <= validation_split < 1:
        raise ConfigError(
            "data.validation_split", given=validation_split, rule="a share of at least 0, below 1"
        )
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ConfigError("data.seed", given=seed, rule="a whole number of at least 0")


HOLDOUTS = ("random", "last")


def check_holdout(holdout: str) -> None:
    """Raise `ConfigError` for a rule that is none of `HOLDOUTS`."""
    if holdout not in HOLDOUTS:
        raise ConfigError("data.holdout", given=holdout, rule=f"one of {', '.join(HOLDOUTS)}")


def last_rows(count: int, validation_split: float) -> tuple[slice, slice]:
    """Rows to train on and rows held out by Keras' rule for ``validation_split``: the last ones, in their order.

    >>> last_rows(10, 0.25)
    (slice(0, 7, None), slice(7, 10, None))
    """
    edge = math.floor(count * (1.0 - validation_split))
    if validation_split and edge in (0, count):
        raise DataError(
            f"validation_split: {validation_split} of {count} rows leaves a split empty; give more rows or another share"
        )
    return slice(0, edge), slice(edge, count)


def split_rows(
    count: int,
    validation_split: float,
    seed: int,
    *,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, both sorted, int64; together every row exactly once.

    With ``labels`` every class is held out in proportion; with ``groups`` a group is never torn apart.

    >>> train, held = split_rows(10, 0.2, seed=0, labels=np.repeat([0, 1], 5))
    >>> len(train), len(held)
    (8, 2)
    """
    if not validation_split:
        return np.arange(count), np.arange(0)
    generator = np.random.default_rng(seed)
    held = np.zeros(count, bool)
    if groups is not None:
        names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        chosen, room = np.zeros(len(names), bool), validation_split * count
        for group in generator.permutation(len(names))[:-1]:
            if sizes[group] <= room or not chosen.any():
                chosen[group] = True
                room -= sizes[group]
        if len(names) < 2:
            raise DataError("the group column has one value only: nothing can be held out for validation")
        held = chosen[member]
    elif labels is not None:
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            held[generator.permutation(rows)[: round(len(rows) * validation_split)]] = True
    else:
        held[generator.permutation(count)[: round(count * validation_split)]] = True
    if held.all() or not held.any():
        held[:] = False
        if count > 1:
            held[generator.integers(count)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def draw_splits(
    rows: Any,
    *,
    by: str | None = None,
    group: str | None = None,
    validation: float = 0.2,
    test: float | Sequence[int] = 0.2,
    seed: int = 0,
) -> np.ndarray:
    """``train``, ``validation`` or ``test`` for each row of a frame: a column that ``lk.data.table(split=…)`` takes.

    Rows to train on, rows for every choice (epochs, threshold, architecture), and rows that no choice sees. ``validation``
    and ``test`` are shares of all rows; ``test`` may also name the places of its rows, counted from 0, where these are
    fixed already. Every value of the column ``by`` is held out in proportion; groups of the column ``group`` (patients,
    customers, recordings) stay whole. The same seed draws the same rows. Raises `ConfigError` or `DataError`.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"x": range(10), "bad": ["no", "yes"] * 5})
    >>> frame["split"] = draw_splits(frame, by="bad", validation=0.2, test=0.4)
    >>> frame.groupby(["split", "bad"]).size().tolist()
    [2, 2, 2, 2, 1, 1]
    """
    if not hasattr(rows, "columns"):
        raise DataError(f"draw_splits: a {type(rows).__name__}; expected a frame of pandas or Polars")
    if by is not None and group is not None:
        raise ConfigError(
            "group", given=group, rule="not beside by=: groups stay whole, whatever their values are"
        )
    for role, name in (("by", by), ("group", group)):
        if name is not None and name not in list(rows.columns):
            raise ConfigError(
                role, given=name, rule=f"one of the columns {', '.join(map(str, list(rows.columns)[:20]))}"
            )
    count, column = len(rows), by if by is not None else group
    values = None if column is None else np.asarray(rows[column]).astype(str)
    split = np.full(count, "train", dtype=object)
    if isinstance(test, int | float) and not isinstance(test, bool):
        _share("test", test)
        split[_drawn(np.arange(count), round(test * count), values, group is not None, seed)] = "test"
    else:
        split[_places(test, count)] = "test"
    _share("validation", validation)
    left = np.flatnonzero(split == "train")
    split[_drawn(left, round(validation * count), values, group is not None, seed + 1)] = "validation"
    none = np.ndim(test) == 0 and test == 0
    asked = {"train": True, "validation": validation > 0, "test": not none and np.size(test) > 0}
    for name in [name for name, wanted in asked.items() if wanted]:
        if not (split == name).any():
            raise DataError(
                f"draw_splits: no row of {count} is left for {name}; give more rows or other shares"
            )
    return split


def _drawn(rows: np.ndarray, wanted: int, values: np.ndarray | None, whole: bool, seed: int) -> np.ndarray:
    """About ``wanted`` of these rows."""
    if wanted >= len(rows):
        return rows
    here = None if values is None else values[rows]
    result: np.ndarray = rows[
        split_rows(len(rows), wanted / len(rows), seed, **{"groups" if whole else "labels": here})[1]
    ]
    return result


def _share(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(name, given=value, rule="a share of at least 0, below 1")


def _places(test: Any, count: int) -> np.ndarray:
    places = np.asarray(test)
    if places.shape == (0,):
        return places.astype(np.int64)  # an empty list has no type
    if places.ndim != 1 or places.dtype.kind not in "iu":
        raise ConfigError("test", given=test, rule="a share below 1, or the places of rows as whole numbers")
    wrong = places[(places < 0) | (places >= count)]
    if len(wrong):
        raise ConfigError("test", given=int(wrong[0]), rule=f"places from 0 to {count - 1}")
    return places
