"""Opens the files of a table by what is in them, packed or not, as one table."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from lepton_kit.data.tables.chunks import CELLS, Chunk, Table, of_frame
from lepton_kit.data.tables.delimited import Delimited, Dialect
from lepton_kit.data.tables.excel import read_excel
from lepton_kit.data.tables.formats import of_query, read_feather, read_json, read_parquet
from lepton_kit.data.tables.values import as_text, composed, filled
from lepton_kit.errors import DataError

AS_FOUND = Dialect()
PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
BLANKS = (" ", "\t", "\n", "\r", "\u00a0", "\u2009", "\u202f", "\u3000", "\ufeff")
STRANGE = {
    b"%PDF": "a PDF file",
    b"\xd0\xcf\x11\xe0": "an Excel file of before 2007; save it as .xlsx or .csv",
    b"version https://git-lfs": "a pointer to a file that Git LFS holds; run `git lfs pull`",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"\x89HDF": "an HDF5 file; write its table as Parquet or CSV",
    b"\x80\x04": "a pickle, which is never opened; write the table as Parquet or CSV",
    b"\x80\x05": "a pickle, which is never opened; write the table as Parquet or CSV",
}


def open_files(
    files: Sequence[Path],
    dialect: Dialect = AS_FOUND,
    sheet: str | int | None = None,
    query: str | None = None,
    *,
    only_databases: bool = False,
) -> Table:
    """The rows of several files of the same columns, as one table. Raises `DataError` that names the file.

    With ``only_databases`` files that are none do without the query.
    """
    parts = [_open(file, dialect, sheet, query, only_databases) for file in files]
    first = parts[0]
    for part in parts[1:]:
        if set(part.names) != set(first.names):
            odd = sorted(set(part.names) ^ set(first.names))
            raise DataError(
                f"{part.source}: other columns than {first.source}: {', '.join(odd[:5])}; expected the same in every file; if "
                "they are different tables, give the path of the one that is meant"
            )
    if len(parts) == 1:
        return first

    def pieces(rows: int | None) -> Iterator[Chunk]:
        for part in parts:
            yield from part.chunks(rows)
            notes.update(part.notes)

    notes = {text: count for part in parts for text, count in part.notes.items()}
    other = [text for part in parts[1:] for text in other_units(part, first)]
    notes.update(dict.fromkeys(other, 1))
    doubts = [*(text for part in parts for text in part.doubts), *other]
    return replace(first, pieces=pieces, notes=notes, doubts=doubts)


def other_units(table: Table, first: Table) -> list[str]:
    """Sentences about columns whose row of units has others than that of the first table."""
    return [
        f"{table.source}: column {name!r} is in {unit}, in {first.source} in {first.units[name]}; its values are taken as "
        "they stand"
        for name, unit in table.units.items()
        if first.units.get(name, unit) != unit
    ]


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """(column names, rows of text) of a file, for sources whose columns are texts. Raises `DataError` with the line."""
    found = open_files([path])
    rows: list[list[str]] = []
    for chunk in found.chunks():
        columns = [[cell or "" for cell in as_text(cells)] for cells in chunk.columns.values()]
        rows += map(list, zip(*columns, strict=True))
    if not rows:
        raise DataError(f"{path.name}: no rows")
    return found.names, rows


def column(header: list[str], rows: list[list[str]], name: str, file: str) -> list[str]:
    """The values of one column. Raises `DataError` that lists the columns."""
    if name not in header:
        raise DataError(f"{file}: no column {name!r}; it has {', '.join(header[:30])}")
    index = header.index(name)
    return [row[index] for row in rows]


def _open(
    path: Path, dialect: Dialect, sheet: str | int | None, query: str | None, only_databases: bool
) -> Table:
    """A file by what is in it. Raises `DataError`."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as failure:
        raise DataError(f"{path}: cannot be read ({failure.strerror})") from None
    for mark, what in STRANGE.items():
        if head.startswith(mark):
            raise DataError(f"{path.name}: {what}")
    if head.startswith(b"SQLite format 3"):
        if query is None:
            raise DataError(f"{path.name}: a SQLite database; give query='SELECT … FROM …'")
        return of_frame(of_query(f"sqlite:///{path}", query), path.name)
    if query is not None and not only_databases:
        raise DataError(f"{path.name}: a query was given, but this is no SQLite database")
    if head.startswith(b"PAR1"):
        return read_parquet(path)
    if head.startswith((b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")):
        return read_feather(path)
    opened: Callable[[], BinaryIO] = partial(path.open, "rb")  # type: ignore[assignment]  # "rb" gives binary
    for mark, unpack in PACKED.items():
        if head.startswith(mark):
            opened = partial(unpack, path, "rb")
    name = path.name
    if head.startswith(b"PK"):
        with _zipped(path) as archive:
            inside = [one for one in archive.namelist() if not one.endswith("/")]
            if any(one.startswith("xl/") for one in inside):
                return read_excel(path, sheet, dialect.header, dialect.units)
            inside = [
                one for one in inside if "__MACOSX" not in one and not one.rsplit("/", 1)[-1].startswith(".")
            ]
            if len(inside) != 1:
                raise DataError(
                    f"{path.name}: {len(inside)} files inside ({', '.join(inside[:5])}); expected one table: unpack it and "
                    "name the one that is meant"
                )
        opened, name = partial(_member, path, inside[0]), f"{path.name}/{inside[0]}"
    opened = partial(_Unpacked, opened, name)  # type: ignore[assignment]  # reads alike
    with opened() as stream:
        start = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(f"{name}: a web page or XML, not a table; was a link saved instead of the file?")
    suffixes = "".join(path.suffixes).lower()
    if start.startswith(b"{") or (start.startswith(b"[") and ".json" in suffixes) or ".jsonl" in suffixes:
        return read_json(name, opened)
    return _delimited(name, opened, dialect)


def _zipped(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as failure:
        raise DataError(f"{path.name}: not a readable zip file ({failure})") from None


def _member(path: Path, name: str) -> Any:
    archive = _zipped(path)
    try:
        return archive.open(name)
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as failure:
        raise DataError(f"{path.name}/{name}: cannot be unpacked ({failure})") from None
    finally:
        archive.close()  # the member keeps the file open


class _Unpacked:
    """A binary stream whose failures to unpack are a `DataError` that names the file."""

    def __init__(self, opened: Callable[[], Any], name: str):
        self.stream, self.name = opened(), name

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self.stream.read(size))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as failure:
            raise DataError(f"{self.name}: damaged or cut off ({failure})") from None

    read1 = read

    @property
    def closed(self) -> bool:
        """These five are what `io.TextIOWrapper` asks a stream for."""
        return bool(self.stream.closed)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.stream.close()

    def __enter__(self) -> _Unpacked:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _delimited(name: str, opened: Any, dialect: Dialect) -> Table:
    source = Delimited(name, opened, dialect)
    hint = ""
    if source.looks_like_data:
        hint = "; line 1 looks like values: for a file without a header give header=False, then columns are column_1 …"

    def pieces(rows: int | None) -> Iterator[Chunk]:
        size = rows or max(256, CELLS // len(source.names))
        kept: list[list[str]] = []
        first = 1
        for _, fields in source.rows():
            kept.append(fields)
            if len(kept) == size:
                yield _of_rows(source.names, kept, first, name)
                first += len(kept)
                kept = []
        if kept:
            yield _of_rows(source.names, kept, first, name)

    return Table(
        name,
        source.names,
        pieces,
        source.notes,
        source.format["delimiter"],
        hint,
        source.doubts,
        source.units,
        source.looks_like_data,
    )


def _of_rows(names: list[str], rows: list[list[str]], first: int, source: str) -> Chunk:
    columns = {}
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        # Most columns have no blanks around their cells, and to look for them is faster than to strip each.
        joined = "\0".join(("", *column, ""))
        edges = any(f"{one}\0" in joined or f"\0{one}" in joined for one in BLANKS if one in joined)
        cells = [cell.strip() for cell in column] if edges else list(column)
        columns[name] = filled(cells if joined.isascii() else list(map(composed, cells)))
    return Chunk(columns, range(first, first + len(rows)), source)
