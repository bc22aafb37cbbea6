"""A table as pieces of columns: what every reader gives, and tables that are in memory already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from lepton_kit.data.tables.values import Spelled, Unreadable, composed, filled
from lepton_kit.errors import DataError

CELLS = 2**18
"""Cells of a piece: some 20 MB of Python texts."""


@dataclass(frozen=True)
class Chunk:
    """Rows of a table: column name -> array of float64, int64, bool, ``datetime64`` or objects (text or None).

    ``names`` are the rows' own: an index of a frame, else their number in the file, from 1.
    """

    columns: dict[str, np.ndarray]
    names: Sequence[Any]
    source: str

    def __len__(self) -> int:
        return len(self.names)

    def where(self, place: int) -> str:
        """A row in words."""
        return f"{self.source}: row {self.names[place]}"


@dataclass
class Table:
    """A table that is read in pieces, as often as needed. ``notes``: what was understood, once it has been read.

    ``doubts`` are those notes that may well be wrong. ``units`` are those of a row below the header, column -> unit.
    ``looks_like_data`` where the header seems to be a row of values. ``sheets`` are those of an Excel file.
    """

    source: str
    names: list[str]
    pieces: Callable[[int | None], Iterator[Chunk]]
    notes: dict[str, int] = field(default_factory=dict)
    separator: str | None = None
    hint: str = ""
    doubts: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    looks_like_data: bool = False
    sheets: tuple[str, ...] = ()

    def chunks(self, rows: int | None = None) -> Iterator[Chunk]:
        """The table in pieces of at most ``rows`` rows. Raises `DataError` that names the line."""
        return self.pieces(rows)


def is_frame(value: Any) -> bool:
    """Whether `of_frame` takes it as a table in memory."""
    if isinstance(value, dict):
        return True
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(row, dict) for row in value)
    return _is_polars(value) or (hasattr(value, "columns") and hasattr(value, "__getitem__"))


def _is_polars(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "polars"


def of_frame(frame: Any, name: str = "the frame", new_rows: bool = False) -> Table:
    """A pandas or Polars frame, a dictionary of columns, or a list of dictionaries. Raises `DataError`.

    With ``new_rows`` a cell that can't be read is left for its row, see `array`.
    """
    if _is_polars(frame):
        frame = frame.collect() if hasattr(frame, "collect") else frame
        columns = {
            key: frame[key].to_numpy() if frame[key].dtype.is_numeric() else filled(frame[key].to_list())
            for key in frame.columns
        }
        return in_memory(columns, range(len(frame)), name, new_rows)
    if isinstance(frame, dict):
        if not any(
            isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
            for value in frame.values()
        ):
            frame = {key: [value] for key, value in frame.items()}
        columns = {
            key: values if isinstance(values, np.ndarray) else filled(list(values))
            for key, values in frame.items()
        }
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise DataError(f"{name}: columns of {sorted(lengths)} rows; expected as many in each")
        return in_memory(columns, range(*lengths) if lengths else range(0), name, new_rows)
    if isinstance(frame, Sequence):
        return of_records(frame, range(len(frame)), name, new_rows)
    doubled, times = Counter(frame.columns).most_common(1)[0] if len(frame.columns) else (None, 0)
    if times > 1:
        raise DataError(f"{name}: the column {doubled!r} appears twice; rename one of them")
    return in_memory({key: frame[key] for key in frame.columns}, frame.index.tolist(), name, new_rows)


def of_records(rows: Sequence[Any], names: Sequence[Any], source: str, new_rows: bool = False) -> Table:
    """A list of dictionaries as a table; a key that a row lacks is a cell without a value there."""
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(
                f"{source}: row {names[place]} is a {type(row).__name__}; expected {{column: value}}"
            )
    keys = dict.fromkeys(key for row in rows for key in row)
    return in_memory({key: filled([row.get(key) for row in rows]) for key in keys}, names, source, new_rows)


def in_memory(
    columns: dict[Any, Any], names: Sequence[Any] | None, source: str, new_rows: bool = False
) -> Table:
    """Columns as a table; without ``names`` its rows are counted from 1. Raises `DataError`."""
    kept = {
        new: array(columns[key], new, source, new_rows=new_rows)
        for key, new in column_names(columns, source).items()
    }
    count = len(next(iter(kept.values()))) if kept else 0
    rows_of = range(1, count + 1) if names is None else names

    def pieces(rows: int | None) -> Iterator[Chunk]:
        size = rows or max(256, CELLS // max(1, len(kept)))
        for start in range(0, count, size):
            part = {key: values[start : start + size] for key, values in kept.items()}
            yield Chunk(part, rows_of[start : start + size], source)

    return Table(source, list(kept), pieces)


def column_names(keys: Iterable[Any], source: str) -> dict[Any, str]:
    """Key of a column -> its name as text, stripped. Raises `DataError` where two are the same."""
    names = {key: str(key).strip() for key in keys}
    if not names:
        raise DataError(f"{source}: no columns")
    name, times = Counter(names.values()).most_common(1)[0]
    if times > 1:
        raise DataError(f"{source}: the column {name!r} appears twice; rename one of them")
    return names


def array(values: Any, name: str, source: str, first: int = 0, new_rows: bool = False) -> np.ndarray:
    """A column as one of the arrays of `Chunk`. Raises `DataError` for values that are no single cells.

    With ``new_rows`` such a value is an `Unreadable` cell.
    """
    import pandas

    series = values if isinstance(values, pandas.Series) else pandas.Series(values)
    kind = series.dtype
    if isinstance(kind, pandas.CategoricalDtype):
        series, kind = series.astype(kind.categories.dtype), kind.categories.dtype
    if pandas.api.types.is_bool_dtype(kind) and not series.isna().any():
        return series.to_numpy(bool)
    if pandas.api.types.is_datetime64_any_dtype(kind):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(kind, "tz", None) else series
        return series.to_numpy("datetime64[us]")
    if pandas.api.types.is_timedelta64_dtype(kind):
        return series.dt.total_seconds().to_numpy(np.float64)
    if pandas.api.types.is_complex_dtype(kind):
        raise DataError(f"{source}: column {name!r} holds complex numbers; split them into two columns")
    if pandas.api.types.is_integer_dtype(kind) and not series.isna().any() and str(kind).lower() != "uint64":
        return series.to_numpy(np.int64)
    if pandas.api.types.is_numeric_dtype(kind) and not pandas.api.types.is_bool_dtype(kind):
        return series.to_numpy(np.float64, na_value=np.nan)
    missing = series.isna().to_numpy()
    cells: list[str | None] = []
    for place, (cell, gone) in enumerate(zip(series.tolist(), missing, strict=True)):
        if isinstance(cell, list | dict | tuple | set | np.ndarray):
            if new_rows:
                cells.append(Unreadable(f"a {type(cell).__name__}"))
                continue
            raise DataError(
                f"{source}: column {name!r}, row {first + place} holds a {type(cell).__name__}; expected one value a cell"
            )
        cells.append(None if gone else composed(cell.strip()) if isinstance(cell, str) else _plain(cell))
    return filled(cells)


def _plain(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return Spelled(int(cell))
    return Spelled(cell) if isinstance(cell, int | float | Decimal) else str(cell)
