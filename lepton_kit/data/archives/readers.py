"""Readers of named arrays, whole or piece by piece: ``.npz`` files and folders of ``.npy`` files. Never unpickle."""

from __future__ import annotations

import math
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.errors import DataError

CHUNK_BYTES = 16 * 2**20
BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
KINDS = "biufUS"


class NotRows(DataError):
    """The array is none of numbers or text with a row a sample."""


class Reader(ABC):
    """Arrays of a file or folder by name: `header`, `read` and `pieces`. Raises `DataError` that names the array."""

    path: Path
    names: list[str]

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027  nothing is open in a folder of files
        """Close what is open."""

    @abstractmethod
    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """(shape, type) of an array, without reading it."""

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """A whole array."""

    @abstractmethod
    def pieces(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows) one piece after the other, each about 16 MiB, in the machine's byte order."""

    def check(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Raise `DataError` for an array that is not one row a sample of numbers or text."""
        if dtype.kind == "O":
            raise NotRows(
                f"{self.path.name}: {name!r} holds Python objects (a pickle, which is never read); "
                "save numbers, or text as array.astype(str)"
            )
        if dtype.kind not in KINDS:
            raise NotRows(f"{self.path.name}: {name!r} has type {dtype}; expected numbers or text")
        if any(size < 0 for size in shape):
            raise NotRows(f"{self.path.name}: {name!r} claims the shape {shape}, which no array has")
        if not shape:
            raise NotRows(f"{self.path.name}: {name!r} is a single value; expected one row a sample")

    def known(self, name: str) -> None:
        """Raise `DataError` that lists the arrays where there is none of that name."""
        if name not in self.names:
            raise DataError(
                f"{self.path.name}: no array {name!r}; it has {', '.join(self.names[:20]) or 'none'}"
            )


class Archive(Reader):
    """The arrays of an ``.npz`` file; those in Fortran order are unpacked into ``scratch`` to be read by rows."""

    def __init__(self, path: Path, scratch: Path | None = None):
        self.path, self.scratch = path, scratch
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError) as failure:
            raise DataError(f"{path}: not a readable .npz file ({failure})") from None
        self.names = [n.removesuffix(".npy") for n in self._zip.namelist() if n.endswith(".npy")]

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[Any, tuple[int, ...], np.dtype, bool]]:
        self.known(name)
        try:
            size = self._zip.getinfo(f"{name}.npy").file_size
            with self._zip.open(f"{name}.npy") as stream:
                shape, fortran, dtype = header_of(stream)
                self.check(name, shape, dtype)
                claimed(self.path.name, name, shape, dtype, size - stream.tell())
                yield stream, shape, dtype, fortran
        except DataError:
            raise
        except BROKEN as failure:
            raise DataError(f"{self.path.name}: array {name!r} is broken ({_line(failure)})") from None

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """(shape, type) of an array, without reading it."""
        with self._member(name) as (_, shape, dtype, _fortran):
            return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """A whole array."""
        with self._member(name) as (stream, shape, dtype, fortran):
            return _array(_exactly(stream, math.prod(shape) * dtype.itemsize), shape, dtype, fortran)

    def pieces(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """See `Reader.pieces`."""
        with self._member(name) as (stream, shape, dtype, fortran):
            if fortran and len(shape) > 1 and 0 not in shape:
                yield from self._by_columns(stream, shape, dtype)
                return
            row_bytes = math.prod(shape[1:]) * dtype.itemsize
            step = max(1, CHUNK_BYTES // max(1, row_bytes))
            for first in range(0, shape[0], step):
                count = min(step, shape[0] - first)
                yield first, _array(_exactly(stream, count * row_bytes), (count, *shape[1:]), dtype)

    def _by_columns(
        self, stream: Any, shape: tuple[int, ...], dtype: np.dtype
    ) -> Iterator[tuple[int, np.ndarray]]:
        with tempfile.TemporaryFile(dir=self.scratch) as file:
            left = math.prod(shape) * dtype.itemsize
            while left:
                part = _exactly(stream, min(left, CHUNK_BYTES))
                file.write(part)
                left -= len(part)
            file.flush()
            yield from _rows(np.memmap(file, dtype, "r", shape=shape, order="F"))


class Folder(Reader):
    """The ``.npy`` files of a folder, each an array of the file's name."""

    def __init__(self, path: Path):
        self.path = path
        self.names = sorted(file.stem for file in path.glob("*.npy") if not file.name.startswith("."))
        if not self.names:
            raise DataError(f"{path}: no .npy files")

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """See `Reader.header`."""
        self.known(name)
        file = self.path / f"{name}.npy"
        try:
            with file.open("rb") as stream:
                shape, _, dtype = header_of(stream)
                self.check(name, shape, dtype)
                claimed(self.path.name, name, shape, dtype, file.stat().st_size - stream.tell())
        except DataError:
            raise
        except BROKEN as failure:
            raise DataError(f"{self.path.name}: array {name!r} is broken ({_line(failure)})") from None
        return shape, dtype

    def _open(self, name: str) -> np.ndarray:
        shape, dtype = self.header(name)
        if 0 in shape:
            return np.zeros(shape, dtype)
        result: np.ndarray = np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return result

    def read(self, name: str) -> np.ndarray:
        """A whole array."""
        return native(np.array(self._open(name)))

    def pieces(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """See `Reader.pieces`."""
        yield from _rows(self._open(name))


def header_of(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran order, type) of the ``.npy`` data that begin here. Raises `ValueError`."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version in ((2, 0), (3, 0)):  # 3 differs in the names of fields, which no plain array has
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version[0]}.{version[1]} of the .npy format")


def claimed(file: str, name: str, shape: tuple[int, ...], dtype: np.dtype, found: int) -> None:
    """Raise `DataError` where a header claims another size than ``found`` bytes, before memory is asked for it."""
    needed = math.prod(shape) * dtype.itemsize  # whole numbers of Python, which do not overflow
    if needed != found:
        raise DataError(
            f"{file}: array {name!r} is broken: its header claims {shape} of {dtype}, {needed} bytes; there are {found}"
        )


def native(array: np.ndarray) -> np.ndarray:
    """The same values in the machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _rows(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    step = max(1, CHUNK_BYTES // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    for first in range(0, len(array), step):
        yield first, native(np.ascontiguousarray(array[first : first + step]))


def _array(content: bytes, shape: tuple[int, ...], dtype: np.dtype, fortran: bool = False) -> np.ndarray:
    return native(np.ndarray(shape, dtype, content, order="F" if fortran else "C"))


def _exactly(stream: Any, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it ends too early")
    return bytes(content)


def _line(failure: BaseException) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0]
