"""Reads texts from what people keep them in: tables, JSON lines, and folders of text files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.data.tables.source import column, read_csv
from lepton_kit.errors import DataError

LINES = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv", ".tab")
PLAIN = (".txt", ".text")
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Rows:
    """The rows of one file by column; a value is a text, a number, a list, or None."""

    file: str
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def column(self, name: str) -> list[Any]:
        """The values of a column. Raises `DataError` that lists the columns."""
        if name not in self.columns:
            raise DataError(f"{self.file}: no column {name!r}; it has {', '.join(list(self.columns)[:30])}")
        return self.columns[name]


def rows_of(path: Path) -> Rows:
    """The rows of a table or of JSON lines. Raises `DataError` that names the line."""
    if path.suffix.lower() in LINES:
        return _of_objects(list(_objects(path)), path.name)
    header, rows = read_csv(path)
    return Rows(path.name, {name: column(header, rows, name, path.name) for name in header})


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
