"""The cells of a table as values: numbers in any spelling, dates, words for missing; pure functions of text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "<na>", "#n/a", "\\n"}
"""Cells that hold nothing, in lower case; ``\\N`` is how MySQL and Hive write NULL."""
PLACEHOLDERS = MISSING | {
    *("-", "--", "---", ".", "..", "...", "–", "—", "*", "n.a.", "n.a", "n/d", "nd", "nil", "nat", "unknown"),
    *(
        "missing",
        "undefined",
        "not available",
        "#na",
        "#value!",
        "#div/0!",
        "#ref!",
        "#null!",
        "#num!",
        "#name?",
    ),
}
"""Cells that hold nothing where the rest of the column are numbers or dates."""
LARGEST = 1e300
"""Beyond it, sums and squares of numbers end in infinity."""
CURRENCIES = r"\$|€|£|¥|₹|₽|₩|₺|₪|฿|R\$|US\$|A\$|C\$|CHF|USD|EUR|GBP|JPY|INR|CNY|BRL|kr|zł|Kč"
BOOLEANS = (
    ("false", "true"),
    ("no", "yes"),
    ("n", "y"),
    ("f", "t"),
    ("off", "on"),
)
"""(false, true) in the spellings that are read as one."""
DATE_FORMATS = (
    "ISO8601",
    *("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%y"),
    *(
        "%Y/%m/%d",
        "%Y/%m/%d %H:%M",
        "%Y/%m/%d %H:%M:%S",
        "%Y/%m/%d %I:%M:%S %p",
        "%Y/%m/%d %I:%M:%S %p GMT%z",
    ),
    *(
        "%m/%d/%Y",
        "%m/%d/%Y %H:%M",
        "%m/%d/%Y %H:%M:%S",
        "%m/%d/%Y %I:%M %p",
        "%m/%d/%Y %I:%M:%S %p",
        "%m/%d/%y",
    ),
    *("%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d/%m/%y", "%m/%d/%y %H:%M", "%d/%m/%y %H:%M"),
    *("%m-%d-%Y", "%d-%m-%Y", "%d-%m-%Y %H:%M", "%d-%m-%Y %H:%M:%S"),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%b %d %Y"),
)
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-", "\u2013": "-", "’": "'"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNIT = re.compile(rf"^(?P<sign>[+-]?)\s*(?P<a>{CURRENCIES})?\s*(?P<body>[^%]*?)\s*(?P<b>{CURRENCIES}|%)?$")
_ZONE = re.compile(r"GMT((?P<sign>[+-])(?P<hours>\d{1,2})(:?(?P<minutes>\d\d))?)?$")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


class Spelled(str):
    """The text of a cell that was a number, so that its point is the decimal mark whatever texts beside it mean."""


class Unreadable(str):
    """What a cell of new input holds that is no single value; it is a problem of its row."""


class NumberForm(NamedTuple):
    """How a column spells its numbers: the decimal mark, and the mark between thousands ("" for none)."""

    decimal: str = "."
    thousands: str = ""


FORMS = tuple(
    NumberForm(*pair)
    for pair in ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"))
)
PLAIN = FORMS[0]


def number(text: str, form: NumberForm = PLAIN) -> tuple[float, str | None] | None:
    """(value, unit) of a number in that form; the unit is a currency or ``%``. None for what is no number.

    Parentheses and a sign at the end mean a negative number, as accountants write it.

    >>> number("1.234,50 €", NumberForm(",", ".")), number("(5)"), number("45%"), number("5 kg")
    ((1234.5, '€'), (-5.0, None), (45.0, '%'), None)
    """
    text = text.translate(_SPACES).strip()
    if _INFINITE.fullmatch(text):
        return float(text), None
    negative = text.startswith("(") and text.endswith(")")
    if negative:
        text = text[1:-1].strip()
    elif text.endswith("-") and text[:1].isdigit():
        negative, text = True, text[:-1].strip()
    parts = _UNIT.match(text)
    if parts is None or (parts["a"] and parts["b"] not in (None, parts["a"])):
        return None
    body = parts["body"]
    if parts["sign"] and body[:1] in ("+", "-"):
        return None
    whole, mark, rest = body.partition(form.decimal)
    if form.thousands and form.thousands in whole:
        first, *groups = whole.lstrip("+-").split(form.thousands)
        if not (1 <= len(first) <= 3 and all(len(group) == 3 for group in groups)):
            return None
        whole = whole.replace(form.thousands, "")
    plain = parts["sign"] + whole + ("." + rest if mark else "")
    if not _NUMBER.fullmatch(plain):
        return None
    value = float(plain)
    return (-value if negative else value), parts["a"] or parts["b"]


def plain_floats(cells: np.ndarray) -> np.ndarray | None:
    """Texts as float64 where all of them are empty or plain numbers, else None. The fast way for most columns.

    >>> plain_floats(np.array(["1", "", "2.5e3"], object)), plain_floats(np.array(["1", "x"], object))
    (array([1.0e+00,     nan, 2.5e+03]), None)
    """
    texts = cells.tolist()
    try:
        return _floats(texts)
    except (TypeError, ValueError):
        filled_up = [text or "nan" for text in texts]
        try:
            return _floats(filled_up) if filled_up != texts else None
        except ValueError:
            return None


def _floats(texts: list[str]) -> np.ndarray:
    if "_" in "".join(texts):  # Python reads 1_000 as a number; a table means something else by it
        raise ValueError("an underscore")
    pyarrow = _pyarrow()
    if pyarrow is not None:  # a fourth of the time, and rounded as Python rounds
        try:
            read: np.ndarray = pyarrow.array(texts, pyarrow.string()).cast(pyarrow.float64()).to_numpy()
            return read
        except pyarrow.ArrowInvalid:  # such as a sign or blanks before a number, which Python reads
            pass
    return np.fromiter(map(float, texts), np.float64, len(texts))


@cache
def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        return None
    return pyarrow


def is_missing(cells: np.ndarray, words: Iterable[str] = MISSING) -> np.ndarray:
    """Which cells hold nothing: None, or one of the words (in lower case)."""
    if cells.dtype.kind in "Mf":
        blank: np.ndarray = np.isnat(cells) if cells.dtype.kind == "M" else np.isnan(cells)
        return blank
    if cells.dtype != object:
        return np.zeros(len(cells), bool)
    words = words if isinstance(words, set) else set(words)
    return np.fromiter((cell is None or cell.lower() in words for cell in cells), bool, len(cells))


def as_text(cells: np.ndarray) -> np.ndarray:
    """Cells as texts (None stays): a whole number in floating point loses its point, as a CSV file would show it.

    >>> as_text(np.array([1.0, 2.5])).tolist(), as_text(np.array([True])).tolist()
    (['1', '2.5'], ['True'])
    """
    if cells.dtype == object:
        return cells
    if cells.dtype.kind == "f":
        texts: list[Any] = [
            None if value != value else str(int(value)) if value.is_integer() else repr(value)
            for value in cells.tolist()
        ]
    elif cells.dtype.kind == "M":
        texts = [None if np.isnat(value) else str(value) for value in cells]
    else:
        texts = [str(value) for value in cells.tolist()]
    return filled(texts)


def composed(text: str) -> str:
    """A text in composed Unicode (NFC), so that one category has one spelling whatever program wrote it.

    >>> composed("Ko\u0308ln") == "K\u00f6ln"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def filled(values: list[Any]) -> np.ndarray:
    """A list as an array of objects, whatever the objects are."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def dates(cells: np.ndarray, form: str) -> np.ndarray:
    """Texts of one format as ``datetime64[us]`` in UTC; what has another format is NaT."""
    import pandas

    if cells.dtype.kind == "M":
        return cells.astype("datetime64[us]")
    codes, distinct = pandas.factorize(cells)
    if form.endswith("GMT%z"):  # GMT+1 and GMT-3:30 as forms of Google write it
        distinct = filled([_ZONE.sub(_zone, text) for text in distinct])
    found = pandas.to_datetime(pandas.Series(distinct, dtype=object), format=form, errors="coerce", utc=True)
    values = np.append(found.dt.tz_localize(None).to_numpy("datetime64[us]"), np.datetime64("NaT", "us"))
    return values[codes]


def _zone(found: re.Match[str]) -> str:
    return f"GMT{found['sign'] or '+'}{int(found['hours'] or 0):02d}{found['minutes'] or '00'}"


def date_formats(texts: list[str], day_first: bool | None = None) -> list[str]:
    """The formats that read every one of these texts; ``day_first`` rules out the other order.

    >>> date_formats(["3/4/2024", "5/6/2024"]), date_formats(["25/12/2024"]), date_formats(["2024-12-25"])
    (['%m/%d/%Y', '%d/%m/%Y'], ['%d/%m/%Y'], ['ISO8601'])
    """
    if not texts or any(not any(sign.isdigit() for sign in text) or len(text) < 6 for text in texts[:50]):
        return []
    found = []
    for form in DATE_FORMATS:
        if day_first is not None and form[:3] in (("%m/", "%m-") if day_first else ("%d/", "%d-")):
            continue
        if np.isnat(dates(filled(texts[:1]), form)).any():
            continue
        if not np.isnat(dates(filled(texts), form)).any():
            found.append(form)
    return found


def is_number(text: str) -> bool:
    """Whether Python reads it as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
