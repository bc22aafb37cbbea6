"""Reads texts from what people keep them in: tables, JSON lines, and folders of text files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.data.tables.delimited import Dialect
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.values import as_text
from lepton_kit.errors import DataError

LINES = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv", ".tab", ".gz", ".bz2", ".xz", ".zip", ".parquet", ".feather", ".xlsx")
PLAIN = (".txt", ".text")
FASTTEXT = "__label__"
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Rows:
    """The rows of one file by column; a value is a text, a number, a list, or None."""

    file: str
    columns: dict[str, list[Any]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def column(self, name: str) -> list[Any]:
        """The values of a column. Raises `DataError` that lists the columns."""
        if name not in self.columns:
            raise DataError(f"{self.file}: no column {name!r}; it has {', '.join(list(self.columns)[:30])}")
        return self.columns[name]


def rows_of(
    path: Path, header: bool | int = True, separator: str | None = None, encoding: str | None = None
) -> Rows:
    """The rows of a table or of JSON lines. Raises `DataError` that names the line.

    Lines that begin with ``__label__`` are read as fastText writes them. A file of two columns between which there is a
    tab is read without a header line and quotes where ``header`` is False: texts have quotes of their own.
    """
    if path.suffix.lower() in LINES:
        return _of_objects(list(_objects(path)), path.name)
    if path.suffix.lower() in PLAIN and decoded(path)[0].lstrip().startswith(FASTTEXT):
        return _of_fasttext(path)
    quote = "" if separator == "\t" and header is False else None
    found = open_files([path], Dialect(separator, encoding, quote, header=header))
    columns: dict[str, list[Any]] = {name: [] for name in found.names}
    for chunk in found.chunks():
        for name, cells in chunk.columns.items():
            columns[name] += as_text(cells).tolist()
    if not next(iter(columns.values())):
        raise DataError(f"{path.name}: no rows")
    return Rows(path.name, columns, tuple(found.notes))


def rows_of_memory(given: Any) -> Rows:
    """The rows of a frame, a dictionary of columns, or a list of dictionaries. Raises `DataError`."""
    if isinstance(given, list | tuple):
        return _of_objects(list(enumerate(given, 1)), "the list")
    columns = {str(name): list(given[name]) for name in (given if isinstance(given, dict) else given.columns)}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or not max(lengths):
        raise DataError(
            f"the table: columns of {sorted(lengths)} rows; expected as many in each, and one at least"
        )
    return Rows("the table", {name: [_plain(one) for one in values] for name, values in columns.items()})


def _plain(value: Any) -> Any:
    """A cell without a value becomes None, and a whole number in floating point loses its point."""
    if isinstance(value, float):
        return None if value != value else int(value) if value.is_integer() else value
    return None if repr(value) in ("<NA>", "NaT") else value


def has_no_header(path: Path) -> bool:
    """Whether the lines of a text file are two fields with a tab between, and the first line is as long as the rest.

    Many public sets of short texts are written that way: label, tab, text.
    """
    if path.suffix.lower() not in (".tsv", ".tab", "", *PLAIN):
        return False
    lines = [line for line in decoded(path)[0].split("\n")[:200] if line.strip()]
    if len(lines) < 2 or any(line.count("\t") != 1 for line in lines):
        return False
    fields = [line.strip().split("\t") for line in lines]
    # A label comes again; the name of a column does not.
    return any(first[place] in {row[place] for row in fields[1:]} for first in fields[:1] for place in (0, 1))


def _of_fasttext(path: Path) -> Rows:
    texts, labels = [], []
    for line in decoded(path)[0].split("\n"):
        words = line.split()
        if not words:
            continue
        count = next((place for place, word in enumerate(words) if not word.startswith(FASTTEXT)), len(words))
        labels.append([word.removeprefix(FASTTEXT) for word in words[:count]])
        texts.append(" ".join(words[count:]))
    return Rows(
        path.name,
        {
            "text": texts,
            "label": labels
            if any(len(one) > 1 for one in labels)
            else [one[0] if one else None for one in labels],
        },
    )


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, value) of every line, or of every entry of one list that fills the file."""
    content, _ = decoded(path)
    if content.lstrip()[:1] == "[":
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as failure:
            raise DataError(f"{path.name}: not readable JSON ({failure})") from None
        yield from enumerate(found, 1)
        return
    # Not splitlines: JSON may hold other line ends, such as U+2028, inside a text.
    for line, text in enumerate(content.split("\n"), 1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except (ValueError, RecursionError) as failure:
                raise DataError(f"{path.name}: line {line} is no JSON ({failure})") from None


def _of_objects(found: Sequence[tuple[int, Any]], file: str) -> Rows:
    if not found:
        raise DataError(f"{file}: no rows")
    names: dict[str, None] = {}
    for line, one in found:
        if isinstance(one, str):
            one = {"text": one}
        if not isinstance(one, dict):
            raise DataError(
                f"{file}: line {line} is of type {type(one).__name__}; expected an object, such as "
                '{"text": "…", "label": "…"}'
            )
        names |= dict.fromkeys(one)
    rows = [{"text": one} if isinstance(one, str) else one for _, one in found]
    return Rows(file, {name: [row.get(name) for row in rows] for name in names})


def decoded(path: Path) -> tuple[str, str]:
    """(text, encoding) of a file: UTF-8, what a byte order mark says, else Windows' Western code page.

    Raises `DataError` for a file that can't be read or holds zero bytes, so is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise DataError(f"{path}: cannot be read ({failure.strerror})") from None
    for mark, encoding in ENCODINGS.items():
        if content.startswith(mark):
            try:
                return content.decode(encoding), encoding
            except UnicodeDecodeError as failure:
                raise DataError(f"{path.name}: not readable as {encoding} ({failure})") from None
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        if b"\0" in content:
            raise DataError(f"{path.name}: holds zero bytes, so it is no text file") from None
    try:
        return content.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def text_files(folder: Path) -> list[Path]:
    """The text files below a folder, sorted; hidden ones are left out."""
    found = [one for one in folder.rglob("*") if one.suffix.lower() in PLAIN and one.is_file()]
    return sorted(
        one for one in found if not any(part.startswith(".") for part in one.relative_to(folder).parts)
    )
