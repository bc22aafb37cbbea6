"""The target of rows that are read once: classes, or values, without keeping more than a number a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Target
from lepton_kit.errors import DataError

MAX_CLASSES_OF_NUMBERS = 20
MAX_CLASSES = 10_000


def numbers(column: Any) -> np.ndarray:
    """A column of numbers as float64, shape ``(rows,)``; NaN where a value is missing."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(), np.float64)
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def texts(column: Any) -> Any:
    """A column of text as one Arrow array, stripped."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.cast(pa.large_string())
    return pc.utf8_trim_whitespace(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


class Targets:
    """The column to predict: seen once, row by row, then classes or standardised values."""

    def __init__(self, name: str, where: Any, names: Sequence[str] | None = None):
        self.name = name
        self._names = names
        """Those of the classes that the numbers count, where the file says them."""
        self._raw = where  # float64, one place a row of the files
        self._codes: dict[str, int] = {}
        self._text = False
        self._whole = True
        self._distinct: set[float] | None = set()

    def put(self, start: int, column: Any, text: bool, place: str) -> None:
        """Take the rows from ``start`` on. Raises `DataError` that names a row without a value."""
        import pyarrow.compute as pc

        self._text = text
        if text:
            values = texts(column)
            missing = pc.or_kleene(pc.is_null(values), pc.equal(values, "")).to_numpy(zero_copy_only=False)
            encoded = values.dictionary_encode()
            lookup = [
                self._codes.setdefault(one or "", len(self._codes)) for one in encoded.dictionary.to_pylist()
            ]
            found = np.array([*lookup, 0], np.float64)[encoded.indices.fill_null(len(lookup)).to_numpy()]
            if len(self._codes) > MAX_CLASSES:
                raise DataError(
                    f"target {self.name!r}: more than {MAX_CLASSES} different texts are no classes"
                )
        else:
            found = numbers(column)
            missing = ~np.isfinite(found)
            if self._distinct is not None and not missing.any():
                self._distinct |= set(np.unique(found)[: MAX_CLASSES + 1].tolist())
                self._whole &= bool((found == np.round(found)).all())
                if not self._whole or len(self._distinct) > MAX_CLASSES:
                    self._distinct = None
        if missing.any():
            raise DataError(
                f"{place}, row {int(np.flatnonzero(missing)[0])}: no value in the target column {self.name!r}"
            )
        self._raw[start : start + len(found)] = found

    def finish(
        self, task: str | None, train: np.ndarray, *, standardise: bool = True
    ) -> tuple[np.ndarray, Target]:
        """The target of each row and what it stands for; values are standardised by the rows ``train``."""
        if self._text:
            if task == "regression":
                raise DataError(f"target {self.name!r}: text can't be a regression's target")
            names = sorted(self._codes)
            place = np.empty(len(names), np.int32)
            place[[self._codes[name] for name in names]] = np.arange(len(names))
            return place[self._raw[:].astype(np.int64)], self._classes(names)
        distinct = self._distinct
        few = distinct is not None and self._whole and len(distinct) <= MAX_CLASSES_OF_NUMBERS
        if self._names and task != "regression":
            bad = np.flatnonzero(
                (self._raw < 0) | (self._raw >= len(self._names)) | (self._raw != np.round(self._raw))
            )
            if len(bad):
                raise DataError(
                    f"target {self.name!r}: row {int(bad[0])} has the class number {self._raw[bad[0]]:g}; the file names "
                    f"{len(self._names)} classes, from 0"
                    + ("; -1 stands for a row without a label" if self._raw[bad[0]] == -1 else "")
                )
            return self._raw[:].astype(np.int32), self._classes(list(self._names))
        if task == "classification" and distinct is None:
            raise DataError(
                f"target {self.name!r}: too many different numbers for classes; give task='regression'"
            )
        if task == "classification" or (task is None and few):
            kinds = np.array(sorted(distinct or ()))
            names = [str(int(one)) if one == int(one) else str(one) for one in kinds]
            return np.searchsorted(kinds, self._raw).astype(np.int32), self._classes(names)
        if not standardise:
            return self._raw.astype(np.float32), Target(task="regression", name=self.name)
        mean, scale = float(self._raw[train].mean()), float(self._raw[train].std()) or 1.0
        target = Target(task="regression", name=self.name, mean=(mean,), scale=(scale,))
        return ((self._raw - mean) / scale).astype(np.float32), target

    def _classes(self, names: list[str]) -> Target:
        return Target(task="classification", name=self.name, class_names=tuple(names))
