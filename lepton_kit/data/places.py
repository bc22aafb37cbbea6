"""Where large data lie: files of a folder or of an address with a scheme, read in pieces and never mapped to memory.

A mapped file that shrinks ends the process with SIGBUS; a read that comes up short is an error that names the file.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lepton_kit.data.files import cache_root, walk
from lepton_kit.errors import DataError

OPEN_FILES = 64
RANGE_BYTES = 4 << 20
"""Reads from an address come in aligned pieces of this size, each kept on disk with its hash."""
STAMPS = (
    "ETag",
    "etag",
    "md5Hash",
    "Content-MD5",
    "checksum",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
"""What file systems call the mark that changes with a file's contents, the best one first."""


@dataclass(frozen=True)
class File:
    """One file: its address or absolute path, its name for people, its size in bytes, and a mark of its contents."""

    address: str
    name: str
    size: int
    stamp: str


def is_address(path: Any) -> bool:
    """Whether a path has a scheme, such as ``s3://bucket/folder``.

    >>> is_address("s3://bucket/a"), is_address("/data/a"), is_address(Path("a"))
    (True, False, False)
    """
    return isinstance(path, str) and "://" in path and path.partition("://")[0].isalnum()


def files_at(place: str | Path, endings: Sequence[str]) -> list[File]:
    """The files with these endings at a path or an address, sorted by name. Raises `DataError` if there are none."""
    found = _remote(str(place), endings) if is_address(place) else _local(Path(place), endings)
    if not found:
        raise DataError(f"{place}: no file that ends in {', '.join(endings)}")
    empty = next((file for file in found if not file.size), None)
    if empty is not None:
        raise DataError(f"{empty.name}: an empty file")
    return found


def _local(place: Path, endings: Sequence[str]) -> list[File]:
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    if place.is_file():
        return [_file(place, place.name)]
    names = [file for file in walk(place) if _wanted(file.relative_to(place).as_posix(), endings)]
    return [_file(file, file.relative_to(place).as_posix()) for file in names]


def _file(path: Path, name: str) -> File:
    try:
        stat = path.stat()
    except OSError as failure:
        raise DataError(f"{path}: cannot be read ({failure.strerror})") from None
    return File(str(path.absolute()), name, stat.st_size, str(stat.st_mtime_ns))


def _wanted(name: str, endings: Sequence[str]) -> bool:
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    return not hidden and name.lower().endswith(tuple(endings))


def _remote(address: str, endings: Sequence[str]) -> list[File]:
    system, root = system_of(address)
    try:
        entries = {}
        if "." not in root.rstrip("/").rpartition("/")[2]:  # a web server can't say whether it is a folder
            entries = system.find(root, detail=True)
        if not entries:
            info = system.info(root)
            is_folder = info.get("type") == "directory"
            entries = system.find(root, detail=True) if is_folder else {root: info}
    except Exception as failure:
        raise DataError(f"{address}: cannot be read ({_line(failure)})") from None
    found = []
    for path, info in sorted(entries.items()):
        name = path.removeprefix(root).strip("/") or path.rpartition("/")[2]
        if path == root or _wanted(name, endings):
            # Listings of object stores bring the tags; those of others write times in another way than `info` does.
            known = info.get("size") is not None and any(info.get(one) for one in STAMPS[:4])
            full = info if known else system.info(path)
            found.append(File(system.unstrip_protocol(path), name, int(full["size"] or 0), _stamp(full)))
    return found


def stamps(address: str) -> list[str]:
    """What changes when a file at an address does: its name, size and mark of contents, one text a file."""
    return [f"{file.address} {file.size} {file.stamp}" for file in files_at(address, ("",))]


def _stamp(info: dict[str, Any]) -> str:
    found = next((info[name] for name in STAMPS if info.get(name)), "")
    return found.isoformat() if hasattr(found, "isoformat") else str(found)


def system_of(address: str) -> tuple[Any, str]:
    """The file system behind an address, and the path there. Raises `DataError` that names what to install."""
    scheme = address.partition("://")[0]
    try:
        import fsspec
    except ImportError:
        raise DataError(
            f"{address}: addresses with a scheme need fsspec: pip install lepton-kit[remote]"
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as failure:
        raise DataError(f"{address}: {scheme}:// cannot be read ({_line(failure)})") from None
    return system, path


def _line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or [""])[0] or type(failure).__name__


