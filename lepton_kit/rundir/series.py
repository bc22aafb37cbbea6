"""An array that grows at its end."""

from __future__ import annotations

from typing import Any

import numpy as np


class Series:
    """An array that grows by appending, in amortised constant time.

    >>> series = Series()
    >>> series.extend([1.0, 2.0])
    >>> series.array
    array([1., 2.])
    """

    def __init__(self, dtype: type = np.float64):
        self._buffer: np.ndarray = np.empty(1024, dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def array(self) -> np.ndarray:
        """The values so far; a view, not a copy."""
        return self._buffer[: self._length]

    def extend(self, values: Any) -> None:
        """Add values at the end."""
        values = np.asarray(values, self._buffer.dtype)
        needed = self._length + len(values)
        if needed > len(self._buffer):
            grown = np.empty(max(needed, 2 * len(self._buffer)), self._buffer.dtype)
            grown[: self._length] = self.array
            self._buffer = grown
        self._buffer[self._length : needed] = values
        self._length = needed

    def truncate(self, length: int) -> None:
        """Drop what is beyond this length."""
        self._length = min(self._length, length)
