"""Prepared data: the train and validation splits as arrays, memory-mapped where they come from a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.errors import DataError

FORMAT = 1
META = "meta.json"
Arrays = np.ndarray | dict[str, np.ndarray] | tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """The samples ``x``, targets ``y`` and sample weights ``w`` of one split, rows first.

    Each is an array, a dictionary name -> array or a tuple of arrays; ``y`` and ``w`` may be None.
    """

    x: Arrays
    y: Any
    w: Any = None

    def __len__(self) -> int:
        return len(_first(self.x))

    def __repr__(self) -> str:
        return f"Split({len(self)} samples)"

    def take(self, indices: np.ndarray) -> tuple[Arrays, Arrays]:
        """The rows at ``indices`` (int64, shape ``(b,)``) as arrays in memory, in that order and type.

        >>> Split(np.arange(6).reshape(3, 2), np.array([5, 6, 7])).take(np.array([2, 0]))[1].tolist()
        [7, 5]
        """
        return _map(self.x, lambda a: np.take(np.asarray(a), indices, axis=0)), _map(
            self.y, lambda a: np.take(np.asarray(a), indices, axis=0)
        )

    def rows(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        """Samples, targets and weights at ``indices``; see `take`."""
        return *self.take(indices), _map(self.w, lambda a: np.take(np.asarray(a), indices, axis=0))

    def arrays(self) -> Iterator[tuple[str, str | None, np.ndarray]]:
        """Every array as (role, name, array): role is x or y, name is None for a plain array."""
        for role, value in (("x", self.x), ("y", self.y)):
            for name, array in value.items() if isinstance(value, dict) else ((None, value),):
                yield role, name, array


@dataclass(frozen=True, eq=False, repr=False)
class PreparedData:
    """Validated data that is ready to train on: splits, labels, and what a model must know about them.

    ``value_range`` is (low, high) of the samples (a dictionary of pairs for several inputs): 0..255 for bytes,
    the training split's own range otherwise. ``task`` is classification (whole-number labels), regression
    (fractional targets) or other (label maps, several outputs).
    """

    train: Split
    validation: Split | None
    task: str
    class_names: tuple[str, ...] | None = None
    num_classes: int | None = None
    value_range: Any = (0.0, 1.0)
    vocabulary_size: int | None = None
    vocabulary: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None

    @property
    def sample_shape(self) -> Any:
        """Shape of one sample, without the row axis; a dictionary name -> shape for several inputs."""
        return _map(self.train.x, lambda a: tuple(a.shape[1:]))

    @property
    def sample_dtype(self) -> Any:
        """NumPy type name of a sample, such as ``uint8``; a dictionary for several inputs."""
        return _map(self.train.x, lambda a: a.dtype.name)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that change with the data or how it was prepared."""
        if self.key is not None:
            return self.key
        digest = hashlib.blake2b(digest_size=16)
        for split in (self.train, self.validation):
            for role, name, array in split.arrays() if split else ():
                digest.update(f"{role} {name} {array.dtype.str} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        return digest.hexdigest()

    def summary(self) -> str:
        """A few lines for people: counts, shape, type, labels."""
        held = f"{len(self.validation)} for validation" if self.validation else "no validation split"
        lines = [
            f"{len(self.train)} samples to train on, {held}",
            f"sample: {_shape_text(self.sample_shape)} {_plain(self.sample_dtype)}, values {_plain(self.value_range)}",
        ]
        if self.task == "classification":
            names = ", ".join((self.class_names or tuple(map(str, range(self.num_classes or 0))))[:12])
            more = ", …" if (self.num_classes or 0) > 12 else ""
            lines.append(f"classification into {self.num_classes} classes: {names}{more}")
        else:
            lines.append(
                f"{self.task}: target {_shape_text(_map(self.train.y, lambda a: tuple(a.shape[1:])))}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        held = len(self.validation) if self.validation else 0
        return (
            f"PreparedData({len(self.train)} + {held} samples, {_shape_text(self.sample_shape)}, {self.task})"
        )


class FolderWriter:
    """Writes a prepared folder: ``.npy`` files filled piecewise, then ``meta.json`` as the last one."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        self._open: list[np.memmap] = []

    def array(
        self, split: str, role: str, name: str | None, shape: tuple[int, ...], dtype: Any
    ) -> np.ndarray:
        """A writable array of that shape, backed by a file of the folder."""
        file = f"{split}.{role}.{sum(e['split'] == split and e['role'] == role for e in self.entries)}.npy"
        self.entries.append({"split": split, "role": role, "name": name, "file": file})
        if 0 in shape:
            empty = np.zeros(shape, dtype)
            np.save(self.folder / file, empty)
            return empty
        mapped = np.lib.format.open_memmap(self.folder / file, mode="w+", dtype=np.dtype(dtype), shape=shape)
        self._open.append(mapped)
        return mapped

    def put(self, split: str, role: str, name: str | None, values: np.ndarray) -> None:
        """Write a whole array at once."""
        target = self.array(split, role, name, values.shape, values.dtype)
        target[...] = values

    def finish(self, **meta: Any) -> None:
        """Flush everything and write what `PreparedData` holds beside the arrays."""
        for mapped in self._open:
            mapped.flush()
        self._open.clear()
        text = json.dumps({"format": FORMAT, "arrays": self.entries, **meta}, indent=1)
        temporary = self.folder / f"{META}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.folder / META)


def write_folder(prepared: PreparedData, folder: Path) -> None:
    """Write prepared data to a folder that `open_folder` reads back."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = FolderWriter(folder)
    for name, split in (("train", prepared.train), ("validation", prepared.validation)):
        for role, key, array in split.arrays() if split else ():
            writer.put(name, role, key, np.asarray(array))
    writer.finish(
        task=prepared.task,
        class_names=prepared.class_names,
        num_classes=prepared.num_classes,
        value_range=prepared.value_range,
        vocabulary_size=prepared.vocabulary_size,
        vocabulary=prepared.vocabulary,
        feature_names=prepared.feature_names,
        details=dict(prepared.details),
        key=prepared.fingerprint,
    )


def open_folder(folder: Path) -> PreparedData:
    """Open a prepared folder; its arrays are memory-mapped and read-only. Raises `DataError` if it is broken."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta.pop("format") != FORMAT:
            raise DataError(f"{folder}: prepared by another version; store the data again")
        found: dict[tuple[str, str], dict[str | None, np.ndarray]] = {}
        for entry in meta.pop("arrays"):
            array = np.load(folder / entry["file"], mmap_mode="r", allow_pickle=False)
            found.setdefault((entry["split"], entry["role"]), {})[entry["name"]] = array
        train = Split(_join(found["train", "x"]), _join(found["train", "y"]))
        held = ("validation", "x") in found
        validation = Split(_join(found["validation", "x"]), _join(found["validation", "y"])) if held else None
        for name in ("class_names", "vocabulary", "feature_names"):
            meta[name] = tuple(meta[name]) if meta.get(name) is not None else None
        meta["value_range"] = _ranges(meta["value_range"])
        return PreparedData(train=train, validation=validation, **meta)
    except (OSError, ValueError, KeyError, TypeError) as failure:
        if isinstance(failure, DataError):
            raise
        raise DataError(f"{folder}: not a readable folder of prepared data ({failure})") from None


def _ranges(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: tuple(pair) for name, pair in value.items()}
    return tuple(value)


def _join(arrays: dict[str | None, np.ndarray]) -> Arrays:
    alone = arrays.get(None)
    return {str(name): array for name, array in arrays.items()} if alone is None else alone


def _first(value: Arrays) -> np.ndarray:
    if isinstance(value, dict):
        return next(iter(value.values()))
    return value[0] if isinstance(value, tuple) else value


def _map(value: Any, function: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: function(array) for name, array in value.items()}
    if isinstance(value, tuple):
        return tuple(function(array) for array in value)
    return function(value)


def _shape_text(shape: Any) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shape_text(one)}" for name, one in shape.items())
    return " x ".join(map(str, shape)) if shape else "scalar"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else str(value)
