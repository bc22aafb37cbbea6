"""Samples read by index: `SampleSource` and its two kinds, which read whole blocks or single records ahead of training."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from lepton_kit.data.order import mix
from lepton_kit.data.structure import Key, joined
from lepton_kit.errors import DataError
from lepton_kit.specs import BlockOrder

Samples = dict[tuple[str, Key], np.ndarray]
"""(role, key) -> array, rows first; see `Split.arrays`."""

RECORDS_AT_ONCE = 32
READ_AT_ONCE = 8192


class SampleSource(Protocol):
    """Samples that are read by index when they are wanted. Equal in every process that opens the same index."""

    order: BlockOrder | None
    """The order of an epoch that reads this source well; None: any."""
    horizon: int
    """How many rows ahead it is worth to `prefetch`; 0: those of the next steps."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        """(x, y, w) at ``indices``, int64, shape ``(b,)``. Raises `DataError` that names the file and row."""

    def prefetch(self, indices: np.ndarray) -> None:
        """Say which samples are wanted soon; they are read in the background, within a bound of memory."""

    def hashes(self, indices: np.ndarray) -> np.ndarray:
        """A 64-bit hash of the contents of each sample, uint64, known from the index without a read."""

    def read_again(self) -> np.ndarray:
        """Read every sample, and give the `hashes` of all, 0 where a sample can't be read or is another one now."""


class BlockReader(Protocol):
    """A format whose rows can only be read together with their neighbours, such as a row group."""

    edges: np.ndarray
    """The first row of each block, and the number of rows: int64, shape ``(blocks + 1,)``."""
    digests: np.ndarray
    """A hash of each block's contents as they were when the index was made, uint64."""

    def block(self, number: int) -> Samples:
        """The samples of a block. Raises `DataError` that names the file, also where contents have changed."""


class RecordReader(Protocol):
    """A format whose records are read one by one."""

    digests: np.ndarray
    """A hash of each record's contents, uint64, shape ``(records,)``."""

    def records(self, rows: np.ndarray) -> Samples:
        """The samples of these records, in this order."""


