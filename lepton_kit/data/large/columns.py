"""Columns of Arrow tables as samples: what a streamed pass over the training rows learns, and how rows are encoded."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_kit.errors import DataError

MAX_CATEGORIES = 64
MAX_CLASSES_OF_NUMBERS = 20
MAX_CLASSES = 10_000


def kind_of(column: Any) -> str | None:
    """``number``, ``text`` or ``vector`` (as many numbers in each row) of an Arrow type; None for any other."""
    import pyarrow as pa

    types = pa.types
    if (
        types.is_integer(column)
        or types.is_floating(column)
        or types.is_boolean(column)
        or types.is_decimal(column)
    ):
        return "number"
    if types.is_string(column) or types.is_large_string(column):
        return "text"
    if types.is_dictionary(column):
        return kind_of(column.value_type)
    if types.is_fixed_size_list(column) or types.is_list(column) or types.is_large_list(column):
        return "vector" if kind_of(column.value_type) == "number" else None
    return None


def numbers(column: Any) -> np.ndarray:
    """A column of numbers as float64, shape ``(rows,)``; NaN where a value is missing."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type) and not column.null_count:
        return column.to_numpy().astype(np.float64, copy=False)
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def texts(column: Any) -> Any:
    """A column of text as one Arrow array, stripped."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.cast(pa.large_string())
    return pc.utf8_trim_whitespace(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def vectors(column: Any, width: int, where: str, first: int) -> np.ndarray:
    """A column of lists as an array, shape ``(rows, width)``. Raises `DataError` for a row of another length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != width)
    if len(wrong):
        given = "no value" if lengths[wrong[0]] < 0 else f"{lengths[wrong[0]]} numbers"
        raise DataError(
            f"{where}, row {first + int(wrong[0])}: {given}; expected {width}, as in the first row"
        )
    flat = column.flatten()
    if flat.null_count:
        raise DataError(f"{where}: a missing number inside a list; expected {width} numbers in each row")
    values = flat.to_numpy(zero_copy_only=False).reshape(len(column), width)
    return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values


def digest(*parts: Any) -> int:
    """A checksum of arrays and Arrow text that finds accidents, not attacks: CRC-32 of their contents."""
    found = 0
    for part in parts:
        for array in _buffers(part):
            found = zlib.crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"", found)
    return found


def _buffers(part: Any) -> Iterable[np.ndarray]:
    if isinstance(part, np.ndarray):
        return [part]
    buffers, count, offset = part.buffers(), len(part), part.offset
    ends = (
        np.frombuffer(buffers[1], np.int64)[offset : offset + count + 1] if count else np.zeros(1, np.int64)
    )
    content = np.frombuffer(buffers[2], np.uint8)[ends[0] : ends[-1]] if buffers[2] else np.zeros(0, np.uint8)
    known = part.is_valid().to_numpy(zero_copy_only=False)
    return [ends - ends[0], content, known.astype(np.uint8)]


@dataclass
class Learned:
    """What a pass has learned about one column; `merge` takes the training rows of one block after the other.

    Mean and deviation by Chan, Golub & LeVeque 1979 (pairwise sums of squares), so that nothing is kept in memory.
    """

    name: str
    kind: str
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    missing: bool = False
    low: float = np.inf
    high: float = -np.inf
    categories: set[str] = field(default_factory=set)
    width: int = 0
    dtype: str = "float32"

    def merge(self, values: Any) -> None:
        """Take more rows: float64 numbers, Arrow text, or an array of vectors."""
        if self.kind == "text":
            found = values.unique().to_pylist()
            self.missing |= values.null_count > 0 or "" in found
            self.categories |= {one for one in found if one}
            return
        if self.kind == "vector":
            if values.size:
                self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
            return
        known = values[~np.isnan(values)]
        self.missing |= len(known) < len(values)
        if not len(known):
            return
        mean = float(known.mean())
        squares = float(((known - mean) ** 2).sum())
        total = self.count + len(known)
        delta = mean - self.mean
        self.squares += squares + delta * delta * self.count * len(known) / total
        self.mean += delta * len(known) / total
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation of the known values, 1 where all are alike."""
        spread = float(np.sqrt(self.squares / self.count)) if self.count else 0.0
        return spread if spread > 0 else 1.0

    def plan(self, where: str) -> dict[str, Any]:
        """How the column is encoded, as plain types. Raises `DataError` that names it where that can't be."""
        if self.kind == "text" and len(self.categories) > MAX_CATEGORIES:
            raise DataError(
                f"{where}: column {self.name!r} has more than {MAX_CATEGORIES} different texts; leave it out with features=[…]"
            )
        if self.kind == "number" and not self.count:
            raise DataError(f"{where}: column {self.name!r} has no value in any training row; leave it out")
        return {
            "name": self.name,
            "kind": self.kind,
            "mean": self.mean,
            "scale": self.deviation,
            "missing": self.missing,
            "categories": sorted(self.categories),
            "width": self.width,
            "dtype": self.dtype,
        }


