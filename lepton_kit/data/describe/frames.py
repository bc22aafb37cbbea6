"""The first rows of a table as a pandas frame, read and understood as `lk.data.table` reads and understands them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.tables.chunks import of_frame
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.learn import Seen, Wishes, column_of, hint_of
from lepton_kit.data.tables.splits import Opened, open_split
from lepton_kit.data.tables.values import as_text
from lepton_kit.data.texts.reading import LINES, rows_of
from lepton_kit.errors import DataError

MOST_ROWS = 100_000
ROLES = ("group", "time", "validation")
"""What else may say what is held out: a look reads all files."""
WISHES = ("decimal", "thousands", "day_first", "missing")
_LOOK = "look"


@dataclass(frozen=True)
class Look:
    """What was understood of a table.

    ``kinds``: column -> number, boolean, date, category, or empty. ``notes``: how it was read; ``doubts``: those of them
    that may be wrong. ``thousands``: columns whose points may group thousands. ``lacking``: columns that the files
    ``predict`` lack. ``values``: whether the header looks like a row of values. ``sheets``: those of an Excel file.
    """

    kinds: Mapping[str, str]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    thousands: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    predict: tuple[str, ...] = ()
    values: bool = False
    sheets: tuple[str, ...] = ()

    def __deepcopy__(self, memo: Any) -> Look:
        """Pandas copies the ``attrs`` of a frame for every column that is looked at, but not this."""
        return self


def look_of(frame: Any) -> Look:
    """What was understood of the table of which `head` gave the first rows."""
    result: Look = frame.attrs[_LOOK]
    return result


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
            return _with(frame, Look(dict.fromkeys(map(str, frame.columns), "category")))
    return _typed(_opened(source, options), options, rows)


def _opened(source: Any, options: Mapping[str, Any]) -> Opened:
    if not isinstance(source, Path):
        return Opened(of_frame(source), None)
    target = options.get("target", options.get("label"))
    targets = [target] if isinstance(target, str) else target
    given = {name: value for name, value in options.items() if name not in ROLES}
    return open_split(source, given, list(targets) if targets else None)


def _typed(opened: Opened, options: Mapping[str, Any], rows: int) -> Any:
    import pandas as pd

    tables = [opened.train, *([opened.held] if opened.held is not None else [])]
    names = [name for name in opened.train.names if all(name in table.names for table in tables)]
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in names}
    count = 0
    for chunk in chain.from_iterable(table.chunks() for table in tables):
        for name in names:
            pieces[name].append(chunk.columns[name][: rows - count])
        count += len(chunk)
        if count >= rows:
            break
    if not count:
        raise DataError(f"{opened.train.source}: no rows")
    cells = {name: np.concatenate(parts) for name, parts in pieces.items()}
    seen = {name: Seen() for name in cells}
    for name, values in cells.items():
        seen[name].add(values)
    given = {name: options[name] for name in WISHES if options.get(name) is not None}
    wishes = Wishes(**{**given, "missing": tuple(given.get("missing", ()))})
    hint = hint_of(seen, opened.train.separator)
    columns, kinds, doubts, open_points = {}, {}, [one for table in tables for one in table.doubts], []
    for name, values in cells.items():
        column, _ = column_of(name, seen[name], wishes, hint)
        kinds[name] = column.kind if column is not None else "empty"
        columns[name] = _values(values, column)
        if column is not None and column.kind == "number":
            doubts += seen[name].spelling.notes(name, column.decimal, wishes.marks(name))
            if seen[name].spelling.open and column.decimal == "." and wishes.marks(name) == (None, None):
                open_points.append(name)
    look = Look(
        kinds,
        tuple(dict.fromkeys([*opened.notes, *(note for table in tables for note in table.notes)])),
        tuple(dict.fromkeys(doubts)),
        tuple(open_points),
        opened.lacking,
        opened.predict,
        opened.train.looks_like_data,
        opened.train.sheets,
    )
    return _with(pd.DataFrame(columns), look)


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


def _with(frame: Any, look: Look) -> Any:
    frame.attrs[_LOOK] = look
    return frame
