"""Arrays from a notebook's memory: checked, labelled and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lepton_kit.data.convert import TEXT, as_arrays, check_floatx, length_of, pad, texts
from lepton_kit.data.dataset import Dataset
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.splitting import check_holdout, check_split, last_rows, split_rows
from lepton_kit.data.structure import first, form, items, joined, label, mapped, named
from lepton_kit.data.weights import class_weights, sample_weights
from lepton_kit.errors import DataError

CHUNK = 4096


@dataclass(frozen=True)
class Rows:
    """Rows as they are prepared: what stands in a split, the names of text labels, and a sentence a changed array."""

    split: Split
    class_names: tuple[str, ...] | None
    notes: dict[str, str]


def arrays(
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    class_weight: Mapping[Any, float] | None = None,
    validation: Any = None,
    validation_split: float = 0.2,
    holdout: str = "random",
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Arrays in memory as `fit` takes them, rows first: one, a dictionary name -> array, or a list of arrays.

    Also frames, tensors, text, and sequences of different lengths (padded at the end with 0, which the summary says).
    Types stay, but for floating point, which becomes float32; text in ``y`` becomes class numbers. ``sample_weight``
    is a weight a sample, step or pixel, for each output; ``class_weight`` is class -> weight, for training alone.
    ``validation`` is (x, y) or (x, y, weights); without it ``validation_split`` of the rows is held out: ``random``
    ones, every class in proportion, or the ``last`` ones, as Keras does.

    >>> import numpy as np
    >>> arrays(np.zeros((10, 3)), np.arange(10) % 2).prepare()
    PreparedData(8 + 2 samples, 3, classification)
    """
    check_split(validation_split, seed)
    check_holdout(holdout)
    held = build(
        x,
        y,
        sample_weight=sample_weight,
        class_weight=class_weight,
        validation=validation,
        validation_split=validation_split,
        holdout=holdout,
        class_names=class_names,
        seed=seed,
    )
    return Dataset("arrays", held=held)


def build(
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    class_weight: Any = None,
    validation: Any = None,
    validation_split: float = 0.0,
    validation_rows: int | None = None,
    holdout: str = "random",
    class_names: Any = None,
    seed: int = 0,
) -> PreparedData:
    """Check arrays and split them. Raises `DataError` that names the array and the row.

    ``validation_rows`` leaves the first rows of the validation split.
    """
    if sample_weight is not None and class_weight is not None:
        raise DataError("sample_weight and class_weight: got both; give one of them, as Keras' fit asks")
    names = tuple(str(n) for n in class_names) if class_names is not None else None
    rows = convert(x, y, sample_weight, names)
    names = rows.class_names
    held: Split | None
    if validation is not None:
        held_rows = convert(*pair(validation), names, "validation ")
        train, held = fitted(rows, held_rows)
        notes = [*rows.notes.values(), *held_rows.notes.values()]
    else:
        train, held = _split(rows.split, validation_split, holdout, seed)
        notes = list(rows.notes.values())
    if held is not None and validation_rows is not None:
        held = held.part(slice(0, validation_rows))
    if class_weight is not None:
        # Of the rows to train on alone, as Keras does: validation values are not weighted by class.
        train = replace(train, w=class_weights(train.y, class_weight, names))
    return describe(train, held, names, details={"notes": notes} if notes else {})


def convert(x: Any, y: Any, w: Any, class_names: tuple[str, ...] | None = None, prefix: str = "") -> Rows:
    """One split from what people hold. Raises `DataError` that names the array (with ``prefix``) and the row."""
    check_floatx()
    notes: dict[str, str] = {}
    targets, names = None, class_names
    if y is not None:
        targets = as_arrays(y, f"{prefix}y", length_of(x), notes)
    count = len(first(targets)) if targets is not None else None
    inputs = as_arrays(x, f"{prefix}x", count, notes)
    count = same_length({**named(inputs, f"{prefix}x"), **named(targets, f"{prefix}y")})
    if targets is not None:
        targets, names = _labels(targets, class_names, f"{prefix}y")
    elif w is not None:
        raise DataError(
            f"{prefix}sample_weight: got weights without y, which Keras would not use; give y, or leave it out"
        )
    for name, array in {**named(inputs, f"{prefix}x"), **named(targets, f"{prefix}y")}.items():
        check_finite(array, name)
    return Rows(
        Split(inputs, targets, sample_weights(w, targets, count, f"{prefix}sample_weight")), names, notes
    )


