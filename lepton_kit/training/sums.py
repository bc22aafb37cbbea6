"""Check sums of a checkpoint's files: noted when it is written, compared before any of it is used."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit.errors import RunError
from lepton_kit.rundir.reading import open_regular, read_mapping, regular

META = "meta.json"
PIECE_BYTES = 1 << 20


def sealed(about: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What is noted with a checkpoint: ``about`` it, the CRC-32 of its files, and the CRC-32 of all that.

    Of an ``.npz`` file those of its arrays count, which were taken while it was written.
    """
    files = {path.name: _sums(path) for path in sorted(folder.iterdir())}
    noted = json.loads(json.dumps({**about, "files": files}))
    return {**noted, "crc32": _of_text(noted)}


def read_meta(folder: Path) -> dict[str, Any]:
    """What was noted with a checkpoint. Raises `RunError` naming the file if it is not as it was written.

    A checkpoint of an older version has no sums, and is taken as it is.
    """
    file = folder / META
    try:
        noted: dict[str, Any] = read_mapping(file)
        known = noted.pop("crc32", None)
        int(noted["step"])
        whole = known == _of_text(noted) if known is not None else "files" not in noted
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise RunError(f"{file}: cannot be read ({failure})") from None
    if not whole:
        raise RunError(f"{file}: damaged: its check sum is another than when it was written")
    return noted


def verified(folder: Path) -> dict[str, Any]:
    """What was noted with a checkpoint, after all its files were read and found to be as they were written.

    Reads in pieces of 1 MiB. Raises `RunError` that names the first file that is damaged or missing.
    """
    noted = read_meta(folder)
    for name, sums in noted.get("files", {"arrays.npz": None}).items():
        file = folder / name
        try:
            if file.suffix != ".npz":
                if _of_file(file) != sums:
                    raise RunError(f"{file}: damaged: its check sum is another than when it was written")
                continue
            with zipfile.ZipFile(regular(file)) as archive:
                check_list(archive, noted, name)
                for member in archive.infolist():
                    with archive.open(member) as stream:
                        while stream.read(PIECE_BYTES):  # compares the sum at the end
                            pass
        except RunError:
            raise
        except Exception as failure:  # a damaged archive may fail in any way
            raise RunError(f"{file}: damaged ({type(failure).__name__}: {failure})") from None
    return noted


def check_list(archive: zipfile.ZipFile, noted: Mapping[str, Any], name: str) -> None:
    """Raise `ValueError` if an ``.npz`` file does not list the arrays, with their sums, that were noted for it."""
    sums = noted.get("files", {}).get(name)
    if sums is not None and sums != _listed(archive):
        raise ValueError("its list of arrays is another than when it was written")


def _sums(path: Path) -> int | dict[str, int]:
    if path.suffix != ".npz":
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
