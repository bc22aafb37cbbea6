"""What is doubtful in how a column of a table was read, as sentences that say how to have it read otherwise."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from lepton_kit.data.tables.values import (
    DATE_FORMATS,
    PLAIN,
    NumberForm,
    date_formats,
    dates,
    filled,
    number,
)

SAMPLED = 200
"""Cells of a piece that are looked at."""
THOUSANDS = re.compile(r"[^\d.]*[1-9]\d{0,2}(\.\d{3})+[^\d.]*", re.ASCII)
NUMBER_LIKE = re.compile(r"\W{0,2}\d[\d.,' \u00a0\u202f]*(?![-/:.,])\D{0,8}", re.ASCII)
NEARLY = 0.9
ODD_SHARE = 0.05
ODD_WORDS = 3
"""A column of dates may have so many cells and different words that are none, which are then taken as missing."""


@dataclass
class Spelling:
    """How a sample of a column's cells is spelt: with points that may group thousands, or as codes in digits."""

    pointed: int = 0
    grouped: int = 0
    example: str = ""
    code: str = ""

    def add(self, cells: np.ndarray) -> None:
        """Look at some of these texts."""
        for cell in cells[:: max(1, len(cells) // SAMPLED)]:
            if cell and "." in cell:
                self.pointed += 1
                if THOUSANDS.fullmatch(cell):
                    self.grouped += 1
                    self.example = self.example or cell
            elif cell and not self.code and cell[0] == "0" and len(cell) > 1 and cell.isdigit():
                self.code = cell

    @property
    def open(self) -> bool:
        """Whether every point may be a decimal point or group thousands."""
        return bool(self.pointed) and self.grouped == self.pointed

    def notes(self, name: str, decimal: str, given: tuple[str | None, str | None]) -> list[str]:
        """Sentences about a column that is read as numbers; ``given`` are the marks that the caller says for it."""
        found = []
        if decimal == "." and given == (None, None) and self.open:
            one, two = (number(self.example, form) for form in (PLAIN, NumberForm(",", ".")))
            if one is not None and two is not None:
                found.append(
                    f"column {name!r}: {self.example} is read as {one[0]:g}, with three digits behind the decimal point; "
                    f"if points group thousands it is {two[0]:,.0f}: give thousands='.', or for this column alone "
                    f"thousands={{{name!r}: '.'}}; decimal='.' says that it is right"
                )
        if self.code:
            found.append(
                f"column {name!r}: {self.code} is read as the number {int(self.code)}; "
                f"categorical=[{name!r}] takes codes in digits as categories"
            )
        return found


def short_years(name: str, texts: list[str], form: str) -> list[str]:
    """The years that two digits are taken for, if dates have them."""
    if "%y" not in form:
        return []
    years = dates(filled(texts), form).astype("datetime64[Y]").astype(int) + 1970
    return [
        f"column {name!r}: years of two digits are read as {years.min()} to {years.max()}, "
        "68 as 2068 and 69 as 1969; write four digits where others are meant"
    ]


def nearly_dates(texts: Counter[str], day_first: bool | None) -> tuple[list[str], Counter[str]] | None:
    """(formats, the texts that are none) of a column of dates with texts in another format; None for other columns."""
    some = list(texts)
    digits = sum(len(text) >= 6 and any(map(str.isdigit, text)) for text in some)
    if not some or digits < NEARLY * len(some):
        return None
    best: tuple[list[str], Counter[str]] | None = None
    for form in DATE_FORMATS:
        if np.isnat(dates(filled(some[: 2 * ODD_WORDS]), form)).all():
            continue
        none = np.isnat(dates(filled(some), form))
        odd = Counter({text: texts[text] for text, gone in zip(some, none, strict=True) if gone})
        if best is None or odd.total() < best[1].total():
            best = [form], odd
    if best is None:
        return None
    formats = date_formats([text for text in some if text not in best[1]], day_first)
    return (formats, best[1]) if formats else None


def unread(name: str, texts: Counter[str], mixed: bool) -> list[str]:
    """Sentences about a column of categories that look like numbers, or like dates in several formats."""
    if mixed:
        return [
            f"column {name!r} is taken as categories: its dates have several formats; write them all in one"
        ]
    like = [text for text in texts if NUMBER_LIKE.fullmatch(text)]
    if len(texts) < 3 or len(like) < NEARLY * len(texts):
        return []
    return [
        f"column {name!r} is taken as categories: {', '.join(map(repr, like[:3]))} are not spelt as numbers are; "
        "if they are numbers, write them without words and with one decimal mark"
    ]
