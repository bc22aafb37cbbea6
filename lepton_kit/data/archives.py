"""Arrays in ``.npz`` archives, streamed into the cache so that they may be larger than memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.dataset import Dataset, dataset_of
from lepton_kit.data.memory import check_finite, range_of, task_of
from lepton_kit.data.prepared import FolderWriter
from lepton_kit.data.splitting import check_split, split_rows
from lepton_kit.errors import ConfigError, DataError

CHUNK_BYTES = 16 * 2**20


class Archive:
    """Reads the arrays of an ``.npz`` file by name, whole or piece by piece. Never unpickles."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as failure:
            raise DataError(f"{path}: not a readable .npz file ({failure})") from None
        self.names = [n.removesuffix(".npy") for n in self._zip.namelist() if n.endswith(".npy")]

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[Any, tuple[int, ...], np.dtype, bool]]:
        if name not in self.names:
            raise DataError(
                f"{self.path.name}: no array {name!r}; it has {', '.join(self.names[:20]) or 'none'}"
            )
        try:
            with self._zip.open(f"{name}.npy") as stream:
                version = np.lib.format.read_magic(stream)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, fortran, dtype = read(stream)
                if dtype.kind not in "biufU":
                    raise DataError(f"{self.path.name}: {name!r} has type {dtype}; expected numbers or text")
                if not shape:
                    raise DataError(
                        f"{self.path.name}: {name!r} is a single value; expected one row a sample"
                    )
                yield stream, shape, dtype, fortran
        except DataError:
            raise
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as failure:
            raise DataError(f"{self.path.name}: array {name!r} is broken ({failure})") from None

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """(shape, type) of an array, without reading it."""
        with self._member(name) as (_, shape, dtype, _fortran):
            return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """A whole array."""
        with self._member(name) as (stream, shape, dtype, fortran):
            values = np.frombuffer(_exactly(stream, int(np.prod(shape)) * dtype.itemsize), dtype)
            return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)

    def pieces(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows) one piece after the other, each about 16 MiB."""
        shape, _ = self.header(name)
        with self._member(name) as (stream, _, dtype, fortran):
            if fortran and len(shape) > 1:
                raise DataError(
                    f"{self.path.name}: {name!r} is stored in Fortran order; save np.ascontiguousarray(x)"
                )
            row_bytes = max(1, int(np.prod(shape[1:])) * dtype.itemsize)
            step = max(1, CHUNK_BYTES // row_bytes)
            for first in range(0, shape[0], step):
                count = min(step, shape[0] - first)
                yield (
                    first,
                    np.frombuffer(_exactly(stream, count * row_bytes), dtype).reshape(count, *shape[1:]),
                )


def _exactly(stream: Any, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it ends too early")
    return content


def npz(
    path: str | Path,
    *,
    x: str | Sequence[str] | Mapping[str, str] = "x",
    y: str | Sequence[str] | Mapping[str, str] = "y",
    validation_x: str | Sequence[str] | Mapping[str, str] | None = None,
    validation_y: str | Sequence[str] | Mapping[str, str] | None = None,
    validation_split: float = 0.2,
    is_validation: str | None = None,
    group: str | None = None,
    seed: int = 0,
    scale: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
) -> Dataset:
    """Arrays of an ``.npz`` file, streamed, so that it may be larger than memory.

    ``x`` and ``y`` are array names: one, a list, or {input of the model: array}. Held out are, in this order of
    precedence: ``validation_x`` with ``validation_y``; the rows where the array ``is_validation`` is true; whole
    groups (episodes, patients) named by the array ``group``; ``validation_split`` of the rows. ``scale`` is
    (factor, offset), or one pair by name: values become ``factor * value + offset``, float32.
    """
    check_split(validation_split, seed)
    if (validation_x is None) != (validation_y is None):
        raise ConfigError(
            "data.validation_y", given=validation_y, rule="both validation_x and validation_y, or none"
        )
    names = {"x": x, "y": y, "validation_x": validation_x, "validation_y": validation_y}
    if scale is not None:
        for pair in scale.values() if isinstance(scale, Mapping) else (scale,):
            if (
                not isinstance(pair, Sequence)
                or len(pair) != 2
                or not all(isinstance(v, int | float) for v in pair)
            ):
                raise ConfigError(
                    "data.scale", given=scale, rule="(factor, offset), or name -> (factor, offset)"
                )
        scale = {k: list(v) for k, v in scale.items()} if isinstance(scale, Mapping) else list(scale)
    return dataset_of(
        "npz",
        path,
        **{option: _array_names(option, value) for option, value in names.items()},
        validation_split=validation_split,
        is_validation=is_validation,
        group=group,
        seed=seed,
        scale=scale,
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


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Split the archive's rows and copy each array into train and validation files."""
    with Archive(path) as archive:
        inputs, targets = _names(options["x"]), _names(options["y"])
        counts = {name: archive.header(name)[0][0] for name in [*inputs.values(), *targets.values()]}
        first, count = next(iter(counts.items()))
        for name, other in counts.items():
            if other != count:
                raise DataError(
                    f"{path.name}: {first!r} has {count} rows but {name!r} has {other}; expected as many"
                )
        if not count:
            raise DataError(f"{path.name}: {first!r} has no rows")
        labels = (
            archive.read(targets[None]) if None in targets and _is_label(archive, targets[None]) else None
        )
        if options["validation_x"] is not None:
            parts: dict[str, Any] = {"train": np.arange(count)}
        else:
            parts = _rows(archive, options, count, labels)
        ranges: dict[str | None, Any] = {}
        for role, names in (("x", inputs), ("y", targets)):
            for key, name in names.items():
                span = _copy(archive, name, role, key, parts, writer, _scale(options["scale"], key, name))
                ranges[key] = span if role == "x" else ranges.get(key)
        if options["validation_x"] is not None:
            _copy_given(archive, options, inputs, targets, writer)
        _finish(archive, options, labels, inputs, targets, ranges, parts, writer)


