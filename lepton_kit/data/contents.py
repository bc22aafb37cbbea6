"""Whether a prepared folder still holds what was decoded: sizes and times first, every byte where these have changed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lepton_kit.data.prepared import PreparedData, Split, entries_of, meta_of
from lepton_kit.data.proofs import content_hashes
from lepton_kit.data.writing import HASHES, META, content_of

SHOWN = 5
WORDS = {"train": "training", "validation": "validation"}


def check(prepared: PreparedData, *, every_byte: bool = False) -> list[str]:
    """What is no longer as it was decoded, as sentences; empty if all is, or if the folder is of an older version.

    Reads sizes and times of change; every byte is hashed again if one of these is not as it was, or on demand.
    """
    if prepared.folder is None or prepared.train.hashes is None:
        return []
    files = changed_files(prepared.folder)
    if not files and not every_byte:
        return []
    hashes = {name: split.hashes for name, split in prepared.splits() if split is not None}
    if content_of(entries_of(prepared), hashes, meta_of(prepared)) != prepared.content:  # type: ignore[arg-type]  # none is None
        names = ", ".join(HASHES.format(name) for name in hashes)
        return [f"the hashes of the samples ({names}) are not those of this data"]
    problems = [
        f"{len(rows)} of {len(split)} {WORDS[name]} samples are not as they were decoded (rows {_some(rows)})"
        for name, split, rows in _changed_rows(prepared)
        if len(rows)
    ]
    if not problems:
        _put_times_back(prepared.folder, files)  # a copy without its times, say: the next look is cheap again
    return problems


def changed_files(folder: Path) -> list[str]:
    """Files of a prepared folder whose size or time of change is not as it was sealed."""
    return [name for name, size, when in _sealed(folder) if _state(folder / name) != (size, when)]


def _changed_rows(prepared: PreparedData) -> Iterator[tuple[str, Split, np.ndarray]]:
    for name, split in prepared.splits():
        if split is not None and split.hashes is not None:
            if split.source is not None:
                found = split.source.read_again()
            else:
                found = content_hashes([array for *_, array in split.arrays()], len(split))
            yield name, split, np.flatnonzero(found != split.hashes)


def _some(rows: np.ndarray) -> str:
    return ", ".join(map(str, rows[:SHOWN])) + (", …" if len(rows) > SHOWN else "")


def _sealed(folder: Path) -> list[tuple[str, int, int]]:
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
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
