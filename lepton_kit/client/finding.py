"""Finding and sorting runs: pure functions over the rows of their table."""

from __future__ import annotations

import difflib
import fnmatch
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lepton_kit.errors import ConfigError

Row = Mapping[str, Any]
SEARCHED = ("id", "name", "status", "tags", "note", "cause", "problem")
_WORDS = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_TERM = re.compile(r"(\w+)(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "%": 0.01, "k": 1e3, "M": 1e6}
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-Z%]*)")
ALIASES = {"time": "seconds", "tag": "tags", "state": "status"}
"""Other words for columns."""


@dataclass(frozen=True)
class Term:
    """A part of a query: a word that is searched for, or a condition on a column."""

    value: str
    column: str | None = None
    operator: str = ""


def terms(query: str) -> tuple[Term, ...]:
    """The parts of a query; all of them have to hold.

    >>> terms('conv val_accuracy>=95% note="good one"')[1:]
    (Term(value='95%', column='val_accuracy', operator='>='), Term(value='good one', column='note', operator='='))
    """
    found = []
    for word in _WORDS.findall(query):
        condition = _TERM.fullmatch(word)
        if condition:
            column, sign, value = condition.groups()
            found.append(Term(value.replace('"', ""), ALIASES.get(column, column), sign))
        else:
            found.append(Term(word.replace('"', "")))
    return tuple(found)


def matching(rows: Sequence[Row], query: str) -> list[int]:
    """Which rows fit a query. Raises `ConfigError` for a column that no row has, or a value that is no number.

    A word is looked for in id, name, status, tags, note and cause. A condition is a column, one of ``= != < <= > >=`` and a
    value: of texts without regard to case, with ``*`` for anything; of numbers with a unit if need be.

    >>> rows = [{"id": "a-1", "loss": 0.2, "tags": "wide, old"}, {"id": "b-1", "loss": None, "tags": ""}]
    >>> matching(rows, "loss<1"), matching(rows, "b"), matching(rows, "tag=old"), matching(rows, "loss!=1")
    ([0], [1], [0], [0, 1])
    """
    wanted = terms(query)
    known = columns(rows)
    for term in wanted:
        if term.column is not None and rows:
            _check_column("query", term.column, known)
    return [place for place, row in enumerate(rows) if all(_fits(row, term) for term in wanted)]


def ordered(rows: Sequence[Row], column: str) -> list[int]:
    """The order of rows by a column, upwards, or downwards after a ``-``; what is unknown comes last.

    Raises `ConfigError` for a column that no row has.

    >>> (
    ...     ordered([{"loss": 0.2}, {"loss": None}, {"loss": 0.1}], "loss"),
    ...     ordered([{"n": "a"}, {"n": "b"}], "-n"),
    ... )
    ([2, 0, 1], [1, 0])
    """
    down, name = column.startswith("-"), column.lstrip("-+")
    name = ALIASES.get(name, name)
    if rows:
        _check_column("sort", name, columns(rows))
    known = [place for place, row in enumerate(rows) if not unknown(row.get(name))]
    texts = any(isinstance(rows[place][name], str) for place in known)
    key = (lambda place: str(rows[place][name]).casefold()) if texts else (lambda place: rows[place][name])
    known.sort(key=key, reverse=down)
    return known + [place for place in range(len(rows)) if unknown(rows[place].get(name))]


def columns(rows: Sequence[Row]) -> list[str]:
    """All columns that any row has, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def unknown(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(text: str) -> float | None:
    """A number with a unit if it has one, such as ``95%`` or ``2min``; None if it is none.

    >>> number("95%"), number("2 min"), number("1e-3"), number("soon"), number("3 apples")
    (0.95, 120.0, 0.001, None, None)
    """
    found = _NUMBER.fullmatch(text.strip())
    if not found or (found[2] and found[2] not in _UNITS):
        return None
    if found[2] == "%":
        return float(found[1]) / 100  # times 0.01 would be 0.9500000000000001
    return float(found[1]) * _UNITS.get(found[2], 1)


def _check_column(field: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"{near[0]!r}, perhaps? " if near else ""
        raise ConfigError(field, given=name, rule=f"{hint}one of the columns {', '.join(known)}")


def _fits(row: Row, term: Term) -> bool:
    if term.column is None:
        return any(term.value.casefold() in str(row.get(name) or "").casefold() for name in SEARCHED)
    value = row.get(term.column)
    if term.operator in _COMPARE:
        return _compared(value, term)
    return _equals(value, term) == (term.operator == "=")


def _compared(value: Any, term: Term) -> bool:
    if isinstance(value, str):
        return _COMPARE[term.operator](value.casefold(), term.value.casefold())
    asked = number(term.value)
    if asked is None:
        raise ConfigError(
            f"query: {term.column}{term.operator}", given=term.value, rule="a number, such as 0.9 or 90%"
        )
    return not unknown(value) and _COMPARE[term.operator](value, asked)


def _equals(value: Any, term: Term) -> bool:
    if unknown(value):
        return term.value == ""
    if not isinstance(value, str):
        asked = number(term.value)
        return asked is not None and math.isclose(value, asked, rel_tol=1e-9, abs_tol=1e-12)
    parts = [part.strip() for part in value.split(",")] if term.column == "tags" else [value]
    return any(fnmatch.fnmatchcase(part.casefold(), term.value.casefold()) for part in parts)
