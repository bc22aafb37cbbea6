"""Which rows of a table are held out: by a column that says so, by groups, by time, by a second file, or at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.data.split_names import TEST, TRAIN, VALIDATION, split_of_cell
from lepton_kit.data.splitting import split_rows
from lepton_kit.data.tables.learn import Wishes, column_of
from lepton_kit.data.tables.targets import Whole
from lepton_kit.data.tables.values import MISSING, filled
from lepton_kit.errors import DataError


@dataclass(frozen=True)
class Held:
    """Rows to train on and rows held out, int64 and ascending, and sentences about the choice."""

    train: np.ndarray
    held: np.ndarray
    notes: tuple[str, ...] = ()


def held_rows(
    columns: Mapping[str, Whole],
    options: Mapping[str, Any],
    sizes: list[int],
    labels: np.ndarray | None,
    wishes: Wishes,
    where: Callable[[int], str],
) -> Held:
    """The choice by ``options``. ``sizes``: rows of the table, and of the validation file if there is one.

    Raises `DataError` that names the row or column.
    """
    total, share, seed = sum(sizes), options["validation_split"], options["seed"]
    if len(sizes) > 1:
        if not all(sizes):
            raise DataError("the file of training rows or the one of validation rows has none")
        return Held(np.arange(sizes[0]), np.arange(sizes[0], total))
    if "split" in columns:
        return by_words(columns["split"], where)
    if "group" in columns:
        texts = columns["group"].texts()
        _whole(texts, "group", columns["group"].name, where)
        _, groups = np.unique(texts.astype(str), return_inverse=True)
        return Held(*split_rows(total, share, seed, groups=groups))
    if "time" in columns:
        return by_time(columns["time"], share, wishes, where)
    return Held(*split_rows(total, share, seed, labels=labels))


def by_words(column: Whole, where: Callable[[int], str]) -> Held:
    """Rows by what a column calls them. Where some are for validation and some for test, those for test are left alone."""
    texts = column.texts()
    kinds = {}
    for text in [*column.distinct(), None]:
        kinds[text] = split_of_cell(text or "")
    splits = np.array([kinds.get(text) or "" for text in texts])
    wrong = np.flatnonzero(splits == "")
    if len(wrong):
        raise DataError(
            f"{where(int(wrong[0]))}, column {column.name!r} is {texts[wrong[0]]!r}; expected train, validation or test"
        )
    found = {split: np.flatnonzero(splits == split) for split in (TRAIN, VALIDATION, TEST)}
    if not len(found["train"]):
        raise DataError(f"column {column.name!r} calls no row train")
    if len(found["validation"]) and len(found["test"]):
        note = f"{len(found['test'])} rows that {column.name!r} calls test are left alone"
        return Held(found["train"], found["validation"], (note,))
    return Held(found["train"], found["validation"] if len(found["validation"]) else found["test"])


def by_time(column: Whole, share: float, wishes: Wishes, where: Callable[[int], str]) -> Held:
    """The latest rows are held out; rows of one moment stay together."""
    kind, notes = column_of(column.name, column.seen, wishes, None)
    if kind is None or kind.kind not in ("number", "date"):
        raise DataError(f"column {column.name!r} holds neither dates nor numbers; expected times for time=")
    if kind.kind == "number":
        values, wrong = column.values(kind)
    else:
        days, bad = kind.days(filled(list(column.cells)))
        values, wrong = days[column.codes()], np.flatnonzero(np.isin(column.codes(), bad)).tolist()
    none = sorted({*wrong[:1], *np.flatnonzero(np.isnan(values))[:1].tolist()})
    if none:
        raise DataError(f"{where(none[0])} has no time in the column {column.name!r}")
    if not share:
        return Held(np.arange(len(values)), np.arange(0), tuple(notes))
    first = np.sort(values)[min(len(values) - 1, len(values) - max(1, round(len(values) * share)))]
    late = values >= first
    if late.all():
        late = values > first
    if late.all() or not late.any():
        raise DataError(f"column {column.name!r} has one time only: no later rows can be held out")
    return Held(np.flatnonzero(~late), np.flatnonzero(late), tuple(notes))


def _whole(texts: np.ndarray, role: str, name: str, where: Callable[[int], str]) -> None:
    for row, text in enumerate(texts):
        if text is None or text.lower() in MISSING:
            raise DataError(f"{where(row)} has no value in the {role} column {name!r}")
