"""Pure functions that decide which samples are held out for validation."""

from __future__ import annotations

import math

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
