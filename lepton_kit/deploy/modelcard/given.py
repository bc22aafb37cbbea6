"""A predictor's model card: on what was held out, or on rows that the caller gives with their truth, such as a test split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lepton_kit.data.checks import same_kind
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.preprocessing import Encoded, Preprocessing
from lepton_kit.data.tables.preprocessing import TablePreprocessing
from lepton_kit.deploy.modelcard.card import ModelCard, make_card
from lepton_kit.errors import DataError
from lepton_kit.models.answers import Answer

EXPECTED = "a table with the target's column, a pair (raw input, its true classes or values), or a data set"
SHOWN = 8


class Predictor(Protocol):
    """What is asked of `lepton_kit.deploy.predict.Predictor`, which imports this module."""

    preprocessing: Preprocessing
    answers: tuple[Answer, ...]
    about: tuple[str, ...]

    def encode(self, raw: Any) -> Encoded:
        """Raw input as the model takes it."""

    def outputs(self, split: Split) -> list[np.ndarray]:
        """What the model answers to a split, one array an output."""


def card_of(
    predictor: Predictor,
    prepared: PreparedData | None,
    name: str,
    *,
    on: Any = None,
    configuration: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> ModelCard:
    """The card of a model ``on`` given rows, else on the validation split of ``prepared``.

    These are the data that it was trained on; None where they are not known. Raises `DataError` for rows without a truth.
    """
    judged, told = prepared, list[str]()
    if on is not None:
        judged, told = _with_given(predictor, on, prepared)
    held = judged.validation if judged is not None else None
    return make_card(
        name,
        predictor.outputs(held) if held is not None and len(held) else None,
        judged,
        predictor.preprocessing,
        predictor.answers,
        configuration=configuration,
        step=step,
        limits=[*predictor.about, *told],
        split="validation" if on is None else "given",
    )


def _with_given(
    predictor: Predictor, on: Any, prepared: PreparedData | None
) -> tuple[PreparedData, list[str]]:
    """The data with the given rows in the place of the validation split, and what was done with them."""
    told: list[str] = []
    if hasattr(on, "prepare") or isinstance(on, PreparedData):
        given, names = _of_data_set(on, predictor.preprocessing.target.class_names)
    else:
        given, names, told = _of_rows(predictor, on, prepared)
    judged = _with(prepared, given, names, predictor.preprocessing)
    if prepared is not None:
        for role in ("x", "y"):
            same_kind(getattr(prepared.train, role), getattr(given, role), role)
    return judged, told


def _of_rows(
    predictor: Predictor, on: Any, prepared: PreparedData | None
) -> tuple[Split, list[str], list[str]]:
    """Raw rows with their truth as samples, a name for each, and what was done with them."""
    raw, truth = parts(predictor.preprocessing, on)
    encoded = predictor.encode(raw)
    y = predictor.preprocessing.target.encoded(truth)
    if len(y) != len(encoded.names):
        raise DataError(f"on: {len(encoded.names)} inputs and {len(y)} true answers; expected as many")
    if encoded.x is None:
        raise DataError(
            f"on: no input could be read; the first: {next(iter(encoded.problems.values()), 'none')}"
        )
    learned = prepared.train.y.shape[1:] if prepared and isinstance(prepared.train.y, np.ndarray) else None
    if learned is not None and learned in ((*y.shape[1:], 1), y.shape[1:-1]):
        y = y.reshape(len(y), *learned)  # a column of numbers, or the numbers
    return (
        Split(encoded.x, y[encoded.rows]),
        [f"row {encoded.names[row]}" for row in encoded.rows],
        _told(encoded),
    )


def _of_data_set(on: Any, learned: tuple[str, ...] | None) -> tuple[Split, list[str] | None]:
    """The validation split of a data set, and the names of its samples where they have any."""
    found = on if isinstance(on, PreparedData) else on.prepare()
    if found.validation is None or not len(found.validation):
        raise DataError("on: this data set holds out nothing; give one with a validation split, or a pair")
    if found.class_names != learned:
        raise DataError(
            f"on: the classes are {_classes(found.class_names)}; the run learned {_classes(learned)}"
        )
    return found.validation, found.details.get("validation_names")


def _classes(names: tuple[str, ...] | None) -> str:
    if names is None:
        return "without names"
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def parts(how: Preprocessing, on: Any) -> tuple[Any, Any]:
    """(raw input, true answers) of what the caller gave. Raises `DataError`."""
    if isinstance(on, tuple) and len(on) == 2:
        return on
    if not isinstance(how, TablePreprocessing):
        raise DataError(
            f"on: a {type(on).__name__}; expected a pair (raw input, its true classes or values), or a data set"
        )
    if not isinstance(on, str | Path) and not hasattr(on, "columns") and not isinstance(on, list | dict):
        raise DataError(f"on: a {type(on).__name__}; expected {EXPECTED}")
    table = how.table(on)
    name = how.target.name or ""
    names = [name] if name in table.names else name.split(", ")
    for one in names:
        if one not in table.names:
            raise DataError(
                f"{table.source}: no column {one!r}, the target; it has {', '.join(table.names[:20])}"
            )
    found = [np.concatenate([chunk.columns[one] for chunk in table.chunks()]) for one in names]
    return on, found[0] if len(found) == 1 else np.stack(found, axis=1)


def _with(
    prepared: PreparedData | None, given: Split, names: list[str] | None, how: Preprocessing
) -> PreparedData:
    """The data of the run with the given samples in the place of its validation split."""
    details: dict[str, Any] = {"held_out": "the given samples"}
    details |= {} if names is None else {"validation_names": names}
    if prepared is not None:
        kept = {name: one for name, one in prepared.details.items() if name != "validation_names"}
        return dataclasses.replace(prepared, validation=given, details=kept | details)
    return PreparedData(
        train=Split(given.x[:0] if isinstance(given.x, np.ndarray) else given.x),
        validation=given,
        task=how.target.task,
        class_names=how.target.class_names,
        feature_names=how.feature_names if isinstance(how, TablePreprocessing) else None,
        details=details,
        preprocessing=how,
    )


def _told(encoded: Encoded) -> list[str]:
    lines = [
        f"Given rows, {text} ({count:,} of {len(encoded.names):,})." for text, count in encoded.notes.items()
    ]
    if encoded.problems:
        row, why = next(iter(encoded.problems.items()))
        lines.append(
            f"{len(encoded.problems):,} of {len(encoded.names):,} given rows could not be read and do not count; the "
            f"first is row {encoded.names[row]}: {why}."
        )
    return lines
