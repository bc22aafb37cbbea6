"""Arrays that grow on disk while a stream is read, so that it may be larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.convert import TEXT, pad
from lepton_kit.data.writing import allocated
from lepton_kit.errors import DataError

CHUNK_BYTES = 16 * 2**20


class Column:
    """One array of a split, appended piece by piece; rows of a later piece may be longer than those before it.

    Rows up to a shape form a segment, a ``.npy`` file whose header is written anew at the end; a longer row begins the
    next one. `finish` makes one file of the segments, with zeros at the end of the shorter rows.
    """

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.rows = 0
        self.shapes: set[tuple[int, ...]] = set()
        self.ragged = False
        self.low, self.high = np.inf, -np.inf
        self._segments: list[tuple[Path, np.dtype, tuple[int, ...], int]] = []
        self._file: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The smallest shape that holds every row."""
        return tuple(max(sizes) for sizes in zip(*self.shapes, strict=True))

    @property
    def is_padded(self) -> bool:
        """Whether samples differ in length, so that shorter ones are filled up."""
        return self.ragged or len(self.shapes) > 1

    @property
    def value_range(self) -> tuple[float, float] | None:
        """(lowest, highest) value with padding, 0..255 for bytes, None for text."""
        kind = self._segments[0][1]
        if kind.kind in TEXT:
            return None
        if kind == np.uint8:
            return 0.0, 255.0
        return (min(self.low, 0.0), max(self.high, 0.0)) if self.is_padded else (self.low, self.high)

    def append(self, rows: np.ndarray, name: str) -> None:
        """Write further rows. Raises `DataError` (with ``name``) where they do not go with those before."""
        kind = rows.dtype
        if self._segments:
            before = self._segments[-1][1]
            if kind.kind in TEXT and before.kind in TEXT:
                kind = max(kind, before, key=lambda one: one.itemsize)
            elif kind != before and np.can_cast(kind, before, "safe"):
                kind = before
            elif kind != before:
                raise DataError(f"{name}: type {kind} after {before}; expected one type in every element")
            self._check_shape(rows, name)
        self.shapes.add(rows.shape[1:])
        if rows.shape[1:] != self.shape:
            rows = pad(rows, self.shape, rows.dtype)
        self._open(kind, self.shape)
        path, kind, shape, count = self._segments[-1]
        self._file.write(np.ascontiguousarray(rows, kind).data.cast("B") if rows.size else b"")
        self._segments[-1] = (path, kind, shape, count + len(rows))
        self.rows += len(rows)
        if kind.kind not in TEXT and kind != np.uint8 and rows.size:
            self.low, self.high = min(self.low, float(rows.min())), max(self.high, float(rows.max()))

    def _check_shape(self, rows: np.ndarray, name: str) -> None:
        """Only the first axis of a row, the steps of a sequence, may have another length than before."""
        one = next(iter(self.shapes))
        two = rows.shape[1:]
        sequence = len(one) in (1, 2) and one[1:] == two[1:]
        if len(one) != len(two) or (one != two and not sequence and not self.ragged):
            raise DataError(f"{name}: rows of shape {two} after {one}; expected one shape in every element")

    def _open(self, kind: np.dtype, shape: tuple[int, ...]) -> None:
        if self._segments and self._segments[-1][1:3] == (kind, shape):
            return
        self.close()
        path = self.folder / f"{self.name}.{len(self._segments)}.part"
        self._segments.append((path, kind, shape, 0))
        self._file = path.open("w+b")
        _header(self._file, kind, (0, *shape))

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._file is None:
            return
        _, kind, shape, count = self._segments[-1]
        self._file.seek(0)
        _header(self._file, kind, (count, *shape))
        self._file.close()
        self._file = None

    def finish(self, path: Path, shape: tuple[int, ...]) -> None:
        """Make ``path`` of all rows, each of ``shape``, and take the segments away."""
        self.close()
        if len(self._segments) == 1 and self._segments[0][2] == shape:
            self._segments[0][0].rename(path)
            return
        kind = self._segments[-1][1]
        if not self.rows or 0 in shape:
            np.save(path, np.zeros((self.rows, *shape), kind))
        else:
            whole = allocated(path, (self.rows, *shape), kind)
            first = 0
            for part, _, own, count in self._segments:
                self._copy(part, whole, first, own)
                first += count
            whole.flush()
        for part, *_ in self._segments:
            part.unlink()

    def _copy(self, part: Path, whole: np.ndarray, first: int, shape: tuple[int, ...]) -> None:
        rows = np.load(part, mmap_mode="r" if part.stat().st_size > CHUNK_BYTES else None)
        step = max(1, CHUNK_BYTES // max(1, rows.dtype.itemsize * int(np.prod(shape))))
        place = tuple(slice(0, size) for size in shape)
        for start in range(0, len(rows), step):
            piece = rows[start : start + step]
            whole[(slice(first + start, first + start + len(piece)), *place)] = piece


def _header(file: Any, kind: np.dtype, shape: tuple[int, ...]) -> None:
    """The header of a ``.npy`` file; NumPy leaves room in it, so that more rows give a header as long."""
    description = {
        "descr": np.lib.format.dtype_to_descr(kind),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, description)