def names_of(plans: Sequence[dict[str, Any]]) -> list[str]:
    """The name of each number of a sample."""
    found: list[str] = []
    for plan in plans:
        name = plan["name"]
        if plan["kind"] == "text":
            found += [f"{name}={one}" for one in plan["categories"]]
        elif plan["kind"] == "vector":
            found += [f"{name}[{place}]" for place in range(plan["width"])]
        else:
            found.append(name)
        if plan["missing"]:
            found.append(f"{name} is missing")
    return found


def encode(values: Sequence[Any], plans: Sequence[dict[str, Any]]) -> np.ndarray:
    """Columns (as `Learned.merge` takes them) as samples, shape ``(rows, numbers)``; one vector alone keeps its type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(plans) == 1 and plans[0]["kind"] == "vector":
        return np.ascontiguousarray(values[0])
    found = np.zeros((len(values[0]), len(names_of(plans))), np.float32)
    place = 0
    for column, plan in zip(values, plans, strict=True):
        if plan["kind"] == "vector":
            found[:, place : place + plan["width"]] = column
            place += plan["width"]
        elif plan["kind"] == "text":
            codes = pc.index_in(column, value_set=pa.array(plan["categories"], pa.large_string()))
            codes = codes.fill_null(-1).to_numpy(zero_copy_only=False)
            known = np.flatnonzero(codes >= 0)
            found[known, place + codes[known]] = 1
            place += len(plan["categories"])
            absent = pc.or_kleene(pc.is_null(column), pc.equal(column, "")).to_numpy(zero_copy_only=False)
        else:
            absent = np.isnan(column)
            np.copyto(
                found[:, place], (column - plan["mean"]) / plan["scale"], where=~absent, casting="same_kind"
            )
            place += 1
        if plan["missing"]:
            found[:, place] = absent
            place += 1
    return found


class Targets:
    """The column to predict: seen once, row by row, then classes or standardised values."""

    def __init__(self, name: str, where: Any):
        self.name = name
        self._raw = where  # float64, one place a row of the files
        self._codes: dict[str, int] = {}
        self._text = False
        self._whole = True
        self._distinct: set[float] | None = set()

    def put(self, start: int, column: Any, kind: str, place: str) -> None:
        """Take the rows from ``start`` on. Raises `DataError` that names a row without a value."""
        import pyarrow.compute as pc

        self._text = kind == "text"
        if self._text:
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
    ) -> tuple[np.ndarray, list[str] | None, float, float]:
        """(target of each row, class names or None, mean, scale); ``train`` yields the training rows' places."""
        if self._text:
            if task == "regression":
                raise DataError(f"target {self.name!r}: text can't be a regression's target")
            names = sorted(self._codes)
            place = np.empty(len(names), np.int32)
            place[[self._codes[name] for name in names]] = np.arange(len(names))
            return place[self._raw[:].astype(np.int64)], names, 0.0, 1.0
        distinct = self._distinct
        few = distinct is not None and self._whole and len(distinct) <= MAX_CLASSES_OF_NUMBERS
        if task == "classification" and distinct is None:
            raise DataError(
                f"target {self.name!r}: too many different numbers for classes; give task='regression'"
            )
        if task == "classification" or (task is None and few):
            kinds = np.array(sorted(distinct or ()))
            return np.searchsorted(kinds, self._raw).astype(np.int32), [f"{one:g}" for one in kinds], 0.0, 1.0
        if not standardise:
            return self._raw.astype(np.float32), None, 0.0, 1.0
        mean, scale = float(self._raw[train].mean()), float(self._raw[train].std()) or 1.0
        return ((self._raw - mean) / scale).astype(np.float32), None, mean, scale
