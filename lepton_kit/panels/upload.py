"""Files that were dropped into the page: taken piece by piece into a folder next to the notebook."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lepton_kit.errors import DataError
from lepton_kit.panels.telling import size

LIMIT_BYTES = 512 * 2**20
"""A page sends files through the notebook's one connection; larger ones are better copied beside it."""
MOST_FILES = 20_000
FOLDER = "uploads"
SPARE_BYTES = 256 * 2**20
"""What stays free on the disk."""


class Upload:
    """Files on their way: `begin` checks names and sizes, `take` appends pieces, `finish` puts them in their place.

    They grow in a hidden folder and appear as ``uploads/NAME`` once they are complete; a name that is taken gets a
    number. Raises `DataError` for files that are too large, too many, or named outside their folder.
    """

    def __init__(
        self, files: Sequence[Mapping[str, Any]], root: Path | None = None, limit: int = LIMIT_BYTES
    ):
        self.root = Path(root or Path.cwd()) / FOLDER
        self.names = [_checked(str(file["name"])) for file in files]
        self.sizes = [int(file["size"]) for file in files]
        self.total = sum(self.sizes)
        if not self.names:
            raise DataError("nothing was dropped that is a file or a folder with files")
        if len(self.names) > MOST_FILES:
            raise DataError(
                f"{len(self.names):,} files were dropped; at most {MOST_FILES:,} are taken: drop them as one zip, or "
                "copy the folder to where the notebook runs and type its path"
            )
        if len(set(self.names)) != len(self.names):
            raise DataError("two of the dropped files have one name; drop the folder that holds them")
        if self.total > limit:
            raise DataError(
                f"{size(self.total)} were dropped; at most {size(limit)} are taken this way: copy the data to where the "
                "notebook runs and type their path"
            )
        try:
            self.root.mkdir(exist_ok=True)
            free = shutil.disk_usage(self.root).free
            if self.total + SPARE_BYTES > free:
                raise DataError(f"{size(self.total)} were dropped; {self.root} has {size(free)} left")
            self.work = Path(tempfile.mkdtemp(prefix=".upload-", dir=self.root))
        except OSError as failure:
            raise DataError(f"{self.root}: cannot be written ({failure.strerror})") from None
        self.taken = [0] * len(self.names)

    @property
    def done(self) -> bool:
        """Whether every byte has come."""
        return self.taken == self.sizes

    @property
    def share(self) -> float:
        """How much has come, from 0 to 1."""
        return sum(self.taken) / self.total if self.total else 1.0

    def take(self, place: int, piece: bytes) -> None:
        """Append a piece to the file at ``place``. Raises `DataError` for more bytes than were announced."""
        if not 0 <= place < len(self.names) or self.taken[place] + len(piece) > self.sizes[place]:
            raise DataError("the page sent other bytes than it had announced; drop the files again")
        target = self.work / self.names[place]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab") as stream:
                stream.write(piece)
        except OSError as failure:
            raise DataError(f"{target.name}: cannot be written ({failure.strerror})") from None
        self.taken[place] += len(piece)

    def finish(self) -> Path:
        """Move what has come to its place; the file, or the folder where there are several."""
        tops = {PurePosixPath(name).parts[0] for name in self.names}
        one = len(tops) == 1
        name = tops.pop() if one else "files"
        source = self.work / name if one else self.work
        target = _free(self.root, name)
        os.replace(source, target)
        if one:
            shutil.rmtree(self.work, ignore_errors=True)
        return target

    def cancel(self) -> None:
        """Forget what has come."""
        shutil.rmtree(self.work, ignore_errors=True)


def _checked(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
        raise DataError(f"{name!r}: not a name of a file inside what was dropped")
    return path.as_posix()


def _free(folder: Path, name: str) -> Path:
    """A path in the folder that is not taken: ``data.csv``, else ``data-2.csv`` and so on."""
    first = folder / name
    stem, ending = (first.stem, first.suffix) if "." in name.strip(".") else (name, "")
    number, path = 2, first
    while path.exists():
        path = folder / f"{stem}-{number}{ending}"
        number += 1
    return path
