"""Parquet and Arrow files that are larger than memory: read by row group, encoded as a table is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.dataset import Dataset, dataset_of, name_of
from lepton_kit.data.large import columns
from lepton_kit.data.large.build import decoded
from lepton_kit.data.large.index import Form, Found, opened_parts, parts_of, split_of, write
from lepton_kit.data.large.reading import Samples
from lepton_kit.data.places import File, Files, files_at
from lepton_kit.data.splitting import check_split
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import ConfigError, DataError

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
OPEN_TABLES = 8
LARGE_GROUP = 512 << 20


def parquet(
    path: str | Path,
    *,
    target: str,
    features: Sequence[str] | None = None,
    task: str | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
    cache: bool = False,
) -> Dataset:
    """Parquet or Arrow files in a folder, or one of them, or such an address (``s3://…``), read by row group.

    Numbers are standardised with the training rows' mean and deviation, texts of at most 64 kinds become one column a
    kind, columns of lists that are all as long follow as they are (alone, they keep their type); a column with missing
    values gets one that flags them. A target of text, or of at most 20 different whole numbers, makes a classification,
    any other a regression, whose values are standardised; ``task`` says it otherwise. Files or folders called
    train and validation (or val, dev, test) are the split, else a share of each row group is held out.

    Samples are not copied anywhere: `prepare` reads the files through once, for statistics, targets and a checksum of
    each row group, and training reads row groups ahead. With ``cache=True`` they are decoded to disk once instead.
    Needs pyarrow: ``pip install lepton-kit[large]``. Raises `ConfigError`, and `prepare` `DataError`.

    >>> parquet("measurements/", target="quality", features=["a", "b"])
    Dataset(parquet, 'measurements')
    """
    check_split(validation_split, seed)
    if isinstance(features, str) or not (features is None or all(isinstance(name, str) for name in features)):
        raise ConfigError("data.features", given=features, rule="a list of column names")
    if task not in (None, "classification", "regression"):
        raise ConfigError("data.task", given=task, rule="classification, regression or null")
    return dataset_of(
        "parquet",
        path,
        target=name_of("target", target),
        features=list(features) if features is not None else None,
        task=task,
        validation_split=validation_split,
        seed=seed,
        cache=cache,
    )


def build(path: Path | str, options: dict[str, Any], writer: FolderWriter) -> None:
    """Read the files through and write their index, or with ``cache`` the samples."""
    found, parts, targets = scan(path, options, writer.folder)
    if options["cache"]:
        decoded(writer, found, parts, targets)
    else:
        write(writer, found, parts, targets)


def scan(
    path: Path | str, options: dict[str, Any], scratch: Path
) -> tuple[Found, dict[str, Any], np.ndarray]:
    """What the files hold: one pass for the row groups and the targets, with statistics of the training rows."""
    files, train_files, notes = split_of(files_at(path, (*PARQUET, *ARROW)))
    tables, sizes = scanned(Files(files))
    edges = np.concatenate([[0], np.cumsum(sizes)])
    if edges[-1] < 2:
        raise DataError(f"{path}: {edges[-1]} rows; expected at least 2")
    train_rows = int(edges[np.searchsorted(tables.blocks[:, 0], train_files)])
    parts = parts_of(edges, train_rows, options["validation_split"], options["seed"])
    schema = tables.table(0).schema
    names, left = _features(schema, options, files[0].name)
    notes += left
    target = options["target"]
    kind = columns.kind_of(schema.field(target).type)
    if kind not in ("number", "text"):
        raise DataError(
            f"{files[0].name}: the target {target!r} is of type {schema.field(target).type}; expected numbers or text"
        )
    learned = [columns.Learned(name, str(columns.kind_of(schema.field(name).type))) for name in names]
    raw = np.lib.format.open_memmap(scratch / "raw.npy", "w+", np.float64, (int(edges[-1]),))
    targets = columns.Targets(target, raw)
    digests = np.zeros(len(edges) - 1, np.uint64)
    train, _, train_edges = opened_parts(parts, edges)
    for number in range(len(edges) - 1):
        place = tables.place(number)
        group = tables.read(number, [*names, target])
        targets.put(int(edges[number]), group[target], str(kind), place)
        values = [_values(group[one.name], one, place) for one in learned]
        digests[number] = columns.digest(*values)
        inside = _inside(train, train_edges, edges, number)
        for one, column in zip(learned, values, strict=True):
            one.merge(column.take(inside) if one.kind == "text" else column[inside])
    y, classes, mean, scale = targets.finish(options["task"], _places(train))
    del raw
    (scratch / "raw.npy").unlink()
    plans = [one.plan(files[0].name) for one in learned]
    alone = len(plans) == 1 and plans[0]["kind"] == "vector"
    feature_names = columns.names_of(plans)
    form = Form("x", None, (len(feature_names),), plans[0]["dtype"] if alone else "float32")
    state = {"plans": plans, "target": target, "mean": mean, "scale": scale}
    found = Found(
        "parquet",
        files,
        state,
        {"edges": edges, "digests": digests, "blocks": tables.blocks},
        [form],
        edges,
        by_block=True,
        class_names=classes,
        value_range=_range(learned[0]) if alone else (-1.0, 1.0),
        feature_names=feature_names,
        notes=notes,
    )
    biggest = int(np.diff(edges).max()) * form.bytes
    if biggest > LARGE_GROUP:
        notes.append(
            f"a row group of {biggest / 1e6:.0f} MB is read as a whole; smaller ones (row_group_size=) need less memory"
        )
    return found, parts, y


def _features(schema: Any, options: Mapping[str, Any], file: str) -> tuple[list[str], list[str]]:
    """The columns to predict from, and sentences on those that can't be."""
    for name in [options["target"], *(options["features"] or [])]:
        if name not in schema.names:
            raise DataError(f"{file}: no column {name!r}; it has {', '.join(schema.names[:30])}")
    names = options["features"] or [name for name in schema.names if name != options["target"]]
    if options["target"] in names:
        raise DataError(f"{file}: the target {options['target']!r} is among the features")
    unread = [name for name in names if columns.kind_of(schema.field(name).type) is None]
    if unread and options["features"]:
        kind = schema.field(unread[0]).type
        raise DataError(
            f"{file}: column {unread[0]!r} is of type {kind}; expected numbers, text or lists of numbers"
        )
    names = [name for name in names if name not in unread]
    if not names:
        raise DataError(f"{file}: no feature columns beside the target")
    return names, [f"column {name!r} of type {schema.field(name).type} is left out" for name in unread]


def _values(column: Any, learned: columns.Learned, place: str) -> Any:
    """A column in the form that it is encoded from. Raises `DataError` that names the row."""
    if learned.kind == "text":
        return columns.texts(column)
    if learned.kind == "vector":
        if not learned.width:
            learned.width = len(column[0].as_py() or ())
        found = columns.vectors(column, learned.width, f"{place}, column {learned.name!r}", 0)
        learned.dtype = found.dtype.name
        bad = ~np.isfinite(found).all(axis=1) if found.dtype.kind == "f" else np.zeros(0, bool)
    else:
        found = columns.numbers(column)
        bad = np.isinf(found) | (np.abs(np.nan_to_num(found)) > 1e300)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{place}, row {row}: column {learned.name!r} is {found[row]}; expected finite numbers"
        )
    return found


