"""Scaling of arrays: by a given factor and offset, or each column to mean 0 and deviation 1 of the training rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Target
from lepton_kit.errors import ConfigError

STANDARDIZE = "standardize"
RULE = "standardize, (factor, offset), or name -> one of them"


@dataclass(frozen=True)
class Scaling:
    """Values become ``factor * value + offset``, float32; one number each, or one a column (the last axis)."""

    factor: tuple[float, ...]
    offset: tuple[float, ...]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values of shape ``(rows, …)`` with the factor and the offset applied."""
        with np.errstate(over="ignore"):  # becomes infinite, which the check of values refuses by row
            result: np.ndarray = (
                values.astype(np.float64) * self._broad(self.factor) + self._broad(self.offset)
            ).astype(np.float32)
            return result

    @staticmethod
    def _broad(values: tuple[float, ...]) -> Any:
        return values[0] if len(values) == 1 else np.array(values)

    def target(self, task: Any) -> Target:
        """What turns outputs back into values as they were given."""
        scale = tuple(1 / one for one in self.factor)
        mean = tuple(-offset * one for offset, one in zip(self.offset, scale, strict=True))
        return Target(task=task, mean=mean, scale=scale)


def raw_type(dtype: np.dtype) -> str:
    """The type that new values have before they are scaled, as those of training had: the digits are the same."""
    return "float32" if dtype.kind == "f" and dtype.itemsize <= 4 else "float64"


def check(scale: Any) -> Any:
    """The option as plain types. Raises `ConfigError`."""
    if isinstance(scale, Mapping):
        return {str(name): _check_one(one, scale) for name, one in scale.items()}
    return _check_one(scale, scale) if scale is not None else None


def _check_one(one: Any, scale: Any) -> Any:
    if isinstance(one, str) and one == STANDARDIZE:
        return one
    numbers = isinstance(one, Sequence) and not isinstance(one, str) and len(one) == 2
    if not numbers or not all(isinstance(v, int | float) and np.isfinite(v) for v in one) or one[0] == 0:
        raise ConfigError("data.scale", given=scale, rule=RULE)
    return [float(v) for v in one]


def of(scale: Any, role: str, key: Any, name: str) -> Any:
    """What the option says of one array: by its name where it is a mapping, else for every array of samples."""
    if isinstance(scale, Mapping):
        return scale.get(name, scale.get(str(key)) if key is not None else None)
    return scale if role == "x" else None


def learned(one: Any, pieces: Iterable[np.ndarray]) -> Scaling | None:
    """The scaling that an option gives; ``pieces`` are the training rows, read once, for ``standardize``.

    Mean and deviation by the pairwise update of Chan, Golub and LeVeque (1979), float64. A column that never changes
    is left undivided.

    >>> learned("standardize", [np.array([[1.0, 5.0]]), np.array([[3.0, 5.0]])])
    Scaling(factor=(1.0, 1.0), offset=(-2.0, -5.0))
    """
    if one is None:
        return None
    if one != STANDARDIZE:
        return Scaling((float(one[0]),), (float(one[1]),))
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for piece in pieces:
        rows = piece.reshape(-1, piece.shape[-1] if piece.ndim > 1 else 1).astype(np.float64)
        if not len(rows):
            continue
        own = rows.mean(0)
        rows -= own
        total = count + len(rows)
        gap = own - mean
        squares = squares + (rows * rows).sum(0) + gap * gap * (count * len(rows) / total)
        mean = mean + gap * (len(rows) / total)
        count = total
    spread = np.sqrt(squares / max(count, 1))
    spread = np.where(spread > 0, spread, 1.0)
    return Scaling(tuple((1 / spread).tolist()), tuple((-mean / spread).tolist()))