def pair(validation: Any) -> tuple[Any, Any, Any]:
    """(x, y, weights) of validation data as `fit` takes them: x alone, (x,), (x, y) or (x, y, weights)."""
    if not isinstance(validation, tuple | list):
        return validation, None, None
    if not 1 <= len(validation) <= 3:
        raise DataError(f"validation: {len(validation)} parts; expected (x, y) or (x, y, sample_weight)")
    return (*validation, None, None)[:3]


def fitted(rows: Rows, held: Rows) -> tuple[Split, Split]:
    """Train and validation splits of one form; padded sequences get one length in both."""
    parts: list[dict[str, Any]] = [{}, {}]
    for role in ("x", "y"):
        one, two = getattr(rows.split, role), getattr(held.split, role)
        padded = [{key for key, _ in items(one) if label(role, key) in rows.notes}]
        padded.append({key for key, _ in items(two) if label(f"validation {role}", key) in held.notes})
        one, two = _of_one_length(one, two, padded[0] | padded[1])
        same_kind(one, two, role)
        parts[0][role], parts[1][role] = one, two
    return Split(**parts[0], w=rows.split.w), Split(**parts[1], w=held.split.w)


def _of_one_length(one: Any, two: Any, padded: set[Any]) -> tuple[Any, Any]:
    first_parts, second_parts = dict(items(one)), dict(items(two))
    for key in padded & first_parts.keys() & second_parts.keys():
        a, b = first_parts[key], second_parts[key]
        if a.ndim == b.ndim and a.ndim > 1 and a.shape[1:] != b.shape[1:]:
            shape = tuple(max(sizes) for sizes in zip(a.shape[1:], b.shape[1:], strict=True))
            first_parts[key], second_parts[key] = pad(a, shape, a.dtype), pad(b, shape, b.dtype)
    return joined(first_parts), joined(second_parts)


def _split(whole: Split, share: float, holdout: str, seed: int) -> tuple[Split, Split | None]:
    count = len(whole)
    if holdout == "last":
        train, held = last_rows(count, share)
        return (whole.part(train), whole.part(held)) if share else (whole, None)
    strata = None
    if isinstance(whole.y, np.ndarray) and whole.y.dtype.kind in "iu" and whole.y[0].size == 1:
        strata = whole.y.reshape(-1)
    rows, held_rows = split_rows(count, share, seed, labels=strata)
    if not len(held_rows):
        return whole, None
    return Split(*whole.rows(rows)), Split(*whole.rows(held_rows))


def describe(
    train: Split, validation: Split | None, names: Sequence[str] | None, **more: Any
) -> PreparedData:
    """Wrap splits with what their targets say: the task, the classes and the range of values."""
    task, classes = task_of(train.y, validation.y if validation else None, names)
    return PreparedData(
        train=train,
        validation=validation,
        task=task,
        class_names=tuple(names) if names is not None and task == "classification" else None,
        num_classes=classes,
        value_range=more.pop("value_range", None) or mapped(train.x, range_of),
        **more,
    )


def task_of(train: Any, validation: Any, names: Sequence[str] | None) -> tuple[str, int | None]:
    """(task, number of classes) that the targets look like: a hint, since the compiled loss decides what they are.

    One small whole number >= 0 a row is a classification, floating point a regression, all else other. With
    ``names`` a label that has none raises `DataError`.
    """
    if not isinstance(train, np.ndarray) or train.dtype.kind in TEXT:
        return "other", None
    if train.dtype.kind == "f":
        return "regression", None
    if train.ndim > 1 and train.shape[1:] != (1,):
        return "other", None
    low, high = int(train.min()), int(train.max())
    if isinstance(validation, np.ndarray) and len(validation):
        low, high = min(low, int(validation.min())), max(high, int(validation.max()))
    if names is not None:
        if low < 0 or high >= len(names):
            wrong = low if low < 0 else high
            raise DataError(
                f"y: label {wrong} is out of range; allowed: 0 to {len(names) - 1}, one a class name"
            )
        return "classification", len(names)
    if low < 0 or high > max(1000, len(train)):
        return "other", None
    return "classification", max(2, high + 1)


