"""Targets as classes: text labels, whole numbers that do not start at 0, one-hot rows; one set of rules for all arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.data.convert import TEXT, texts
from lepton_kit.errors import ConfigError, DataError

TASKS = ("classification", "multilabel", "regression")
KEEP = "keep"
"""In place of a task: every number stays as it is given, which is what Keras' `fit` does."""
MAX_CLASSES_OF_NUMBERS = 20
"""Floating point of so many different whole numbers may be meant as classes, which is said."""
SHOWN = 10


@dataclass(frozen=True)
class Classes:
    """The names of the classes and, where labels are mapped, the label of each."""

    names: tuple[str, ...] | None
    values: tuple[Any, ...] | None = None


def check_task(task: str | None) -> None:
    """Raise `ConfigError` for a task that there is none of."""
    if task is not None and task not in TASKS:
        raise ConfigError("data.task", given=task, rule=f"one of {', '.join(TASKS)}, or none to find out")


def find(y: np.ndarray, names: Sequence[str] | None, task: str | None, name: str) -> Classes:
    """How the labels ``y`` become class numbers: sorted, unless ``names`` says the order of text labels.

    Whole numbers stay as they are unless classes are asked for: only the loss of a model tells what they are.

    >>> find(np.array([3, 1, 3]), None, "classification", "y")
    Classes(names=('1', '3'), values=(1, 3))
    >>> find(np.array([3, 1, 3]), None, None, "y")
    Classes(names=None, values=None)
    """
    given = tuple(names) if names is not None else None
    single = y.ndim == 1 or y.shape[1:] == (1,)
    if y.dtype.kind in TEXT:
        if task == "regression":
            raise DataError(f"{name}: text, but task='regression' needs numbers")
        if not single:
            raise DataError(f"{name}: text of shape {y.shape}; expected one label a row")
        found = tuple(str(one) for one in np.unique(texts(y.reshape(-1))))
        return Classes(given or found, given or found)
    if task == KEEP or task in ("regression", "multilabel") or not single or y.dtype.kind not in "biuf":
        return Classes(given)
    if y.dtype.kind == "f":
        if task != "classification":
            return Classes(given)
        if not np.all(y == np.round(y)):
            row = int(np.flatnonzero(y.reshape(-1) != np.round(y.reshape(-1)))[0])
            raise DataError(
                f"{name}: row {row} is {y.reshape(-1)[row]}, but task='classification' needs whole numbers or text"
            )
    if task != "classification" and given is None:
        return Classes(None)
    values = np.unique(y)
    dense = values[0] == 0 and (values[-1] == len(values) - 1 or task is None)
    in_range = given is not None and values[0] >= 0 and values[-1] < len(given)
    if (dense or in_range) and y.dtype.kind != "f":
        return Classes(given)
    if given is not None and not in_range and len(given) != len(values):
        return Classes(given)  # refused where the range of labels is checked
    if in_range:
        return Classes(given, tuple(range(len(given or ()))))
    plain = tuple(int(one) for one in values)
    return Classes(given or tuple(map(str, plain)), plain)


def numbers(y: np.ndarray, classes: Classes, name: str) -> np.ndarray:
    """The labels as class numbers, int32, where they are mapped. Raises `DataError` for one without a class."""
    if classes.values is None:
        return y
    known = classes.values
    found, member = np.unique(
        texts(y.reshape(-1)) if y.dtype.kind in TEXT else y.reshape(-1), return_inverse=True
    )
    index = {value: place for place, value in enumerate(known)}
    for place, one in enumerate(found.tolist()):
        if one not in index:
            row = int(np.flatnonzero(member == place)[0])
            raise DataError(
                f"{name}: row {row} has the label {one!r}; allowed: {', '.join(map(str, known[:SHOWN]))}"
            )
    mapped = np.array([index[one] for one in found.tolist()], np.int32)
    return mapped[member.reshape(-1)].reshape(y.shape)


def said(y: np.ndarray, classes: Classes, task: str | None, name: str) -> str | None:
    """A sentence on what was done with labels, or on what they might be."""
    if classes.values is not None and y.dtype.kind not in TEXT:
        shown = ", ".join(map(str, classes.values[:SHOWN])) + (", …" if len(classes.values) > SHOWN else "")
        if tuple(classes.values) == tuple(range(len(classes.values))):
            return None
        return f"{name}: the labels {shown} are stored as classes 0 to {len(classes.values) - 1}"
    if task is None and y.dtype.kind == "f" and (y.ndim == 1 or y.shape[1:] == (1,)):
        different = np.unique(y)
        if len(different) <= MAX_CLASSES_OF_NUMBERS < len(y) and np.all(different == np.round(different)):
            return (
                f"{name}: floating point of {len(different)} different whole numbers is taken for a regression; "
                "for classes give task='classification'"
            )
    return None


def flags(pieces: Iterable[np.ndarray]) -> tuple[bool, bool]:
    """(whether all is 0 or 1, whether each row has one 1) of targets of shape ``(rows, classes)``, read piecewise.

    >>> flags([np.eye(3)]), flags([np.ones((2, 2))]), flags([np.full((2, 2), 0.5)])
    ((True, True), (True, False), (False, False))
    """
    one_hot = True
    for piece in pieces:
        if not np.all((piece == 0) | (piece == 1)):
            return False, False
        one_hot = one_hot and bool(np.all(piece.astype(np.int64, copy=False).sum(1) == 1))
    return True, one_hot


def task_of_flags(pieces: Iterable[np.ndarray], task: str | None, name: str) -> str | None:
    """classification for one-hot rows, multilabel where that was asked for, None for other targets of two axes."""
    binary, one_hot = flags(pieces)
    if task == "multilabel" and not binary:
        raise DataError(f"{name}: task='multilabel' needs targets of 0 and 1, one a class")
    if task == "classification" and not one_hot:
        raise DataError(f"{name}: task='classification' needs one label a row, or rows with one 1 (one-hot)")
    if task == "multilabel":
        return task
    return "classification" if one_hot and task != "regression" else None
