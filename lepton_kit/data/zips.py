"""Files below a folder, or in a zip or tar archive, by name: links followed, declared sizes checked before reading."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lepton_kit.errors import DataError

MAX_BYTES = 2**29
"""A file of an archive may not say that it is larger: 512 MiB, several times what an image or a small table needs."""
MAX_RATIO, CHECKED_FROM = 200, 2**24
"""A file that says it is over 16 MiB may not unpack to more than 200 times its packed size: that is a bomb."""
TAR_ENDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
UTF_8_FLAG = 0x800


def walk(folder: Path) -> list[Path]:
    """Every file below a folder, sorted. Links to folders are followed, but for those that lead back to a parent."""
    found: list[Path] = []
    waiting = [(folder, frozenset({os.path.realpath(folder)}))]
    while waiting:
        base, above = waiting.pop()
        with os.scandir(base) as entries:
            for entry in entries:
                if not entry.is_dir():
                    found.append(Path(entry.path))
                elif not entry.is_symlink():
                    waiting.append((Path(entry.path), above | {os.path.realpath(entry.path)}))
                elif (real := os.path.realpath(entry.path)) not in above:
                    waiting.append((Path(entry.path), above | {real}))
    return sorted(found)


def clean_name(name: str) -> str:
    r"""A name with forward slashes and no leading ``./``; Windows tools write backslashes.

    >>> clean_name("a\\b.png"), clean_name("./a//b.png")
    ('a/b.png', 'a/b.png')
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


