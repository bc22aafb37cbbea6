"""The target of a table: classes, numbers in a unit, or several labels a row, as arrays to train on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Target
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.learn import Hint, Seen, Wishes, column_of
from lepton_kit.data.tables.values import LARGEST, MISSING, as_text, filled, plain_floats
from lepton_kit.errors import DataError

MAX_CLASSES_OF_NUMBERS = 20
MAX_CLASSES = 1000
MANY = 5000
"""Different numbers in text, from which on they are kept as numbers."""
LABELS = re.compile(r"\s*[|;,]\s*")


@dataclass
class Whole:
    """One column as a whole: each different cell once, and the number of it for each row."""

    name: str
    cells: dict[Any, int] = field(default_factory=dict)
    numbers: list[np.ndarray] = field(default_factory=list)
    parts: list[np.ndarray] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)

    def add(self, cells: np.ndarray) -> None:
        """Append further rows: floating point as it is, all else by its different values."""
        self.seen.add(cells)
        if not self.parts and (cells.dtype.kind == "f" or (self.numbers and cells.dtype.kind in "iO")):
            values = plain_floats(cells) if cells.dtype == object else cells.astype(np.float64)
            if values is not None:
                self.numbers.append(values)
                return
        if self.numbers:
            earlier, self.numbers = np.concatenate(self.numbers), []
            self._codes(as_text(earlier))
        self._codes(as_text(cells))
        if len(self.cells) > MANY and not self.seen.texts and cells.dtype.kind in "iO":
            # Different numbers without end: as such they take a tenth of the memory.
            known = plain_floats(filled(list(self.cells)))
            if known is not None:
                self.numbers, self.parts, self.cells = [known[self.codes()]], [], {}

    def _codes(self, texts: np.ndarray) -> None:
        codes = np.empty(len(texts), np.int32)
        for place, text in enumerate(texts):
            codes[place] = self.cells.setdefault(text, len(self.cells))
        self.parts.append(codes)

    def __len__(self) -> int:
        return sum(map(len, self.numbers or self.parts))

    def texts(self) -> np.ndarray:
        """Every row as text or None."""
        if self.numbers:
            return as_text(np.concatenate(self.numbers))
        return filled(list(self.cells))[self.codes()] if self.parts else filled([])

    def codes(self) -> np.ndarray:
        """Every row's place in `cells`."""
        return np.concatenate(self.parts) if self.parts else np.zeros(0, np.int32)

    def values(self, column: Column) -> tuple[np.ndarray, list[int]]:
        """Every row as float64, NaN for nothing, and the rows that are no number."""
        if self.numbers:
            return column.numbers(np.concatenate(self.numbers)).values, []
        found = column.numbers(filled(list(self.cells)))
        codes = self.codes()
        wrong = np.isin(codes, found.wrong) if found.wrong else np.zeros(len(codes), bool)
        return found.values[codes], np.flatnonzero(wrong).tolist()

    def distinct(self) -> list[str]:
        """The different texts, without what holds nothing."""
        cells = as_text(np.unique(np.concatenate(self.numbers))) if self.numbers else list(self.cells)
        return [cell for cell in cells if cell]


@dataclass(frozen=True)
class Answers:
    """Targets of all rows: ``y`` (float64 values, int32 labels, or float32 0/1 a class) and what they stand for."""

    y: np.ndarray
    target: Target
    notes: tuple[str, ...] = ()


def answers(
    columns: Sequence[Whole],
    task: str | None,
    unit: str | None,
    wishes: Wishes,
    hint: Hint | None,
    where: Any,
) -> Answers:
    """The targets. ``where(row)`` names a row. Raises `DataError` that names column and row.

    Without ``task`` texts, or at most 20 different whole numbers, are classes, other numbers are a regression.
    """
    if task is None and len(columns) == 1:
        task = _task(columns[0], wishes, hint)
    elif task is None:
        both = all(set(column.distinct()) <= {"0", "1", "True", "False", "0.0", "1.0"} for column in columns)
        task = "multilabel" if both else "regression"
    if task == "classification":
        if len(columns) > 1:
            names = ", ".join(repr(column.name) for column in columns)
            raise DataError(f"target: {names} for a classification; give one column, or task='multilabel'")
        return _classes(columns[0], where, wishes)
    if task == "multilabel":
        return _labels(columns, where)
    found = [_values(column, wishes, hint, where) for column in columns]
    notes = tuple(note for _, _, more in found for note in more)
    y = np.stack([values for values, _, _ in found], axis=1) if len(found) > 1 else found[0][0]
    units = {one for _, one, _ in found if one}
    return Answers(
        y,
        Target(
            task="regression",
            name=", ".join(column.name for column in columns),
            unit=unit or (units.pop() if len(units) == 1 else None),
        ),
        notes,
    )


def _task(column: Whole, wishes: Wishes, hint: Hint | None) -> str:
    kind, _ = column_of(column.name, column.seen, wishes, hint)
    if kind is None or kind.kind != "number":
        return "classification"
    texts = column.distinct()
    if len(texts) > MAX_CLASSES_OF_NUMBERS * 10:
        return "regression"
    values = kind.numbers(filled(texts)).values
    kinds = np.unique(values[~np.isnan(values)])
    whole = np.isfinite(kinds).all() and bool(np.all(kinds == np.round(kinds)))
    return "classification" if whole and len(kinds) <= MAX_CLASSES_OF_NUMBERS else "regression"


