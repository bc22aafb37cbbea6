"""Columns of Arrow tables as samples: read as `tables` reads them, learned and encoded by the same `Column`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.data.tables.chunks import array
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.learn import Learned, Seen, Wishes, column_of
from lepton_kit.errors import DataError

WISHES = Wishes()


def kind_of(column: Any) -> str | None:
    """``cells`` (a value a row), ``text`` or ``vector`` (as many numbers in each row) of an Arrow type; else None."""
    import pyarrow as pa

    types = pa.types
    if types.is_string(column) or types.is_large_string(column):
        return "text"
    if types.is_dictionary(column):
        return kind_of(column.value_type)
    if types.is_fixed_size_list(column) or types.is_list(column) or types.is_large_list(column):
        return "vector" if is_number(column.value_type) else None
    single = types.is_date(column) or types.is_timestamp(column) or types.is_decimal(column)
    return "cells" if single or is_number(column) else None


def is_number(column: Any) -> bool:
    """Whether an Arrow type is one of numbers or truths."""
    import pyarrow as pa

    types = pa.types
    return bool(types.is_integer(column) or types.is_floating(column) or types.is_boolean(column))


@dataclass(frozen=True)
class Text:
    """A column of text: its different cells (text or None), and the place of each row's cell among them."""

    distinct: np.ndarray
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def cells(self, rows: Any = slice(None)) -> np.ndarray:
        """The cells of these rows."""
        result: np.ndarray = self.distinct[self.codes[rows]]
        return result


Values = np.ndarray | Text


def read(column: Any, name: str, where: str) -> Values:
    """An Arrow column of cells or text. Raises `DataError` for cells that are no single values."""
    import pyarrow as pa

    kind = column.type
    read: np.ndarray
    if kind_of(kind) == "text":
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        coded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
        texts = [one.strip() if one is not None else None for one in coded.dictionary.to_pylist()]
        distinct = np.empty(len(texts) + 1, object)
        distinct[: len(texts)] = texts
        return Text(distinct, coded.indices.fill_null(len(texts)).to_numpy().astype(np.int64))
    if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and not column.null_count:
        wide = np.float64 if pa.types.is_floating(kind) or kind == pa.uint64() else np.int64
        read = column.to_numpy().astype(wide, copy=False)
        return read
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        read = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return read
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        read = column.cast(pa.timestamp("us"), safe=False).to_numpy().astype("datetime64[us]")
        return read
    return array(column.to_pandas(), name, where)


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
    result: np.ndarray = values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values
    return result


def checksum(part: Values) -> int:
    """A checksum of a column or array that finds accidents, not attacks: CRC-32 of its contents."""
    found = 0
    if isinstance(part, Text):
        found = zlib.crc32(repr(part.distinct.tolist()).encode("utf-8", "surrogatepass"))
        part = part.codes
    elif part.dtype == object:
        part = np.frombuffer(repr(part.tolist()).encode("utf-8", "surrogatepass"), np.uint8)
    elif part.dtype.kind == "M":
        part = part.view(np.int64)
    return zlib.crc32(np.ascontiguousarray(part).data.cast("B") if part.size else b"", found)


def digest(checksums: Sequence[int]) -> int:
    """One checksum of several."""
    return zlib.crc32(np.asarray(checksums, np.uint32).tobytes())


def check(column: Column, values: Values, where: str) -> None:
    """Raise `DataError` that names the first row which is no value of a column's kind."""
    _encoded(column, values, where)


def _encoded(column: Column, values: Values, where: str) -> np.ndarray:
    """A row for each cell, or for each different cell of a text."""
    block, found = column.encode(values.distinct if isinstance(values, Text) else values)
    for place, why in sorted(found.problems.items()):
        rows = np.flatnonzero(values.codes == place) if isinstance(values, Text) else np.array([place])
        if len(rows):
            raise DataError(f"{where}, row {int(rows[0])}: {why}")
    return block


def looked_at(name: str, seen: Seen) -> tuple[Learned | None, list[str]]:
    """What will learn about a column of cells or text from the training rows, and sentences; None for an empty one."""
    column, notes = column_of(name, seen, WISHES, None)
    if column is None:
        return None, [f"column {name!r} is left out: it has no value in any row"]
    return Learned(column, WISHES), notes


class Plan:
    """How one feature is encoded: a `Column` of a table, or a vector of so many numbers that stays as it is."""

    def __init__(self, state: Mapping[str, Any]):
        self.name: str = state["name"]
        self.width: int = state.get("width", 0)
        self.column = Column.model_validate(state["column"]) if "column" in state else None

    @property
    def features(self) -> list[str]:
        """A name for each number."""
        if self.column is not None:
            return self.column.features
        return [f"{self.name}[{place}]" for place in range(self.width)]

    def read(self, column: Any, where: str) -> Values:
        """The feature's Arrow column. Raises `DataError` that names the row."""
        if self.column is not None:
            return read(column, self.name, where)
        return vectors(column, self.width, f"{where}, column {self.name!r}", 0)

    def encode(self, values: Values, where: str) -> np.ndarray:
        """Numbers of a sample, shape ``(rows, len(features))``. Raises `DataError` that names the row."""
        if self.column is None:
            return values  # type: ignore[return-value]  # vectors are arrays
        block = _encoded(self.column, values, where)
        return block[values.codes] if isinstance(values, Text) else block


def encode(values: Sequence[Values], plans: Sequence[Plan], where: str) -> np.ndarray:
    """Columns as samples, shape ``(rows, numbers)``: float32, but one vector alone keeps its type."""
    if len(plans) == 1:
        return np.ascontiguousarray(plans[0].encode(values[0], where))
    found = np.empty((len(values[0]), sum(len(plan.features) for plan in plans)), np.float32)
    place = 0
    for column, plan in zip(values, plans, strict=True):
        block = plan.encode(column, where)
        found[:, place : place + block.shape[1]] = block
        place += block.shape[1]
    return found
