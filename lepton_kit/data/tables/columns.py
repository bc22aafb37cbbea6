"""`Column`: what one column of a table becomes, with what it learned from the training rows; encodes any further rows."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from lepton_kit.data.tables.values import (
    LARGEST,
    MISSING,
    PLACEHOLDERS,
    PLAIN,
    NumberForm,
    Spelled,
    Unreadable,
    as_text,
    dates,
    is_missing,
    number,
    plain_floats,
)
from lepton_kit.specs import Section

NAMED = 5
"""Values never seen that are named one by one, in a piece of input."""
DAY = 86_400_000_000
"""Microseconds."""


@dataclass
class Findings:
    """What encoding found: place -> why its row can't be read, and sentence -> the number of rows that it is true of."""

    problems: dict[int, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)


class Numbers(NamedTuple):
    """Cells as float64 (NaN for nothing), the places of cells that are no number, and unit -> how many have it."""

    values: np.ndarray
    wrong: list[int]
    units: Counter[str]


class Column(Section):
    """One column of a table.

    ``number``: standardised; ``boolean``: 0 or 1; ``date``: days since 1970, standardised, then month, day of the
    week and, where there are any, hour as points on a circle; ``category``: a feature for each category; ``hash``:
    the same for ``buckets`` hashes of the text. ``flag`` adds a feature that is 1 where there is no value. ``units`` are
    those beside numbers in their cells, ``unit`` that of a row below the header. ``low``, ``high``, ``middle`` (the
    median) and ``whole`` say what numbers and dates (in days) the training rows had, ``frequent`` the most frequent
    text; None in what an older version stored. Nothing is encoded by them.

    >>> column = Column(name="colour", kind="category", categories=("blue", "red"))
    >>> column.encode(np.array(["red", "green"], object))[0].tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    name: str
    kind: Literal["number", "boolean", "date", "category", "hash"]
    flag: bool = False
    mean: float = 0.0
    scale: float = 1.0
    decimal: str = "."
    thousands: str = ""
    units: tuple[str, ...] = ("",)
    unit: str | None = None
    words: tuple[str, ...] = ()
    spelling: tuple[str, str] | None = None
    format: str | None = None
    hours: bool = False
    categories: tuple[str, ...] = ()
    buckets: int = 0
    low: float | None = None
    high: float | None = None
    middle: float | None = None
    whole: bool = False
    frequent: str | None = None

    @property
    def features(self) -> list[str]:
        """Names of the features, in order."""
        name = self.name
        if self.kind == "date":
            parts = ["month", "weekday", *(["hour"] if self.hours else [])]
            found = [name, *(f"{name} {part} {wave}" for part in parts for wave in ("sin", "cos"))]
        elif self.kind == "category":
            found = [f"{name}={category}" for category in self.categories]
        elif self.kind == "hash":
            found = [f"{name}#{bucket}" for bucket in range(self.buckets)]
        else:
            found = [name]
        return [*found, f"{name} is missing"] if self.flag else found

    def missing(self, cells: np.ndarray) -> np.ndarray:
        """Which cells hold nothing, in the words of this column."""
        texts = as_text(cells) if self.words and cells.dtype.kind != "M" else cells
        return is_missing(texts, {*self._nothing, *self.words})

    @property
    def _nothing(self) -> set[str]:
        return PLACEHOLDERS if self.kind in ("number", "date", "boolean") else MISSING

    def numbers(self, cells: np.ndarray) -> Numbers:
        """The cells of a column of numbers. Infinities stay, so that the caller may name the row."""
        found = self._numbers(cells)
        forms = (NumberForm(self.decimal, self.thousands), PLAIN)
        gone = {
            value[0] for word in self.words for form in forms if (value := number(word, form)) is not None
        }
        if gone:  # words for missing that are numbers, such as -999, however a cell spells them
            values = np.where(np.isin(found.values, list(gone)), np.nan, found.values)
            return Numbers(values, found.wrong, found.units)
        return found

    def _numbers(self, cells: np.ndarray) -> Numbers:
        if cells.dtype.kind in "fiub":
            return Numbers(cells.astype(np.float64), [], Counter({"": int(np.count_nonzero(cells == cells))}))
        if cells.dtype.kind == "M":
            cells = as_text(cells)
        plain = plain_floats(cells) if self.decimal == "." else None
        if plain is not None:
            return Numbers(plain, [], Counter({"": int(np.count_nonzero(~np.isnan(plain)))}))
        form = NumberForm(self.decimal, self.thousands)
        nothing = {*self._nothing, *self.words}
        known: dict[str | None, tuple[float, str | None] | None] = {None: (np.nan, None)}
        values, wrong, units = np.full(len(cells), np.nan), [], Counter[str]()
        for place, cell in enumerate(cells):
            if type(cell) is Spelled and cell not in nothing:
                found = number(cell)
            elif cell not in known:
                known[cell] = (np.nan, None) if cell.lower() in nothing else number(cell, form)
                found = known[cell]
            else:
                found = known[cell]
            if found is None:
                wrong.append(place)
            elif found[0] == found[0]:
                values[place] = found[0]
                units[found[1] or ""] += 1
        return Numbers(values, wrong, units)

    def days(self, cells: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Days since 1970 of a column of dates, float64 with NaN for nothing, and the places that are no date."""
        gone = self.missing(cells)
        moments = (
            dates(cells, self.format or "ISO8601")
            if cells.dtype.kind in "MO"
            else np.full(len(cells), "NaT", "M8[us]")
        )
        none = np.isnat(moments)
        days = moments.astype(np.int64) / DAY
        days[none] = np.nan
        return days, np.flatnonzero(none & ~gone).tolist()

    def truths(self, cells: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """1 for true, 0 for false, NaN for nothing, and the places that are neither."""
        if cells.dtype.kind == "b":
            return cells.astype(np.float64), []
        low, high = self.spelling or ("false", "true")
        known = {low: 0.0, high: 1.0, "0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}
        texts, gone = as_text(cells), self.missing(cells)
        found = [np.nan if none else known.get(text.lower()) for text, none in zip(texts, gone, strict=True)]
        wrong = [place for place, value in enumerate(found) if value is None]
        return np.array([np.nan if value is None else value for value in found], np.float64), wrong

    def encode(self, cells: np.ndarray) -> tuple[np.ndarray, Findings]:
        """Features of these cells, float32 ``(rows, len(features))``, and what was found on the way."""
        found = Findings()
        ways: dict[str, Callable[[np.ndarray, np.ndarray, Findings], np.ndarray]] = {
            "number": self._number,
            "boolean": self._boolean,
            "date": self._date,
            "category": self._category,
            "hash": self._hash,
        }
        out = np.zeros((len(cells), len(self.features)), np.float32)
        odd = (
            [place for place, cell in enumerate(cells) if type(cell) is Unreadable]
            if cells.dtype == object
            else []
        )
        if odd:
            given, cells = cells, cells.copy()
            cells[odd] = None
        none = ways[self.kind](cells, out, found)
        none[odd] = False
        for place in odd:
            found.problems[place] = f"column {self.name!r} holds {given[place]}; expected one value a cell"
        if self.flag:
            out[:, -1] = none
        elif none.any():
            found.notes[
                f"column {self.name!r}: no value, which no training row lacked; taken as {self._usual}"
            ] += int(none.sum())
        return out, found

    @property
    def _usual(self) -> str:
        return {"number": "the mean", "date": "the mean date", "boolean": "false"}.get(
            self.kind, "none of the categories"
        )

    def _number(self, cells: np.ndarray, out: np.ndarray, found: Findings) -> np.ndarray:
        values, wrong, units = self.numbers(cells)
        for place in wrong:
            found.problems[place] = f"column {self.name!r}: {cells[place]!r} is not a number"
        large = np.abs(values) > LARGEST
        for place in np.flatnonzero(large).tolist():
            found.problems[place] = (
                f"column {self.name!r}: {values[place]:g}; expected a number between -1e300 and 1e300"
            )
        values = np.where(large, 0.0, values)
        for unit, count in units.items():
            if unit not in self.units and count:
                expected = " or ".join(f"in {one}" if one else "without a unit" for one in self.units)
                given = f"in {unit}" if unit else "without a unit"
                found.notes[
                    f"column {self.name!r}: values {given}; the training rows have them {expected}: taken as they stand"
                ] += count
        none = self._standardised(values, wrong, out)
        for place in np.flatnonzero(~np.isfinite(out[:, 0])).tolist():
            found.problems[place] = (
                f"column {self.name!r}: {values[place]:g}; too far from the training rows (mean {self.mean:g}, "
                f"deviation {self.scale:g}) for a float32 number"
            )
            out[place, 0] = 0.0
        return none

    def _standardised(self, values: np.ndarray, wrong: list[int], out: np.ndarray) -> np.ndarray:
        none: np.ndarray = np.isnan(values)
        with np.errstate(over="ignore"):  # becomes infinite, which is a problem of that row
            out[:, 0] = np.where(none, 0.0, (values - self.mean) / self.scale)
        none[wrong] = False
        return none

    def _boolean(self, cells: np.ndarray, out: np.ndarray, found: Findings) -> np.ndarray:
        values, wrong = self.truths(cells)
        for place in wrong:
            found.problems[place] = f"column {self.name!r}: {cells[place]!r} is neither true nor false"
        none: np.ndarray = np.isnan(values)
        out[:, 0] = np.where(none, 0.0, values)
        none[wrong] = False
        return none

    def _date(self, cells: np.ndarray, out: np.ndarray, found: Findings) -> np.ndarray:
        days, wrong = self.days(cells)
        for place in wrong:
            found.problems[place] = (
                f"column {self.name!r}: {cells[place]!r} is not a date in the format {self.format} of the training rows"
            )
        none = self._standardised(days, wrong, out)
        known = np.isfinite(days)
        whole = np.floor(np.where(known, days, 0.0))
        month = whole.astype("int64").astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
        circles = [
            month / 12,
            (whole + 3) % 7 / 7,
            *([np.where(known, days, 0.0) - whole] if self.hours else []),
        ]
        for place, part in enumerate(circles):
            out[:, 1 + 2 * place] = np.where(known, np.sin(2 * np.pi * part), 0.0)
            out[:, 2 + 2 * place] = np.where(known, np.cos(2 * np.pi * part), 0.0)
        return none

    def _category(self, cells: np.ndarray, out: np.ndarray, found: Findings) -> np.ndarray:
        none, texts = self.missing(cells), as_text(cells)
        known = {category: place for place, category in enumerate(self.categories)}
        strange: Counter[str] = Counter()
        for row, (text, gone) in enumerate(zip(texts, none, strict=True)):
            if gone:
                continue
            place = known.get(text)
            if place is None:
                strange[text] += 1
            else:
                out[row, place] = 1.0
        for text, count in strange.most_common(NAMED):
            found.notes[
                f"column {self.name!r}: {text!r} was never seen in training; taken as none of the categories"
            ] += count
        rest = strange.total() - sum(count for _, count in strange.most_common(NAMED))
        if rest:
            found.notes[
                f"column {self.name!r}: other values that were never seen in training; taken as none of the categories"
            ] += rest
        return none

    def _hash(self, cells: np.ndarray, out: np.ndarray, found: Findings) -> np.ndarray:
        none, texts = self.missing(cells), as_text(cells)
        rows = np.flatnonzero(~none)
        out[rows, [bucket(texts[row], self.buckets) for row in rows]] = 1.0
        return none


def bucket(text: str, buckets: int) -> int:
    """The bucket of a text, the same in every process and on every machine: the CRC-32 of its UTF-8 bytes.

    >>> bucket("Berlin", 32)
    27
    """
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % buckets
