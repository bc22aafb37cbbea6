"""Held-out samples that are given to a report, such as a test split that no choice saw, in the form of a run's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lepton_kit.data.checks import same_kind
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.preprocessing import Preprocessing, Target
from lepton_kit.errors import DataError

SHOWN = 8


def with_held_out(prepared: PreparedData, data: Any, how: Preprocessing) -> PreparedData:
    """The data of a run with other held-out samples in place of its validation split.

    ``data`` is (x, y): raw input as `predict` takes it, and a target for each, as classes or their numbers, or values in
    the target's own unit; or a data set, whose validation split it is. Raises `DataError` for what does not fit.
    """
    if isinstance(data, tuple | list):
        if len(data) != 2:
            raise DataError(
                f"data: {len(data)} parts; expected (x, y), or a data set with a validation split"
            )
        split, names = _encoded(data[0], data[1], how, prepared.train.y), None
    else:
        found = data.prepare() if hasattr(data, "prepare") else data
        if not isinstance(found, PreparedData):
            raise DataError(f"data: got {type(data).__name__}; expected (x, y), or a data set")
        if found.validation is None or not len(found.validation):
            raise DataError(
                "data: this data set holds out nothing; give (x, y), or one with a validation split"
            )
        if found.class_names != prepared.class_names:
            raise DataError(
                f"data: the classes are {_told(found.class_names)}; the run learned {_told(prepared.class_names)}"
            )
        split, names = found.validation, found.details.get("validation_names")
    for role in ("x", "y"):
        same_kind(getattr(prepared.train, role), getattr(split, role), role)
    details = {name: one for name, one in prepared.details.items() if name != "validation_names"}
    details |= {"held_out": "the given samples"} | ({} if names is None else {"validation_names": names})
    return replace(prepared, validation=split, details=details)


def _encoded(x: Any, y: Any, how: Preprocessing, train: Any) -> Split:
    encoded = how.encode(x)
    if encoded.problems:
        place, why = next(iter(encoded.problems.items()))
        raise DataError(f"data: {encoded.names[place]}: {why}")
    targets = np.asarray(y)
    if len(targets) != len(encoded.names) or encoded.x is None:
        raise DataError(f"data: {len(encoded.names)} inputs but {len(targets)} targets; expected as many")
    targets = _targets(targets, how.target)
    shape = train.shape[1:] if isinstance(train, np.ndarray) else None
    if shape is not None and shape in ((*targets.shape[1:], 1), targets.shape[1:-1]):
        targets = targets.reshape(len(targets), *shape)  # a column of numbers, or the numbers
    return Split(encoded.x, targets)


def _targets(y: np.ndarray, target: Target) -> np.ndarray:
    """Targets as the model learned them: numbers of classes, standardised values."""
    if target.task == "regression" and target.scale is not None and target.mean is not None:
        plain = (y.astype(np.float64).reshape(len(y), -1) - np.array(target.mean)) / np.array(target.scale)
        return plain.astype(np.float32).reshape(y.shape)
    names = target.class_names
    if target.task != "classification" or names is None or y.ndim > 2 or y.size != len(y):
        return y
    index = {name: number for number, name in enumerate(names)}
    told = [str(one) for one in y.reshape(-1).tolist()]
    if all(one in index for one in told):
        return np.array([index[one] for one in told], np.int32).reshape(y.shape)
    wrong = [one not in index for one in told]
    if y.dtype.kind in "biu":
        wrong = ((y < 0) | (y >= len(names))).reshape(-1).tolist()
        if not any(wrong):
            return y
    row = wrong.index(True)
    raise DataError(f"data: row {row} has the class {told[row]!r}; the run learned {_told(names)}")


def _told(names: tuple[str, ...] | None) -> str:
    if names is None:
        return "without names"
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