def _classes(column: Whole, where: Any, wishes: Wishes) -> Answers:
    """Class names sorted; words such as None and NA are classes beside other texts, and nothing beside numbers."""
    texts, name = column.texts(), column.name
    distinct = column.distinct()
    numeric = {text: _whole(text) for text in distinct if text.lower() not in MISSING}
    only = bool(numeric) and all(value is not None for value in numeric.values())
    given = {word.lower() for word in wishes.missing}
    nothing = (MISSING if only else {""}) | given
    names: dict[str, str] = {}
    for text in distinct:
        if text.lower() not in nothing:
            names[text] = str(numeric[text]) if only else text
    without = [row for row, text in enumerate(texts) if text is None or text.lower() in nothing]
    if without:
        raise _without_target(where(without[0]), name, len(without), len(texts))
    twins = {} if only else _with_a_point(set(names.values()))
    names = {text: twins.get(one, one) for text, one in names.items()}
    kinds = sorted(set(names.values()), key=(lambda one: (float(one), one)) if only else None)
    if len(kinds) > MAX_CLASSES or (len(kinds) > 50 and len(kinds) > len(texts) / 2):
        raise DataError(
            f"target {name!r}: {len(kinds)} different values in {len(texts)} rows are no classes; "
            "for a value to predict give task='regression'"
        )
    index = {kind: place for place, kind in enumerate(kinds)}
    code = {text: index[kind] for text, kind in names.items()}
    words = [kind for kind in kinds if kind.lower() in MISSING]
    notes = (f"target {name!r}: {', '.join(map(repr, words))} counts as a class",) if words else ()
    if twins:
        told = ", ".join(f"{one!r} as {other!r}" for one, other in sorted(twins.items())[:5])
        notes = (*notes, f"target {name!r}: every class is spelt with a point at the end too; read {told}")
    y = np.fromiter((code[text] for text in texts), np.int32, len(texts))
    return Answers(y, Target(task="classification", name=name, class_names=tuple(kinds)), notes)


def _without_target(where: str, name: str, count: int, total: int) -> DataError:
    return DataError(
        f"{where} has no value in the target column {name!r}; {count} of {total} rows have none: take them out of the file "
        "(a line below the table, a row to predict)"
    )


def _with_a_point(names: set[str]) -> dict[str, str]:
    """Name with a point at the end -> without, where every class is spelt both ways, as in UCI's Adult.

    >>> (
    ...     _with_a_point({"no", "yes", "no.", "yes."}) == {"no.": "no", "yes.": "yes"},
    ...     _with_a_point({"etc", "etc.", "no"}),
    ... )
    (True, {})
    """
    twins = {name: name[:-1] for name in names if name.endswith(".") and name[:-1] in names}
    return twins if 2 * len(twins) == len(names) else {}


def _whole(text: str) -> int | float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not np.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def _labels(columns: Sequence[Whole], where: Any) -> Answers:
    if len(columns) > 1:
        y = np.zeros((len(columns[0]), len(columns)), np.float32)
        known = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}
        for place, column in enumerate(columns):
            for row, text in enumerate(column.texts()):
                value = known.get((text or "").lower().removesuffix(".0"))
                if value is None:
                    raise DataError(
                        f"{where(row)}, target {column.name!r} is {text!r}; expected 0 or 1 for each label"
                    )
                y[row, place] = value
        names = tuple(column.name for column in columns)
        return Answers(y, Target(task="multilabel", name=", ".join(names), class_names=names))
    column = columns[0]
    of_text = {
        text: [one for one in LABELS.split(text) if one] if text else []
        for text in [*column.cells, ""]
        if text is not None
    }
    if column.numbers:
        raise DataError(
            f"target {column.name!r}: numbers; expected labels such as 'a|b', or several columns of 0 and 1"
        )
    counts = Counter(label for labels in of_text.values() for label in labels)
    if len(counts) > MAX_CLASSES:
        raise DataError(
            f"target {column.name!r}: {len(counts)} different labels; at most {MAX_CLASSES} are taken"
        )
    names = tuple(sorted(counts))
    index = {label: place for place, label in enumerate(names)}
    texts = column.texts()
    y = np.zeros((len(texts), len(names)), np.float32)
    for row, text in enumerate(texts):
        y[row, [index[label] for label in of_text[text or ""]]] = 1.0
    return Answers(y, Target(task="multilabel", name=column.name, class_names=names))


def _values(
    column: Whole, wishes: Wishes, hint: Hint | None, where: Any
) -> tuple[np.ndarray, str | None, list[str]]:
    """(float64 values, the unit that they all have, sentences)."""
    kind, notes = column_of(column.name, column.seen, wishes, hint)
    if kind is None or kind.kind != "number":
        kind, notes = Column(name=column.name, kind="number"), []
    values, wrong = column.values(kind)
    bad = sorted({*wrong[:1], *np.flatnonzero(np.isnan(values))[:1].tolist()})
    if bad:
        text = column.texts()[bad[0]]
        if not text or text.lower() in MISSING or bad[0] not in wrong:
            count = int(np.isnan(values).sum()) - len(wrong)
            raise _without_target(where(bad[0]), column.name, max(1, count), len(values))
        raise DataError(f"{where(bad[0])}, target {column.name!r} is {text!r}; expected a number")
    large = np.flatnonzero(~(np.abs(values) <= LARGEST))
    if len(large):
        raise DataError(
            f"{where(int(large[0]))}, target {column.name!r} is {values[large[0]]:g}; expected a number between -1e300 and 1e300"
        )
    units = kind.numbers(filled(list(column.cells))).units if column.cells else Counter()
    if len(named := sorted(unit for unit in units if unit)) > 1:
        notes = [
            *notes,
            f"target {column.name!r}: values in {' and '.join(named)}; they are taken as they stand",
        ]
    return values, next(iter(units)) if len(units) == 1 and next(iter(units)) else None, notes
