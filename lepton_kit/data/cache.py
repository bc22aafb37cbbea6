"""The cache of decoded data: one folder per fingerprint of the files and options, shared by every process.

A process that decodes holds a lock, so that another one that wants the same waits for it. Runs register what they
have frozen (`hold`), and `clear` leaves what a run needs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.data import contents
from lepton_kit.data.files import cache_root, walk
from lepton_kit.data.prepared import PreparedData, open_folder
from lepton_kit.data.writing import META, ORIGIN, FolderWriter
from lepton_kit.errors import FULL, DataError, why_not_written
from lepton_kit.rundir.paths import TRASH
from lepton_kit.rundir.reading import read_mapping

HOLDERS = ".holders"
"""The folder in a cache where runs register: ``.holders/KEY/RUN.json``."""
LEFT_SECONDS = 60.0
"""A half-written folder that nobody has locked for so long belongs to a process that was killed."""


def cached(
    key: str,
    root: Path | None,
    write: Callable[[FolderWriter], None],
    origin: dict[str, Any] | None = None,
) -> PreparedData:
    """Open the folder of ``key``; where there is none, let ``write`` fill a new one that appears in one piece.

    ``origin`` (kind, path) is what `entries` shows. A folder that was changed since it was decoded is decoded again.
    """
    root = cache_root() if root is None else Path(root)
    folder = root / key
    if (found := _open(folder, key)) is not None:
        return found
    with workplace(root, key[:8]) as work, _turn(root, key):
        if (found := _open(folder, key)) is not None:  # another process was faster
            return found
        write(FolderWriter(work))
        mark(work, origin or {})
        try:
            os.rename(work, folder)
        except OSError:
            if not (folder / META).exists():
                raise
        return open_folder(folder, key)


def mark(work: Path, origin: dict[str, Any]) -> None:
    """Make a folder one of a cache, with what `entries` shows of it: kind and path of what it was made from."""
    (work / ORIGIN).write_text(json.dumps(origin), encoding="utf-8")


@contextlib.contextmanager
def workplace(root: Path, name: str) -> Iterator[Path]:
    """A new hidden folder in a cache, to be filled and then renamed; removed if it was not. Raises `DataError`."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
        with _locked(work):
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as failure:
        full = "`lepton cache list` shows what lies there, " if failure.errno in FULL else ""
        raise DataError(
            f"{root}: the data cache cannot be written ({why_not_written(failure, root)}); {full}XDG_CACHE_HOME names "
            "another place"
        ) from None