class Store(Protocol):
    """Reads rows of files, and keeps some of what it has read ahead."""

    horizon: int

    def take(self, rows: np.ndarray) -> Samples:
        """The samples of these rows, in this order."""

    def prefetch(self, rows: np.ndarray) -> None:
        """Begin to read these rows, which are asked for next."""

    def hashes(self, rows: np.ndarray) -> np.ndarray:
        """Content hashes of these rows, uint64, shape ``(rows,)``."""

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Which of these rows could be read, bool, shape ``(rows,)``."""


class Blocks:
    """Blocks as they were decoded, the ones used last, up to ``budget`` bytes; one thread reads ahead."""

    def __init__(self, reader: BlockReader, budget: int, horizon: int):
        self._reader, self._budget, self.horizon = reader, budget, horizon
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[Samples]] = OrderedDict()
        self._bytes: dict[int, int] = {}
        self._thread = Background("read blocks")

    def take(self, rows: np.ndarray) -> Samples:
        """The samples of these rows, read by blocks."""
        blocks = np.searchsorted(self._reader.edges, rows, side="right") - 1
        found: Samples = {}
        for number in np.unique(blocks):
            where = np.flatnonzero(blocks == number)
            block = self._get(int(number))
            inside = rows[where] - self._reader.edges[number]
            for key, array in block.items():
                if key not in found:
                    found[key] = np.empty((len(rows), *array.shape[1:]), array.dtype)
                found[key][where] = array[inside]
        return found

    def prefetch(self, rows: np.ndarray) -> None:
        """Read the blocks of these rows in the background, as many as the budget takes beside those in use."""
        blocks = np.unique(np.searchsorted(self._reader.edges, rows, side="right") - 1)
        for number in blocks.tolist():
            with self._lock:
                if number in self._kept:
                    continue
                self._kept[number] = self._thread.submit(self._load, number)

    def hashes(self, rows: np.ndarray) -> np.ndarray:
        """From the hash of a row's block and its place there."""
        blocks = np.searchsorted(self._reader.edges, rows, side="right") - 1
        return mix(self._reader.digests[blocks] ^ mix((rows - self._reader.edges[blocks]).astype(np.uint64)))

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Which of these rows can still be read as they were."""
        blocks = np.searchsorted(self._reader.edges, rows, side="right") - 1
        good = np.ones(len(rows), bool)
        for number in np.unique(blocks):
            try:
                self._reader.block(int(number))
            except DataError:
                good[blocks == number] = False
        return good

    def _get(self, number: int) -> Samples:
        with self._lock:
            future = self._kept.get(number)
            if future is None or future.cancel():  # not begun yet: this thread needs it now
                future = self._kept[number] = Future()
                mine = True
            else:
                mine = False
            self._kept.move_to_end(number)
        if mine:
            try:
                future.set_result(self._load(number))
            except BaseException as failure:
                future.set_exception(failure)
        try:
            return future.result()
        except BaseException:
            with self._lock:
                self._kept.pop(number, None)  # the next one to ask tries again
            raise

    def _load(self, number: int) -> Samples:
        found = self._reader.block(number)
        size = sum(array.nbytes for array in found.values())
        with self._lock:
            self._bytes[number] = size
            total = sum(self._bytes.values())
            for other in [one for one in self._kept if one in self._bytes and one != number]:
                if total <= self._budget:
                    break
                total -= self._bytes.pop(other)
                del self._kept[other]
        return found


class Records:
    """Records one by one; one thread decodes those that are wanted next, at most ``limit`` of them."""

    horizon = 0

    def __init__(self, reader: RecordReader, limit: int = RECORDS_AT_ONCE):
        self._reader, self._limit = reader, limit
        self._ahead: OrderedDict[int, tuple[Future[Samples], int]] = OrderedDict()
        self._thread = Background("read records")

    def take(self, rows: np.ndarray) -> Samples:
        """The samples of these rows: those that were read ahead, and the others now."""
        found: Samples = {}
        places: dict[Future[Samples], list[tuple[int, int]]] = {}
        missing = []
        for place, row in enumerate(rows.tolist()):
            ahead = self._ahead.pop(row, None)
            if ahead is None:
                missing.append(place)
            else:
                places.setdefault(ahead[0], []).append((place, ahead[1]))
        for start in range(0, len(missing), READ_AT_ONCE):
            part = np.array(missing[start : start + READ_AT_ONCE])
            self._put(found, len(rows), part, self._reader.records(rows[part]), slice(None))
        for future, pairs in places.items():
            where, inside = np.array(pairs).T
            self._put(found, len(rows), where, future.result(), inside)
        return found

    def prefetch(self, rows: np.ndarray) -> None:
        """Decode these rows in the background; what nobody took is dropped for newer wishes."""
        new = np.array([row for row in rows.tolist() if row not in self._ahead][: self._limit], np.int64)
        while len(self._ahead) + len(new) > self._limit and self._ahead:
            self._ahead.popitem(last=False)[1][0].cancel()
        for start in range(0, len(new), RECORDS_AT_ONCE):
            part = new[start : start + RECORDS_AT_ONCE]
            future = self._thread.submit(self._reader.records, part)
            for place, row in enumerate(part.tolist()):
                self._ahead[row] = (future, place)

    def hashes(self, rows: np.ndarray) -> np.ndarray:
        """From the hash of each record."""
        return mix(self._reader.digests[rows])

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Which of these records can still be read as they were."""
        good = np.ones(len(rows), bool)
        for place in range(len(rows)):
            try:
                self._reader.records(rows[place : place + 1])
            except DataError:
                good[place] = False
        return good

    @staticmethod
    def _put(found: Samples, count: int, where: np.ndarray, part: Samples, inside: Any) -> None:
        for key, array in part.items():
            if key not in found:
                found[key] = np.empty((count, *array.shape[1:]), array.dtype)
            found[key][where] = array[inside]


