"""The files of a source: which there are, what tells that they have changed, and where decoded data are kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lepton_kit.data.writing import FORMAT
from lepton_kit.errors import DataError

TABLES = {
    ".csv", ".tsv", ".tab", ".psv", ".data", ".dat", ".train", ".test", ".parquet", ".pq", ".feather", ".arrow", ".xlsx",
    ".xls", ".jsonl", ".ndjson", ".json",
}  # fmt: skip
"""Endings of files of rows."""
PACKED = {".gz", ".bz2", ".xz", ".zst"}


def is_table(name: str) -> bool:
    """Whether a file holds rows, by its ending; packed or not.

    >>> is_table("a/Train.csv"), is_table("rows.csv.gz"), is_table("data_description.txt")
    (True, True, False)
    """
    endings = [ending.lower() for ending in PurePosixPath(name).suffixes[-2:]]
    if endings and endings[-1] in PACKED:
        endings.pop()
    return bool(endings) and endings[-1] in TABLES


def of_rows(names: Sequence[str]) -> list[str]:
    """The tables among files: without ``.json`` beside others, which says something about them.

    >>> of_rows(["data.arrow", "state.json"]), of_rows(["a.json", "b.json"])
    (['data.arrow'], ['a.json', 'b.json'])
    """
    return [name for name in names if not name.endswith(".json")] or list(names)


def cache_root() -> Path:
    """``$XDG_CACHE_HOME/lepton_kit/data``, with ``~/.cache`` where that variable is not set."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "lepton_kit" / "data"


def walk(folder: Path) -> list[Path]:
    """Every file below a folder, sorted."""
    return sorted(Path(base) / name for base, _, names in os.walk(folder) for name in names)


def files_of(path: Path) -> list[Path]:
    """The files whose change must change the fingerprint."""
    return [path] if path.is_file() else walk(path)


def fingerprint(kind: str, options: dict[str, Any], files: Iterable[Path]) -> str:
    """32 hex digits from the options and from path, size and change time of every file."""
    digest = hashlib.blake2b(json.dumps([FORMAT, kind, options], sort_keys=True).encode(), digest_size=16)
    for file in files:
        try:
            stat = file.stat()
        except OSError as failure:
            raise DataError(f"{file}: cannot be read ({failure.strerror})") from None
        digest.update(
            f"\n{file.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


def partition_of(name: str) -> tuple[str, str] | None:
    """The (folder, column) that the path of a file has where a table is stored in parts, as Hive and Spark do.

    >>> partition_of("year=2023/0.parquet"), partition_of("walk/0.parquet")
    (('year=2023', 'year'), None)
    """
    found = (re.fullmatch(r"(\w+)=.*", part) for part in name.split("/")[:-1])
    return next(((match[0], match[1]) for match in found if match), None)


def refusal_of_parts(names: Sequence[str], where: str) -> DataError:
    """The error that says what to do with the folders of a partitioned table."""
    folder, column = next(found for name in names if (found := partition_of(name)))
    columnar = names[0].endswith((".parquet", ".pq"))
    way = f"pandas.read_parquet({where!r})" if columnar else "frame"
    return DataError(
        f"{where}: folders such as {folder!r} are the parts of one table, and its column {column!r} stands in their names "
        f"alone; read it with pandas, and give the frame: lk.data.read({way}, target=…)"
        + (f"; or kind='parquet', which leaves {column!r} out" if columnar else "")
    )