def _inside(train: Any, train_edges: np.ndarray, edges: np.ndarray, number: int) -> np.ndarray:
    """The training rows of a block, counted from its first row."""
    if number + 1 >= len(train_edges):
        return np.arange(0)
    return train.rows(np.arange(train_edges[number], train_edges[number + 1])) - edges[number]


def _places(train: Any) -> np.ndarray:
    return train.rows(np.arange(len(train)))


def _range(learned: columns.Learned) -> tuple[float, float]:
    return (0.0, 255.0) if learned.dtype == "uint8" else (learned.low, learned.high)


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


class TableReader:
    """Row groups as samples, checked against the index when they are read. See `reading.BlockReader`."""

    def __init__(self, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self.edges, self.digests = arrays["edges"], arrays["digests"]
        self._plans, self._tables = state["plans"], Tables(files, arrays["blocks"])
        self._checked: set[int] = set()
        """Blocks whose contents this process has compared with the index, which it does at their first read."""

    def block(self, number: int) -> Samples:
        """See `BlockReader.block`."""
        group = self._tables.read(number, [plan["name"] for plan in self._plans])
        place = self._tables.place(number)
        values = [_values(group[plan["name"]], _as_learned(plan), place) for plan in self._plans]
        if number not in self._checked:
            if columns.digest(*values) != int(self.digests[number]):
                raise DataError(
                    f"{place}: its contents have changed since the run's index was made; start a new run"
                )
            self._checked.add(number)
        return {("x", None): columns.encode(values, self._plans)}


def _as_learned(plan: Mapping[str, Any]) -> columns.Learned:
    return columns.Learned(plan["name"], plan["kind"], width=plan["width"])
