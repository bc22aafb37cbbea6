"""Tables in Excel files: finds the sheet that holds one, titles above its header, and a row of units below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lepton_kit.data.tables.chunks import Table, in_memory
from lepton_kit.data.tables.heading import ROW_NAMES, Record, heading_of
from lepton_kit.errors import DataError

LOOKED_AT = 200
"""Rows at the top of a sheet that are looked at to find its header."""
MOST_SHEETS = 20


def read_excel(
    path: Path, sheet: str | int | None = None, header: bool | int = True, units: bool | None = None
) -> Table:
    """A sheet of an Excel file as a table.

    ``sheet`` is its name or its place, from 0; None takes the only one that holds a table, else the first that does and
    says so. ``header`` and ``units`` are those of `heading.heading_of`; a row has the number that Excel shows.
    Raises `DataError` that names the sheets there are.
    """
    import pandas

    try:
        with pandas.ExcelFile(path) as book:
            names = list(map(str, book.sheet_names))
            chosen = _chosen(path.name, sheet, names)
            wanted = names if chosen is None else [names[chosen]]
            frames = {
                name: pandas.read_excel(book, sheet_name=name, dtype=object, na_filter=False, header=None)
                for name in wanted[:MOST_SHEETS]
            }
    except ImportError:
        raise DataError(f"{path.name}: Excel files need openpyxl: pip install lepton-kit[excel]") from None
    except DataError:
        raise
    except Exception as failure:  # the library raises what it likes for a damaged file
        raise DataError(f"{path.name}: not a readable Excel file ({str(failure).splitlines()[0]})") from None
    tables = [name for name, frame in frames.items() if _is_table(frame)]
    name = wanted[0] if chosen is not None or not tables else tables[0]
    table = _of_sheet(frames[name], path.name, header, units)
    if len(names) > 1:
        others = ", ".join(repr(one) for one in names[:MOST_SHEETS] if one != name)
        told = f"{path.name}: the sheet {name!r} is read; it also has {others}: sheet=NAME reads another"
        table.notes[told] = 1
        if len(tables) > 1:
            table.doubts.append(told)
    table.sheets = tuple(names)
    return table


def _chosen(source: str, sheet: str | int | None, names: list[str]) -> int | None:
    """The place of the sheet that was asked for; None where none was. Raises `DataError`."""
    if sheet is None:
        return 0 if len(names) == 1 else None
    if isinstance(sheet, int) and 0 <= sheet < len(names):
        return sheet
    if sheet in names:
        return names.index(str(sheet))
    raise DataError(f"{source}: no sheet {sheet!r}; it has {', '.join(names[:MOST_SHEETS])}")


def _is_table(frame: Any) -> bool:
    """Whether a sheet holds a row under a header of two columns: two rows that fill two cells each."""
    return int(((frame != "").sum(axis=1) > 1).sum()) > 1


def _of_sheet(frame: Any, source: str, header: bool | int, units: bool | None) -> Table:
    """Cells below the header as columns; rows and columns without any value around them are no part of it."""
    filled = frame != ""
    columns = [place for place in frame.columns if filled[place].any()]
    rows = filled.any(axis=1)
    if not columns:
        raise DataError(f"{source}: an empty sheet; sheet=NAME reads another")
    if len(columns) == 1:  # an empty cell of one column is a missing value
        last = int(rows[rows].index[-1])
        rows = rows.index <= last
    frame = frame.loc[rows, columns]
    numbers = [row + 1 for row in frame.index]
    records: list[Record] = [
        (number, [_text(cell) for cell in cells])
        for number, cells in zip(numbers, frame.head(LOOKED_AT).itertuples(index=False), strict=False)
    ]
    found = heading_of(records, header, units, source, "row")
    first = sum(number <= found.skip_to for number in numbers)
    below = frame.iloc[first:].reset_index(drop=True)
    cells = {name: below[column] for name, column in zip(found.names, columns, strict=False)}
    if found.names[0] == ROW_NAMES and (below[columns[0]] == "").all():
        cells.pop(ROW_NAMES)  # a title that begins to the left of the table
    table = in_memory(cells, range(1, len(below) + 1), source)
    table.notes.update(dict.fromkeys((*found.notes, *found.doubts), 1))
    inside = [number for number in numbers if number > found.skip_to]
    if inside and (empty := inside[-1] - inside[0] + 1 - len(inside)):
        table.notes[f"{source}: {empty} rows without any value are skipped"] = empty
    table.doubts += found.doubts
    table.units = found.units
    table.looks_like_data = bool(found.values)
    return table


def _text(cell: Any) -> str:
    """A cell as the text that stands in a header or is looked at: a whole number without its point."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
