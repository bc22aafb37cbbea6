"""Prepared data: the train and validation splits as arrays, memory-mapped where they come from a folder."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_kit.data.preprocessing import Preprocessing, parse
from lepton_kit.data.structure import Arrays, Key, first, items, joined, mapped
from lepton_kit.data.writing import HASHES, META, ORIGIN, READABLE, FolderWriter, content_of, hashes_of
from lepton_kit.errors import DataError
from lepton_kit.rundir.reading import read_mapping, regular
from lepton_kit.specs import BlockOrder

if TYPE_CHECKING:
    from lepton_kit.data.large.reading import SampleSource

ELSEWHERE = "elsewhere.json"
"""Stands in a folder whose files lie in another one, which it names: on another disk, and too large to copy."""


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """The samples ``x``, targets ``y`` and sample weights ``w`` of one split, rows first.

    Each is an array, a dictionary name -> array or a tuple of arrays; ``y`` and ``w`` may be None. With a ``source``
    the samples are not in memory: `rows` reads them, and ``x`` says their shape and type. ``hashes`` has a hash of
    each sample's contents, uint64 ``(n,)``, made while they were decoded, where the split comes from a folder; a
    changed copy has none.
    """

    x: Arrays
    y: Any = None
    w: Any = None
    source: SampleSource | None = None
    hashes: np.ndarray | None = field(default=None, init=False)

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
        if self.source is not None:
            shape = np.shape(indices)
            found = self.source.take(np.reshape(indices, -1))
            x, y, w = (mapped(one, lambda a: a.reshape(*shape, *a.shape[1:])) for one in found)
            return x, y, w
        x, y, w = (
            mapped(value, lambda array: np.take(np.asarray(array), indices, axis=0))
            for value in (self.x, self.y, self.w)
        )
        return x, y, w

    @property
    def order(self) -> BlockOrder | None:
        """The order of an epoch that reads these samples well; None: any."""
        return self.source.order if self.source is not None else None

    def prefetch(self, indices: np.ndarray) -> None:
        """Say which samples are wanted next; those that are not in memory are then read in the background."""
        if self.source is not None:
            self.source.prefetch(np.reshape(indices, -1))

    def hashes_of(self, indices: np.ndarray) -> np.ndarray:
        """The content hashes of the samples at ``indices``, uint64, the same shape; looked up, not computed."""
        if self.hashes is None:
            raise DataError("these samples have no hashes: they were not read from a prepared folder")
        return np.take(np.asarray(self.hashes), indices)

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
    folder: Path | None = field(default=None, init=False)
    """Where the arrays lie, if they do; a changed copy of this object lies nowhere."""
    is_sealed: bool = field(default=False, init=False)
    """Whether that folder says what its contents were when they were decoded."""

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

    @property
    def differences(self) -> tuple[str, ...]:
        """Those of the notes that make a training other than the same data would in plain Keras."""
        return tuple(self.details.get("differences", ()))

    @property
    def fingerprint(self) -> str:
        """32 hex digits that change with the files that it was made from, or with how; without files `content`."""
        return self.key or self.content

    @cached_property
    def content(self) -> str:
        """32 hex digits that change with any value, name, shape, type, or the preprocessing."""
        arrays = entries_of(self)
        hashes = {
            name: split.hashes if split.hashes is not None else hashes_of(arrays, name)
            for name, split in self.splits()
            if split is not None
        }
        return content_of(arrays, hashes, meta_of(self), {})

    def splits(self) -> Iterator[tuple[str, Split | None]]:
        """("train", split), ("validation", split or None)."""
        yield "train", self.train
        yield "validation", self.validation

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


def write_folder(prepared: PreparedData, folder: Path) -> None:
    """Write prepared data to a folder that `open_folder` reads back."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = FolderWriter(folder)
    for name, split in prepared.splits():
        for role, key, array in split.arrays() if split else ():
            writer.put(name, role, key, np.asarray(array))
    writer.finish(**meta_of(prepared), key=prepared.key)


def entries_of(prepared: PreparedData) -> list[dict[str, Any]]:
    """Every array with the split, role and name by which `FolderWriter` knows it."""
    return [
        {"split": name, "role": role, "name": key, "array": array}
        for name, split in prepared.splits()
        for role, key, array in (split.arrays() if split is not None else ())
    ]


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


