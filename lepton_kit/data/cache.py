"""The cache of decoded data: one folder per fingerprint of the files and options, shared by every process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lepton_kit.data.prepared import FORMAT, META, FolderWriter, PreparedData, open_folder
from lepton_kit.errors import DataError


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


def cached(key: str, root: Path | None, write: Callable[[FolderWriter], None]) -> PreparedData:
    """Open the folder of ``key``; where there is none, let ``write`` fill a new one that appears in one piece."""
    root = cache_root() if root is None else Path(root)
    folder = root / key
    if (folder / META).exists():
        try:
            return replace(open_folder(folder), key=key)
        except DataError:
            shutil.rmtree(folder, ignore_errors=True)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{key[:8]}-", dir=root))
    except OSError as failure:
        raise DataError(f"{root}: the data cache cannot be written ({failure.strerror})") from None
    try:
        write(FolderWriter(work))
        try:
            os.rename(work, folder)
        except OSError:
            if not (folder / META).exists():
                raise
        return replace(open_folder(folder), key=key)
    except OSError as failure:
        raise DataError(f"{root}: the data cache cannot be written ({failure})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
