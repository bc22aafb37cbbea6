"""Datasets, generators and loaders, read once into a prepared folder of the cache."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data import contents
from lepton_kit.data.cache import mark, workplace
from lepton_kit.data.columns import Column
from lepton_kit.data.convert import check_floatx
from lepton_kit.data.dataset import Dataset
from lepton_kit.data.elements import Elements, Source, is_stream, row_hashes, source_of
from lepton_kit.data.files import cache_root
from lepton_kit.data.memory import Rows, convert, describe, pair
from lepton_kit.data.prepared import Split, meta_of, open_folder
from lepton_kit.data.structure import Key, form, joined, label
from lepton_kit.data.weights import check_class_weights, class_weights
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError

COMPARED_ROWS = 512  # read twice, to see whether a second reading brings the same
MAX_ELEMENTS = 10_000_000  # a source of unknown length that gives more is taken for an endless one
MAX_BATCHES = 100_000  # the same for a generator, whose elements are batches, as in Keras
SPARE_BYTES = 2**28  # left free on the disk of the cache
Progress = Callable[[int, int | None], None]


def stream(
    source: Any,
    *,
    validation: Any = None,
    steps: int | None = None,
    validation_steps: int | None = None,
    epochs: int | None = None,
    batched: bool | str = "auto",
    class_weight: Mapping[Any, float] | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
) -> Dataset:
    """A `tf.data.Dataset`, `keras.utils.PyDataset`, generator, loader or other iterable of (x, y, weights), read once.

    An element is a batch, as in `fit` (or one sample: ``batched=False``, found by itself where a part is a single
    value); `Dataset.batch_size` tells how large. ``validation`` is another source or (x, y). An endless source needs
    ``steps``, the elements of an epoch: these are read and come again in every epoch, where Keras would read on; with
    ``epochs`` that many times as many are read, so that training goes on as Keras does. ``progress`` is called
    with the number of elements read and expected. What a second reading would change is said in the ``notes``.
    """
    for name, value in (("steps", steps), ("validation_steps", validation_steps), ("epochs", epochs)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"data.{name}", given=value, rule="a whole number of at least 1")
    if batched not in (True, False, "auto"):
        raise ConfigError("data.batched", given=batched, rule="true, false or auto")
    check_floatx()
    weights = check_class_weights(class_weight) if class_weight is not None else None
    root = cache_root() if cache is None else Path(cache)
    with workplace(root, "stream") as work:
        train = _Reading("train", work, batched, weights, progress)
        held = _Reading("validation", work, batched, None, progress)
        try:
            train.take(source, steps, epochs)
            if validation is not None:
                held.take(validation, validation_steps)
            key = _finish(work, train, held if validation is not None else None)
        finally:
            for column in (*train.columns.values(), *held.columns.values()):
                column.close()
        folder = root / f"stream-{key}"
        with contextlib.suppress(DataError):
            if folder.exists() and not contents.check(open_folder(folder)):
                return Dataset("arrays", folder, held=open_folder(folder))
        shutil.rmtree(folder, ignore_errors=True)
        mark(work, {"kind": "stream"})
        work.rename(folder)
        return Dataset("arrays", folder, held=open_folder(folder))


@dataclass
class _Reading:
    """One split while it is read."""

    split: str
    folder: Path
    batched: bool | str
    class_weight: Mapping[Any, float] | None
    progress: Progress | None
    columns: dict[tuple[str, Key], Column] = field(default_factory=dict)
    digest: Any = field(default_factory=lambda: blake2b(digest_size=16))
    sizes: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    class_names: tuple[str, ...] | None = None
    batch_size: int | None = None
    is_ordered: bool = False
    is_shuffled: bool = False

    @property
    def prefix(self) -> str:
        return "" if self.split == "train" else "validation "

    def take(self, source: Any, steps: int | None, epochs: int | None = None) -> None:
        """Read a stream, or take (x, y, weights) of arrays."""
        if isinstance(source, Rows):
            self._take_rows(source)
        elif is_stream(source):
            self._read(source_of(source), steps, epochs)
        else:
            self._take_rows(convert(*pair(source), prefix=self.prefix))

    def _take_rows(self, rows: Rows) -> None:
        """Arrays that are in memory, as one piece."""
        if self.prefix and rows.class_names is not None:
            raise DataError("validation y: text labels beside a stream, which has whole numbers; give those")
        split = rows.split
        if self.class_weight is not None:
            split = Split(split.x, split.y, class_weights(split.y, self.class_weight, rows.class_names))
        self.class_names = rows.class_names
        self.notes += rows.notes.values()
        padded = {
            (role, key) for role, key, _ in split.arrays() if label(f"{self.prefix}{role}", key) in rows.notes
        }
        self._append(split, padded, self.prefix)

    def _read(self, source: Source, steps: int | None, epochs: int | None) -> None:
        if source.is_endless and steps is None:
            option = "steps_per_epoch" if self.split == "train" else "validation_steps"
            raise DataError(
                f"{self.prefix}data: this {source.kind} has no end; give {option}, the number of batches to read: "
                "they are read once and are the data of every epoch"
            )
        wanted = self._wanted(source, steps, epochs)
        expected = wanted if source.length is None else min(wanted or source.length, source.length)
        # Where the length is not known, one element more is asked for, to see whether there is one.
        limit = wanted + 1 if wanted is not None and source.length is None else wanted
        more = source.is_endless
        elements = Elements(self.prefix, self.batched, self.class_weight)
        hashes: list[np.ndarray] = []
        for place, element in enumerate(_guarded(source, limit, self.prefix)):
            if place == wanted:
                more = True
                break
            most = MAX_BATCHES if source.is_read_once and elements.batched else MAX_ELEMENTS
            if wanted is None and source.length is None and place >= most:
                raise DataError(
                    f"{self.prefix}data: this {source.kind} gave {place} elements and no end; give steps_per_epoch"
                )
            split, padded = elements.rows(element, place)
            self.sizes.append(len(split))
            if not source.is_read_once:
                hashes.append(row_hashes(split))
            self._append(split, padded, f"{self.prefix}element {place}: ")
            if self.progress is not None:
                self.progress(place + 1, expected)
        source.after()
        if not sum(self.sizes):
            raise DataError(f"{self.prefix}data: this {source.kind} gave no samples")
        self._note_padding()
        if elements.densified:
            self.notes.append(f"{self.prefix}data: sparse tensors are stored and fed dense")
        self.is_ordered, self.class_names = source.keeps_order, source.class_names
        self._measure_batches(bool(elements.batched))
        if not self.prefix:
            self._note_repetition(source, wanted, epochs, more)
        if not source.is_read_once:
            self._compare(source, np.concatenate(hashes), wanted)

    def _append(self, split: Split, padded: set[tuple[str, Key]], where: str) -> None:
        for number, (role, key, array) in enumerate(split.arrays()):
            if (role, key) not in self.columns:
                self.columns[role, key] = Column(self.folder, f"{self.split}-{number}")
            column = self.columns[role, key]
            column.ragged = column.ragged or (role, key) in padded
            column.append(array, f"{where}{label(role, key)}")
            self.digest.update(f"{role} {key!r} {array.dtype.str} {array.shape[1:]}".encode())
            self.digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        if shutil.disk_usage(self.folder).free < SPARE_BYTES:
            raise DataError(
                f"{self.folder.parent}: the disk of the data cache is full after {len(self.sizes)} elements; give "
                "steps_per_epoch, or another place in XDG_CACHE_HOME"
            )

    def _note_padding(self) -> None:
        for (role, key), column in self.columns.items():
            if column.is_padded:
                self.notes.append(
                    f"{self.prefix}{label(role, key)}: rows of different lengths are padded at the end to "
                    f"{column.shape[0]}, the longest of all; a model without a mask computes something else on longer rows"
                )

    def _measure_batches(self, batched: bool) -> None:
        if not batched:
            return
        sizes = [size for size in self.sizes if size]
        self.batch_size = max(sizes)
        if any(size != self.batch_size for size in sizes[:-1]):
            self.notes.append(
                f"{self.prefix}data: the batches have {min(sizes)} to {self.batch_size} samples; the samples are cut anew "
                f"into batches of one size, such as {self.batch_size}"
            )

    def _wanted(self, source: Source, steps: int | None, epochs: int | None) -> int | None:
        """Elements to read, None for all: a finite source to train on is read whole, whatever the steps of an epoch."""
        if steps is None or (source.length is not None and not self.prefix):
            return None
        return steps * (epochs or 1)

    def _note_repetition(self, source: Source, wanted: int | None, epochs: int | None, more: bool) -> None:
        count = len(self.sizes)
        if more and epochs is None:
            self.notes.append(
                f"data: the first {count} elements of this {source.kind} are the data of every epoch; plain Keras would "
                "read on"
            )
        elif source.is_read_once and not more and epochs != 1 and count != wanted:
            self.notes.append(
                f"data: this {source.kind} ended after {count} elements, which come again from there on; plain Keras "
                "would have no more data"
            )

    def _compare(self, source: Source, hashes: np.ndarray, wanted: int | None) -> None:
        """Read the first rows again, and say what is different then."""
        elements, again, count = Elements(self.prefix, self.batched), [], 0
        elements.class_weight = self.class_weight
        for place, element in enumerate(_guarded(source, wanted, self.prefix)):
            again.append(row_hashes(elements.rows(element, place)[0]))
            count += len(again[-1])
            if count >= COMPARED_ROWS:
                break
        second = np.concatenate(again) if again else np.zeros(0, np.uint64)
        if np.array_equal(second, hashes[: len(second)]) and len(second):
            return
        known = bool(np.isin(second, hashes).all()) and len(second) > 0
        self.is_shuffled = known
        whole = not source.is_endless and (wanted is None or wanted == source.length)
        if known:
            then = "" if self.prefix else ", and every epoch has one of its own, from the run's seed"
            self.notes.append(
                f"{self.prefix}data: this {source.kind} gives its samples in another order each time it is read (a shuffle "
                f"inside?): they are stored in the order of one reading{then}"
            )
        else:
            cause = "random augmentation?" if whole else "a shuffle or random augmentation inside?"
            self.notes.append(
                f"{self.prefix}data: this {source.kind} gives other values each time it is read ({cause}): the values of "
                "one reading are used in every epoch; put augmentation layers into the model"
            )


def _guarded(source: Source, wanted: int | None, prefix: str) -> Iterator[Any]:
    """Elements of a source; what it raises comes out as a `DataError` that names the element."""
    place = 0
    try:
        for element in islice(source.read(), wanted):
            yield element
            place += 1
    except DataError:
        raise
    except Exception as failure:
        text = (str(failure).splitlines() or [""])[0]
        raise DataError(
            f"{prefix}element {place}: the {source.kind} raised {type(failure).__name__}: {text}"
        ) from failure


def _finish(work: Path, train: _Reading, held: _Reading | None) -> str:
    """Bring the columns into their files, write what is known about them, and return the key of the contents."""
    writer, digest = FolderWriter(work), blake2b(digest_size=16)
    shapes = {place: column.shape for place, column in train.columns.items()}
    if held is not None:
        _check_alike(train, held)
        for place, column in held.columns.items():
            if place in shapes and place[0] != "w":
                shapes[place] = tuple(max(pair) for pair in zip(shapes[place], column.shape, strict=True))
    splits = {}
    for reading in filter(None, (train, held)):
        parts: dict[str, dict[Key, np.ndarray]] = {"x": {}, "y": {}, "w": {}}
        for (role, key), column in reading.columns.items():
            path = writer.file(reading.split, role, key)
            column.finish(path, shapes[role, key] if role != "w" or reading is train else column.shape)
            parts[role][key] = np.load(path, mmap_mode="r")
        splits[reading.split] = Split(*map(joined, parts.values()))
        digest.update(reading.digest.digest() + reading.split.encode())
    # What shuffles itself leaves the order of an epoch to chance, so the run may choose one, and another in each.
    ordered = train.is_ordered and not train.is_shuffled
    details: dict[str, Any] = {"ordered": ordered, "shuffled": train.is_shuffled}
    if train.batch_size is not None:
        details["batch_size"] = train.batch_size
    notes = [*train.notes, *(held.notes if held is not None else ())]
    if notes:
        details |= {"notes": notes, "differences": notes}
    ranges = joined({key: column.value_range for (role, key), column in train.columns.items() if role == "x"})
    prepared = describe(
        splits["train"], splits.get("validation"), train.class_names, value_range=ranges, details=details
    )
    digest.update(repr((sorted(details.items()), prepared.class_names)).encode())
    writer.finish(**meta_of(prepared), key=digest.hexdigest())
    return digest.hexdigest()


def _check_alike(train: _Reading, held: _Reading) -> None:
    if None not in (train.class_names, held.class_names) and train.class_names != held.class_names:
        raise DataError(
            f"validation data: its classes are {', '.join(held.class_names or ())} where the training data have "
            f"{', '.join(train.class_names or ())}, so a number means another class there; give both the same class_names"
        )
    for role in ("x", "y"):
        one = [key for own, key in train.columns if own == role]
        two = [key for own, key in held.columns if own == role]
        if one != two:
            raise DataError(
                f"{role}: {form(joined(dict.fromkeys(one, 0)))} to train on but {form(joined(dict.fromkeys(two, 0)))} in "
                "validation; expected the same form"
            )
        for key in one:
            mine, other = train.columns[role, key], held.columns[role, key]
            same_rank = len(mine.shape) == len(other.shape)
            flexible = same_rank and (mine.is_padded or other.is_padded)
            if mine.shape != other.shape and not flexible:
                raise DataError(
                    f"{label(role, key)}: shape {mine.shape} in train but {other.shape} in validation"
                )
