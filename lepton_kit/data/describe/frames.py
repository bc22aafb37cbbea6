"""The first rows of a file as a pandas frame, to see what its columns are; training reads it with `lk.data.table`."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

from lepton_kit.data.describe.sniff import TABLES
from lepton_kit.errors import DataError

MOST_ROWS = 100_000
SAMPLE_BYTES = 64 * 1024


def head(source: Any, rows: int = MOST_ROWS) -> Any:
    """At most ``rows`` rows of a table file, of the first table of a folder, or of a frame; as a pandas frame."""
    import pandas as pd

    if not isinstance(source, Path):
        frame = source.to_pandas() if hasattr(source, "to_pandas") else source
        return frame.head(rows)
    path = _first_of(source)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if suffixes and suffixes[-1] in (".parquet", ".pq"):
            return pd.read_parquet(path).head(rows)
        if suffixes and suffixes[-1] in (".feather", ".arrow"):
            return pd.read_feather(path).head(rows)
        if suffixes and suffixes[-1] in (".xlsx", ".xls"):
            return pd.read_excel(path, nrows=rows)
        text = _text(path)
        if text.lstrip()[:1] == "{":
            return pd.read_json(path, lines=True, nrows=rows)
        if text.lstrip()[:1] == "[":
            return pd.read_json(path).head(rows)
        encoding = "utf-8-sig"
        return pd.read_csv(
            path,
            sep=_separator(text),
            nrows=rows,
            encoding=encoding if _decodes(path, encoding) else "cp1252",
            keep_default_na=True,
            skipinitialspace=False,
        ).rename(columns=lambda name: str(name).strip())
    except ImportError as failure:
        raise DataError(f"{path}: needs a package that is not installed ({failure})") from None
    except (OSError, ValueError, csv.Error, pd.errors.ParserError) as failure:
        raise DataError(f"{path}: not a readable table ({failure})") from None


def _first_of(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in TABLES)
    if not found:
        raise DataError(f"{path}: no table among its files")
    return found[0]


def _text(path: Path) -> str:
    with _open(path) as stream:
        start = stream.read(SAMPLE_BYTES)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return start.decode("utf-16", errors="replace")
    return start.decode("utf-8", errors="replace").lstrip("\ufeff")


def _open(path: Path) -> Any:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _decodes(path: Path, encoding: str) -> bool:
    with io.TextIOWrapper(_open(path), encoding=encoding) as stream:
        try:
            while stream.read(2**20):
                pass
        except UnicodeDecodeError:
            return False
    return True


def _separator(text: str) -> str:
    lines = text.splitlines()[:50]
    try:
        return csv.Sniffer().sniff("\n".join(lines), ",;\t|").delimiter
    except csv.Error:
        return ","
