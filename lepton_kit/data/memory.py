"""Arrays from a notebook's memory: checked, labelled and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lepton_kit.data import labels as rules
from lepton_kit.data import scaling
from lepton_kit.data.checks import check_finite, is_map, range_of, same_kind, same_length, task_of
from lepton_kit.data.convert import TEXT, as_arrays, check_floatx, length_of, pad
from lepton_kit.data.dataset import Dataset
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.scaled import preprocessing_with, scaled
from lepton_kit.data.splitting import check_holdout, check_split, last_rows, split_rows
from lepton_kit.data.structure import first, items, joined, label, mapped, named
from lepton_kit.data.weights import class_weights, sample_weights
from lepton_kit.errors import DataError

NAMED = ("classification", "multilabel")
"""Tasks whose outputs are classes with names."""


LABELS = " labels"
"""Ends the name of a note on how labels were read, which is as they were asked for."""


@dataclass(frozen=True)
class Rows:
    """Rows as they are prepared: what stands in a split, the classes of labels, and a sentence a changed array."""

    split: Split
    classes: rules.Classes
    notes: dict[str, str]

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, where labels have some."""
        return self.classes.names


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
    scale: Any = None,
    task: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Arrays in memory as `fit` takes them, rows first: one, a dictionary name -> array, or a list of arrays.

    Also frames, tensors, text, and sequences of different lengths (padded at the end with 0, which the summary says).
    Types stay, but for floating point, which becomes float32. Labels become class numbers where they are text or at
    most 20 different whole numbers that do not start at 0, which the summary says; ``task`` (classification,
    multilabel, regression) says what targets are where that is not right. ``class_names`` are in the order of the
    numbers, of masks too. ``scale`` is ``standardize`` (each column by
    the training rows), (factor, offset), or one of them by the name of an input. ``sample_weight`` is a weight a
    sample, step or pixel, for each output; ``class_weight`` is class -> weight, for training alone.
    ``validation`` is (x, y) or (x, y, weights); without it ``validation_split`` of the rows is held out: ``random``
    ones, every class in proportion, or the ``last`` ones, as Keras does.

    >>> import numpy as np
    >>> arrays(np.zeros((10, 3)), np.arange(10) % 2).prepare()
    PreparedData(8 + 2 samples, 3, classification)
    """
    check_split(validation_split, seed)
    check_holdout(holdout)
    rules.check_task(task)
    held = build(
        x,
        y,
        sample_weight=sample_weight,
        class_weight=class_weight,
        validation=validation,
        validation_split=validation_split,
        holdout=holdout,
        class_names=class_names,
        scale=scaling.check(scale),
        task=task,
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
    scale: Any = None,
    task: str | None = rules.KEEP,
    seed: int = 0,
) -> PreparedData:
    """Check arrays and split them. Raises `DataError` that names the array and the row.

    ``validation_rows`` leaves the first rows of the validation split. Numbers among the labels are kept, as Keras does,
    unless a ``task`` (or None, to find out) is given.
    """
    if sample_weight is not None and class_weight is not None:
        raise DataError("sample_weight and class_weight: got both; give one of them, as Keras' fit asks")
    names = tuple(str(n) for n in class_names) if class_names is not None else None
    wide = scale is not None  # what is scaled becomes float32 after that
    rows = convert(x, y, sample_weight, rules.Classes(names), task=task, wide=wide)
    names = rows.class_names
    held: Split | None
    if validation is not None:
        held_rows = convert(*pair(validation), rows.classes, "validation ", task, wide=wide)
        train, held = fitted(rows, held_rows)
        told = {**rows.notes, **held_rows.notes}
    else:
        train, held = _split(rows.split, validation_split, holdout, seed)
        told = rows.notes
    notes = list(told.values())
    differences = [text for name, text in told.items() if not name.endswith(LABELS)]
    if held is not None and validation_rows is not None:
        held = held.part(slice(0, validation_rows))
    if class_weight is not None:
        # Of the rows to train on alone, as Keras does: validation values are not weighted by class.
        train = replace(train, w=class_weights(train.y, class_weight, names))
    scalings: dict[Any, Any] = {}
    if scale is not None:
        train, held, scalings = scaled(train, held, scale, notes)
    details = {"notes": notes, "differences": differences}
    prepared = describe(train, held, names, task, details={name: one for name, one in details.items() if one})
    return replace(prepared, preprocessing=preprocessing_with(prepared, scalings)) if scalings else prepared


def convert(
    x: Any,
    y: Any,
    w: Any,
    classes: rules.Classes | None = None,
    prefix: str = "",
    task: str | None = rules.KEEP,
    *,
    wide: bool = False,
) -> Rows:
    """One split from what people hold. Raises `DataError` that names the array (with ``prefix``) and the row.

    ``classes`` are those of the training rows, for labels that are held out. ``wide``: floats keep their precision."""
    check_floatx()
    notes: dict[str, str] = {}
    targets, classes = None, classes or rules.Classes(None)
    if y is not None:
        targets = as_arrays(y, f"{prefix}y", length_of(x), notes, wide=wide)
    count = len(first(targets)) if targets is not None else None
    inputs = as_arrays(x, f"{prefix}x", count, notes, wide=wide)
    count = same_length({**named(inputs, f"{prefix}x"), **named(targets, f"{prefix}y")})
    if targets is not None:
        targets, classes = _labels(targets, classes, f"{prefix}y", task, notes, wide=wide)
    elif w is not None:
        raise DataError(
            f"{prefix}sample_weight: got weights without y, which Keras would not use; give y, or leave it out"
        )
    for name, array in {**named(inputs, f"{prefix}x"), **named(targets, f"{prefix}y")}.items():
        check_finite(array, name)
    return Rows(
        Split(inputs, targets, sample_weights(w, targets, count, f"{prefix}sample_weight")), classes, notes
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
        two = _with_last_axis(one, two)
        same_kind(one, two, role)
        parts[0][role], parts[1][role] = one, two
    return Split(**parts[0], w=rows.split.w), Split(**parts[1], w=held.split.w)


def _with_last_axis(one: Any, two: Any) -> Any:
    """The second with a last axis of one number where the first has it, as a column of a frame, or without it."""
    like, found = dict(items(one)), dict(items(two))
    for key in like.keys() & found.keys():
        a, b = like[key], found[key]
        if a.shape[1:] == (*b.shape[1:], 1):
            found[key] = b[..., None]
        elif b.shape[1:] == (*a.shape[1:], 1):
            found[key] = b[..., 0]
    return joined(found)


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
    train: Split,
    validation: Split | None,
    names: Sequence[str] | None,
    asked: str | None = rules.KEEP,
    **more: Any,
) -> PreparedData:
    """Wrap splits with what their targets say: the task (unless it is ``asked``), the classes and the range."""
    task, classes = task_of(train.y, validation.y if validation else None, names, asked)
    return PreparedData(
        train=train,
        validation=validation,
        task=task,
        class_names=tuple(names) if names is not None and (task in NAMED or is_map(train.y)) else None,
        num_classes=classes,
        value_range=more.pop("value_range", None) or mapped(train.x, range_of),
        **more,
    )


def _labels(
    targets: Any,
    classes: rules.Classes,
    name: str,
    task: str | None,
    notes: dict[str, str],
    *,
    wide: bool,
) -> tuple[Any, rules.Classes]:
    """The targets, with labels as class numbers, and the classes."""
    if not isinstance(targets, np.ndarray):
        for key, array in named(targets, name).items():
            if array.dtype.kind in TEXT:
                raise DataError(f"{key}: text labels are taken for a single output only; give whole numbers")
        return targets, classes
    check_finite(targets, name)
    found = classes if classes.values is not None else rules.find(targets, classes.names, task, name)
    if said := rules.said(targets, found, task, name):
        notes[f"{name}{LABELS}"] = said
    if task in ("regression", "multilabel"):
        return targets.astype(np.float64 if wide else np.float32), found
    return rules.numbers(targets, found, name), found
