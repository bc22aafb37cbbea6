"""Tables in files of their own formats: JSON, Parquet, Feather, and what a database answers."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lepton_kit.data.schemas import class_names, image_columns
from lepton_kit.data.tables.chunks import (
    CELLS,
    Chunk,
    Table,
    array,
    column_names,
    in_memory,
    of_frame,
    of_records,
)
from lepton_kit.data.tables.values import filled
from lepton_kit.errors import DataError


def read_json(name: str, opened: Any) -> Table:
    """JSON lines, or one array of objects, or one object of columns."""
    with opened() as stream:
        first = stream.read(2**16).lstrip(b"\xef\xbb\xbf").strip().partition(b"\n")[0]
    try:
        row = json.loads(first)
        # Columns in one object may stand on one line too.
        lines = isinstance(row, dict) and not all(isinstance(cell, list | dict) for cell in row.values())
    except ValueError:
        lines = False
    if lines or name.endswith((".jsonl", ".ndjson")):
        return _json_lines(name, opened)
    with opened() as stream:
        try:
            content = json.loads(stream.read().decode("utf-8-sig"))
        except ValueError as failure:
            raise DataError(f"{name}: not readable JSON ({failure})") from None
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return of_records(content, range(1, len(content) + 1), name)
    if isinstance(content, dict) and isinstance(content.get("data"), list):  # with a word about it around
        return of_records(content["data"], range(1, len(content["data"]) + 1), name)
    if (
        isinstance(content, dict)
        and content
        and all(isinstance(column, list | dict) for column in content.values())
    ):
        columns = {
            key: list(column.values() if isinstance(column, dict) else column)
            for key, column in content.items()
        }
        return of_frame(columns, name)
    raise DataError(f"{name}: expected a list of objects, one a row, or an object of columns")


def _json_lines(name: str, opened: Any) -> Table:
    def records() -> Iterator[dict[str, Any]]:
        with opened() as stream:
            rest, count = b"", 0
            while True:
                piece = stream.read(2**20)
                *whole, rest = (rest + piece).split(b"\n")
                for line in [*whole, rest] if not piece else whole:
                    count += 1
                    if not line.strip():
                        continue
                    try:
                        row = json.loads(line.decode("utf-8-sig"))
                    except ValueError as failure:
                        raise DataError(f"{name}: line {count}: not readable JSON ({failure})") from None
                    if not isinstance(row, dict):
                        raise DataError(f"{name}: line {count}: expected an object {{column: value}}")
                    yield row
                if not piece:
                    return

    keys: dict[str, None] = {}
    for row in records():
        keys.update(dict.fromkeys(row))
    names = column_names(keys, name)

    def pieces(rows: int | None) -> Iterator[Chunk]:
        size = rows or max(256, CELLS // max(1, len(names)))
        kept: list[dict[str, Any]] = []
        first = 1
        for row in records():
            kept.append(row)
            if len(kept) == size:
                yield chunk(kept, first)
                first, kept = first + len(kept), []
        if kept:
            yield chunk(kept, first)

    def chunk(rows: list[dict[str, Any]], first: int) -> Chunk:
        columns = {
            new: array(filled([row.get(key) for row in rows]), new, name, first) for key, new in names.items()
        }
        return Chunk(columns, range(first, first + len(rows)), name)

    return Table(name, list(names.values()), pieces)


def read_parquet(path: Path) -> Table:
    """A Parquet file, in pieces of its row groups. Raises `DataError`."""
    parquet = _arrow("parquet", path)
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = column_names(schema.names, path.name)
            pictures, classes = image_columns(schema), class_names(schema)
    except Exception as failure:  # the library raises what it likes for a damaged file
        raise DataError(
            f"{path.name}: not a readable Parquet file ({str(failure).splitlines()[0]})"
        ) from None

    if pictures:
        raise DataError(
            f"{path.name}: column {pictures[0]!r} holds images; lk.data.parquet(…, target=…) reads them with their labels"
        )

    def batches(size: int) -> Iterator[Any]:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=size)

    table = _of_batches(path, names, batches, classes)
    for name in classes:
        table.notes[f"column {name!r}: names of its classes are those in the file's metadata"] = 1
    return table


def read_feather(path: Path) -> Table:
    """A Feather or Arrow file, memory-mapped. Raises `DataError`."""
    feather, pyarrow = _arrow("feather", path), _arrow("", path)
    try:
        with pyarrow.ipc.open_file(path) as file:
            names = column_names(file.schema.names, path.name)
    except pyarrow.ArrowInvalid:
        try:
            if _begins(path) == b"\xff" * 4:  # a stream, whose batches can't be found but by reading it
                with pyarrow.ipc.open_stream(path) as stream:
                    return in_memory(dict(stream.read_pandas()), None, path.name)
            return in_memory(dict(feather.read_feather(path)), None, path.name)  # version 1
        except Exception as failure:
            raise DataError(f"{path.name}: not a readable Feather file ({failure})") from None

    def batches(size: int) -> Iterator[Any]:
        with pyarrow.memory_map(str(path)) as memory, pyarrow.ipc.open_file(memory) as file:
            for number in range(file.num_record_batches):
                batch = file.get_batch(number)
                for start in range(0, len(batch), size):
                    yield batch.slice(start, size)

    return _of_batches(path, names, batches)


def _of_batches(
    path: Path,
    names: dict[Any, str],
    batches: Callable[[int], Iterator[Any]],
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    def pieces(rows: int | None) -> Iterator[Chunk]:
        first = 1
        try:
            for batch in batches(rows or max(256, CELLS // max(1, len(names)))):
                frame = batch.to_pandas()
                frame = frame.reset_index() if set(frame.index.names) - {None} else frame
                for key, known in (classes or {}).items():
                    frame[key] = _named(frame[key], known)
                columns = {new: array(frame[key], new, path.name, first) for key, new in names.items()}
                yield Chunk(columns, range(first, first + len(frame)), path.name)
                first += len(frame)
        except OSError as failure:
            raise DataError(f"{path.name}: damaged or cut off ({failure})") from None

    return Table(path.name, list(names.values()), pieces)


def _named(numbers: Any, names: Sequence[str]) -> list[str | None]:
    """The names of classes by their numbers; -1, and what is missing, is no class."""
    return [names[int(one)] if one == one and 0 <= one < len(names) else None for one in numbers]


def _begins(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4)


def _arrow(module: str, path: Path) -> Any:
    try:
        importlib.import_module("pyarrow.ipc")
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError:
        raise DataError(
            f"{path.name}: Parquet and Feather files need pyarrow: pip install lepton-kit[parquet]"
        ) from None


def of_query(address: Any, query: str) -> Any:
    """The rows that a database answers, as a frame of pandas. Raises `DataError` that never repeats the address."""
    try:
        import sqlalchemy
    except ImportError:
        raise DataError("a SQL query needs SQLAlchemy: pip install lepton-kit[sql]") from None
    import pandas

    try:
        engine = sqlalchemy.create_engine(address) if isinstance(address, str) else address
        with engine.connect() if hasattr(engine, "connect") else nullcontext(engine) as connection:
            return pandas.read_sql_query(sqlalchemy.text(query), connection)
    except Exception as failure:  # a driver raises what it likes
        text = str(getattr(failure, "orig", None) or failure).splitlines()[0]
        password = (
            sqlalchemy.engine.make_url(address).password
            if isinstance(address, str) and "://" in address
            else None
        )
        raise DataError(
            f"the query failed: {text.replace(str(password), '…') if password else text}"
        ) from None
