"""The lines at the top of a table: titles above the header, the header, and a row of units below; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lepton_kit.data.tables.units import units_below
from lepton_kit.data.tables.values import is_number
from lepton_kit.errors import ConfigError, DataError

ROW_NAMES = "(row name)"
MOST_TITLES = 30
TITLE_SHARE = 0.6
"""A line that fills fewer of its fields than this share of what other lines fill is a title."""
SHOWN = 3

Record = tuple[int, list[str]]
"""(number of the line or row in the file, from 1; its cells, stripped)."""


class HeaderInDoubt(DataError):
    """The line that would be the header holds values: the caller has to say whether it is one."""


def header_of(value: Any) -> bool | int:
    """The option ``header``: True, False, or the number of a line. Raises `ConfigError`."""
    if isinstance(value, bool) or (isinstance(value, int) and value >= 1):
        return value
    raise ConfigError(
        "data.header",
        given=value,
        rule="True, False, or the number of the line that names the columns, from 1",
    )


@dataclass
class Heading:
    """Names of the columns, the last line that is no sample, and what was understood and is doubtful."""

    names: list[str]
    skip_to: int
    units: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    """The cells of a header that look like values."""


def heading_of(
    records: Sequence[Record], header: bool | int, units: bool | None, source: str, what: str = "line"
) -> Heading:
    """How a table begins, from its first lines that are not empty.

    ``header``: True finds the line that names the columns, False says that there is none, a number is that line.
    ``units``: whether the row below holds units; None finds out. Raises `DataError`, or `HeaderInDoubt`.

    >>> found = heading_of(
    ...     [(1, ["Report", ""]), (3, ["mass", "y"]), (4, ["kg", ""]), (5, ["2", "a"])], True, None, "t"
    ... )
    >>> found.names, found.skip_to, found.units
    (['mass', 'y'], 4, {'mass': 'kg'})
    """
    place = _place(records, header, source, what)
    found = Heading([], 0)
    if place:
        found.notes.append(_told_titles([records[one] for one in range(place)], source, what))
    line, fields = records[place]
    rows = [row for _, row in records[place + 1 :] if any(row)]
    if header is False:
        found.names, found.skip_to = [f"column_{k + 1}" for k in range(len(fields))], line - 1
        return found
    names = [name.strip().strip("\ufeff").strip() for name in fields]
    found.skip_to = line
    if _has_row_names(rows, len(names)):
        names = [ROW_NAMES, *names]
        found.doubts.append(
            f"{source}: the header has one field less than the rows ({len(fields)} and {len(names)}): the first of "
            f"a row is taken as its name, the second as {names[1]!r}"
        )
    while len(names) > 1 and not names[-1] and all(not any(row[len(names) - 1 :]) for row in rows):
        names.pop()
    unnamed = sum(not name for name in names[1:])
    if unnamed > len(names) // 3 and len(names) > 2:
        found.doubts.append(
            f"{source}: {what} {line} is taken as the header, though {unnamed} of its {len(names)} fields are empty; "
            f"header=NUMBER says which {what} names the columns"
        )
    found.names = [name or (ROW_NAMES if not k else f"column_{k + 1}") for k, name in enumerate(names)]
    if header is True and _looks_like_data(fields, rows):
        found.values = fields
        found.doubts.append(
            f"{source}: {what} {line} is taken as the header, but looks like values ({', '.join(fields[:3])}); for a "
            "file without a header give header=False, then columns are column_1 …"
        )
    _check_names(found, source, line, what)
    _units(found, [record for record in records[place + 1 :] if any(record[1])], units, source, what)
    return found


def _place(records: Sequence[Record], header: bool | int, source: str, what: str) -> int:
    """Which of the records is the header, or without one the first row."""
    if header is True or header is False:
        return titles_above([fields for _, fields in records])
    for place, (line, _) in enumerate(records):
        if line == header:
            return place
    last = records[-1][0]
    raise DataError(
        f"{source}: header={header}: {what} {header} is {'empty' if header <= last else 'not there'}; expected the number "
        f"of the {what} that names the columns, counted from 1"
    )


def titles_above(rows: Sequence[Sequence[str]]) -> int:
    """How many lines at the top are no part of the table: titles, addresses, dates of an export.

    >>> titles_above([["Sales", "", ""], ["by", "Jo", "", ""], ["a", "b", "c", "d"], ["1", "", "3", "4"]])
    2
    >>> titles_above([["a", "b"], ["1", "2"]]), titles_above([["", "b"], ["r", "2"]])
    (0, 0)
    """
    below = rows[len(rows) // 2 :]  # titles are above
    usual = Counter(map(len, below)).most_common(1)[0][0]
    filled = sorted(_filled(row) for row in below if len(row) == usual)
    typical = filled[round(0.75 * (len(filled) - 1))]
    place = 0
    while typical > 1 and place < min(len(rows) - 2, MOST_TITLES) and _is_title(rows[place], typical):
        place += 1
    return place


def _is_title(row: Sequence[str], typical: int) -> bool:
    if not any(row):
        return True
    return bool(row[0]) and (_filled(row) < TITLE_SHARE * typical or len(row) < typical - 1)


def _filled(row: Sequence[str]) -> int:
    return sum(map(bool, row))


def _told_titles(skipped: Sequence[Record], source: str, what: str) -> str:
    shown = [", ".join(filter(None, fields))[:60] for _, fields in skipped if any(fields)]
    first, last = skipped[0][0], skipped[-1][0]
    where = f"{what} {first}" if first == last else f"{what}s {first} to {last}"
    told = "; ".join(map(repr, shown[:SHOWN])) + (" …" if len(shown) > SHOWN else "")
    return f"{source}: {where} above the header skipped: {told}; header=NUMBER says which {what} names the columns"


def _check_names(found: Heading, source: str, line: int, what: str) -> None:
    """Raise where two columns have one name."""
    name, times = Counter(found.names).most_common(1)[0]
    if times < 2:
        return
    one, two = [place for place, other in enumerate(found.names, 1) if other == name][:2]
    told = f"{source}: {what} {line}: the column {name!r} appears twice (fields {one} and {two}); rename one of them"
    if found.values:
        raise HeaderInDoubt(f"{told}; or give header=False, if it holds values")
    raise DataError(f"{told}, or give header=NUMBER, if another {what} names the columns")


def _units(found: Heading, below: Sequence[Record], wished: bool | None, source: str, what: str) -> None:
    """Recognise a row of units, and say so."""
    if wished is False or not below:
        return
    line, first = below[0]
    if wished:
        told = {name: cell for name, cell in zip(found.names, first, strict=False) if cell}
        seen: tuple[dict[str, str], bool] | None = (told, True)
    else:
        seen = units_below(found.names, [fields for _, fields in below])
    if seen is None:
        return
    units, sure = seen
    if not sure:
        shown = ", ".join(filter(None, first))[:60]
        found.doubts.append(
            f"{source}: {what} {line} ({shown}) holds texts where the rows below hold numbers, and is read as a row like "
            "them; units=True leaves it out as a row of units or a second header"
        )
        return
    found.units, found.skip_to = units, line
    shown = ", ".join(f"{name} in {unit}" for name, unit in list(units.items())[:6])
    found.notes.append(
        f"{source}: {what} {line} holds units and is no row of data: {shown}{' …' if len(units) > 6 else ''}; "
        "units=False reads it as a row"
    )


def _has_row_names(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether each row begins with a name of its own that the header lacks, as R writes tables.

    Not every longer row does: a decimal comma makes two fields of one number.
    """
    if not rows or any(len(row) != width + 1 for row in rows) or not any(row[-1] for row in rows):
        return False
    names = [row[0] for row in rows]
    counted = names in ([str(k + start) for k in range(len(names))] for start in (0, 1))
    return counted or (len(set(names)) == len(names) and not any(map(is_number, names)))


def _looks_like_data(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a header is numbers where its columns are, and holds texts that its columns hold too, or is numbers alone.

    >>> _looks_like_data(["5.1", "setosa"], [["4.9", "setosa"]]), _looks_like_data(["x", "1"], [["1", "2"]])
    (True, False)
    """
    if all(map(is_number, header)):
        return True
    shared = False
    for name, *cells in zip(header, *rows, strict=False):
        if name and name not in cells and not is_number(name) and all(map(is_number, filter(None, cells))):
            return False
        shared |= bool(name) and not is_number(name) and name in cells
    return shared
