"""The run's files on a host: contents kept by their hash, a mirror of the run's folder made of them, and what goes back."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from lepton_kit.errors import RunError

PIECE_BYTES = 1 << 18
LOG_BYTES = 1 << 16
FOLDERS = ("checkpoints", "logs")
LOCK, WANTED = ".lock", ".wanted"
"""In a mirror: held while its run is served; and names of the contents that it is made of."""


def hosts_folder() -> Path:
    """Where agents keep files: ``lepton_kit/hosts`` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lepton_kit" / "hosts"


def hash_of(path: Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_inside(name: str) -> bool:
    """Whether a name stays in the folder that it is put under.

    >>> is_inside("model/model.keras"), is_inside("../x"), is_inside("/x")
    (True, False, False)
    """
    path = Path(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


@contextlib.contextmanager
def turn(contents: Path) -> Iterator[None]:
    """Whoever counts on contents, and whoever removes some, take turns."""
    with open(contents / LOCK, "a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


class Mirror:
    """The folder of one run on a host that does not see the driver's. Files of equal contents are kept once for all runs.

    Hosts may have one home directory in common: what is not whole yet, and the folder, are of one host alone.
    """

    def __init__(self, root: Path, run: str, host: str):
        """Raises `RunError` where the folder can't be made."""
        self._host = quote(host, safe="@")
        self.contents = root / "contents"
        self.folder = root / "runs" / f"{run}.{self._host}.{os.getpid()}"
        try:
            self.contents.mkdir(mode=0o700, parents=True, exist_ok=True)
            with turn(self.contents):
                for name in FOLDERS:
                    (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
                # Held while the run is served: whoever cleans up leaves it alone.
                self._lock = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_SH)
        except OSError as failure:
            raise RunError(f"{self.folder}: can't be made ({failure.strerror or failure})") from None
        self.offered: dict[str, tuple[int, str]] = {}
        self._wanted: set[str] = set()
        self._sent_of_logs: dict[Path, int] = {}
        self._returned: set[str] = set()

    def lacking(self, files: dict[str, tuple[int, str]]) -> dict[str, int]:
        """Of the offered files the contents that are not here -> how many bytes of each are. Raises `RunError`."""
        for name, (_, content) in files.items():
            if not is_inside(name) or not content.isalnum():
                raise RunError(f"file {name!r}: its name leaves the run's folder")
        self.offered = files
        found = {}
        with turn(self.contents):
            (self.folder / WANTED).write_text("\n".join(content for _, content in files.values()))
            for size, content in files.values():
                whole, partial = self.contents / content, self._partial(content)
                if not (whole.exists() and whole.stat().st_size == size):
                    found[content] = partial.stat().st_size if partial.exists() else 0
        self._wanted = set(found)
        return found

    def take(self, content: str, offset: int, data: bytes) -> None:
        """Write a piece. Raises `OSError`, or `RunError` for a content that is not what was offered."""
        if content not in self._wanted:
            return
        size = next(size for size, one in self.offered.values() if one == content)
        partial = self._partial(content)
        with open(partial, "r+b" if partial.exists() else "xb") as file:
            file.truncate(offset)
            file.seek(offset)
            file.write(data)
        if offset + len(data) < size:
            return
        if hash_of(partial) != content:
            partial.unlink()
            raise RunError(f"a file arrived with other contents than were offered (SHA-256 {content[:12]}…)")
        os.replace(partial, self.contents / content)
        self._wanted.discard(content)

    def complete(self) -> bool:
        """Put all offered files into the folder once their contents are here; whether they are."""
        if self._wanted:
            return False
        for name, (_, content) in self.offered.items():
            target = self.folder / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(self.contents / content, target)
            except OSError:  # no links there, say
                shutil.copyfile(self.contents / content, target)
        return True

    def _partial(self, content: str) -> Path:
        return self.contents / f".{content}.{self._host}"

    # ------------------------------------------------------------------ what goes back

    def news_of_logs(self) -> Iterator[tuple[int, str]]:
        """Worker and text for what was printed since this was asked last."""
        for path in sorted((self.folder / "logs").glob("worker-*.log")):
            at = self._sent_of_logs.get(path, 0)
            with contextlib.suppress(OSError), open(path, "rb") as file:
                file.seek(at)
                text = file.read(LOG_BYTES)
                if text:
                    self._sent_of_logs[path] = at + len(text)
                    yield int(path.stem.rpartition("-")[2]), text.decode(errors="replace")

    def files_of(self, folder: str) -> list[str]:
        """Names of all files in a folder of the mirror that were not returned yet, and notes that they are now."""
        root = self.folder / folder
        names = [str(path.relative_to(self.folder)) for path in sorted(root.rglob("*")) if path.is_file()]
        new = [name for name in names if name not in self._returned]
        self._returned.update(new)
        return new

    def close(self) -> None:
        """Remove the mirror; the contents stay for the next run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def pieces(path: Path, offset: int = 0) -> Iterator[tuple[int, bytes, bool]]:
    """Offset, bytes and whether they are the last, for all of a file from ``offset`` on; one empty piece of an empty file."""
    with open(path, "rb") as file:
        file.seek(offset)
        data = file.read(PIECE_BYTES)
        while True:
            following = file.read(PIECE_BYTES)
            yield offset, data, not following
            if not following:
                return
            offset, data = offset + len(data), following
