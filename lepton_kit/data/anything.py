"""The one door for data as Keras' `fit` takes them: whatever stands for x, y and validation becomes a `Dataset`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import isfunction, ismethod
from pathlib import Path
from typing import Any

from lepton_kit.data.dataset import Dataset
from lepton_kit.data.elements import is_stream
from lepton_kit.data.memory import Rows, build, convert, pair
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.splitting import check_holdout, check_split
from lepton_kit.data.streams import Progress, stream
from lepton_kit.errors import DataError

KERAS_BATCH_SIZE = 32


def of(
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    class_weight: Mapping[Any, float] | None = None,
    validation_data: Any = None,
    validation_split: float = 0.0,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    epochs: int | None = None,
    holdout: str = "last",
    seed: int = 0,
    progress: Progress | None = None,
    cache: str | Path | None = None,
) -> Dataset:
    """The data that `fit` would train on with these arguments, which mean what they mean there.

    ``x`` is arrays (see `arrays`), a stream (see `stream`) or a `Dataset`; `Dataset.batch_size` is a stream's own
    batch. ``holdout`` is the rule of ``validation_split``: the ``last`` rows, as in Keras, or ``random`` ones.
    ``validation_steps`` leaves that many batches of the validation data. ``epochs`` matters for a stream without
    end: see `stream`. Raises `DataError` that names the argument.

    >>> import numpy as np
    >>> of(np.zeros((10, 3)), np.zeros(10), validation_split=0.2).prepare()
    PreparedData(8 + 2 samples, 3, regression)
    """
    beside = {"y": y, "sample_weight": sample_weight}
    if isinstance(x, Dataset | PreparedData):
        rest = {"class_weight": class_weight, "validation_data": validation_data}
        _refuse(
            {**beside, **rest, "validation_split": validation_split or None},
            "a lepton_kit Dataset holds its own",
        )
        return x if isinstance(x, Dataset) else Dataset("arrays", held=x)
    if isfunction(x) or ismethod(x):
        raise DataError(f"x: the function {getattr(x, '__name__', x)!r}; call it, so that it gives data")
    if is_stream(x):
        _refuse(beside, "the elements of x hold it")
        if validation_split and validation_data is None:
            raise DataError(
                f"validation_split: got {validation_split}, but x is a {type(x).__name__}; give validation_data instead"
            )
    elif sample_weight is not None and class_weight is not None:
        raise DataError("sample_weight and class_weight: got both; give one of them, as Keras' fit asks")
    rows = None
    if validation_steps is not None:
        rows = validation_steps * (validation_batch_size or KERAS_BATCH_SIZE)
    if is_stream(x) or is_stream(validation_data):
        return stream(
            x if is_stream(x) else (x, y, sample_weight),
            validation=validation_data
            if validation_data is None or is_stream(validation_data)
            else _first_rows(validation_data, rows),
            steps=steps_per_epoch if is_stream(x) else None,
            epochs=epochs if is_stream(x) else None,
            validation_steps=validation_steps if is_stream(validation_data) else None,
            class_weight=class_weight,
            progress=progress,
            cache=cache,
        )
    check_split(validation_split, seed)
    check_holdout(holdout)
    held = build(
        x,
        y,
        sample_weight=sample_weight,
        class_weight=class_weight,
        validation=validation_data,
        validation_split=validation_split,
        validation_rows=rows,
        holdout=holdout,
        seed=seed,
    )
    return Dataset("arrays", held=held)


def _refuse(given: Mapping[str, Any], why: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise DataError(f"{name}: got {type(value).__name__} beside x; {why}")


def _first_rows(validation: Any, rows: int | None) -> Rows:
    found = convert(*pair(validation), prefix="validation ")
    return replace(found, split=found.split.part(slice(0, rows)))
