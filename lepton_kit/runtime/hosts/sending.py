"""Brings the files of a run to a host: what it has by hash is not sent, and what was begun goes on."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from lepton_kit.data.prepared import place_of
from lepton_kit.models import trust
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.mirror import hash_of, pieces
from lepton_kit.runtime.hosts.outbox import Outbox
from lepton_kit.training import messages

Files = dict[str, Path]
"""Name in the run's folder -> where its contents lie."""
_hashes: dict[tuple[str, int, int], str] = {}


def needed(message: messages.Message, folder: Path) -> Files:
    """The files that a worker on another host needs before it is told this.

    All but `Prepare`, and a `Join` from a checkpoint, need none. Raises `ModelError` for code that is not trusted here: a
    host takes what it is sent as trusted.
    """
    paths = RunPaths(folder)
    match message:
        case messages.Prepare():
            trust.check(folder)
            data = place_of(paths.data) if paths.data.is_dir() else paths.data
            found = {"config.yaml": paths.config, **_under(folder / "model", "model"), **_under(data, "data")}
            return found
        case messages.Join(checkpoint=str(name)):
            return _under(folder / name, name)
    return {}


def _under(folder: Path, name: str) -> Files:
    return {
        f"{name}/{path.relative_to(folder)}": path for path in sorted(folder.rglob("*")) if path.is_file()
    }


class Sending:
    """A thread that offers files and sends what is lacking; one transfer after the other."""

    def __init__(self, outbox: Outbox):
        self._outbox = outbox
        self._orders: queue.SimpleQueue[Files | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[dict[str, int] | None] = queue.SimpleQueue()
        self._arrivals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.pending = 0
        """Transfers that were begun and have not arrived."""
        self.total_bytes = self.sent_bytes = 0
        threading.Thread(target=self._run, daemon=True, name="sending").start()

    @property
    def doing(self) -> str | None:
        """What of the files is under way, in words."""
        return amount(self.sent_bytes, self.total_bytes) if self.pending else None

    @property
    def missing_bytes(self) -> int:
        """What of the files of this transfer has not been sent yet."""
        return self.total_bytes - self.sent_bytes

    def begin(self, files: Files) -> None:
        """Send these files after all before."""
        self.pending += 1
        self._orders.put(files)

    def lacks(self, contents: dict[str, int]) -> None:
        """The host has said what it wants of the last offer."""
        self._answers.put(contents)

    def arrived(self) -> None:
        """The host has all files of a transfer."""
        self.pending -= 1
        self._arrivals.put(True)

    def close(self) -> None:
        """Give up what is under way."""
        self._orders.put(None)
        self._answers.put(None)
        self._arrivals.put(False)

    def _run(self) -> None:
        while (files := self._orders.get()) is not None:
            described = {name: (path.stat().st_size, _hashed(path)) for name, path in files.items()}
            self.total_bytes = 0
            self._outbox.post(talk.Offer(files=described))
            if (wanted := self._answers.get()) is None:
                return
            by_content = {described[name][1]: path for name, path in files.items()}
            sizes = {content: size for size, content in described.values()}
            self.sent_bytes = 0
            self.total_bytes = sum(sizes[content] - have for content, have in wanted.items())
            for content, have in wanted.items():
                for offset, data, _ in pieces(by_content[content], have):
                    self._outbox.post_bulk(talk.Piece(digest=content, offset=offset, data=talk.packed(data)))
                    self.sent_bytes += len(data)
                    if self._outbox.closed:
                        return
            if not self._arrivals.get():
                return


def _hashed(path: Path) -> str:
    """The hash of a file, computed once as long as it does not change."""
    about = path.stat()
    key = (str(path.resolve()), about.st_size, about.st_mtime_ns)
    if key not in _hashes:
        _hashes[key] = hash_of(path)
    return _hashes[key]


def amount(sent: int, total: int) -> str:
    """How far a transfer is; nothing is to be sent while files are compared.

    >>> amount(34_000_000, 120_000_000), amount(0, 0)
    ('sending files: 34 of 120 MB', 'comparing files')
    """
    return f"sending files: {sent / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else "comparing files"
