"""What the rows of a table weigh: by a column, and by their class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Target
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.learn import Wishes, column_of
from lepton_kit.data.tables.targets import Whole
from lepton_kit.data.weights import class_weights
from lepton_kit.errors import DataError


def sample_weights(
    column: Whole | None, wishes: Wishes, where: Callable[[int], str], given: int | None = None
) -> np.ndarray | None:
    """Weights of all rows, float32; behind the first ``given`` rows they are 1. Raises `DataError` that names the row."""
    if column is None:
        return None
    kind, _ = column_of(column.name, column.seen, wishes, None)
    start = Column(name=column.name, kind="number") if kind is None or kind.kind != "number" else kind
    values, wrong = column.values(start)
    values = values.copy()
    values[wrong] = np.nan
    if given is not None:
        values[given:] = 1.0
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise DataError(
            f"{where(int(bad[0]))}, weight {column.name!r} is {column.texts()[bad[0]]!r}; expected a number of at least 0"
        )
    return values.astype(np.float32)


def by_class(y: np.ndarray, target: Target, given: Any) -> np.ndarray:
    """The weight of each row's class: ``balanced``, or what is given for a class name. Raises `DataError`."""
    if target.task != "classification":
        raise DataError(
            f"class_weight: the target {target.name!r} is a {target.task}; expected a classification"
        )
    if given == "balanced":  # as scikit-learn has it: rows / (classes * rows of the class)
        kinds, counts = np.unique(y, return_counts=True)
        given = {
            int(kind): len(y) / (len(kinds) * int(count)) for kind, count in zip(kinds, counts, strict=True)
        }
        return class_weights(y, given)
    names = target.class_names or ()
    unknown = [name for name in given if name not in names]
    if unknown:
        raise DataError(f"class_weight: the class {unknown[0]!r}; expected some of {', '.join(names[:10])}")
    return class_weights(y, {names.index(name): weight for name, weight in given.items()})
