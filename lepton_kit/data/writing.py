"""Writing a prepared folder: arrays with their room on the disk, hashes of every sample, and the seal on both."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.proofs import content_hashes
from lepton_kit.data.structure import Key

FORMAT = 3
READABLE = (1, 2, FORMAT)
"""1 had no preprocessing, 2 no hashes of contents."""
META = "meta.json"
ORIGIN = "origin.json"
"""In a folder of the cache: what it was made from. A run's own folder has none."""
HASHES = "{}.hashes.npy"
"""The file with the content hashes of a split's samples."""


class FolderWriter:
    """Writes a prepared folder: ``.npy`` files filled piecewise, then their hashes, then ``meta.json`` as the last one.

    ``progress(done, total)`` is called by sources that take long, where a caller wants to know.
    """

    progress: Callable[[int, int], None] | None = None

    def __init__(self, folder: Path):
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        self._open: list[np.memmap] = []

    def file(self, split: str, role: str, name: Key) -> Path:
        """Where an array stands that the caller writes as ``.npy``."""
        file = f"{split}.{role}.{sum(e['split'] == split and e['role'] == role for e in self.entries)}.npy"
        self.entries.append({"split": split, "role": role, "name": name, "file": file})
        return self.folder / file

    def array(self, split: str, role: str, name: Key, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A writable array of that shape, backed by a file of the folder. Raises `OSError` where it has no room."""
        file = self.file(split, role, name)
        if 0 in shape:
            empty = np.zeros(shape, dtype)
            np.save(file, empty)
            return empty
        target = allocated(file, shape, dtype)
        self._open.append(target)
        return target

    def put(self, split: str, role: str, name: Key, values: np.ndarray) -> None:
        """Write a whole array at once."""
        target = self.array(split, role, name, values.shape, values.dtype)
        target[...] = values

    def finish(self, hashes: Mapping[str, np.ndarray] | None = None, **meta: Any) -> None:
        """Flush everything, hash every sample, and write what `PreparedData` holds beside the arrays.

        ``hashes`` of each split are given where the samples lie elsewhere and the folder only knows where.
        """
        for target in self._open:
            target.flush()
        self._open.clear()
        arrays = [
            {**entry, "array": np.load(self.folder / entry["file"], mmap_mode="r")} for entry in self.entries
        ]
        if hashes is None:
            names = dict.fromkeys(entry["split"] for entry in self.entries)
            hashes = {split: hashes_of(arrays, split) for split in names}
        for split, found in hashes.items():
            np.save(self.folder / HASHES.format(split), found)
        about = {
            "format": FORMAT,
            "arrays": self.entries,
            "content": content_of(arrays, hashes, meta, others_in(self.folder, self.entries)),
            "files": {file.name: _seal(file) for file in sorted(self.folder.iterdir()) if file.is_file()},
        }
        temporary = self.folder / f"{META}.tmp"
        temporary.write_text(json.dumps({**about, **meta}, indent=1), encoding="utf-8")
        os.replace(temporary, self.folder / META)


def allocated(file: Path, shape: tuple[int, ...], dtype: Any) -> np.memmap:
    """A new ``.npy`` file as a writable array whose room on the disk is taken now.

    Raises `OSError` where the disk is full: to write through a map into room that there is not kills the process.
    """
    target = np.lib.format.open_memmap(file, mode="w+", dtype=np.dtype(dtype), shape=shape)
    with file.open("r+b") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, os.fstat(opened.fileno()).st_size)
        except OSError as failure:
            if failure.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that can't say
                wanted = f"{failure.strerror} for an array of {target.nbytes / 1e6:,.3g} MB"
                raise OSError(failure.errno, wanted) from None
    return target


def hashes_of(arrays: Sequence[Mapping[str, Any]], split: str) -> np.ndarray:
    """The content hashes of a split's samples, over its arrays in the order of x, y, w."""
    own = [entry["array"] for role in ("x", "y", "w") for entry in _entries(arrays, split, role)]
    return content_hashes(own, len(own[0]))


def _entries(arrays: Sequence[Mapping[str, Any]], split: str, role: str) -> list[Mapping[str, Any]]:
    return [entry for entry in arrays if (entry["split"], entry["role"]) == (split, role)]


def others_in(folder: Path, entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A hash of each file of a folder that is no array, such as an index of samples that lie elsewhere."""
    known = {entry["file"] for entry in entries} | {HASHES.format(entry["split"]) for entry in entries}
    found = {}
    for file in sorted(folder.iterdir()):
        if file.name not in known | {META, ORIGIN}:
            with file.open("rb") as opened:
                found[file.name] = hashlib.file_digest(opened, "blake2b").hexdigest()
    return found


def content_of(
    arrays: Sequence[Mapping[str, Any]],
    hashes: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    others: Mapping[str, str],
) -> str:
    """The hash of all contents: the samples' hashes, and names, shapes, types, classes and preprocessing.

    ``others`` are the hashes of further files.
    """
    kinds = [
        [split, role, entry["name"], entry["array"].dtype.str, list(entry["array"].shape)]
        for split in hashes
        for role in ("x", "y", "w")
        for entry in _entries(arrays, split, role)
    ]
    said = [meta.get(name) for name in ("class_names", "preprocessing")]
    if (source := meta.get("source")) is not None:
        said += [source["forms"], source["parts"]]
    text = json.dumps([kinds, said, dict(others)], sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for split in sorted(hashes):
        digest.update(np.ascontiguousarray(hashes[split]).data.cast("B") if len(hashes[split]) else b"")
    return digest.hexdigest()


def _seal(file: Path) -> list[int]:
    """Make a file read-only and give it a time of change in whole seconds, which every copying program keeps.

    Returns its size and that time in ns: who writes into it later changes one of them.
    """
    now = int(time.time()) * 10**9
    os.chmod(file, 0o444)
    os.utime(file, ns=(now, now))
    return [file.stat().st_size, now]
