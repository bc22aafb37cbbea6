"""The first rows of a table as a pandas frame, read and understood as `lk.data.table` reads and understands them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.tables.chunks import Table, of_frame
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.delimited import Dialect
from lepton_kit.data.tables.learn import Seen, Wishes, column_of, hint_of
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.source import named_files
from lepton_kit.data.tables.values import as_text
from lepton_kit.data.texts.reading import LINES, rows_of
from lepton_kit.errors import DataError

MOST_ROWS = 100_000
WISHES = ("decimal", "thousands", "day_first", "missing")
DIALECT = ("separator", "encoding", "quote", "comment", "header")
KINDS = "kinds"
"""Key of the frame's ``attrs``: column -> number, boolean, date, category, or empty."""
DOUBTS = "doubts"
"""Key of the frame's ``attrs``: sentences about what may be read wrongly."""


class Kinds(dict[str, str]):
    """Column -> kind; pandas copies the ``attrs`` of a frame for every column that is looked at, but not this."""

    def __deepcopy__(self, memo: Any) -> Kinds:
        return self


def head(source: Any, options: Mapping[str, Any], rows: int = MOST_ROWS) -> Any:
    """At most ``rows`` rows of a file, of the files of a folder, or of a frame; ``options`` are those of the table.

    Numbers are numbers however they are spelt, dates are dates, and empty cells are missing. Raises `DataError`.
    """
    import pandas as pd

    if isinstance(source, Path) and source.suffix.lower() in LINES:
        try:
            return _typed(_opened(source, options), options, rows)
        except DataError:  # lists in a cell, such as several labels of a text
            frame = pd.DataFrame(rows_of(source).columns).head(rows).map(_joined)
            return _attributed(frame, dict.fromkeys(map(str, frame.columns), "category"))
    return _typed(_opened(source, options), options, rows)


def _opened(source: Any, options: Mapping[str, Any]) -> Table:
    if not isinstance(source, Path):
        return of_frame(source)
    train, held, _ = named_files(source, {"pattern": options.get("pattern"), "split": options.get("split")})
    dialect = Dialect(**{name: options[name] for name in DIALECT if options.get(name) is not None})
    how = (dialect, options.get("sheet", 0), options.get("query"))
    try:
        return open_files([*train, *held], *how)
    except DataError:  # a file for test without the target, which is left alone then
        if not held:
            raise
        return open_files(train, *how)


def _typed(table: Table, options: Mapping[str, Any], rows: int) -> Any:
    import pandas as pd

    pieces: dict[str, list[np.ndarray]] = {name: [] for name in table.names}
    count = 0
    for chunk in table.chunks():
        for name in table.names:
            pieces[name].append(chunk.columns[name][: rows - count])
        count += len(chunk)
        if count >= rows:
            break
    if not count:
        raise DataError(f"{table.source}: no rows")
    cells = {name: np.concatenate(parts) for name, parts in pieces.items()}
    seen = {name: Seen() for name in cells}
    for name, values in cells.items():
        seen[name].add(values)
    given = {name: options[name] for name in WISHES if options.get(name) is not None}
    wishes = Wishes(**{**given, "missing": tuple(given.get("missing", ()))})
    hint = hint_of(seen, table.separator)
    columns, kinds, doubts = {}, {}, list(table.doubts)
    for name, values in cells.items():
        column, _ = column_of(name, seen[name], wishes, hint)
        kinds[name] = column.kind if column is not None else "empty"
        columns[name] = _values(values, column)
        if column is not None and column.kind == "number":
            doubts += seen[name].spelling.notes(name, column.decimal, wishes.thousands)
    frame = _attributed(pd.DataFrame(columns), kinds)
    frame.attrs[DOUBTS] = doubts
    return frame


def _values(cells: np.ndarray, column: Column | None) -> Any:
    if column is None:
        return np.full(len(cells), None, object)
    if column.kind == "number":
        numbers = cells if cells.dtype.kind in "iu" and not column.words else column.numbers(cells).values
        whole = (
            numbers.dtype.kind == "f" and np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
        )
        return numbers.astype(np.int64) if whole and np.abs(numbers).max() < 2**53 else numbers
    if column.kind == "date":
        days, _ = column.days(cells)
        moments = np.full(len(days), "NaT", "M8[s]")
        known = ~np.isnan(days)
        moments[known] = np.round(days[known] * 86_400).astype(np.int64).astype("M8[s]")
        return moments
    texts = as_text(cells)
    texts[column.missing(cells)] = None
    return texts


def _joined(cell: Any) -> Any:
    return ", ".join(map(str, cell)) if isinstance(cell, list | tuple) else cell


def _attributed(frame: Any, kinds: Mapping[str, str]) -> Any:
    frame.attrs[KINDS] = Kinds(kinds)
    return frame
