"""Readers of named arrays in HDF5 files and in MATLAB's files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.archives.readers import BROKEN, CHUNK_BYTES, Reader, native
from lepton_kit.errors import DataError

TEXT = np.dtype("U1")
"""Stands for text whose length the file does not say."""


class Hdf5(Reader):
    """The datasets of an HDF5 file by their path in it. MATLAB writes the axes in reverse, which is undone."""

    def __init__(self, path: Path, matlab: bool = False):
        import h5py  # Keras needs it too

        self.path, self.matlab = path, matlab
        try:
            self._file = h5py.File(path, "r")
        except BROKEN as failure:
            raise DataError(f"{path}: not a readable HDF5 file ({failure})") from None
        self.names: list[str] = []

        def note(name: str, value: Any) -> None:
            if isinstance(value, h5py.Dataset) and not name.startswith("#refs#"):
                self.names.append(name)

        self._file.visititems(note)  # follows no links to other files

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _dataset(self, name: str) -> tuple[Any, tuple[int, ...], np.dtype]:
        import h5py

        self.known(name)
        dataset = self._file[name]
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        shape = dataset.shape or ()
        shape = shape[::-1] if self.matlab else shape
        self.check(name, shape, TEXT if is_text else dataset.dtype)
        return dataset.asstr() if is_text else dataset, shape, TEXT if is_text else dataset.dtype

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """See `Reader.header`."""
        _, shape, dtype = self._dataset(name)
        return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """A whole array."""
        shape, _ = self.header(name)
        parts = [piece for _, piece in self.pieces(name)]
        return np.concatenate(parts) if parts else np.zeros(shape)

    def pieces(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """See `Reader.pieces`."""
        dataset, shape, dtype = self._dataset(name)
        row_bytes = math.prod(shape[1:]) * max(dtype.itemsize, 1)
        step = max(1, CHUNK_BYTES // max(1, row_bytes))
        for first in range(0, shape[0], step):
            rows = slice(first, first + step)
            try:
                piece = dataset[..., rows].T if self.matlab else dataset[rows]
            except BROKEN as failure:
                raise DataError(f"{self.path.name}: array {name!r} is broken ({failure})") from None
            yield first, native(piece.astype(str) if dtype == TEXT else np.ascontiguousarray(piece))


class Matlab(Reader):
    """The arrays of a MATLAB file before version 7.3, each read whole."""

    def __init__(self, path: Path):
        try:
            import scipy.io
        except ImportError:
            raise DataError(
                f"{path.name}: MATLAB files need the package scipy: pip install lepton-kit[matlab]"
            ) from None
        self.path, self._io = path, scipy.io
        try:
            self.names = [name for name, *_ in scipy.io.whosmat(path)]
        except Exception as failure:  # its reader raises what it meets
            raise DataError(f"{path}: not a readable MATLAB file ({failure})") from None
        self._last: tuple[str, np.ndarray] | None = None

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """See `Reader.header`."""
        array = self.read(name)
        return array.shape, array.dtype

    def read(self, name: str) -> np.ndarray:
        """A whole array; cells of text become text."""
        self.known(name)
        if self._last is None or self._last[0] != name:
            try:
                array = self._io.loadmat(self.path, variable_names=[name])[name]
            except Exception as failure:
                raise DataError(f"{self.path.name}: array {name!r} is broken ({failure})") from None
            if array.dtype == object and all(getattr(one, "dtype", None) is not None for one in array.flat):
                cells = [one.reshape(-1)[0] if one.size == 1 else "" for one in array.flat]
                if all(isinstance(one, str) for one in cells):
                    array = np.array(cells, str).reshape(array.shape)
            self._last = (name, native(np.ascontiguousarray(array)))
        array = self._last[1]
        self.check(name, array.shape, array.dtype)
        return array

    def pieces(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """The whole array as one piece."""
        yield 0, self.read(name)