def check_classes(labels: np.ndarray, names: Sequence[str] | None) -> None:
    """Raise `DataError` where all labels are one class: a file of such rows is a mistake."""
    if len(labels) and labels.min() == labels.max():
        only = int(labels[0])
        raise DataError(f"y: one class only ({names[only] if names else only}); expected at least two")


def check_finite(array: np.ndarray, name: str, first_row: int = 0) -> None:
    """Raise `DataError` that names array and row where a number is missing or infinite."""
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), CHUNK):
        good = np.isfinite(array[start : start + CHUNK])
        if not good.all():
            where = np.argwhere(~good)[0]
            row, rest = first_row + start + int(where[0]), tuple(int(i) for i in where[1:])
            value = array[start : start + CHUNK][tuple(where)]
            place = f"row {row}" + (f", position {rest if len(rest) > 1 else rest[0]}" if rest else "")
            raise DataError(f"{name}: {place} is {value}; expected finite numbers")


def range_of(array: np.ndarray) -> tuple[float, float] | None:
    """(lowest, highest) value: 0..255 for bytes, else as found, read piecewise; None for text."""
    if array.dtype.kind in TEXT:
        return None
    if array.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.inf, -np.inf
    for start in range(0, len(array), CHUNK):
        piece = array[start : start + CHUNK]
        if piece.size:
            low, high = min(low, float(piece.min())), max(high, float(piece.max()))
    return low, high


def same_length(arrays: Mapping[str, np.ndarray], empty: bool = False) -> int:
    """The common number of rows; `DataError` names two arrays that differ, or says that there are none (``empty``)."""
    (first, one), *rest = arrays.items()
    for name, other in rest:
        if len(other) != len(one):
            raise DataError(f"{first} has {len(one)} rows but {name} has {len(other)}; expected as many")
    if not len(one) and not empty:
        raise DataError(f"{first}: no samples")
    return len(one)


def same_kind(train: Any, held: Any, name: str) -> None:
    """Raise `DataError` where validation arrays differ from the training ones in form, names or shape."""
    one, two = named(train, name), named(held, name)
    if one.keys() != two.keys():
        raise DataError(
            f"{name}: {form(train)} to train on but {form(held)} in validation; expected the same form"
        )
    for key, array in one.items():
        if array.shape[1:] != two[key].shape[1:]:
            raise DataError(f"{key}: shape {array.shape[1:]} in train but {two[key].shape[1:]} in validation")
        if (array.dtype.kind in TEXT) != (two[key].dtype.kind in TEXT):
            raise DataError(f"{key}: type {array.dtype} in train but {two[key].dtype} in validation")


def _labels(targets: Any, names: tuple[str, ...] | None, name: str) -> tuple[Any, tuple[str, ...] | None]:
    """The targets, with text labels as whole numbers, and the names of the classes."""
    if not isinstance(targets, np.ndarray):
        for key, array in named(targets, name).items():
            if array.dtype.kind in TEXT:
                raise DataError(f"{key}: text labels are taken for a single output only; give whole numbers")
        return targets, names
    if targets.dtype.kind not in TEXT:
        return targets, names
    if targets.ndim > 1 and targets.shape[1:] != (1,):
        raise DataError(f"{name}: text of shape {targets.shape}; expected one label a row")
    found, member = np.unique(texts(targets.reshape(-1)), return_inverse=True)
    names = names or tuple(map(str, found))
    index = {text: place for place, text in enumerate(names)}
    for place, text in enumerate(found):
        if str(text) not in index:
            row = int(np.flatnonzero(member == place)[0])
            raise DataError(
                f"{name}: row {row} has the label {str(text)!r}; allowed: {', '.join(names[:10])}"
            )
    numbers = np.array([index[str(text)] for text in found], np.int32)
    return numbers[member.reshape(-1)].reshape(targets.shape), names
