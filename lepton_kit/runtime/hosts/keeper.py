"""The keeper of a run whose driver is on this host: takes the run's files in, starts its driver, and tells how it goes.

``python -m lepton_kit.runtime.hosts.keeper`` speaks over its standard input and output with a follower. The run lives on when
the channel closes: the keeper only starts and reads.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from pathlib import Path

from lepton_kit.errors import LeptonError, RunError, why_not_written
from lepton_kit.models import trust
from lepton_kit.rundir import RunPaths, lock
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.agent import channel_of_program, here
from lepton_kit.runtime.hosts.away_talk import (
    KINDS,
    Absent,
    Asked,
    Folders,
    Follow,
    Grown,
    Refused,
    Replaced,
    Standing,
)
from lepton_kit.runtime.hosts.mirror import Mirror, hosts_folder, is_inside, pieces
from lepton_kit.runtime.hosts.outbox import Outbox
from lepton_kit.runtime.start import start_driver
from lepton_kit.runtime.wire import Pipe
from lepton_kit.training import messages

TURN_SECONDS = 0.2
PING_SECONDS = 1.0
READ_BYTES = 1 << 18
SMALL = ("status.json", "labels.json")
STEPS = ("checkpoints", "best", "predictions")
"""Folders with folders in them that are whole as soon as they are there."""


def runs_home() -> Path:
    """Where the runs are whose drivers are on this host: ``lepton_kit/runs`` in the user's state folder."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "lepton_kit" / "runs"


class Keeper:
    """Serves one follower until its channel closes."""

    def __init__(self, channel: Pipe):
        self._channel, self._outbox = channel, Outbox(channel)
        self._paths: RunPaths | None = None
        self._mirror: Mirror | None = None
        self._order: Follow | None = None
        self._grown: dict[str, int] = {}
        self._small: dict[str, str] = {}
        self._folders: list[str] | None = None
        self._known: set[str] = set()

    def run(self) -> int:
        """Serve; returns the exit code."""
        self._outbox.post(here())
        pinged = time.monotonic()
        while not self._channel.closed and not self._outbox.closed:
            if select.select([self._channel.fileno()], [], [], TURN_SECONDS)[0]:
                for message in self._channel.receive(wait=False):
                    self._obey(message)
            if self._paths is not None:
                self._tell(self._paths)
            elif time.monotonic() - pinged > PING_SECONDS:
                pinged = time.monotonic()
                self._outbox.post(talk.Ping())
        return 0

    def _obey(self, message: messages.Message) -> None:
        match message:
            case Follow(run=run):
                self._order = message
                self._find(message, RunPaths(runs_home() / run))
            case talk.Offer(files=files) if self._order is not None:
                self._mirror = Mirror(hosts_folder(), self._order.run, "driver")
                self._outbox.post(talk.Lacks(contents=self._mirror.lacking(files)))
                self._complete(self._mirror, self._order)
            case talk.Piece() if self._mirror is not None and self._order is not None:
                try:
                    self._mirror.take(message.digest, message.offset, talk.unpacked(message.data))
                    self._complete(self._mirror, self._order)
                except OSError as failure:
                    cause = why_not_written(failure, self._mirror.folder)
                    self._outbox.post(talk.NoRoom(cause=cause))
            case Asked(name=name, text=text) if self._paths is not None and is_inside(name):
                write_atomically(self._paths.control / Path(name).name, text)

    def _find(self, order: Follow, paths: RunPaths) -> None:
        if not is_inside(order.run) or not paths.config.is_file():
            there = [one.name for one in runs_home().glob("*") if (one / "config.yaml").is_file()]
            self._outbox.post(Absent(runs=sorted(there)))
            return
        if order.drive and not lock.held(paths):
            try:
                start_driver(paths)
            except LeptonError as failure:
                self._outbox.post(Refused(cause=str(failure)))
                return
        self._outbox.post(Replaced(name=paths.config.name, text=paths.config.read_text(encoding="utf-8")))
        self._grown, self._known, self._paths = dict(order.grown), set(order.folders), paths

    def _complete(self, mirror: Mirror, order: Follow) -> None:
        """Make a run's folder of what has arrived, once all has."""
        if not mirror.complete():
            return
        self._mirror = None
        paths = RunPaths(runs_home() / order.run)
        hidden = paths.root.with_name(f".{paths.id}")
        paths.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.rename(mirror.folder, hidden)
        mirror.close()
        hidden.chmod(0o700)
        RunPaths(hidden).control.mkdir(mode=0o700, exist_ok=True)
        trust.trust(hidden)  # who sent it has looked at it
        os.rename(hidden, paths.root)
        self._outbox.post(talk.Arrived(count=len(mirror.offered)))
        self._find(order, paths)

    # ------------------------------------------------------------------ what is told

    def _tell(self, paths: RunPaths) -> None:
        """Everything that is new; last whether there is a driver, by what was so before."""
        driven = lock.held(paths)
        small = {name: text for name in SMALL if (text := _text(paths.root / name)) is not None}
        whole = self._whole(paths)
        for path in (paths.events, *sorted(paths.logs.glob("*.log"))):
            self._tell_growth(path, str(path.relative_to(paths.root)))
        for folder in whole:
            if folder not in self._known:
                self._send(paths, folder)
                self._known.add(folder)
        if whole != self._folders:
            self._folders = whole
            self._outbox.post_bulk(Folders(names=whole))
        for name, text in small.items():
            if self._small.get(name) != text:
                self._small[name] = text
                self._outbox.post_bulk(Replaced(name=name, text=text))
        self._outbox.post_bulk(Standing(driven=driven))

    def _whole(self, paths: RunPaths) -> list[str]:
        found = [f"{name}/{one.name}" for name in STEPS for one in sorted((paths.root / name).glob("step-*"))]
        return [*(name for name in ("model", "final") if (paths.root / name).is_dir()), *found]

    def _tell_growth(self, path: Path, name: str) -> None:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            file.seek(at := self._grown.get(name, 0))
            while (data := file.read(READ_BYTES)) or name not in self._grown:
                self._outbox.post_bulk(Grown(name=name, offset=at, data=talk.packed(data)))
                at += len(data)
                self._grown[name] = at

    def _send(self, paths: RunPaths, folder: str) -> None:
        files = [one for one in sorted((paths.root / folder).rglob("*")) if one.is_file()]
        with contextlib.suppress(OSError):  # removed meanwhile, as old checkpoints are
            for file in files:
                for offset, data, last in pieces(file):
                    self._outbox.post_bulk(
                        talk.Returned(
                            name=str(file.relative_to(paths.root)),
                            offset=offset,
                            data=talk.packed(data),
                            last=last,
                            whole=folder if last and file == files[-1] else None,
                        )
                    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def main() -> int:
    """Serve over standard input and output; what else prints goes to the error output."""
    try:
        return Keeper(channel_of_program(KINDS)).run()
    except RunError as failure:
        print(failure, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
