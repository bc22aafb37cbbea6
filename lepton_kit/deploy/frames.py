"""What a prediction is given back as: a pandas frame with one row an input, in order, also for what can't be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_kit.data.preprocessing import Preprocessing, Target
from lepton_kit.errors import DataError
from lepton_kit.models.answers import Answer

if TYPE_CHECKING:
    import pandas as pd

PROBLEM = "problem"
OF_INPUT = "_of_input"
"""What a column of ours ends with where the target has its name."""
MOST_VALUES = 64
"""Values of an output that become columns of their own; more stay one array a row."""


def columns(
    answer: Answer, target: Target, outputs: np.ndarray, prefix: str = "", top: int | None = None
) -> dict[str, Any]:
    """Columns for the outputs of some samples, rows first.

    Classification: ``class``, ``probability`` (of that class) and ``probability_NAME`` for each class, or ``score``
    where the loss knows no probabilities; with ``top`` the likeliest classes instead of one column for each: `ranked`.
    Several labels: ``labels`` (those above one half) and one probability each.
    Regression: the value in the target's unit, under the target's name or ``value``; several under their own names,
    or with a number each. Places, such as pixels:
    ``class`` holds an array of class numbers a row. Other: ``output`` holds an array a row.
    """
    if answer.task in ("classification", "multilabel"):
        found = answer.probabilities(outputs)
        word, each = ("score", answer.scores(outputs)) if found is None else ("probability", found)
        chosen = answer.classes(outputs)
        if answer.task == "classification" and chosen.ndim > 1:
            kind = np.uint8 if each.shape[-1] <= 256 else np.int32
            return {f"{prefix}class": _objects(chosen.astype(kind)), f"{prefix}{word}": _mean_of_best(each)}
        names = [answer.label(number) for number in range(each.shape[-1])]
        if answer.task == "classification" and top is not None:
            return {f"{prefix}{name}": values for name, values in ranked(names, each, word, top).items()}
        if answer.task == "classification":
            labels = _named(names, chosen)
            made = {f"{prefix}class": labels, f"{prefix}{word}": each.max(axis=-1)}
            return made | {f"{prefix}{word}_{name}": each[:, k] for k, name in enumerate(names)}
        if each.ndim > 2:
            return {f"{prefix}output": _objects(each.astype(np.float32))}
        told = np.empty(len(each), object)
        told[:] = [", ".join(str(names[k]) for k in np.flatnonzero(row)) for row in chosen]
        made = {f"{prefix}labels": told}
        return made | {f"{prefix}{word}_{name}": each[:, k] for k, name in enumerate(names)}
    if answer.task == "regression":
        values = target.values(outputs)
        values = values[:, None] if values.ndim == 1 else values
        name = target.name or "value"
        if values.ndim == 2 and values.shape[1] == 1:
            return {f"{prefix}{name}": values[:, 0]}
        if values.ndim == 2 and values.shape[1] <= MOST_VALUES:
            own = name.split(", ")  # as a table with several targets joins them
            if len(own) != values.shape[1] or len(set(own)) < len(own):
                own = [f"{name}_{k}" for k in range(values.shape[1])]
            return {f"{prefix}{one}": values[:, k] for k, one in enumerate(own)}
        return {f"{prefix}{name}": _objects(values)}
    if np.ndim(outputs) == 2 and np.shape(outputs)[1] <= MOST_VALUES:
        return {f"{prefix}output_{k}": np.asarray(outputs)[:, k] for k in range(np.shape(outputs)[1])}
    return {f"{prefix}output": _objects(np.asarray(outputs))}


def numbers(answer: Answer, target: Target, outputs: np.ndarray) -> np.ndarray:
    """The numbers that `columns` holds of some samples, as one array: probabilities or scores, values in the target's
    unit, or the outputs as they are.

    >>> numbers(Answer(task="classification", link="sigmoid"), Target(), np.array([[0.0]])).tolist()
    [[0.5, 0.5]]
    """
    if answer.task in ("classification", "multilabel"):
        found = answer.probabilities(outputs)
        return answer.scores(outputs) if found is None else found
    return target.values(outputs) if answer.task == "regression" else outputs


def ranked(names: list[Any], each: np.ndarray, word: str, top: int) -> dict[str, Any]:
    """The ``top`` likeliest classes of each row, best first: ``class``, ``probability``, and so on.

    >>> found = ranked(["a", "b", "c"], np.array([[0.2, 0.7, 0.1]]), "probability", 2)
    >>> {name: values.tolist() for name, values in found.items()}
    {'class': ['b'], 'probability': [0.7], 'class_2': ['a'], 'probability_2': [0.2]}
    """
    order = np.argsort(-each, axis=-1, kind="stable")[:, :top]
    found: dict[str, Any] = {}
    for place in range(order.shape[1]):
        ending = f"_{place + 1}" if place else ""
        found[f"class{ending}"] = _named(names, order[:, place])
        found[f"{word}{ending}"] = np.take_along_axis(each, order[:, place : place + 1], axis=-1)[:, 0]
    return found


def free(name: str, taken: Collection[Any]) -> str:
    """A name for a column of ours beside those of the targets.

    >>> free("problem", ["price"]), free("problem", ["problem"])
    ('problem', 'problem_of_input')
    """
    while name in taken:
        name += OF_INPUT
    return name


def frame(
    names: Sequence[Any],
    rows: np.ndarray,
    made: Mapping[str, Any],
    problems: Mapping[int, str],
    notes: Sequence[str] = (),
) -> pd.DataFrame:
    """One row an input: ``made`` holds values for the inputs at ``rows``; the others are missing.

    ``problem`` says why, if there is any (``problem_of_input`` where a target is named ``problem``, which a note then
    says); ``frame.attrs["notes"]`` are the notes.

    >>> frame(["a", "b"], np.array([1]), {"value": np.array([3.0])}, {0: "no image"})["problem"]["a"]
    'no image'
    """
    import pandas as pd

    filled = {}
    for name, values in made.items():
        filled[name] = values if len(rows) == len(names) else _spread(values, rows, len(names))
    table = pd.DataFrame(filled, index=pd.Index(list(names)))
    if problems:
        told = np.full(len(names), None, object)
        for place, why in problems.items():
            told[place] = why
        column = free(PROBLEM, table.columns)
        table[column] = told
        if column != PROBLEM:
            notes = [*notes, f"{PROBLEM!r} is the target, so why an input can't be read stands in {column!r}"]
    table.attrs["notes"] = list(notes)
    return table


def fields(how: Preprocessing) -> pd.DataFrame:
    """The fields of a row as the training rows had them: kind, low, high, typical, choices, unit, may be missing.

    Raises `DataError` for input without fields, such as images.
    """
    import pandas as pd

    found = how.row_fields()
    if not found:
        raise DataError(f"inputs: a model of {how.kind} takes no fields; those of a table have some")
    names = ("kind", "low", "high", "typical", "choices", "unit", "may_be_missing")
    rows = {one.name: [getattr(one, name) for name in names] for one in found}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(names), dtype=object)
    table["choices"] = [", ".join(choices) for choices in table["choices"]]
    table = table.where(table.notna(), "")
    return table.rename_axis("field").rename(columns={"may_be_missing": "may be missing"})


def _spread(values: np.ndarray, rows: np.ndarray, count: int) -> Any:
    """Values at their rows, the other rows missing; whole numbers stay whole."""
    import pandas as pd

    if values.dtype.kind in "iu":
        whole = pd.array([None] * count, dtype="Int64")
        whole[rows] = values
        return whole
    spread = np.full(count, np.nan) if values.dtype.kind == "f" else np.full(count, None, object)
    spread[rows] = values
    return spread


def _named(names: list[Any], chosen: np.ndarray) -> np.ndarray:
    if all(isinstance(name, int) for name in names):
        return chosen
    known = np.empty(len(names), object)
    known[:] = names
    result: np.ndarray = known[chosen]
    return result


def _mean_of_best(each: np.ndarray) -> np.ndarray:
    result: np.ndarray = each.max(axis=-1).mean(axis=tuple(range(1, each.ndim - 1)))
    return result


def _objects(values: np.ndarray) -> np.ndarray:
    found = np.empty(len(values), object)
    for row, value in enumerate(values):
        found[row] = value
    return found
