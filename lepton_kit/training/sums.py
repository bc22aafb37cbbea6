"""Check sums of what a run writes: noted in the folder that it is written to, compared before any of it is used."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lepton_kit.errors import RunError
from lepton_kit.rundir.reading import open_regular, read_mapping, regular

META = "meta.json"
NOTED = "checksums.json"
"""The file with the sums of the others in a folder that is no checkpoint."""
PIECE_BYTES = 1 << 20
OTHER = "damaged: its check sum is another than when it was written"
ARCHIVES = (".npz", ".keras")
"""Endings of files that hold the sums of their parts, which were taken while they were written."""


def sealed(about: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What is noted with a checkpoint: ``about`` it, the CRC-32 of its files, and the CRC-32 of all that.

    Of an archive (`ARCHIVES`) the sums of its parts count.
    """
    return _with_its_own({**about, "files": {path.name: _sums(path) for path in sorted(folder.iterdir())}})


def note(folder: Path, names: Iterable[str]) -> None:
    """Note the sums of these files in the folder's ``checksums.json``, beside those of others that are there still."""
    file = folder / NOTED
    try:
        noted = _read(file) if file.is_file() else {}
    except RunError:
        noted = {}
    files = {name: sums for name, sums in noted.get("files", {}).items() if (folder / name).is_file()}
    files |= {name: _sums(folder / name) for name in names}
    temporary = folder / f".{NOTED}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as opened:
        json.dump(_with_its_own({**noted, "files": files}), opened)
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(temporary, file)


def check(folder: Path, *names: str) -> None:
    """Raise `RunError` that names the first of these files which is not as it was noted in its folder.

    Files that were not noted (those of older versions) are taken as they are, and so are those that are not there.
    """
    if not (folder / NOTED).is_file():
        return
    files = _read(folder / NOTED).get("files", {})
    for name in names:
        if name in files and (folder / name).is_file():
            try:
                _compare(folder / name, files[name])
            except RunError as failure:
                raise RunError(f"{failure}; if it was changed on purpose, delete {NOTED} beside it") from None


def read_meta(folder: Path) -> dict[str, Any]:
    """What was noted with a checkpoint. Raises `RunError` naming the file if it is not as it was written.

    A checkpoint of an older version has no sums, and is taken as it is.
    """
    noted = _read(folder / META)
    try:
        int(noted["step"])
    except (ValueError, KeyError, TypeError) as failure:
        raise RunError(f"{folder / META}: cannot be read ({failure})") from None
    return noted


def _read(file: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = read_mapping(file)
        known = noted.pop("crc32", None)
        whole = known == _of_text(noted) if known is not None else "files" not in noted
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise RunError(f"{file}: cannot be read ({failure})") from None
    if not whole:
        raise RunError(f"{file}: {OTHER}")
    return noted


def verified(folder: Path) -> dict[str, Any]:
    """What was noted with a checkpoint, after all its files were read and found to be as they were written.

    Reads in pieces of 1 MiB. Raises `RunError` that names the first file that is damaged or missing.
    """
    noted = read_meta(folder)
    for name, sums in noted.get("files", {"arrays.npz": None}).items():
        _compare(folder / name, sums)
    return noted


def _compare(file: Path, sums: Any) -> None:
    try:
        if file.suffix not in ARCHIVES:
            if _of_file(file) != sums:
                raise RunError(f"{file}: {OTHER}")
            return
        with zipfile.ZipFile(regular(file)) as archive:
            check_list(archive, {"files": {file.name: sums}}, file.name)
            for member in archive.infolist():
                with archive.open(member) as stream:
                    while stream.read(PIECE_BYTES):  # compares the sum at the end
                        pass
    except RunError:
        raise
    except Exception as failure:  # a damaged archive may fail in any way
        raise RunError(f"{file}: damaged ({type(failure).__name__}: {failure})") from None


def check_list(archive: zipfile.ZipFile, noted: Mapping[str, Any], name: str) -> None:
    """Raise `ValueError` if an ``.npz`` file does not list the arrays, with their sums, that were noted for it."""
    sums = noted.get("files", {}).get(name)
    if sums is not None and sums != _listed(archive):
        raise ValueError("its list of arrays is another than when it was written")


def _with_its_own(noted: Mapping[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(noted))
    return {**plain, "crc32": _of_text(plain)}


def _sums(path: Path) -> int | dict[str, int]:
    if path.suffix not in ARCHIVES:
        return _of_file(path)
    with zipfile.ZipFile(path) as archive:
        return _listed(archive)


def _listed(archive: zipfile.ZipFile) -> dict[str, int]:
    return {member.filename: member.CRC for member in archive.infolist()}


def _of_file(path: Path) -> int:
    found = 0
    with open_regular(path) as file:
        while piece := file.read(PIECE_BYTES):
            found = zlib.crc32(piece, found)
    return found


def _of_text(noted: Any) -> int:
    return zlib.crc32(json.dumps(noted, sort_keys=True).encode())
