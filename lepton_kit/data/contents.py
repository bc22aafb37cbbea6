"""Whether a prepared folder still holds what was decoded: sizes and times first, every byte where these have changed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from lepton_kit.data.prepared import PreparedData, open_folder
from lepton_kit.data.writing import HASHES, META, content_of, hashes_of, others_in
from lepton_kit.rundir.reading import read_mapping, regular

SHOWN = 5
WORDS = {"train": "training", "validation": "validation"}


def check(prepared: PreparedData, *, every_byte: bool = False) -> list[str]:
    """What is no longer as it was decoded, as sentences; empty if all is, or if the folder is of an older version.

    Reads sizes and times of change; every byte is hashed again if one of these is not as it was, or on demand.
    """
    if prepared.folder is None or not prepared.is_sealed:
        return []
    files = changed_files(prepared.folder)
    if not files and not every_byte:
        return []
    problems = _read_everything(prepared.folder)
    if not problems:
        _put_times_back(prepared.folder, files)  # a copy without its times, say: the next look is cheap again
    return problems


def _read_everything(folder: Path) -> list[str]:
    meta = read_mapping(folder / META)
    try:
        arrays = [
            {**entry, "array": np.load(regular(folder / entry["file"]), mmap_mode="r")}
            for entry in meta["arrays"]
        ]
        names = [name for name in WORDS if (folder / HASHES.format(name)).exists()]
        hashes = {name: np.load(regular(folder / HASHES.format(name)), mmap_mode="r") for name in names}
        others = others_in(folder, meta["arrays"])
    except (OSError, ValueError, EOFError) as failure:
        return [f"a file can't be read ({failure})"]
    if content_of(arrays, hashes, meta, others) != meta["content"]:
        return ["the hashes of the samples, or what is said about them, are not those of this data"]
    problems = []
    lying_elsewhere = dict(open_folder(folder).splits()) if meta.get("source") else {}
    for name in names:
        split = lying_elsewhere.get(name)
        found = split.source.read_again() if split and split.source else hashes_of(arrays, name)
        rows = np.flatnonzero(found != hashes[name])
        if len(rows):
            problems.append(
                f"{len(rows)} of {len(hashes[name])} {WORDS[name]} samples are not as they were decoded "
                f"(rows {_some(rows)})"
            )
    return problems


def changed_files(folder: Path) -> list[str]:
    """Files of a prepared folder whose size or time of change is not as it was sealed."""
    return [name for name, size, when in _sealed(folder) if _state(folder / name) != (size, when)]


def _some(rows: np.ndarray) -> str:
    return ", ".join(map(str, rows[:SHOWN])) + (", …" if len(rows) > SHOWN else "")


def _sealed(folder: Path) -> list[tuple[str, int, int]]:
    meta = read_mapping(folder / META)
    return [(name, size, when) for name, (size, when) in meta.get("files", {}).items()]


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _put_times_back(folder: Path, files: list[str]) -> None:
    for name, _, when in _sealed(folder):
        if name in files:
            with contextlib.suppress(OSError):
                os.utime(folder / name, ns=(when, when))