class Background:
    """One thread, started when there is something to do in this process, that does one thing after the other."""

    def __init__(self, name: str):
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, act: Any, argument: Any) -> Future[Any]:
        """Do it in the background."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        return self._pool.submit(act, argument)


class PartSource:
    """One part (training or held out) of a store, with the targets that the index holds. See `SampleSource`."""

    def __init__(self, store: Store, part: Any, targets: Any, order: BlockOrder | None):
        self._store, self._part, self._targets = store, part, targets
        self.order = order
        self.horizon = store.horizon

    def __len__(self) -> int:
        return len(self._part)

    def take(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        """See `SampleSource.take`."""
        indices = np.asarray(indices, np.int64)
        if not len(indices):
            x, y, w = self.take(np.zeros(1, np.int64))
            return tuple(None if one is None else _empty(one) for one in (x, y, w))  # type: ignore[return-value]  # three of them, as three went in
        if indices.min() < 0 or indices.max() >= len(self):
            raise DataError(f"samples: index {indices.max()} of {len(self)} samples")
        found = self._store.take(self._part.rows(indices))
        x, y, w = ({key: a for (role, key), a in found.items() if role == one} for one in "xyw")
        y_values = joined(y) if self._targets is None else np.asarray(self._targets[indices])
        return joined(x), y_values, joined(w)

    def prefetch(self, indices: np.ndarray) -> None:
        """See `SampleSource.prefetch`."""
        if len(indices):
            self._store.prefetch(self._part.rows(np.asarray(indices, np.int64)))

    def hashes(self, indices: np.ndarray) -> np.ndarray:
        """See `SampleSource.hashes`."""
        found = self._store.hashes(self._part.rows(np.asarray(indices, np.int64)))
        if self._targets is not None and len(found):
            targets = np.ascontiguousarray(self._targets[indices]).reshape(len(found), -1)
            for column in targets.astype(np.float64).view(np.uint64).T:
                found = mix(found ^ column)
        return found

    def read_again(self) -> np.ndarray:
        """See `SampleSource.read_again`."""
        places = np.arange(len(self))
        good = self._store.readable(self._part.rows(places))
        return np.where(good, self.hashes(places), np.uint64(0))


def _empty(value: Any) -> Any:
    from lepton_kit.data.structure import mapped

    return mapped(value, lambda array: array[:0])


class Column:
    """One array of a source as far as others look at it: shape, type and rows, without being in memory."""

    def __init__(self, source: SampleSource, role: str, key: Key, shape: Sequence[int], dtype: str):
        self._source, self._role, self._key = source, role, key
        self.shape = (len(source), *shape)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: Any) -> np.ndarray:
        """Rows by number, slice, or an array of numbers or of truths, read now."""
        rows = np.arange(len(self))[place]
        found = self._read(np.atleast_1d(rows))
        return found if np.ndim(rows) else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory. Raises `DataError` where they don't fit."""
        from lepton_kit.machine.devices import memory

        needed, free = int(np.prod(self.shape)) * self.dtype.itemsize, memory()[1]
        if needed > free // 2:
            raise DataError(
                f"{len(self)} samples of {needed / 1e9:.1f} GB do not fit into memory ({free / 1e9:.1f} GB are free); "
                "take a part of them: split.take(indices)"
            )
        found = np.empty(self.shape, self.dtype)
        for start in range(0, len(self), READ_AT_ONCE):
            found[start : start + READ_AT_ONCE] = self[start : start + READ_AT_ONCE]
        return found if dtype is None else found.astype(dtype, copy=False)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        from lepton_kit.data.structure import items

        parts = dict(zip("xyw", self._source.take(rows), strict=True))
        result: np.ndarray = dict(items(parts[self._role]))[self._key]
        return result
