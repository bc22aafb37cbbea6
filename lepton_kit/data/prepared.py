"""Prepared data: the train and validation splits as arrays, memory-mapped where they come from a folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Preprocessing, parse
from lepton_kit.data.structure import Arrays, Key, first, items, joined, mapped
from lepton_kit.errors import DataError

FORMAT = 2
META = "meta.json"


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """The samples ``x``, targets ``y`` and sample weights ``w`` of one split, rows first.

    Each is an array, a dictionary name -> array or a tuple of arrays; ``y`` and ``w`` may be None.
    """

    x: Arrays
    y: Any = None
    w: Any = None

    def __len__(self) -> int:
        return len(first(self.x))

    def __repr__(self) -> str:
        return f"Split({len(self)} samples)"

    def take(self, indices: np.ndarray) -> tuple[Any, Any]:
        """The rows at ``indices`` (int64, shape ``(b,)``) as arrays in memory, in that order and type.

        >>> Split(np.arange(6).reshape(3, 2), np.array([5, 6, 7])).take(np.array([2, 0]))[1].tolist()
        [7, 5]
        """
        return self.rows(indices)[:2]

    def rows(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        """Samples, targets and weights at ``indices``; see `take`.

        >>> Split((np.arange(3), np.arange(3)), None, np.ones(3)).rows(np.array([1]))
        ((array([1]), array([1])), None, array([1.]))
        """
        x, y, w = (
            mapped(value, lambda array: np.take(np.asarray(array), indices, axis=0))
            for value in (self.x, self.y, self.w)
        )
        return x, y, w

    def part(self, rows: slice) -> Split:
        """A run of rows without copying them."""
        return Split(*(mapped(value, lambda array: array[rows]) for value in (self.x, self.y, self.w)))

    def arrays(self) -> Iterator[tuple[str, Key, np.ndarray]]:
        """Every array as (role, key, array): role is x, y or w; see `structure.items` for the key."""
        for role, value in (("x", self.x), ("y", self.y), ("w", self.w)):
            for key, array in items(value):
                yield role, key, array


@dataclass(frozen=True, eq=False, repr=False)
class PreparedData:
    """Validated data that is ready to train on: splits, labels, and what a model must know about them.

    ``value_range`` is (low, high) of the samples (in the samples' form, for several inputs): 0..255 for bytes, None
    for text, the training split's own range otherwise. ``task`` is what the targets look like, a hint:
    classification (one small whole number a sample), regression (floating point) or other (label maps, several
    outputs, none). ``preprocessing`` encodes new raw input as these samples were. ``details`` may hold ``notes``, sentences on what differs from the data as they were given.
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
    preprocessing: Preprocessing | None = None
    key: str | None = None

    @property
    def sample_shape(self) -> Any:
        """Shape of one sample, without the row axis; for several inputs in their form, such as name -> shape."""
        return mapped(self.train.x, lambda a: tuple(a.shape[1:]))

    @property
    def sample_dtype(self) -> Any:
        """NumPy type name of a sample, such as ``uint8``; for several inputs in their form."""
        return mapped(self.train.x, lambda a: a.dtype.name)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what differs from the data as they were given, such as padding; empty if nothing does."""
        return tuple(self.details.get("notes", ()))

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that change with the data or how it was prepared."""
        if self.key is not None:
            return self.key
        digest = hashlib.blake2b(digest_size=16)
        for split in (self.train, self.validation):
            for role, name, array in split.arrays() if split else ():
                digest.update(f"{role} {name!r} {array.dtype.str} {array.shape}".encode())
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
            target = mapped(self.train.y, lambda a: tuple(a.shape[1:]))
            lines.append(f"{self.task}: target {_shape_text(target)}" if target is not None else "no targets")
        if self.train.w is not None:
            lines.append("samples are weighted")
        lines += self.notes
        return "\n".join(lines)

    def __repr__(self) -> str:
        held = len(self.validation) if self.validation else 0
        return (
            f"PreparedData({len(self.train)} + {held} samples, {_shape_text(self.sample_shape)}, {self.task})"
        )


class FolderWriter:
    """Writes a prepared folder: ``.npy`` files filled piecewise, then ``meta.json`` as the last one.

    ``progress(done, total)`` is called by sources that take long, where a caller wants to know.
    """

    progress: Callable[[int, int], None] | None = None

    def __init__(self, folder: Path):
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        self._open: list[np.memmap] = []

    def file(self, split: str, role: str, name: Key) -> Path:
        """Where an array stands that the caller writes as ``.npy``."""
        file = f"{split}.{role}.{sum(e['split'] == split and e['role'] == role for e in self.entries)}.npy"
        self.entries.append({"split": split, "role": role, "name": name, "file": file})
        return self.folder / file

    def array(self, split: str, role: str, name: Key, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A writable array of that shape, backed by a file of the folder."""
        file = self.file(split, role, name)
        if 0 in shape:
            empty = np.zeros(shape, dtype)
            np.save(file, empty)
            return empty
        target = np.lib.format.open_memmap(file, mode="w+", dtype=np.dtype(dtype), shape=shape)
        self._open.append(target)
        return target

    def put(self, split: str, role: str, name: Key, values: np.ndarray) -> None:
        """Write a whole array at once."""
        target = self.array(split, role, name, values.shape, values.dtype)
        target[...] = values

    def finish(self, **meta: Any) -> None:
        """Flush everything and write what `PreparedData` holds beside the arrays."""
        for target in self._open:
            target.flush()
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
    writer.finish(**meta_of(prepared), key=prepared.fingerprint)


def meta_of(prepared: PreparedData) -> dict[str, Any]:
    """What `FolderWriter.finish` writes beside the arrays, but for the key."""
    return {
        "task": prepared.task,
        "class_names": prepared.class_names,
        "num_classes": prepared.num_classes,
        "value_range": prepared.value_range,
        "vocabulary_size": prepared.vocabulary_size,
        "vocabulary": prepared.vocabulary,
        "feature_names": prepared.feature_names,
        "details": dict(prepared.details),
        "preprocessing": prepared.preprocessing.model_dump(mode="json") if prepared.preprocessing else None,
    }


def link_folder(source: Path, folder: Path) -> None:
    """Another name for every file of a prepared folder, without a copy where the file system allows that."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda one: one.name == META):
        target = folder / file.name
        target.unlink(missing_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copy2(file, target)


def open_folder(folder: Path) -> PreparedData:
    """Open a prepared folder; its arrays are memory-mapped and read-only. Raises `DataError` if it is broken."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta.pop("format") not in (1, FORMAT):  # 1 had no preprocessing
            raise DataError(f"{folder}: prepared by another version; store the data again")
        found: dict[tuple[str, str], dict[Key, np.ndarray]] = {}
        for entry in meta.pop("arrays"):
            array = np.load(folder / entry["file"], mmap_mode="r", allow_pickle=False)
            found.setdefault((entry["split"], entry["role"]), {})[entry["name"]] = array
        train, validation = (
            Split(*(joined(found.get((split, role), {})) for role in ("x", "y", "w")))
            for split in ("train", "validation")
        )
        held = validation if validation.x is not None else None
        if train.x is None:
            raise DataError(f"{folder}: not a readable folder of prepared data (no samples)")
        for name in ("class_names", "vocabulary", "feature_names"):
            meta[name] = tuple(meta[name]) if meta.get(name) is not None else None
        meta["value_range"] = _ranges(meta["value_range"])
        if meta.get("preprocessing") is not None:
            meta["preprocessing"] = parse(meta["preprocessing"], str(folder))
        return PreparedData(train=train, validation=held, **meta)
    except (OSError, ValueError, KeyError, TypeError) as failure:
        if isinstance(failure, DataError):
            raise
        raise DataError(f"{folder}: not a readable folder of prepared data ({failure})") from None


def _ranges(value: Any) -> Any:
    """Ranges as they were before JSON made lists of them: a pair, a dictionary or tuple of pairs, None for text."""
    if isinstance(value, dict):
        return {name: _ranges(one) for name, one in value.items()}
    if value is None or not any(one is None or isinstance(one, list) for one in value):
        return None if value is None else tuple(value)
    return tuple(_ranges(one) for one in value)


def _shape_text(shape: Any) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shape_text(one)}" for name, one in shape.items())
    if shape and isinstance(shape[0], tuple):
        return ", ".join(f"{_shape_text(one)}" for one in shape)
    return " x ".join(map(str, shape)) if shape else "scalar"


def _plain(value: Any) -> str:
    if value is None:
        return "text"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, tuple) and (not value or not isinstance(value[0], int | float)):
        return ", ".join(_plain(one) for one in value)
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else str(value)
