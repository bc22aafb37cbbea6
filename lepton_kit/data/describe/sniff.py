"""What a file or folder holds, by its content first and its name second; nothing is unpacked, run or unpickled."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from lepton_kit.data.files import PACKED, TABLES, of_rows, partition_of
from lepton_kit.data.split_names import lies_in_split
from lepton_kit.errors import DataError

IMAGES = {
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".dcm", ".nii",
}  # fmt: skip
RECORDS = {".tfrecord", ".tfrecords"}
ZARR = ("zarr.json", ".zgroup", ".zarray")
LONGEST = 1000
"""Signs of a path; more is a text."""
MOST_FILES = 20_000
"""So many names of a folder are looked at; more would not change what it is."""

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "table"),
    (b"ARROW1", "table"),
    (b"\xff\xff\xff\xff", "table"),  # a stream of Arrow, as `datasets` of Hugging Face saves one
    (b"\x89HDF", "npz"),
    (b"MATLAB ", "npz"),
    (b"\x89PNG\r\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"BM", "image"),
    (b"II*\0", "image"),
    (b"MM\0*", "image"),
)
COMPRESSED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF; data must be a table, images, texts or arrays"),
    (b"\x80\x02", "a pickle, which could run code when it is read; save the arrays with numpy.savez"),
    (b"\x80\x03", "a pickle, which could run code when it is read; save the arrays with numpy.savez"),
    (b"\x80\x04", "a pickle, which could run code when it is read; save the arrays with numpy.savez"),
    (b"\x80\x05", "a pickle, which could run code when it is read; save the arrays with numpy.savez"),
    (
        b"SQLite format 3",
        "an SQLite database; read a query with pandas.read_sql and give the frame: lk.data.table(frame, …)",
    ),
    (b"\x93NUMPY", "one array alone; give its labels too: the folder of both, or lk.data.arrays(x, y)"),
    (b"Rar!", "a RAR archive; unpack it, or pack it as zip"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it, or pack it as zip"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file; save it as .xlsx or .csv"),
)
"""The first bytes of files that hold no data we read -> what the file is and what to do."""


def kind_of(path: Path) -> str:
    """``images``, ``table`` (of rows), ``npz`` (named arrays), ``texts`` (class folders), ``recordings`` or ``stored``.

    Tables in folders below may also be ``splits`` or ``partitions``: see `kind_of_tables`. Also ``tfrecord``, ``webdataset`` and ``zarr``. ``stored`` is a folder that `Dataset.store` filled. Raises `DataError` that says what the path holds instead.
    """
    try:
        path.lstat()
    except (OSError, ValueError) as failure:
        raise _nothing_at(path, failure) from None
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(
            f"{path}: neither a file nor a folder (a pipe, socket or device); write it to a file first"
        )
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except OSError as failure:
        raise DataError(f"{path}: cannot be read ({failure.strerror or failure})") from None


def _nothing_at(path: Path, failure: Exception) -> DataError:
    """Why there is nothing at a path; a text that is too long to be one is not repeated."""
    shown = str(path) if len(str(path)) <= LONGEST else f"{str(path)[:60]}…"
    if len(str(path)) > LONGEST or isinstance(failure, ValueError):
        return DataError(
            f"{shown}: a text of {len(str(path))} signs is the path of no file; texts with their labels are given as a "
            "frame or a file"
        )
    if isinstance(failure, FileNotFoundError | NotADirectoryError):
        return DataError(f"{shown}: no such file or folder (from {Path.cwd()})")
    return DataError(f"{shown}: cannot be read ({getattr(failure, 'strerror', failure)})")


def _file(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(512)
    if not start.strip(b"\0 \r\n\t"):
        raise DataError(f"{path}: the file is empty")
    if start[:4] == b"PK\x03\x04" or (start[:4] == b"PK\x05\x06"):
        return _zip(path)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            names = [one.name for one in _first(archive)]
        return "webdataset" if _are_samples(names) else _of_names(path, names)
    if path.suffix.lower() in RECORDS:
        return "tfrecord"
    if path.suffix.lower() in PACKED:
        return "table"
    for begin, kind in MAGIC:
        if start.startswith(begin):
            if kind == "image":
                raise DataError(
                    f"{path}: one image; give the folder (or zip) with one folder of images a class"
                )
            return kind
    for begin, why in REFUSED:
        if start.startswith(begin):
            raise DataError(f"{path}: {why}")
    ending = next((ending for begin, ending in COMPRESSED.items() if start.startswith(begin)), None)
    if ending is not None:
        raise DataError(
            f"{path}: compressed, though its name does not say so; rename it to {path.name}{ending}"
        )
    if _is_text(start):
        return "table"
    raise DataError(
        f"{path}: not a kind of file that is read; it may be a table (CSV, Parquet, Excel, JSON lines), arrays (.npz), "
        "or a folder or archive of images, texts or recordings"
    )


def _is_text(start: bytes) -> bool:
    """Whether bytes begin a text: no NUL, but in UTF-16, and few control signs.

    >>> _is_text(b"a,b\\n1,2"), _is_text("a;b".encode("utf-16")), _is_text(bytes(range(30)))
    (True, True, False)
    """
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    controls = sum(byte < 9 or 13 < byte < 32 for byte in start)
    return b"\0" not in start and controls <= len(start) // 50


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as failure:
        raise DataError(f"{path}: not a readable zip file ({failure})") from None
    if "xl/workbook.xml" in names:
        return "table"
    if "word/document.xml" in names or "ppt/presentation.xml" in names:
        raise DataError(f"{path}: a Word or PowerPoint file; data must be a table, images, texts or arrays")
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return _of_names(path, names)


def _first(archive: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    for place, member in enumerate(archive):
        if place == MOST_FILES:
            return
        yield member


def _are_samples(names: list[str]) -> bool:
    """Whether a tar's members are those of WebDataset: beside each image one of the same name with its class.

    >>> _are_samples(["001.jpg", "001.cls", "002.jpg", "002.cls"]), _are_samples(["cat/1.jpg", "labels.csv"])
    (True, False)
    """
    ends: dict[str, set[str]] = {}
    for name in names[:200]:
        stem, _, end = PurePosixPath(name).name.partition(".")
        ends.setdefault(str(PurePosixPath(name).parent / stem), set()).add(end.lower())
    whole = [found for found in ends.values() if found & {"cls", "json", "label"} and len(found) > 1]
    return len(whole) > len(ends) / 2


def _folder(path: Path) -> str:
    if any((path / name).is_file() for name in ZARR):
        return "zarr"
    if (path / "meta.json").is_file() and any(path.glob("train.x.*.npy")):
        return "stored"
    names: list[str] = []
    for base, below, files in os.walk(path, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = Path(base).relative_to(path)
        if len(inside.parts) > 12:  # a link that leads back into the folder
            below.clear()
        names += [(inside / name).as_posix() for name in files]
        if len(names) > MOST_FILES:
            break
    return _of_names(path, names)


def _of_names(path: Path, names: Iterable[str]) -> str:
    seen: Counter[str] = Counter()
    nested: Counter[str] = Counter()
    tables: list[str] = []
    others: list[str] = []
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or any(part.startswith((".", "__MACOSX")) for part in parts):
            continue
        endings = [ending.lower() for ending in PurePosixPath(parts[-1]).suffixes]
        if endings and endings[-1] in PACKED:
            endings.pop()
        kind = _of_ending(endings[-1] if endings else "")
        seen[kind] += 1
        nested[kind] += len(parts) > 1
        tables += ["/".join(parts)] if kind == "tables" else []
        others += ["/".join(parts)] if kind == "others" else []
    if not seen:
        raise DataError(f"{path}: holds no files")
    if seen["images"]:
        return "images"
    # A text beside the class folders, such as a README, is none of them; beside a table it says nothing.
    if nested["texts"] and (nested["texts"] == seen["texts"] or not seen["tables"]):
        return "texts"
    if seen["tables"]:
        below = nested["tables"] == seen["tables"] and (seen["tables"] > 1 or "=" in tables[0])
        return kind_of_tables(tables) if below and path.is_dir() else "recordings" if below else "table"
    if seen["npy"] and path.is_dir():
        return "npz"
    if seen["records"]:
        return "tfrecord"
    if seen["shards"] and path.is_dir():
        return "webdataset"
    raise DataError(
        f"{path}: {sum(seen.values())} files, but no images, tables, texts or arrays among them by their endings; "
        f"give the path of the one that holds the data ({', '.join(sorted(others)[:5])})"
    )


def _of_ending(ending: str) -> str:
    if ending in IMAGES:
        return "images"
    if ending in TABLES:
        return "tables"
    if ending in RECORDS:
        return "records"
    return {".txt": "texts", ".npy": "npy", ".tar": "shards"}.get(ending, "others")


def kind_of_tables(names: Sequence[str]) -> str:
    """``partitions``, ``splits`` or ``recordings``: what tables that all lie in folders are, by their names.

    >>> kind_of_tables(["year=2023/0.parquet"]), kind_of_tables(["train/0.csv", "test/0.csv"])
    ('partitions', 'splits')
    >>> (
    ...     kind_of_tables(["data/train-00000-of-00001.parquet"]),
    ...     kind_of_tables(["train/walk/0.csv", "train/run/0.csv"]),
    ... )
    ('splits', 'recordings')
    """
    if any(partition_of(name) for name in names):
        return "partitions"
    return "splits" if all(map(lies_in_split, of_rows(names))) else "recordings"
