"""Windows over recorded runs of a machine: one array per run and class, cut into short sequences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.archives.readers import Archive
from lepton_kit.data.dataset import Dataset, dataset_of, is_whole, name_of
from lepton_kit.data.memory import check_finite, describe
from lepton_kit.data.prepared import FolderWriter, Split, write_folder
from lepton_kit.errors import ConfigError, DataError

NAME = re.compile(r"^(train|test|val|validation)_(.+)$")


def windows(
    path: str | Path,
    *,
    length: int = 20,
    stride: int = 5,
    validation_stride: int = 10,
    validation_start: int = 160,
    normal: str = "00",
) -> Dataset:
    """Runs in an ``.npz`` file, arrays ``train_CLASS`` and ``test_CLASS`` of ``(rows, channels)``, cut into windows.

    Samples are float32 ``(length, channels)``, standardised with the training runs' statistics. Of a test run
    the rows from ``validation_start`` on count (a fault begins there), of the class ``normal`` all.
    """
    for name, value in (("length", length), ("stride", stride), ("validation_stride", validation_stride)):
        if not is_whole(value, 1):
            raise ConfigError(f"data.{name}", given=value, rule="a whole number of at least 1")
    if not is_whole(validation_start, 0):
        raise ConfigError(
            "data.validation_start", given=validation_start, rule="a whole number of at least 0"
        )
    return dataset_of(
        "windows",
        path,
        length=length,
        stride=stride,
        validation_stride=validation_stride,
        validation_start=validation_start,
        normal=name_of("normal", normal),
    )


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Samples are float32 ``(length, channels)``, standardised with the training runs' mean and deviation."""
    runs: dict[str, dict[str, np.ndarray]] = {"train": {}, "validation": {}}
    with Archive(path) as archive:
        for name in archive.names:
            found = NAME.match(name)
            if not found:
                continue
            run = archive.read(name).astype(np.float32)
            if run.ndim != 2:
                raise DataError(f"{path.name}: {name!r} has shape {run.shape}; expected (rows, channels)")
            check_finite(run, f"{path.name}: {name!r}")
            runs["train" if found[1] == "train" else "validation"][found[2]] = run
        names = _channel_names(archive)
    if not runs["train"]:
        raise DataError(f"{path.name}: no array named train_CLASS; it has {', '.join(archive.names[:20])}")
    channels = {run.shape[1] for part in runs.values() for run in part.values()}
    if len(channels) > 1:
        raise DataError(f"{path.name}: runs have {sorted(channels)} channels; expected one number")
    classes = tuple(sorted(runs["train"]))
    if len(classes) < 2:
        raise DataError(f"{path.name}: one class only ({classes[0]!r}); expected at least two")
    extra = sorted(set(runs["validation"]) - set(classes))
    if extra:
        raise DataError(f"{path.name}: test_{extra[0]} has no train_{extra[0]}")
    rows = np.concatenate(list(runs["train"].values()))
    mean, spread = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    spread = np.where(spread > 0, spread, 1.0)
    splits = {}
    for split, stride in (("train", options["stride"]), ("validation", options["validation_stride"])):
        start = options["validation_start"] if split == "validation" else 0
        splits[split] = _windows(path, runs[split], classes, options, stride, start, mean, spread)
    held = splits["validation"]
    prepared = describe(
        splits["train"],
        held if len(held) else None,
        classes,
        feature_names=names,
        value_range=(-1.0, 1.0),
    )
    write_folder(prepared, writer.folder)


def _channel_names(archive: Archive) -> tuple[str, ...] | None:
    if "columns" not in archive.names:
        return None
    return tuple(str(name) for name in archive.read("columns"))


def _windows(
    path: Path,
    runs: dict[str, np.ndarray],
    classes: tuple[str, ...],
    options: dict[str, Any],
    stride: int,
    start: int,
    mean: np.ndarray,
    spread: np.ndarray,
) -> Split:
    length, pieces, labels = options["length"], [], []
    channels = len(mean)
    for name in classes:
        if name not in runs:
            continue
        # The normal class has no fault that would have to begin first, so all of its rows count.
        first = 0 if name == options["normal"] else start
        run = ((runs[name][first:] - mean) / spread).astype(np.float32)
        if len(run) < length:
            raise DataError(f"{path.name}: class {name!r} has {len(run)} rows; a window needs {length}")
        windows = np.lib.stride_tricks.sliding_window_view(run, length, axis=0)[::stride].transpose(0, 2, 1)
        pieces.append(windows)
        labels.append(np.full(len(windows), classes.index(name), np.int32))
    if not pieces:
        return Split(np.zeros((0, length, channels), np.float32), np.zeros(0, np.int32))
    return Split(np.concatenate(pieces), np.concatenate(labels))
