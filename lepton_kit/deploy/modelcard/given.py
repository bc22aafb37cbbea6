"""A model card on rows that the caller gives, such as a test split that no choice has seen: raw input and its truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.preprocessing import Encoded, Preprocessing
from lepton_kit.data.tables.preprocessing import TablePreprocessing
from lepton_kit.deploy.modelcard.card import ModelCard, make_card
from lepton_kit.errors import DataError
from lepton_kit.models.answers import Answer

EXPECTED = "a table with the target's column, or a pair (raw input, its true classes or values)"


class Predictor(Protocol):
    """What is asked of `lepton_kit.deploy.predict.Predictor`, which imports this module."""

    preprocessing: Preprocessing
    answers: tuple[Answer, ...]
    about: tuple[str, ...]

    def encode(self, raw: Any) -> Encoded: ...
    def outputs(self, split: Split) -> list[np.ndarray]: ...


def card_on(
    predictor: Predictor,
    on: Any,
    prepared: PreparedData | None,
    name: str,
    *,
    configuration: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> ModelCard:
    """The card of a model on given rows; ``prepared`` are the data that it was trained on, where they are known."""
    raw, truth = parts(predictor.preprocessing, on)
    encoded = predictor.encode(raw)
    y = predictor.preprocessing.target.encoded(truth)
    if len(y) != len(encoded.names):
        raise DataError(f"on: {len(encoded.names)} inputs and {len(y)} true answers; expected as many")
    if encoded.x is None:
        raise DataError(
            f"on: no input could be read; the first: {next(iter(encoded.problems.values()), 'none')}"
        )
    given = Split(encoded.x, y[encoded.rows])
    return make_card(
        name,
        predictor.outputs(given),
        _with(prepared, given, encoded, predictor.preprocessing),
        predictor.preprocessing,
        predictor.answers,
        configuration=configuration,
        step=step,
        limits=[*predictor.about, *_told(encoded)],
        split="given",
    )


def parts(how: Preprocessing, on: Any) -> tuple[Any, Any]:
    """(raw input, true answers) of what the caller gave. Raises `DataError`."""
    if isinstance(on, tuple) and len(on) == 2:
        return on
    if not isinstance(how, TablePreprocessing):
        raise DataError(f"on: a {type(on).__name__}; expected a pair (raw input, its true classes or values)")
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


def _with(prepared: PreparedData | None, given: Split, encoded: Encoded, how: Preprocessing) -> PreparedData:
    names = [f"row {encoded.names[row]}" for row in encoded.rows]
    if prepared is not None:
        details = {**prepared.details, "validation_names": names}
        return dataclasses.replace(prepared, validation=given, details=details)
    classes = how.target.class_names
    return PreparedData(
        train=Split(given.x[:0] if isinstance(given.x, np.ndarray) else given.x),
        validation=given,
        task=how.target.task,
        class_names=classes,
        feature_names=how.feature_names if isinstance(how, TablePreprocessing) else None,
        details={"validation_names": names},
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