def _open(folder: Path, key: str) -> PreparedData | None:
    """The data of a cached folder; None if there is none, or none that can be used, which is then taken away."""
    if not (folder / META).exists():
        return None
    try:
        found = open_folder(folder, key)
        if not contents.check(found):
            with contextlib.suppress(OSError):
                os.utime(folder)  # when it was last used
            return found
    except DataError:
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file or folder; gives whether it is held (a file system without locks counts as held)."""
    descriptor = os.open(path, os.O_RDONLY | (0 if path.is_dir() else os.O_CREAT), 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _turn(root: Path, key: str) -> Iterator[None]:
    """One process at a time decodes what has this key."""
    path = root / f".{key}.lock"
    with _locked(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------------- who needs what


def hold(folder: Path, run: Path, *, linked: bool) -> None:
    """Register that a run has frozen a folder of a cache; of other folders nothing is noted.

    ``linked`` says that the run has the files under names of its own, so that it loses nothing if they go here.
    """
    if not is_cached(folder):
        return
    name = hashlib.blake2b(str(run).encode(errors="surrogateescape"), digest_size=8).hexdigest()
    place = folder.parent / HOLDERS / folder.name
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps({"run": str(run), "linked": linked})
    temporary = place / f".{name}.{os.getpid()}"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, place / f"{name}.json")


def is_cached(folder: Path) -> bool:
    """Whether a folder lies in a cache, not with a run."""
    return (folder / ORIGIN).is_file()


@dataclass(frozen=True)
class Entry:
    """A folder of the cache: its size on disk in bytes, what it was made from, when it was used last (unix seconds),
    and the runs that have it. ``needed`` by those of them that have no other copy."""

    key: str
    folder: Path
    kind: str
    source: str
    size_bytes: int
    last_used: float
    runs: tuple[Path, ...] = ()
    needed: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "id": self.key,
            "folder": str(self.folder),
            "kind": self.kind,
            "source": self.source,
            "size_bytes": self.size_bytes,
            "last_used": self.last_used,
            "runs": [str(run) for run in self.runs],
            "needed": [str(run) for run in self.needed],
        }


def entries(root: Path | None = None) -> list[Entry]:
    """What lies in the cache, what was used last at the end.

    >>> entries(Path("nowhere"))
    []
    """
    root = cache_root() if root is None else Path(root)
    if not root.is_dir():
        return []
    found = [
        _entry(folder) for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")
    ]
    return sorted(found, key=lambda entry: entry.last_used)


def _entry(folder: Path) -> Entry:
    origin: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        origin = read_mapping(folder / ORIGIN)
    sizes = [0]
    for file in walk(folder):
        with contextlib.suppress(OSError):  # it has just gone
            sizes.append(file.stat().st_size)
    holders = _holders(folder)
    return Entry(
        key=folder.name,
        folder=folder,
        kind=origin.get("kind", "unknown"),
        source=origin.get("path", ""),
        size_bytes=sum(sizes),
        last_used=folder.stat().st_mtime,
        runs=tuple(run for run, _ in holders),
        needed=tuple(run for run, linked in holders if not linked),
    )


def _holders(folder: Path) -> list[tuple[Path, bool]]:
    """The runs that hold a folder; what was registered by a run whose folder is gone is taken away."""
    found = []
    for file in sorted((folder.parent / HOLDERS / folder.name).glob("*.json")):
        try:
            said = read_mapping(file)
            run, linked = Path(said["run"]), bool(said["linked"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        hidden = run.with_name(f".{run.name}")  # while it is launched
        deleted = run.parent / TRASH / run.name  # until it is brought back or removed for good
        if any(place.exists() for place in (run, hidden, deleted)):
            found.append((run, linked))
        else:
            file.unlink(missing_ok=True)
    return found


def clear(key: str | None = None, *, everything: bool = False, root: Path | None = None) -> list[Entry]:
    """Remove decoded data, and give what was removed; it is decoded again when it is wanted.

    By default what no run has. ``everything`` removes also what runs have under names of their own (that frees room
    once they are gone too), ``key`` (an id, or its beginning) one folder. What a run has no other copy of stays.
    Raises `DataError` for a key that is none, or of what a run needs.
    """
    root = cache_root() if root is None else Path(root)
    known = entries(root)
    if key is not None:
        chosen = [entry for entry in known if entry.key == key] or [
            entry for entry in known if key and entry.key.startswith(key)
        ]
        if len(chosen) != 1:
            rule = "is the beginning of several" if chosen else "is nothing"
            there = ", ".join(entry.key for entry in (chosen or known)[-8:]) or "nothing at all"
            raise DataError(f"{key!r} {rule} in the data cache {root}; there: {there}")
        if chosen[0].needed:
            runs = ", ".join(run.name for run in chosen[0].needed)
            raise DataError(f"{key}: run {runs} has no other copy of this data; delete the run first")
    else:
        chosen = [entry for entry in known if not entry.needed and (everything or not entry.runs)]
    removed = [entry for entry in chosen if _remove(entry.folder)]
    _remove_leftovers(root)
    return removed


def _remove(folder: Path) -> bool:
    """Take a folder away in one piece: who opens it meanwhile finds it whole or not at all."""
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        os.rename(folder, hidden)
    except OSError:
        return False
    shutil.rmtree(hidden, ignore_errors=True)
    shutil.rmtree(folder.parent / HOLDERS / folder.name, ignore_errors=True)
    return True


def _remove_leftovers(root: Path) -> None:
    """Half-written folders of processes that were killed; one that is being filled is locked."""
    for work in root.glob(".*"):
        if work.name == HOLDERS or not work.is_dir():
            continue
        with contextlib.suppress(OSError):
            if time.time() - work.stat().st_mtime < LEFT_SECONDS:
                continue
            with _locked(work, wait=False) as free:
                if free:
                    shutil.rmtree(work, ignore_errors=True)
