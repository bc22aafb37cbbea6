"""Named arrays of files, streamed into the cache so that they may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lepton_kit.data import labels as rules
from lepton_kit.data import scaling
from lepton_kit.data.archives.layout import found_names, open_arrays
from lepton_kit.data.archives.readers import Reader
from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
from lepton_kit.data.checks import check_finite, map_classes, range_of, task_of
from lepton_kit.data.dataset import Dataset, dataset_of
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.scaling import Scaling
from lepton_kit.data.splitting import check_split, split_rows
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError

MAX_FLAGS = 4096
"""Targets of two axes are read for one-hot rows up to so many columns."""

Names = str | Sequence[str] | Mapping[str, str]
Scale = Literal["standardize"] | Sequence[float]


def npz(
    path: str | Path,
    *,
    x: Names = "x",
    y: Names = "y",
    validation_x: Names | None = None,
    validation_y: Names | None = None,
    validation_split: float = 0.2,
    is_validation: str | None = None,
    group: str | None = None,
    seed: int = 0,
    scale: Scale | Mapping[str, Scale] | None = None,
    task: Literal["classification", "multilabel", "regression"] | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Arrays of an ``.npz`` file, a folder of ``.npy`` files, HDF5 or MATLAB, streamed (but for MATLAB before 7.3).

    ``x`` and ``y`` are array names: one, a list, or {input of the model: array}; where there are no arrays x and y, usual
    names such as x_train and y_train are taken, which the notes say. Held out are, in this order of precedence:
    ``validation_x`` with ``validation_y``; the rows where the array ``is_validation`` is true; whole groups (episodes,
    patients) named by the array ``group``; ``validation_split`` of the rows. ``scale`` is for samples: ``standardize``
    (each column, by the training rows), (factor, offset) for ``factor * value + offset``, or one of them by array name,
    which may name targets too; scaled arrays are float32. Labels follow the rules of `arrays`: text and numbers that do
    not start at 0 become classes; ``task`` says what targets are where that is not right.
    """
    check_split(validation_split, seed)
    rules.check_task(task)
    if (validation_x is None) != (validation_y is None):
        raise ConfigError(
            "data.validation_y", given=validation_y, rule="both validation_x and validation_y, or none"
        )
    names = {"x": x, "y": y, "validation_x": validation_x, "validation_y": validation_y}
    return dataset_of(
        "npz",
        path,
        **{option: _array_names(option, value) for option, value in names.items()},
        validation_split=validation_split,
        is_validation=is_validation,
        group=group,
        seed=seed,
        scale=scaling.check(scale),
        task=task,
        class_names=[str(one) for one in class_names] if class_names is not None else None,
    )


def _array_names(option: str, value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = dict(value)
        names = [*value, *value.values()]
    else:
        names = value = list(value) if isinstance(value, Sequence) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"data.{option}", given=value, rule="an array's name, a list of names, or input -> name"
        )
    return value


@dataclass
class Job:
    """One archive on its way into a prepared folder."""

    reader: Reader
    options: dict[str, Any]
    writer: FolderWriter
    notes: list[str]
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    ranges: dict[str | None, Any] = field(default_factory=dict)
    scalings: dict[str, Scaling] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Name of the file or folder of arrays."""
        return self.reader.path.name

    def names(self, option: str) -> dict[str | None, str]:
        """{input name: array name}; the key is None for a single plain array."""
        value = self.options[option]
        if isinstance(value, str):
            return {None: value}
        return {name: name for name in value} if isinstance(value, list) else dict(value or {})


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Split the archive's rows and copy each array into train and validation files."""
    with open_arrays(path, writer.folder) as reader:
        options, notes = found_names(reader, options)
        job = Job(reader, options, writer, notes)
        inputs, targets = job.names("x"), job.names("y")
        count = _count(job, [*inputs.values(), *targets.values()])
        labels, classes = _labels(job)
        given = options["validation_x"] is not None
        job.parts = {"train": np.arange(count)} if given else _rows(job, count, labels)
        for key, name in inputs.items():
            job.ranges[key] = _copy(job, name, "x", key, job.parts)
        for key, name in targets.items():
            if labels is not None and classes.values is not None:
                for split, rows in job.parts.items():
                    writer.put(split, "y", key, labels[rows])
            else:
                _copy(job, name, "y", key, job.parts)
        held_labels = _copy_given(job, inputs, targets, classes) if given else None
        _finish(job, labels, held_labels, classes)


