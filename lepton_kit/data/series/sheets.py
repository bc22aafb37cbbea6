"""A table of a recording by column: its numbers, times and decimal commas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.tables.delimited import Dialect
from lepton_kit.data.tables.heading import HeaderInDoubt
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.values import is_number
from lepton_kit.errors import DataError

COMMA = re.compile(r"[+-]?\d*,(\d+)$")
MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}


@dataclass(frozen=True)
class Sheet:
    """A table by column."""

    name: str
    columns: dict[str, Any]
    notes: tuple[str, ...] = ()

    def usual(self, given: str | None, names: Sequence[str], needed: str | None = None) -> str | None:
        """The column that was named, else the first of usual names. Raises `DataError`."""
        if given is not None and given not in self.columns:
            raise DataError(f"{self.name}: no column {given!r}; it has {', '.join(list(self.columns)[:30])}")
        by_name = {name.strip().lower(): name for name in reversed(self.columns)}
        found = given or next((by_name[name] for name in names if name in by_name), None)
        if found is None and needed:
            raise DataError(
                f"{self.name}: which column holds the {needed}s? It has {', '.join(list(self.columns)[:30])}; give {needed}="
            )
        return found

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64, nan where a value is missing. Raises `DataError` that names the row."""
        values = self.columns[name]
        array = np.asarray(values)
        if array.dtype.kind in "biuf":
            return array.astype(np.float64)
        # A stray separator at the end of a line belongs to no number.
        cells = [str(one).strip(" \t\r;") if one is not None else "" for one in values]
        if has_decimal_commas(cells):
            cells = [cell.replace(",", ".") for cell in cells]
        found = np.empty(len(cells))
        for row, cell in enumerate(cells):
            try:
                found[row] = np.nan if cell.lower() in MISSING else float(cell)
            except ValueError:
                raise DataError(
                    f"{self.name}: row {row + 1} is {cell!r} in column {name!r}; expected a number"
                ) from None
        return found

    def times(self, name: str) -> np.ndarray:
        """A column of numbers, or of dates as seconds since 1970. Raises `DataError`."""
        try:
            return self.numbers(name)
        except DataError:
            import pandas as pd

            try:
                dates = pd.to_datetime(pd.Series(self.columns[name]), utc=True, format="ISO8601")
            except (ValueError, TypeError) as failure:
                raise DataError(
                    f"{self.name}: column {name!r} holds neither numbers nor ISO dates ({str(failure).splitlines()[0]})"
                ) from None
            seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
            return np.asarray(seconds.to_numpy(np.float64))


def has_decimal_commas(cells: Sequence[str]) -> bool:
    """Whether a comma stands for the point in numbers: never three digits behind it alone, which may be thousands.

    >>> has_decimal_commas(["1,5", "2"]), has_decimal_commas(["1,500", "2,250"]), has_decimal_commas(["1.5"])
    (True, False, False)
    """
    parts = [match[1] for cell in cells if (match := COMMA.match(cell))]
    plain = all(COMMA.match(cell) or cell.lstrip("+-").isdigit() or cell.lower() in MISSING for cell in cells)
    return bool(parts) and plain and any(len(part) != 3 for part in parts)


def sheet_of(path: Path, header: bool | int = True) -> Sheet:
    """A table from a file; one whose first row is numbers has no header, and its columns are numbered."""
    try:
        found = open_files([path], Dialect(header=header))
        bare = header is True and all(is_number(name) for name in found.names)
    except HeaderInDoubt:  # the same number twice in the first line
        bare = True
    if bare:
        found = open_files([path], Dialect(header=False))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in found.names}
    for chunk in found.chunks():
        for name, cells in chunk.columns.items():
            parts[name].append(cells)
    if not next(iter(parts.values())):
        raise DataError(f"{path.name}: no rows")
    columns = {name: np.concatenate(cells) for name, cells in parts.items()}
    return Sheet(path.name, columns, () if bare else tuple(found.notes))
