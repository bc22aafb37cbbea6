"""The columns of a trained table as fields that a person fills in: their kind, range, choices and usual value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Input
from lepton_kit.data.tables.columns import Column


def field_of(column: Column) -> Input:
    """What the training rows had in a column.

    >>> field_of(
    ...     Column(name="heated", kind="boolean", spelling=("no", "yes"), low=0, high=1, middle=1.0)
    ... ).typical
    'yes'
    """
    about: dict[str, Any] = {"name": column.name, "may_be_missing": column.flag}
    ends: dict[str, Any]
    if column.kind == "number":
        unit = column.units[0] if len(column.units) == 1 else ""
        ends = {"low": _number(column, column.low), "high": _number(column, column.high)}
        return Input(kind="number", unit=unit, typical=_number(column, column.middle), **ends, **about)
    if column.kind == "date":
        ends = {"low": _moment(column, column.low), "high": _moment(column, column.high)}
        return Input(kind="date", typical=_moment(column, column.middle), **ends, **about)
    if column.kind == "boolean":
        choices = column.spelling or ("false", "true")
        typical = None if column.middle is None else choices[column.middle > 0.5]
        return Input(kind="boolean", choices=choices, typical=typical, **about)
    if column.kind == "category":
        return Input(kind="category", choices=column.categories, typical=column.frequent, **about)
    return Input(kind="text", **about)


def _number(column: Column, value: float | None) -> float | int | None:
    if value is None or not column.whole or abs(value) > 2**53:
        return value
    return int(value) if value == int(value) else value


def _moment(column: Column, days: float | None) -> str | None:
    """Days since 1970 as the training rows spelt dates, so that it can be read again."""
    if days is None:
        return None
    moment = datetime(1970, 1, 1) + timedelta(days=days)
    if column.format not in (None, "ISO8601"):
        return moment.strftime(column.format)
    return moment.isoformat(timespec="seconds") if column.hours else moment.date().isoformat()


def told(columns: Sequence[Column], sample: np.ndarray, most: int = 6) -> str:
    """The cells of an encoded row that stand out most, in the columns' own values.

    >>> columns = [
    ...     Column(name="age", kind="number", mean=40.0, scale=10.0, whole=True),
    ...     Column(name="job", kind="category", categories=("fixed", "others")),
    ... ]
    >>> told(columns, np.array([-2.0, 0, 1]))
    'age 20, job others'
    """
    found, place = [], 0
    for column in columns:
        width = len(column.features)
        block = np.asarray(sample[place : place + width], np.float64)
        found.append((float(np.abs(block).max()), f"{column.name} {_cell(column, block)}"))
        place += width
    order = sorted(range(len(found)), key=lambda k: (-found[k][0], k))[:most]
    return ", ".join(found[k][1] for k in order)


def _cell(column: Column, block: np.ndarray) -> str:
    if column.flag and block[-1] == 1:
        return "missing"
    if column.kind == "number":
        value = column.mean + column.scale * block[0]
        return str(round(value)) if column.whole else f"{value:.6g}"
    if column.kind == "date":
        return str(_moment(column, column.mean + column.scale * block[0]))
    if column.kind == "boolean":
        return (column.spelling or ("false", "true"))[bool(block[0] > 0.5)]
    chosen = np.flatnonzero(block[: len(block) - column.flag])
    if column.kind == "category" and len(chosen):
        return str(column.categories[chosen[0]])
    return "hashed" if column.kind == "hash" else "none of the known"
