"""The columns of a table as they are understood: kind, missing values, examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lepton_kit.data.describe.checks import is_id
from lepton_kit.data.describe.description import Column
from lepton_kit.data.describe.frames import look_of
from lepton_kit.data.describe.guess import WORDS_OF_A_TEXT
from lepton_kit.data.tables.values import MISSING

EXAMPLES = 3
LONGEST = 28
MOSTLY_MISSING = 0.5


def column_of(values: Any, name: str, kind: str) -> Column:
    """A pandas Series as a `Column`; ``kind`` is how a table reads it: number, boolean, date, category or empty.

    >>> import pandas as pd
    >>> column_of(pd.Series([1.5, None, 2.5, 2.5]), "size", "number")
    Column(name='size', kind='number', missing=1, distinct=2, examples=('1.5', '2.5'))
    """
    known = values.dropna()
    distinct = known.unique().tolist()
    examples = tuple(_short(value) for value in known.drop_duplicates().head(EXAMPLES))
    found = _kind(values, known, len(distinct), name, kind)
    return Column(name, found, len(values) - len(known), len(distinct), examples)


def columns_of(frame: Any) -> tuple[Column, ...]:
    """Every column of a frame of `head`."""
    kinds = look_of(frame).kinds
    return tuple(column_of(frame[name], str(name), kinds[str(name)]) for name in frame.columns)


def with_classes(column: Column, classes: Sequence[str]) -> Column:
    """The target's column as its classes were read: from all rows, and with words such as NA where they are a class.

    >>> with_classes(Column("label", "constant", 40, 1, ("yes",)), ["NA", "yes"])
    Column(name='label', kind='category', missing=0, distinct=2, examples=('NA', 'yes'))
    """
    is_class = any(name.strip().lower() in MISSING for name in classes)
    if not is_class and column.kind != "constant":
        return column
    missing = 0 if is_class else column.missing
    shown = tuple(_short(name) for name in classes[:EXAMPLES])
    return replace(column, kind="category", missing=missing, distinct=len(classes), examples=shown)


def findings(columns: Sequence[Column], rows: int, target: str | None) -> list[str]:
    """What looks wrong in the columns beside the target."""
    beside = [one for one in columns if one.name != target]
    sentences = []
    for kind, why in (
        ("constant", "the same value in every row teaches nothing"),
        ("empty", "no row has a value"),
        ("id", "different in every row, so that a model can only learn it by heart"),
    ):
        found = [repr(one.name) for one in beside if one.kind == kind]
        if found:
            sentences.append(f"{', '.join(found[:8])}{' …' if len(found) > 8 else ''}: {why}")
    sparse = [one for one in beside if one.kind != "empty" and one.missing > MOSTLY_MISSING * rows]
    if sparse:
        told = ", ".join(f"{one.name!r} ({100 * one.missing / rows:.0f} %)" for one in sparse[:8])
        sentences.append(f"more than half of the values are missing: {told}")
    return sentences


def _kind(values: Any, known: Any, distinct: int, name: str, kind: str) -> str:
    if not len(known):
        return "empty"
    if distinct == 1 and len(values) > 1:
        return "constant"
    if kind in ("boolean", "date"):
        return {"boolean": "yes/no"}.get(kind, kind)
    if is_id(known, name):
        return "id"
    if kind == "number":
        return kind
    texts = [str(value) for value in known.head(500)]
    prose = sum(len(text.split()) for text in texts) / len(texts) > WORDS_OF_A_TEXT
    return "text" if prose and distinct > len(known) / 2 else "category"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value).removesuffix(" 00:00:00")
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