def _finish(
    archive: Archive,
    options: dict[str, Any],
    labels: np.ndarray | None,
    inputs: dict[str | None, str],
    targets: dict[str | None, str],
    ranges: dict[str | None, Any],
    parts: dict[str, Any],
    writer: FolderWriter,
) -> None:
    task, classes = "other", None
    if labels is not None:
        held = parts.get("validation")
        held_labels = labels[held] if held is not None else None
        if options["validation_y"] is not None:
            held_labels = archive.read(_names(options["validation_y"])[None])
        task, classes = task_of(labels[parts["train"]], held_labels, None)
    elif None in targets and archive.header(targets[None])[1].kind == "f":
        task = "regression"
    value_range = ranges[None] if None in inputs else {key: ranges[key] for key in inputs}
    writer.finish(task=task, num_classes=classes, value_range=value_range)


def _rows(
    archive: Archive, options: dict[str, Any], count: int, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    for option in ("is_validation", "group"):
        if options[option] is not None and archive.header(options[option])[0] != (count,):
            shape = archive.header(options[option])[0]
            raise DataError(
                f"{archive.path.name}: {options[option]!r} has shape {shape}; expected ({count},)"
            )
    if options["is_validation"] is not None:
        held = archive.read(options["is_validation"]).astype(bool)
        if held.all() or not held.any():
            raise DataError(
                f"{archive.path.name}: {options['is_validation']!r} holds out {held.sum()} of {count} rows"
            )
        return {"train": np.flatnonzero(~held), "validation": np.flatnonzero(held)}
    groups = archive.read(options["group"]) if options["group"] is not None else None
    train, held_rows = split_rows(
        count, options["validation_split"], options["seed"], labels=labels, groups=groups
    )
    return {"train": train, "validation": held_rows} if len(held_rows) else {"train": train}


def _is_label(archive: Archive, name: str) -> bool:
    shape, dtype = archive.header(name)
    if dtype.kind == "U":
        raise DataError(f"{archive.path.name}: {name!r} holds text; expected whole numbers or floating point")
    return dtype.kind in "biu" and (len(shape) == 1)


def _copy(
    archive: Archive,
    name: str,
    role: str,
    key: str | None,
    parts: dict[str, np.ndarray],
    writer: FolderWriter,
    scale: tuple[float, float] | None = None,
) -> tuple[float, float] | None:
    """Copy one array into its splits, piece by piece; returns the training split's range of values."""
    shape, dtype = archive.header(name)
    if dtype.kind == "U":
        raise DataError(f"{archive.path.name}: {name!r} holds text; expected numbers")
    wanted = np.dtype(np.int32) if role == "y" and np.can_cast(dtype, np.int32) else dtype
    if scale is not None or dtype in (np.float64, np.float16):
        wanted = np.dtype(np.float32)
    targets = {
        split: writer.array(split, role, key, (len(rows), *shape[1:]), wanted)
        for split, rows in parts.items()
    }
    for first, piece in archive.pieces(name):
        check_finite(piece, f"{archive.path.name}: {name!r}", first)
        if scale is not None:
            piece = piece.astype(np.float32) * np.float32(scale[0]) + np.float32(scale[1])
        for split, rows in parts.items():
            low, high = np.searchsorted(rows, (first, first + len(piece)))
            targets[split][low:high] = piece[rows[low:high] - first]
    return range_of(next(iter(targets.values())))


def _copy_given(
    archive: Archive,
    options: dict[str, Any],
    inputs: dict[str | None, str],
    targets: dict[str | None, str],
    writer: FolderWriter,
) -> None:
    held_x, held_y = _names(options["validation_x"]), _names(options["validation_y"])
    if held_x.keys() != inputs.keys() or held_y.keys() != targets.keys():
        raise ConfigError(
            "data.validation_x",
            given=options["validation_x"],
            rule=f"the names that x and y have: {list(inputs)}",
        )
    counts = {name: archive.header(name)[0][0] for name in [*held_x.values(), *held_y.values()]}
    if len(set(counts.values())) != 1 or not next(iter(counts.values())):
        raise DataError(f"{archive.path.name}: the validation arrays have different or no rows: {counts}")
    rows = np.arange(next(iter(counts.values())))
    for role, names, train in (("x", held_x, inputs), ("y", held_y, targets)):
        for key, name in names.items():
            one, two = archive.header(train[key])[0][1:], archive.header(name)[0][1:]
            if one != two:
                raise DataError(
                    f"{archive.path.name}: {train[key]!r} has samples of {one} but {name!r} of {two}"
                )
            _copy(
                archive,
                name,
                role,
                key,
                {"validation": rows},
                writer,
                _scale(options["scale"], key, train[key]),
            )


def _names(value: Any) -> dict[str | None, str]:
    """{input name: array name}; the key is None for a single plain array."""
    if isinstance(value, str):
        return {None: value}
    if isinstance(value, list):
        return {name: name for name in value}
    return dict(value)


def _scale(scale: Any, key: str | None, name: str) -> tuple[float, float] | None:
    if isinstance(scale, dict):
        scale = scale.get(key if key is not None else name)
    return (float(scale[0]), float(scale[1])) if scale is not None else None
