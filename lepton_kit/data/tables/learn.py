"""What the columns of a table are: kinds from all rows, then means, deviations and categories from the training rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.doubts import ODD_SHARE, ODD_WORDS, Spelling, nearly_dates, short_years, unread
from lepton_kit.data.tables.values import (
    BOOLEANS,
    FORMS,
    LARGEST,
    MISSING,
    PLACEHOLDERS,
    NumberForm,
    as_text,
    date_formats,
    number,
    plain_floats,
)

MEDIAN_OF = 100_000
"""Up to so many values the median of a column is exact."""
KEPT = 5000
"""Different texts of a column that are kept to find out what they are."""
HINTING = 200
"""Texts of a column that are asked how they write numbers."""
SAMPLED, POINTED = 100, 1000
"""Cells of a piece, and cells with a point in all, that are looked at for whether the points group thousands."""
GROUPED = re.compile(r"[^\d.]*\d{1,3}(\.\d{3})+(,\d+)?[^\d.]*$", re.ASCII)


class Hint(NamedTuple):
    """How a table writes its numbers, for columns that leave it open; ``sure`` where other columns show it."""

    form: NumberForm
    sure: bool


@dataclass(frozen=True)
class Wishes:
    """What the caller says about cells: see `lepton_kit.data.table`."""

    decimal: str | Mapping[str, str] | None = None
    thousands: str | Mapping[str, str] | None = None
    day_first: bool | None = None
    categorical: Sequence[str] = ()
    missing: tuple[str, ...] = ()
    max_categories: int = 64
    hash_buckets: int = 32

    def marks(self, name: str) -> tuple[str | None, str | None]:
        """(decimal mark, mark between thousands) that the caller says for a column; None for one that is left open."""
        decimal, thousands = (
            value.get(name) if isinstance(value, Mapping) else value
            for value in (self.decimal, self.thousands)
        )
        return decimal, thousands


@dataclass
class Seen:
    """What the cells of a column look like, whatever split they are in."""

    typed: set[str] = field(default_factory=set)
    plain: int = 0
    pointed: int = 0
    grouped: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    more: int = 0
    spelling: Spelling = field(default_factory=Spelling)

    def add(self, cells: np.ndarray) -> None:
        """Look at further cells."""
        if cells.dtype != object:
            self.typed.add({"b": "boolean", "M": "date"}.get(cells.dtype.kind, "number"))
            return
        self.spelling.add(cells)
        plain = plain_floats(cells)
        if plain is not None:
            self.plain += int(np.count_nonzero(~np.isnan(plain)))
        else:
            for cell, count in Counter(cells.tolist()).items():
                if cell is None or cell.lower() in MISSING:
                    continue
                if number(cell) is not None and cell[-1:].isdigit() and cell[:1] in "+-.0123456789":
                    self.plain += count
                elif cell in self.texts or len(self.texts) < KEPT:
                    self.texts[cell] += count
                else:
                    self.more += count
        if self.pointed < POINTED:
            pointed = [cell for cell in cells[:SAMPLED] if cell and "." in cell]
            self.pointed += len(pointed)
            self.grouped += sum(map(bool, map(GROUPED.match, pointed)))

    def form(
        self, marks: tuple[str | None, str | None], hint: Hint | None
    ) -> tuple[NumberForm, dict[str, int]]:
        """The way of writing numbers that reads most cells, and the texts that it does not read.

        ``marks`` are those that the caller says, see `Wishes.marks`. ``hint`` is the way of the other columns, which
        decides where a column of its own does not.
        """
        decimal, thousands = marks
        allowed = [
            form for form in FORMS if decimal in (None, form.decimal) and thousands in (None, form.thousands)
        ] or [NumberForm(decimal or ".", thousands or "")]
        # Whole numbers alone say nothing, so a guess from the separator is none about them.
        usual = hint.form if hint is not None and (hint.sure or self.texts) else None
        best, score, left = allowed[0], (-np.inf, False), dict[str, int]()
        for form in allowed:
            rest = {text: count for text, count in self.texts.items() if number(text, form) is None}
            good = self.texts.total() - sum(rest.values())
            if form.decimal == ",":  # plain numbers with a point are then none, unless it groups thousands
                good -= self.pointed - (self.grouped if form.thousands == "." else 0)
            if (good, form == usual) > score:
                best, score, left = form, (good, form == usual), rest
        return best, left


def hint_of(columns: dict[str, Seen], separator: str | None) -> Hint | None:
    """How the columns that leave no doubt write their numbers; without any, commas are decimal unless they separate."""
    comma = 0
    for seen in columns.values():
        for text in list(seen.texts)[:HINTING]:
            comma += number(text, FORMS[2]) is not None and number(text, FORMS[1]) is None
            comma += number(text, FORMS[3]) is not None and number(text, FORMS[2]) is None
            comma -= number(text, FORMS[1]) is not None and number(text, FORMS[2]) is None
    if comma > 0:
        dotted = any(seen.pointed and seen.grouped == seen.pointed for seen in columns.values())
        return Hint(FORMS[3] if dotted else FORMS[2], True)
    return Hint(FORMS[2], False) if separator not in (None, ",") and comma == 0 else None


def column_of(name: str, seen: Seen, wishes: Wishes, hint: Hint | None) -> tuple[Column | None, list[str]]:
    """The kind of a column and sentences about it; None for a column without any value."""
    words = tuple(word.lower() for word in wishes.missing)
    texts = Counter({text: count for text, count in seen.texts.items() if text.lower() not in words})
    if name in wishes.categorical and (texts or seen.plain or seen.typed):
        return Column(name=name, kind="category", words=words), []
    if seen.typed and not texts and not seen.plain:
        kind: Any = "number" if "number" in seen.typed else min(seen.typed)
        return Column(name=name, kind=kind, words=words), []
    seen = Seen(
        seen.typed,
        seen.plain + ("number" in seen.typed),
        seen.pointed,
        seen.grouped,
        texts,
        seen.more,
        seen.spelling,
    )
    known = Counter({text: count for text, count in texts.items() if text.lower() not in PLACEHOLDERS})
    if not known and not seen.plain:
        # '-' and the like alone may be a category; nothing at all is none.
        if len(texts) > 1:
            return Column(name=name, kind="category", words=words), []
        return None, []
    lower = {text.lower() for text in known}
    spelling = next((pair for pair in BOOLEANS if lower and lower <= set(pair)), None)
    if spelling and not seen.plain:
        return Column(name=name, kind="boolean", spelling=spelling, words=words), _gone(name, texts, known)
    found = _number(name, seen, texts, known, wishes, words, hint)
    if found is not None:
        return found
    mixed = False
    if not seen.plain:
        formats, odd = date_formats(list(known), wishes.day_first), Counter[str]()
        if not formats:
            formats, odd = nearly_dates(known, wishes.day_first) or ([], odd)
            mixed = bool(formats) and odd.total() < known.total() / 2
        if formats and odd.total() <= ODD_SHARE * known.total() and len(odd) <= ODD_WORDS:
            known -= odd
            words = (*words, *(text.lower() for text in odd))
            notes = [*_gone(name, texts, known), *short_years(name, list(known), formats[0])]
            if any(form[1:2] == "d" for form in formats) and any(form[1:2] == "m" for form in formats):
                notes.append(
                    f"column {name!r}: dates such as {next(iter(known))} are read as {_order(formats[0])}; "
                    "day_first=True reads the day first"
                )
            return Column(name=name, kind="date", format=formats[0], words=words), notes
    notes = []
    if seen.plain > known.total() + seen.more:
        notes.append(
            f"column {name!r} is taken as categories: most of its values are numbers, but not {_some(known)}; "
            "missing=[…] names words that stand for no value"
        )
    elif not seen.plain:
        notes = unread(name, known, mixed)
    return Column(name=name, kind="category", words=words), notes


def _number(
    name: str,
    seen: Seen,
    texts: Counter[str],
    known: Counter[str],
    wishes: Wishes,
    words: tuple[str, ...],
    hint: Hint | None,
) -> tuple[Column, list[str]] | None:
    """The column as one of numbers, if it is one."""
    marks = wishes.marks(name)
    form, left = seen.form(marks, hint)
    odd = Counter({text: count for text, count in left.items() if text in known})
    total = seen.plain + known.total() + seen.more
    good = total - odd.total() - round(seen.more * len(odd) / max(1, len(known)))
    few = odd.total() <= ODD_SHARE * total and len(odd) <= ODD_WORDS
    if not good or (odd and not few):
        return None
    # Beside a decimal comma a point groups thousands, in new rows too where no training row had one.
    dotless = form == FORMS[2] and marks[1] is None and not seen.pointed
    dotless = dotless and not any("." in text for text in texts)
    column = Column(
        name=name,
        kind="number",
        decimal=form.decimal,
        thousands="." if dotless else form.thousands,
        words=(*words, *(text.lower() for text in odd)),
    )
    notes = _gone(name, texts, Counter({text: count for text, count in known.items() if text not in odd}))
    spelled = [
        text for text in known if text not in odd and ("," in text or "'" in text or form.decimal == ",")
    ]
    if spelled and form != FORMS[0]:
        value = number(spelled[0], form)
        notes.append(f"column {name!r}: {spelled[0]} is read as {value[0] if value else '?'}")
    elif form.decimal == "," and form.thousands == "." and seen.pointed:
        why = "thousands='.' says" if marks[1] == "." else "in the other columns"
        notes.append(f"column {name!r}: points are read as thousands, as {why}")
    notes += seen.spelling.notes(name, form.decimal, marks)
    return column, notes


def _gone(name: str, texts: Counter[str], known: Counter[str]) -> list[str]:
    """What is said about words that are taken as missing."""
    words = {text: count for text, count in texts.items() if text not in known}
    if not words:
        return []
    shown = ", ".join(f"{text!r} ({count})" for text, count in list(words.items())[:5])
    return [f"column {name!r}: {shown} taken as missing"]


def _some(texts: Counter[str]) -> str:
    return ", ".join(map(repr, list(texts)[:3]))


def _order(form: str) -> str:
    return "month, day, year" if form.startswith("%m") else "day, month, year"


@dataclass
class Even:
    """Numbers that come in pieces, thinned evenly to at most `MEDIAN_OF`: their median stands for that of all."""

    parts: list[np.ndarray] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, values: np.ndarray) -> None:
        """Take in the next values of a column."""
        self.parts.append(values[-self.seen % self.stride :: self.stride].astype(np.float64))
        self.seen += len(values)
        while sum(map(len, self.parts)) > MEDIAN_OF:
            self.parts, self.stride = [np.concatenate(self.parts)[::2]], 2 * self.stride

    @property
    def median(self) -> float:
        """The median of the values kept so far."""
        return float(np.median(np.concatenate(self.parts)))


@dataclass
class Learned:
    """What the training rows say about a column: collect with `add`, then ask for the `column`."""

    start: Column
    wishes: Wishes
    count: int = 0
    none: int = 0
    low: float = np.inf
    high: float = -np.inf
    mean: Any = 0.0  # long doubles, whose range holds squares of 1e300
    square: Any = 0.0
    units: Counter[str] = field(default_factory=Counter)
    hours: bool = False
    values: Counter[str] = field(default_factory=Counter)
    many: bool = False
    whole: bool = True
    even: Even = field(default_factory=Even)

    def add(self, cells: np.ndarray) -> None:
        """Learn from further training rows. What is no value of this kind is left to `Column.encode` to name."""
        kind = self.start.kind
        if kind in ("category", "hash"):
            self._texts(cells)
            return
        if kind == "number":
            values, _, units = self.start.numbers(cells)
            self.units.update(units)
        elif kind == "date":
            values, _ = self.start.days(cells)
            self.hours |= bool((np.floor(values) != values)[~np.isnan(values)].any())
        else:
            values, _ = self.start.truths(cells)
        known = values[np.abs(values) <= LARGEST]
        self.none += int(np.isnan(values).sum())
        if not len(known):
            return
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        self.whole = self.whole and bool((np.floor(known) == known).all())
        self.even.add(known)
        if max(abs(self.low), abs(self.high)) > 1e100:
            known = known.astype(np.longdouble)
        mean = np.longdouble(known.mean())
        square = np.longdouble(((known - known.mean()) ** 2).sum())
        # Sums of pieces: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm, 1979.
        total = self.count + len(known)
        step = mean - self.mean
        self.square += square + step * step * self.count * len(known) / total
        self.mean += step * len(known) / total
        self.count = total

    def _texts(self, cells: np.ndarray) -> None:
        none = self.start.missing(cells)
        self.none += int(none.sum())
        self.count += int((~none).sum())
        if not self.many:
            self.values.update(as_text(cells)[~none])
            if len(self.values) > max(KEPT, self.wishes.max_categories):
                self.many = True

    def column(self) -> tuple[Column | None, list[str]]:
        """The finished column and sentences about it; None for one that says nothing, with the reason."""
        start, name, flag = self.start, self.start.name, self.none > 0
        update: dict[str, Any]
        if not self.count:
            return None, [f"column {name!r} is left out: no training row has a value in it"]
        if start.kind in ("category", "hash"):
            if len(self.values) == 1 and not flag:
                return None, [
                    f"column {name!r} is left out: it is {next(iter(self.values))!r} in every training row"
                ]
            if not self.many and len(self.values) <= self.wishes.max_categories:
                categories = tuple(sorted(self.values))
                frequent = max(categories, key=lambda text: self.values[text]) if categories else None
                update = {"flag": flag, "categories": categories, "frequent": frequent}
                return start.model_copy(update=update), []
            return self._hashed(flag)
        if self.low == self.high and not flag:
            shown = "one date" if start.kind == "date" else f"{self.low:g}"
            return None, [f"column {name!r} is left out: it is {shown} in every training row"]
        update = {"flag": flag, "low": self.low, "high": self.high}
        update |= {"middle": self.even.median, "whole": self.whole}
        notes = []
        if start.kind in ("number", "date"):
            deviation = float(np.sqrt(self.square / self.count))
            update |= {
                "mean": float(self.mean),
                "scale": deviation if deviation > 0 and self.low < self.high else 1.0,
            }
        if start.kind == "number":
            units = tuple(sorted(unit for unit, count in self.units.items() if count)) or ("",)
            update["units"] = units
            named = [unit for unit in units if unit]
            if len(units) == 1 and named:
                notes.append(f"column {name!r}: numbers in {named[0]}")
            if len(units) > 1:
                notes.append(
                    f"column {name!r}: values in {' and '.join(named)}"
                    + (" and without a unit" if "" in units else "")
                    + "; they are taken as they stand"
                )
        if start.kind == "date":
            update["hours"] = self.hours
        return start.model_copy(update=update), notes

    def _hashed(self, flag: bool) -> tuple[Column, list[str]]:
        count = f"over {KEPT}" if self.many else str(len(self.values))
        name, buckets = self.start.name, self.wishes.hash_buckets
        note = f"column {name!r}: {count} different texts are hashed into {buckets} buckets (hash_buckets=)"
        if not self.many and len(self.values) > 0.9 * self.count:
            note += f"; nearly every row has its own, as a name or a number of a record: drop=[{name!r}] leaves it out"
        return self.start.model_copy(update={"kind": "hash", "flag": flag, "buckets": buckets}), [note]
