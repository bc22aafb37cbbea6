"""`Preprocessing`: what turns raw input into samples and outputs into words; kept with a run and with every export."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from lepton_kit.data.structure import Arrays
from lepton_kit.errors import DataError
from lepton_kit.rundir.reading import read_mapping
from lepton_kit.specs import Section

VERSION = 1
SIDECAR = "preprocessing.json"
"""The file beside a model that holds its preprocessing."""

KINDS = {
    "arrays": ("array_input", "ArraysPreprocessing"),
    "images": ("images.preprocessing", "ImagePreprocessing"),
    "table": ("tables.preprocessing", "TablePreprocessing"),
    "text": ("texts.preprocessing", "TextPreprocessing"),
    "windows": ("series.preprocessing", "WindowsPreprocessing"),
}
"""Kind of a preprocessing -> the module of this room that has it, and its class there."""


class Target(Section):
    """What an output stands for.

    ``classification``: a probability a class, or one number for the second of two; ``multilabel``: an independent
    probability a class; ``regression``: the value is ``mean + scale * output``, in ``unit``; ``other``: as it is.

    >>> Target(task="regression", name="price", mean=(200.0,), scale=(50.0,)).values(
    ...     np.array([[1.0]])
    ... ).tolist()
    [[250.0]]
    """

    task: Literal["classification", "multilabel", "regression", "other"] = "other"
    name: str | None = None
    class_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    unit: str | None = None

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of a regression, shape ``(n, values)``, in the target's own unit, float64."""
        plain = np.asarray(outputs, np.float64)
        if self.scale is not None:
            plain = plain * np.array(self.scale)
        return plain + np.array(self.mean) if self.mean is not None else plain

    def encoded(self, truth: Any) -> np.ndarray:
        """True answers as training had them, in the shape that they are given in: int32 class numbers, or float32 values
        that are standardised alike.

        Classes are given by name, or all by number. Raises `DataError` that names the first answer which is neither.

        >>> Target(task="classification", class_names=("bad", "good")).encoded(["good", "bad"]).tolist()
        [1, 0]
        """
        try:
            given = np.asarray(truth)
        except ValueError as failure:
            raise DataError(
                f"true answers: {failure}; expected one answer an input, all of one form"
            ) from None
        if self.task == "classification" and self.class_names is not None:
            import pandas as pd

            place = {name: number for number, name in enumerate(self.class_names)}
            where, distinct = pd.factorize(given.ravel(), use_na_sentinel=False)
            codes = [place.get(_text(name)) for name in distinct]
            if given.dtype.kind in "biu" and not any(code is not None for code in codes):
                codes = [int(one) if 0 <= one < len(place) else None for one in distinct]
            if None in codes:
                wrong = int(np.flatnonzero(where == codes.index(None))[0])
                raise DataError(
                    f"true answer {wrong}: {given.ravel()[wrong]!s}; expected one of the classes "
                    f"{', '.join(self.class_names[:20])}, or their numbers"
                )
            return np.array(codes, np.int32)[where].reshape(given.shape)
        try:
            values = given.astype(np.float64)
        except (TypeError, ValueError):
            wrong, value = next((k, one) for k, one in enumerate(given.ravel()) if not _is_number(one))
            row = wrong // max(1, given[:1].size)
            raise DataError(f"true answer {row}: {value!s}; expected a number") from None
        missing = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        if len(missing):
            raise DataError(f"true answer {missing[0]} is {given[missing[0]]}; expected a number")
        if self.task == "classification":
            return values.astype(np.int32)
        if self.mean is not None:
            values = (values - np.array(self.mean).squeeze()) / np.array(self.scale).squeeze()
        return values.astype(np.float32)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _text(value: Any) -> str:
    """A class as its name: whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@dataclass(frozen=True)
class Input:
    """One field of raw input, as the training rows had it: what a form or a check of new rows needs to know.

    ``choices`` are the known texts of a category or the two of a boolean; ``low`` and ``high`` the ends of numbers and
    of dates (ISO text); ``typical`` the median, of texts the most frequent one. None where an older version stored
    the preprocessing. ``may_be_missing``: training rows lacked it, so the model has learned what that means.
    """

    name: str
    kind: Literal["number", "date", "boolean", "category", "text"]
    choices: tuple[str, ...] = ()
    low: float | str | None = None
    high: float | str | None = None
    typical: float | str | None = None
    unit: str = ""
    may_be_missing: bool = False


@dataclass(frozen=True, eq=False)
class Encoded:
    """A piece of raw input as samples. Inputs that can't be read have no sample and a problem instead.

    ``names`` has one entry an input: a file name, an index of a frame, a row number. ``x`` holds the samples of the
    inputs at ``rows`` (places in the piece, int64, ascending). ``problems``: place -> why it can't be read. ``notes``:
    what was done with input unlike the training data, as a sentence -> the number of inputs that it is true of.
    """

    names: tuple[Any, ...]
    x: Arrays | None
    rows: np.ndarray
    problems: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)


class Preprocessing(Section):
    """What a source learned from its training rows, as plain data. A kind of source has a class of its own.

    It encodes the rows of training too, so that a new row becomes just what it would have become there.
    """

    version: Literal[1] = 1
    kind: str
    target: Target = Target()

    def pieces(self, raw: Any, rows: int = 1024) -> Iterator[Encoded]:
        """Raw input (a frame, a file, a folder, texts, arrays) as samples, at most ``rows`` inputs at a time, in order.

        Raises `DataError` for input that is of another kind as a whole, such as a missing column.
        """
        raise NotImplementedError

    def count(self, raw: Any) -> int | None:
        """How many inputs there are, where that is known before they are read."""
        return len(raw) if isinstance(raw, Sequence | np.ndarray) and not isinstance(raw, str) else None

    def row_fields(self) -> tuple[Input, ...]:
        """The fields of an input, in order; none for input without named fields, such as images."""
        return ()

    def encode(self, raw: Any) -> Encoded:
        """All inputs as one piece; see `pieces`."""
        from lepton_kit.data.structure import items, joined

        names: list[Any] = []
        rows, parts, problems, notes = [], [], {}, {}  # type: ignore[var-annotated]  # filled below
        for piece in self.pieces(raw):
            start = len(names)
            names += piece.names
            rows.append(piece.rows + start)
            problems |= {place + start: why for place, why in piece.problems.items()}
            for text, count in piece.notes.items():
                notes[text] = notes.get(text, 0) + count
            if piece.x is not None:
                parts.append(dict(items(piece.x)))
        x = (
            joined({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
            if parts
            else None
        )
        return Encoded(tuple(names), x, np.concatenate(rows) if rows else np.arange(0), problems, notes)

    def to_json(self) -> str:
        """As text; `load` gives an equal object back, every number to the last bit."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)


def parse(content: Any, where: str) -> Preprocessing:
    """The preprocessing of parsed JSON. Raises `DataError` that names ``where`` it stood and what is wrong."""
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in KINDS:
        raise DataError(f"{where}: kind {kind!r} of preprocessing; this version knows {', '.join(KINDS)}")
    if content.get("version") != VERSION:
        raise DataError(
            f"{where}: preprocessing of version {content.get('version')!r}; this lepton_kit reads version {VERSION}"
        )
    module, name = KINDS[kind]
    try:
        result: Preprocessing = getattr(
            importlib.import_module(f"lepton_kit.data.{module}"), name
        ).model_validate(content)
        return result
    except pydantic.ValidationError as failure:
        first = failure.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{where}: {place}: {first['msg']}") from None


def load(path: str | Path) -> Preprocessing:
    """The preprocessing of a file that `Preprocessing.to_json` filled. Raises `DataError`. Never unpickles."""
    path = Path(path)
    try:
        content = read_mapping(path)
    except (OSError, ValueError) as failure:
        raise DataError(f"{path}: not a readable preprocessing file ({failure})") from None
    return parse(content, path.name)