def _count(job: Job, names: list[str]) -> int:
    counts = {name: job.reader.header(name)[0][0] for name in names}
    first, count = next(iter(counts.items()))
    for name, other in counts.items():
        if other != count:
            raise DataError(
                f"{job.file}: {first!r} has {count} rows but {name!r} has {other}; expected as many"
            )
    if not count:
        raise DataError(f"{job.file}: {first!r} has no rows")
    return count


def _labels(job: Job) -> tuple[np.ndarray | None, rules.Classes]:
    """(one label a row as it is stored, None for other targets; the classes)."""
    name, given = job.names("y").get(None), job.options["class_names"]
    if name is None or not _is_label(job.reader, name):
        return None, rules.Classes(tuple(given) if given else None)
    labels = job.reader.read(name)
    task = job.options["task"]
    if labels.dtype.kind in "biufUS":
        check_finite(labels, f"{job.file}: {name!r}")
    where = f"{job.file}: {name!r}"
    classes = rules.find(labels, given, task, where)
    if said := rules.said(labels, classes, task, name):
        job.notes.append(said)
    return rules.numbers(labels, classes, where), classes


def _is_label(reader: Reader, name: str) -> bool:
    shape, _ = reader.header(name)
    return len(shape) == 1 or shape[1:] == (1,)


def _finish(
    job: Job, labels: np.ndarray | None, held_labels: np.ndarray | None, classes: rules.Classes
) -> None:
    asked, targets = job.options["task"], job.names("y")
    task, count, names, named = "other", None, classes.names, False
    if None in targets:
        shape, dtype = job.reader.header(targets[None])
        if asked == "regression":
            task = "regression"
        elif labels is not None:
            if held_labels is None and "validation" in job.parts:
                held_labels = labels[job.parts["validation"]]
            task, count = task_of(labels[job.parts["train"]], held_labels, names)
        else:
            found = None
            if len(shape) == 2 and shape[1] <= MAX_FLAGS and dtype.kind in "biuf":
                train = (piece for piece in _of_split(job, targets[None]))
                found = rules.task_of_flags(train, asked, f"{job.file}: {targets[None]!r}")
            if found:
                task, count = found, shape[1]
                if names is not None and len(names) != count:
                    raise DataError(
                        f"{job.file}: {targets[None]!r} has {count} columns; class_names has {len(names)}"
                    )
            elif dtype.kind == "f":
                task = "regression"
            elif names is not None and len(shape) > 1:
                for split in job.parts:
                    for piece in _of_split(job, targets[None], split):
                        count = map_classes(piece, None, names)
                named = True
    inputs = job.names("x")
    kept = names if named or task in ("classification", "multilabel") else None
    job.writer.finish(
        task=task,
        num_classes=count,
        class_names=kept,
        value_range=job.ranges[None] if None in inputs else {key: job.ranges[key] for key in inputs},
        details={"notes": job.notes} if job.notes else {},
        preprocessing=_preprocessing(job, task, kept),
    )


def _preprocessing(job: Job, task: Any, names: tuple[str, ...] | None) -> dict[str, Any] | None:
    """What new arrays need: their scaling; where there is none, their form says all."""
    if not job.scalings:
        return None
    forms = []
    for key, name in job.names("x").items():
        shape, dtype = job.reader.header(name)
        scaled = job.scalings.get(name)
        forms.append(
            ArrayForm(
                key=key,
                shape=shape[1:],
                dtype=scaling.raw_type(dtype) if scaled else _stored(dtype).name,
                factor=scaled.factor if scaled else None,
                offset=scaled.offset if scaled else None,
            )
        )
    target = Target(task=task, class_names=names)
    if (single := job.names("y").get(None)) in job.scalings:
        target = job.scalings[single or ""].target(task)
    return ArraysPreprocessing(inputs=tuple(forms), target=target).model_dump(mode="json")


