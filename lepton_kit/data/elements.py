"""What `fit` takes beside arrays: datasets, generators and loaders as one kind of source, and their elements as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, cycle, repeat
from operator import length_hint
from typing import Any

import numpy as np

from lepton_kit.data.checks import check_finite, same_length
from lepton_kit.data.convert import TEXT, as_array, is_foreign
from lepton_kit.data.prepared import Split
from lepton_kit.data.structure import form, items, joined, label, named
from lepton_kit.data.weights import class_weights, sample_weights
from lepton_kit.errors import DataError


@dataclass(frozen=True)
class Source:
    """Something that gives elements: ``read`` begins a reading, and ``after`` ends an epoch.

    ``length`` is the number of elements if it is known; ``class_names`` are those that Keras' readers of folders tell.
    """

    kind: str
    read: Callable[[], Iterator[Any]]
    length: int | None
    is_endless: bool = False
    is_read_once: bool = False
    keeps_order: bool = True
    after: Callable[[], None] = lambda: None
    class_names: tuple[str, ...] | None = None


def is_stream(value: Any) -> bool:
    """Whether this gives elements one after the other: no array, list, dictionary, frame or tensor."""
    if (
        isinstance(value, str | bytes | Mapping | list | tuple)
        or hasattr(value, "__array__")
        or is_foreign(value)
    ):
        return False
    return _is_a(value, "PyDataset") or hasattr(value, "__iter__") or hasattr(value, "__next__")


def source_of(value: Any) -> Source:
    """The source behind a `tf.data.Dataset`, `keras.utils.PyDataset`, generator, loader or other iterable."""
    if _is_a(value, "PyDataset"):
        length = value.num_batches
        return Source(
            "PyDataset",
            lambda: _of_py_dataset(value),
            length,
            length is None,
            keeps_order=False,
            after=value.on_epoch_end,
        )
    if hasattr(value, "element_spec") and callable(getattr(value, "cardinality", None)):
        cardinality = int(value.cardinality())  # -1: endless, -2: not known
        known = cardinality if cardinality >= 0 else None
        names = _class_names(value)
        return Source("tf.data.Dataset", lambda: iter(value), known, cardinality == -1, class_names=names)
    if isinstance(value, count | cycle | repeat) and not length_hint(value, 0):
        return Source(f"itertools.{type(value).__name__}", lambda: iter(value), None, True, is_read_once=True)
    if hasattr(value, "__next__"):
        return Source("generator", lambda: iter(value), None, is_read_once=True)
    try:
        length = len(value)
    except TypeError:
        length = None
    return Source(type(value).__name__, lambda: iter(value), length)


KEEP_LABELS = ("PrefetchDataset", "CacheDataset", "ShuffleDataset", "TakeDataset", "OptionsDataset")
"""Steps of tf.data that leave elements as they are, and lose the attributes of the data set before them."""


def _class_names(value: Any) -> tuple[str, ...] | None:
    """What `image_dataset_from_directory` and its relatives say of the labels, also behind `cache` or `prefetch`."""
    while not hasattr(value, "class_names"):
        if type(value).__name__.lstrip("_") not in KEEP_LABELS or not hasattr(value, "_input_dataset"):
            return None
        value = value._input_dataset
    names = value.class_names
    return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None


def _is_a(value: Any, name: str) -> bool:
    return any(one.__name__ == name and one.__module__.startswith("keras.") for one in type(value).__mro__)


def _of_py_dataset(value: Any) -> Iterator[Any]:
    value.on_epoch_begin()
    place, length = 0, value.num_batches
    while length is None or place < length:
        yield value[place]
        place += 1


@dataclass
class Elements:
    """Turns elements of a source into rows of one form; the first element decides the form.

    ``batched`` says whether an element holds many rows or is one; ``auto``: many, unless a part of it is a single value.
    """

    name: str = ""
    batched: bool | str = "auto"
    class_weight: Mapping[Any, float] | None = None
    like: Split | None = None
    densified: bool = False

    def rows(self, element: Any, place: int) -> tuple[Split, set[tuple[str, Any]]]:
        """The element as a split, and the (role, key) of arrays whose rows had different lengths."""
        where = f"{self.name}element {place}"
        x, y, w = _unpack(element, where)
        if self.batched == "auto":
            self.batched = not any(
                _is_single(part)
                for role, value in zip("xyw", (x, y, w), strict=True)
                for _, part in _parts(value, f"{where}: {role}")
            )
        padded: set[tuple[str, Any]] = set()
        inputs = self._arrays(x, "x", where, padded)
        targets = self._arrays(y, "y", where, padded)
        count = same_length({**named(inputs, f"{where}: x"), **named(targets, f"{where}: y")}, empty=True)
        if w is not None:
            if self.class_weight is not None:
                raise DataError(f"{where}: weights of samples beside class_weight; give one of them")
            if targets is None:
                raise DataError(
                    f"{where}: weights without targets; expected (x,), (x, y) or (x, y, sample_weight)"
                )
            w = w if self.batched else joined({key: _one(part) for key, part in _parts(w, f"{where}: w")})
            w = sample_weights(w, targets, count, f"{where}: sample_weight")
        elif self.class_weight is not None:
            w = class_weights(targets, self.class_weight, name=f"{where}: class_weight")
        for name, array in {**named(inputs, f"{where}: x"), **named(targets, f"{where}: y")}.items():
            check_finite(array, name)
        split = Split(inputs, targets, w)
        self._check_form(split, where)
        return split, padded

    def _arrays(self, value: Any, role: str, where: str, padded: set[tuple[str, Any]]) -> Any:
        notes: dict[str, str] = {}
        arrays = {}
        for key, part in _parts(value, f"{where}: {role}"):
            name = label(f"{where}: {role}", key)
            if self.batched and _is_single(part):
                raise DataError(
                    f"{name} is a single value; a batch has rows first: say batched=False for single samples"
                )
            arrays[key] = as_array(part if self.batched else _one(part), name, notes)
            if role == "y" and arrays[key].dtype.kind in TEXT:
                raise DataError(f"{name}: text labels; give whole numbers")
            if "padded" in notes.get(name, ""):
                padded.add((role, key))
            elif name in notes:
                self.densified = True
        return joined(arrays)

    def _check_form(self, split: Split, where: str) -> None:
        if self.like is None:
            self.like = Split(
                *(joined({key: array[:0] for key, array in items(part)}) for part in _three(split))
            )
        for role, one, two in zip("xyw", _three(self.like), _three(split), strict=True):
            if [key for key, _ in items(one)] != [key for key, _ in items(two)]:
                raise DataError(
                    f"{where}: {role} is {form(two)} where element 0 has {form(one)}; expected one form in every element"
                )


def row_hashes(split: Split) -> np.ndarray:
    """A hash of each row, uint64 ``(n,)``, that does not depend on how far the row is padded."""
    arrays = [array for _, _, array in split.arrays()]
    found = np.empty(len(split), np.uint64)
    for row in range(len(split)):
        digest = blake2b(digest_size=8)
        for array in arrays:
            digest.update(array[row].tobytes().rstrip(b"\0") + b"|")
        found[row] = int.from_bytes(digest.digest(), "little")
    return found


def _three(split: Split) -> tuple[Any, Any, Any]:
    return split.x, split.y, split.w


def _unpack(element: Any, where: str) -> tuple[Any, Any, Any]:
    """(x, y, weights) of an element, by Keras' rule."""
    if not isinstance(element, tuple | list):
        return element, None, None
    if not 1 <= len(element) <= 3:
        raise DataError(f"{where} has {len(element)} parts; expected (x,), (x, y) or (x, y, sample_weight)")
    return (*element, None, None)[:3]


def _parts(value: Any, where: str) -> list[tuple[Any, Any]]:
    """(key, part) of inputs or targets; a list or tuple of tensors is several, of plain values it is one."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        value = {str(key): part for key, part in value.items()}
    elif isinstance(value, tuple | list):
        several = any(len(getattr(part, "shape", ())) for part in value) or all(
            hasattr(part, "shape") and not isinstance(part, np.generic) for part in value
        )
        value = tuple(value) if several else (value,)
        if not several:
            return [(None, value[0])]
    for key, part in items(value):
        if isinstance(part, Mapping | tuple):
            raise DataError(
                f"{label(where, key)}: a {type(part).__name__} inside another form; expected arrays, or name -> array"
            )
    return items(value)


def _is_single(part: Any) -> bool:
    if isinstance(part, tuple | list):
        return False
    shape = getattr(part, "shape", None)
    return len(shape) == 0 if shape is not None else isinstance(part, str | bytes | int | float)


def _one(part: Any) -> Any:
    """A sample as a batch of one."""
    if isinstance(part, str | bytes):
        return [part]
    return as_array(part, "a sample")[None] if not _is_single(part) else np.asarray(part)[None]
