"""Opens Parquet and Arrow files, and reads some columns of one row group or record batch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lepton_kit.data.large import columns
from lepton_kit.data.places import File, Files
from lepton_kit.errors import DataError

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
OPEN_TABLES = 8


class Tables:
    """The row groups of Parquet files and the record batches of Arrow files, one after the other.

    ``blocks`` has (file, number in that file) of each of them, int64, shape ``(blocks, 2)``.
    """

    def __init__(self, files: Files, blocks: np.ndarray):
        self._files, self.blocks = files, blocks
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Any] = OrderedDict()

    def place(self, block: int) -> str:
        """Where a block lies, for errors."""
        file, number = self.blocks[block]
        return f"{self._files.files[file].name}, row group {number}"

    def read(self, block: int, names: Sequence[str]) -> Any:
        """Some columns of a block as an Arrow table."""
        file, number = self.blocks[block]
        with self._lock:
            try:
                return self.table(file).read(int(number), list(names))
            except DataError:
                raise
            except Exception as failure:
                raise DataError(f"{self.place(block)}: cannot be read ({_line(failure)})") from None

    def table(self, number: int) -> Any:
        """An open file. Raises `DataError` that names it."""
        found = self._open.pop(number, None)
        if found is None:
            file = self._files.files[number]
            try:
                found = _opened(self._files, number, file)
            except DataError:
                raise
            except ImportError:
                raise DataError(f"{file.name}: needs pyarrow: pip install lepton-kit[large]") from None
            except Exception as failure:
                raise DataError(
                    f"{file.name}: not a readable Parquet or Arrow file ({_line(failure)})"
                ) from None
        self._open[number] = found
        while len(self._open) > OPEN_TABLES:
            self._open.popitem(last=False)
        return found


def scanned(files: Files) -> tuple[Tables, list[int]]:
    """All blocks of some files, and the rows of each. Raises `DataError` for files whose columns differ."""
    tables = Tables(files, np.zeros((0, 2), np.int64))
    schema, first, blocks, sizes = tables.table(0).schema, files.files[0].name, [], []
    for number, file in enumerate(files.files):
        table = tables.table(number)
        for name in schema.names:
            if name not in table.schema.names:
                raise DataError(f"{file.name}: no column {name!r}, which {first} has")
            one, two = schema.field(name).type, table.schema.field(name).type
            if columns.kind_of(one) != columns.kind_of(two):
                raise DataError(f"{file.name}: column {name!r} is {two}, but {one} in {first}")
        blocks += [(number, inside) for inside in range(len(table.sizes))]
        sizes += table.sizes
    tables.blocks = np.array(blocks, np.int64).reshape(-1, 2)
    return tables, sizes


def _line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or [type(failure).__name__])[0]


def _opened(files: Files, number: int, file: File) -> Any:
    import pyarrow as pa

    stream = files.stream(number)
    if file.address.lower().endswith(ARROW) or stream.read(6) == b"ARROW1":
        stream.seek(0)
        return _Arrow(pa.PythonFile(stream, mode="r"))
    stream.seek(0)
    return _Parquet(pa.PythonFile(stream, mode="r"))


class _Parquet:
    def __init__(self, stream: Any):
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(stream, pre_buffer=False)
        about = self._file.metadata
        self.schema = self._file.schema_arrow
        self.sizes = [about.row_group(one).num_rows for one in range(about.num_row_groups)]

    def read(self, number: int, names: list[str]) -> Any:
        return self._file.read_row_group(number, columns=names, use_threads=False)


class _Arrow:
    """The file format, or a stream of record batches, of which the places are found by reading it once."""

    def __init__(self, stream: Any):
        import pyarrow as pa

        self._stream = stream
        try:
            self._file = pa.ipc.open_file(stream)
            self.schema = self._file.schema
            batches: Iterator[Any] = (self._file.get_batch(n) for n in range(self._file.num_record_batches))
            self.sizes = [len(batch) for batch in batches]
        except pa.ArrowInvalid:
            self._file = None
            self._places, self.sizes = [], []
            stream.seek(0)
            self.schema = pa.ipc.read_schema(stream)
            while True:
                place = stream.tell()
                try:
                    message = pa.ipc.read_message(stream)
                except EOFError:
                    break
                if message is None or message.type != "record batch":
                    raise pa.ArrowInvalid("a stream with dictionaries; write it as an Arrow file") from None
                self._places.append(place)
                self.sizes.append(len(pa.ipc.read_record_batch(message, self.schema)))

    def read(self, number: int, names: list[str]) -> Any:
        import pyarrow as pa

        if self._file is not None:
            batch = self._file.get_batch(number)
        else:
            self._stream.seek(self._places[number])
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(self._stream), self.schema)
        return pa.table(batch).select(names)