def _rows(job: Job, count: int, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    reader, options = job.reader, job.options
    for option in ("is_validation", "group"):
        if options[option] is not None and reader.header(options[option])[0] not in ((count,), (count, 1)):
            shape = reader.header(options[option])[0]
            raise DataError(f"{job.file}: {options[option]!r} has shape {shape}; expected ({count},)")
    if options["is_validation"] is not None:
        flags = reader.read(options["is_validation"]).reshape(-1)
        if flags.dtype.kind not in "biuf":
            raise DataError(
                f"{job.file}: {options['is_validation']!r} has type {flags.dtype}; expected 0 and 1"
            )
        held = flags.astype(bool)
        if held.all() or not held.any():
            raise DataError(
                f"{job.file}: {options['is_validation']!r} holds out {held.sum()} of {count} rows"
            )
        return {"train": np.flatnonzero(~held), "validation": np.flatnonzero(held)}
    groups = reader.read(options["group"]).reshape(-1) if options["group"] is not None else None
    strata = labels.reshape(-1) if labels is not None and labels.dtype.kind in "biu" else None
    train, held_rows = split_rows(
        count, options["validation_split"], options["seed"], labels=strata, groups=groups
    )
    return {"train": train, "validation": held_rows} if len(held_rows) else {"train": train}


def _of_split(job: Job, name: str, split: str = "train") -> Iterator[np.ndarray]:
    """The rows of a split of an array, piece by piece."""
    rows = job.parts[split]
    for first, piece in job.reader.pieces(name):
        low, high = np.searchsorted(rows, (first, first + len(piece)))
        yield piece if high - low == len(piece) else piece[rows[low:high] - first]


def _stored(dtype: np.dtype) -> np.dtype:
    """Every floating point becomes float32, as Keras feeds it; other types stay."""
    return np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")


def _copy(
    job: Job, name: str, role: str, key: str | None, parts: dict[str, np.ndarray], like: str | None = None
) -> tuple[float, float] | None:
    """Copy one array into its splits, piece by piece; returns the first split's range of values.

    ``like`` is the training array whose scaling a held-out array gets.
    """
    shape, dtype = job.reader.header(name)
    if dtype.kind in "US":
        raise DataError(f"{job.file}: {name!r} holds text; expected numbers")
    if like is None:
        one = scaling.of(job.options["scale"], role, key, name)
        scaled = scaling.learned(one, _of_split(job, name))
        if scaled:
            job.scalings[name] = scaled
            if one == scaling.STANDARDIZE:
                job.notes.append(
                    f"{name} is standardised by column, with the training rows' mean and deviation"
                )
    else:
        scaled = job.scalings.get(like)
    wanted = _stored(dtype)
    if role == "y" and np.can_cast(dtype, np.int32):
        wanted = np.dtype(np.int32)
    if scaled or (role == "y" and job.options["task"] in ("regression", "multilabel")):
        wanted = np.dtype(np.float32)
    targets = {
        split: job.writer.array(split, role, key, (len(rows), *shape[1:]), wanted)
        for split, rows in parts.items()
    }
    for first, piece in job.reader.pieces(name):
        with np.errstate(over="ignore"):  # becomes infinite, which the check refuses by row
            piece = scaled(piece) if scaled else piece.astype(wanted, copy=False)
        check_finite(piece, f"{job.file}: {name!r}", first)
        for split, rows in parts.items():
            low, high = np.searchsorted(rows, (first, first + len(piece)))
            targets[split][low:high] = piece[rows[low:high] - first]
    return range_of(next(iter(targets.values())))


def _copy_given(
    job: Job, inputs: dict[str | None, str], targets: dict[str | None, str], classes: rules.Classes
) -> np.ndarray | None:
    """Copy the arrays that are held out by name; returns their labels."""
    held_x, held_y = job.names("validation_x"), job.names("validation_y")
    if held_x.keys() != inputs.keys() or held_y.keys() != targets.keys():
        raise ConfigError(
            "data.validation_x",
            given=job.options["validation_x"],
            rule=f"the names that x and y have: {list(inputs)}",
        )
    counts = {name: job.reader.header(name)[0][0] for name in [*held_x.values(), *held_y.values()]}
    if len(set(counts.values())) != 1 or not next(iter(counts.values())):
        raise DataError(f"{job.file}: the validation arrays have different or no rows: {counts}")
    rows = {"validation": np.arange(next(iter(counts.values())))}
    labels = None
    for role, names, train in (("x", held_x, inputs), ("y", held_y, targets)):
        for key, name in names.items():
            one, two = job.reader.header(train[key])[0][1:], job.reader.header(name)[0][1:]
            if one != two:
                raise DataError(f"{job.file}: {train[key]!r} has samples of {one} but {name!r} of {two}")
            if role == "y" and key is None and _is_label(job.reader, name):
                labels = rules.numbers(job.reader.read(name), classes, f"{job.file}: {name!r}")
                if classes.values is not None:
                    job.writer.put("validation", "y", key, labels)
                    continue
            _copy(job, name, role, key, rows, like=train[key])
    return labels