class Files:
    """The files below a directory, by their relative name with forward slashes, sorted."""

    def __init__(self, path: Path):
        self.path = path

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        return sorted(file.relative_to(self.path).as_posix() for file in walk(self.path))

    def empty_folders(self) -> list[str]:
        """Folders without anything in them, sorted."""
        empty = (Path(base) for base, below, files in os.walk(self.path) if not files and not below)
        return sorted(folder.relative_to(self.path).as_posix() for folder in empty if folder != self.path)

    def read(self, name: str) -> bytes:
        """The whole content. Raises `DataError` that names the file."""
        try:
            return (self.path / name).read_bytes()
        except (OSError, ValueError) as failure:
            raise DataError(f"{self.where(name)}: cannot be read ({failure})") from None

    def head(self, name: str, size: int = 512) -> bytes:
        """The first bytes. Raises `DataError` that names the file."""
        with self.open(name) as stream:
            return stream.read(size)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The content as a stream that can seek; several threads may do this at once."""
        try:
            with (self.path / name).open("rb") as stream:
                yield stream
        except OSError as failure:
            raise DataError(f"{self.where(name)}: cannot be read ({failure})") from None

    def where(self, name: str) -> str:
        """How an error or a note calls the file."""
        return f"{self.path.name}/{name}".replace("\n", "\\n")

    def close(self) -> None:
        """Close what is open."""

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Zip(Files):
    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as failure:
            raise DataError(f"{path}: not a folder and not a readable zip file ({failure})") from None
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self._folders: set[str] = set()
        for entry in self._zip.infolist():
            name = clean_name(_zip_name(entry))
            if entry.orig_filename.endswith(("/", "\\")):
                self._folders.add(name)
            elif name in self._entries and self._entries[name].CRC != entry.CRC:
                self.close()
                raise DataError(f"{path.name}/{name}: twice in the archive, with different content")
            else:
                self._entries[name] = entry

    def names(self) -> list[str]:
        return sorted(self._entries)

    def empty_folders(self) -> list[str]:
        full = {
            "/".join(parts[:depth])
            for parts in (name.split("/") for name in [*self._entries, *self._folders])
            for depth in range(1, len(parts))
        }
        return sorted(self._folders - full)

    def read(self, name: str) -> bytes:
        entry = self._entries[name]
        if entry.flag_bits & 1:
            raise DataError(f"{self.where(name)}: is encrypted; give an archive without a password")
        check_size(self.where(name), entry.file_size, entry.compress_size)
        try:
            return self._zip.read(entry)
        except (
            OSError,
            zipfile.BadZipFile,
            RuntimeError,
            ValueError,
            EOFError,
            struct.error,
            zlib.error,
        ) as failure:
            raise DataError(f"{self.where(name)}: cannot be read ({failure})") from None

    def head(self, name: str, size: int = 512) -> bytes:
        entry = self._entries[name]
        try:
            with self._zip.open(entry) as stream:
                return stream.read(size)
        except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, zlib.error) as failure:
            raise DataError(f"{self.where(name)}: cannot be read ({failure})") from None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        yield io.BytesIO(self.read(name))

    def close(self) -> None:
        self._zip.close()


class _Tar(Files):
    """A tar archive; a compressed one is unpacked into a nameless temporary file, since it can't be read by place."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._places: dict[str, tuple[int, int]] = {}
        self._folders: set[str] = set()
        self._stream: Any = None
        self._lock = threading.Lock()
        try:
            with tarfile.open(path) as archive:
                plain = archive.fileobj is not None and isinstance(archive.fileobj, io.BufferedReader)
                self._stream = path.open("rb") if plain else tempfile.TemporaryFile(prefix="lepton-")  # noqa: SIM115  # `close` does
                self._index(archive, plain)
        except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as failure:
            self.close()
            if isinstance(failure, DataError):
                raise
            raise DataError(f"{path}: not a folder and not a readable tar file ({failure})") from None

    def _index(self, archive: tarfile.TarFile, plain: bool) -> None:
        packed, written = max(1, self.path.stat().st_size), 0
        for member in archive:
            name = clean_name(member.name)
            if member.isdir():
                self._folders.add(name)
            if not member.isfile():
                continue
            where = self.where(name)
            if plain:
                self._places[name] = (member.offset_data, member.size)
                continue
            check_size(where, member.size, member.size)
            if written + member.size > CHECKED_FROM and written + member.size > MAX_RATIO * packed:
                raise DataError(
                    f"{where}: unpacks to over {MAX_RATIO} times the archive's size; refused as a bomb"
                )
            content = archive.extractfile(member)
            self._places[name] = (written, member.size)
            written += self._stream.write(content.read() if content else b"")

    def names(self) -> list[str]:
        return sorted(self._places)

    def empty_folders(self) -> list[str]:
        names = [*self._places, *self._folders]
        return sorted(f for f in self._folders if not any(name.startswith(f"{f}/") for name in names))

    def read(self, name: str) -> bytes:
        start, size = self._places[name]
        check_size(self.where(name), size, size)
        return self._bytes(name, start, size)

    def _bytes(self, name: str, start: int, size: int) -> bytes:
        with self._lock:  # one place in the file for all threads
            self._stream.seek(start)
            content = self._stream.read(size)
        if len(content) != size:
            raise DataError(f"{self.where(name)}: cannot be read (the archive ends too early)")
        return bytes(content)

    def head(self, name: str, size: int = 512) -> bytes:
        start, whole = self._places[name]
        return self._bytes(name, start, min(size, whole))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        yield io.BytesIO(self.read(name))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def check_size(where: str, size: int, packed: int) -> None:
    """Raise `DataError` for a file of an archive that says it unpacks to more than it may; sizes in bytes.

    >>> check_size("a.zip/b.png", 4 * 2**20, 2**20)
    """
    if size > MAX_BYTES:
        raise DataError(
            f"{where}: unpacks to {size / 2**20:,.0f} MiB; at most {MAX_BYTES >> 20} MiB a file are read"
        )
    if size > CHECKED_FROM and size > MAX_RATIO * max(1, packed):
        raise DataError(
            f"{where}: unpacks to {size / 2**20:,.0f} MiB, over {MAX_RATIO} times its packed size; refused as a bomb"
        )


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The name as UTF-8 where it is that; Python reads unflagged names as cp437, though many tools write UTF-8."""
    name = (
        entry.orig_filename
    )  # `filename` has lost backslashes on some systems, and what follows a zero byte
    if entry.flag_bits & UTF_8_FLAG:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def is_tar(path: Path) -> bool:
    """Whether the name is a tar archive's.

    >>> is_tar(Path("a.tar.gz")), is_tar(Path("a.zip"))
    (True, False)
    """
    return path.name.lower().endswith(TAR_ENDS)


def open_files(path: Path) -> Files:
    """The files of a folder, a zip or a tar archive. Raises `DataError`."""
    if path.is_dir():
        return Files(path)
    if not path.is_file():
        raise DataError(f"{path}: no such folder or archive")
    return _Tar(path) if is_tar(path) else _Zip(path)