def store_folder(prepared: PreparedData, folder: Path, copy_bytes: int | None = None) -> bool:
    """Have prepared data in a folder of their own: by another name of each file, or by writing or copying them.

    False, and nothing is done, where they lie on another disk in files of more than ``copy_bytes`` together.
    Raises `OSError`, such as on a full disk.
    """
    source = prepared.folder
    if source is None or not prepared.is_sealed or not (source / META).is_file():
        write_folder(prepared, folder)
        return True
    folder.mkdir(parents=True, exist_ok=True)
    files = [file for file in source.iterdir() if file.name not in (META, ORIGIN)] + [source / META]
    for file in files:
        target = folder / file.name
        target.unlink(missing_ok=True)
        try:
            os.link(file, target)
        except OSError:
            if copy_bytes is not None and sum(one.stat().st_size for one in files) > copy_bytes:
                return False
            shutil.copy2(file, target)
    return True


def open_folder(folder: Path, key: str | None = None) -> PreparedData:
    """Open a prepared folder; its arrays are memory-mapped and read-only. Raises `DataError` if it is broken.

    ``key`` is its fingerprint where that does not stand in it.
    """
    try:
        folder = place_of(folder)
        meta = read_mapping(folder / META)
        if meta.pop("format") not in READABLE:
            raise DataError(f"{folder}: prepared by another version; store the data again")
        found: dict[tuple[str, str], dict[Key, np.ndarray]] = {}
        for entry in meta.pop("arrays"):
            array = np.load(regular(folder / entry["file"]), mmap_mode="r", allow_pickle=False)
            found.setdefault((entry["split"], entry["role"]), {})[entry["name"]] = array
        if (source := meta.pop("source", None)) is not None:
            train, held = _read_by_index(folder, source, found)
        else:
            train, validation = (
                Split(*(joined(found.get((split, role), {})) for role in ("x", "y", "w")))
                for split in ("train", "validation")
            )
            held = validation if validation.x is not None else None
        if train.x is None:
            raise DataError(f"{folder}: not a readable folder of prepared data (no samples)")
        content, files = meta.pop("content", None), meta.pop("files", {})
        meta = {**_typed(meta, folder), "key": key or meta.get("key")}
        prepared = PreparedData(train=train, validation=held, **meta)
        _set(prepared, "folder", folder)
        if content is not None:
            _set(prepared, "content", content)
            _set(prepared, "is_sealed", True)
            for name, one in prepared.splits():
                if one is not None and (file := HASHES.format(name)) in files:
                    _set(one, "hashes", np.load(regular(folder / file), mmap_mode="r"))
        return prepared
    except (OSError, ValueError, KeyError, TypeError, EOFError) as failure:
        if isinstance(failure, DataError):
            raise
        raise DataError(f"{folder}: not a readable folder of prepared data ({failure})") from None


def _typed(meta: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What stood beside the arrays, in the types that `PreparedData` has."""
    for name in ("class_names", "vocabulary", "feature_names"):
        meta[name] = tuple(meta[name]) if meta.get(name) is not None else None
    meta["value_range"] = _ranges(meta["value_range"])
    if meta.get("preprocessing") is not None:
        meta["preprocessing"] = parse(meta["preprocessing"], str(folder))
    return meta


def _read_by_index(folder: Path, source: Any, found: Any) -> tuple[Split, Split | None]:
    # By name: what reads large data is built on this module.
    large = importlib.import_module("lepton_kit.data.large.index")
    result: tuple[Split, Split | None] = large.splits(
        folder, source, {split: joined(parts) for (split, _), parts in found.items()}
    )
    return result


def _set(frozen: Any, name: str, value: Any) -> None:
    """A field that `dataclasses.replace` does not take along: a changed copy is not what lies in the folder."""
    object.__setattr__(frozen, name, value)


def place_of(folder: Path) -> Path:
    """Where the files of a prepared folder lie: there, or in the folder that it points to."""
    try:
        return Path(read_mapping(folder / ELSEWHERE)["folder"])
    except FileNotFoundError:
        return folder


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