class Files:
    """Reads pieces of many files, of which a few are open at a time. A thread may share it with others.

    Every file is checked when it is opened: another size or stamp than the index knows raises `DataError`.
    """

    def __init__(self, files: Sequence[File]):
        self.files = tuple(files)
        self._lock = threading.Lock()
        self._open: OrderedDict[int, int] = OrderedDict()
        self._checked: set[int] = set()

    def read(self, number: int, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on. Raises `DataError` that names the file."""
        file = self.files[number]
        try:
            found = (
                self._remote(number, offset, size)
                if is_address(file.address)
                else self._pread(number, offset, size)
            )
        except OSError as failure:
            raise DataError(f"{file.name}: cannot be read ({failure.strerror or failure})") from None
        if len(found) != size:
            raise DataError(
                f"{file.name}: ends at byte {offset + len(found)}; the index expects more: it has changed"
            )
        return found

    def stream(self, number: int) -> io.RawIOBase:
        """A file as a seekable stream."""
        return _Stream(self, number)

    def close(self) -> None:
        """Close what is open; a later read opens it again."""
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def __getstate__(self) -> tuple[File, ...]:
        return self.files

    def __setstate__(self, files: tuple[File, ...]) -> None:
        self.__init__(files)  # type: ignore[misc]  # opened anew in another process

    def _pread(self, number: int, offset: int, size: int) -> bytes:
        with self._lock:
            descriptor = self._open.pop(number, None)
            if descriptor is None:
                descriptor = os.open(self.files[number].address, os.O_RDONLY | os.O_CLOEXEC)
                stat = os.fstat(descriptor)
                self._check(number, stat.st_size, str(stat.st_mtime_ns))
            self._open[number] = descriptor
            while len(self._open) > OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            parts = []
            while size > 0 and (part := os.pread(descriptor, size, offset)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _remote(self, number: int, offset: int, size: int) -> bytes:
        file = self.files[number]
        first, last = offset // RANGE_BYTES, max(offset, offset + size - 1) // RANGE_BYTES
        whole = b"".join(self._range(number, part) for part in range(first, last + 1))
        return whole[offset - first * RANGE_BYTES :][: min(size, file.size - offset)]

    def _range(self, number: int, part: int) -> bytes:
        """One aligned piece of a remote file: from the disk where its hash is right, else read and kept there."""
        file = self.files[number]
        name = hashlib.blake2b(repr(asdict(file)).encode(), digest_size=16).hexdigest()
        kept = ranges_root() / name / f"{part:08d}"
        try:
            content = kept.read_bytes()
            if content[:16] == _digest(content[16:]):
                return content[16:]
        except OSError:
            pass
        system, path = system_of(file.address)
        try:
            if number not in self._checked:
                info = system.info(path)
                self._check(number, int(info["size"] or 0), _stamp(info))
                self._checked.add(number)
            start = part * RANGE_BYTES
            found = system.cat_file(path, start=start, end=min(start + RANGE_BYTES, file.size))
        except DataError:
            raise
        except Exception as failure:
            raise DataError(f"{file.address}: cannot be read ({_line(failure)})") from None
        _keep(kept, _digest(found) + found)
        return bytes(found)

    def _check(self, number: int, size: int, stamp: str) -> None:
        file = self.files[number]
        if (size, stamp) != (file.size, file.stamp):
            what = f"{file.size} bytes then, {size} now" if size != file.size else "same size, written again"
            raise DataError(f"{file.address}: has changed since its index was made ({what}); start a new run")


def ranges_root() -> Path:
    """Where pieces of remote files are kept: beside the decoded data."""
    return cache_root().parent / "ranges"


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _keep(path: Path, content: bytes) -> None:
    """Write a piece; a full disk only means that it will be read again."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        pass


class _Stream(io.RawIOBase):
    def __init__(self, files: Files, number: int):
        self._files, self._number, self._position = files, number, 0
        self._size = files.files[number].size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        found = self._files.read(self._number, self._position, size) if size else b""
        self._position += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)
