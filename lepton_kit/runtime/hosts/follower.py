"""Follows a run whose driver is on another host: its folder here tells what that one tells, and carries requests there.

It holds the run's lock here as a driver would, ends when the run has ended, and is brought up again by `attach` and `resume`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from lepton_kit.config import RunConfig
from lepton_kit.errors import LeptonError, RunError
from lepton_kit.hosts import HostSpec
from lepton_kit.rundir import RunPaths
from lepton_kit.rundir.control import request_text
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.runtime.failing import write_failure
from lepton_kit.runtime.hosts import talk
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
from lepton_kit.runtime.hosts.channels import CommandChannel
from lepton_kit.runtime.hosts.launchers import KEEPER, launch_command
from lepton_kit.runtime.hosts.link import RETRY_SECONDS
from lepton_kit.runtime.hosts.mirror import is_inside
from lepton_kit.runtime.hosts.outbox import Outbox
from lepton_kit.runtime.hosts.receiving import RETURNED, Receiving
from lepton_kit.runtime.hosts.sending import Sending, needed
from lepton_kit.runtime.hosts.versions import differences
from lepton_kit.runtime.wire import Connection
from lepton_kit.training import messages

TURN_SECONDS = 0.2
SILENT_SECONDS = 30.0
"""A keeper says something several times a second; one that does not is beyond a link that is gone."""
CONFIG_THERE = ".config-there.yaml"
KEPT_HERE = ("model",)
"""Folders that are not removed here: they were here before."""


def driver_host(config: RunConfig) -> HostSpec:
    """The host on which a run's driver is."""
    assert config.workers.driver is not None
    return HostSpec.parse(config.workers.driver)


class Follower:
    """One run, from one connection to the next."""

    def __init__(self, paths: RunPaths, drive: bool):
        self._paths, self._drive = paths, drive
        self._config = RunConfig.load(paths.config)
        self._host = driver_host(self._config)
        self._log = paths.logs / "follower.log"

    def run(self) -> int:
        """Follow the run to its end, over as many connections as it takes. Raises `RunError` for what can't be mended."""
        tries = 0
        while True:
            began = time.monotonic()
            if self._follow():
                return 0
            tries = 0 if time.monotonic() - began > SILENT_SECONDS else tries + 1
            print(f"{self._host.name}: the connection has closed", file=sys.stderr)
            time.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])

    def _follow(self) -> bool:
        """Follow over one connection; whether the run has ended."""
        channel = CommandChannel(launch_command(self._host, KEEPER), self._log)
        self._connection = Connection(channel.end, KINDS)
        self._outbox = Outbox(self._connection)
        self._sending = Sending(self._outbox)
        self._receiving = Receiving(self._paths.root, self._host.name, (*RETURNED, "model"))
        self._standing: bool | None = None
        heard = time.monotonic()
        try:
            while not self._connection.closed and time.monotonic() - heard < SILENT_SECONDS:
                if select.select([self._connection.fileno()], [], [], TURN_SECONDS)[0]:
                    for message in self._connection.receive(wait=False):
                        heard = time.monotonic()
                        self._hear(message)
                        if self._standing is False:
                            return True
                if self._standing:
                    self._carry_requests()
        finally:
            self._sending.close()
            self._outbox.close()
            with contextlib.suppress(OSError):
                self._connection.shut()
            channel.close(0.0)
            self._connection.close()
        return False

    def _hear(self, message: messages.Message) -> None:
        match message:
            case talk.Here(versions=versions):
                if different := differences(versions):
                    raise RunError(f"{self._host.name}: would compute something else: {'; '.join(different)}")
                self._ask()
            case Absent(runs=runs):
                if not self._drive:
                    there = ", ".join(runs) or "none"
                    raise RunError(f"{self._host.name}: has no run {self._paths.id}; there: {there}")
                self._send()
            case talk.Lacks(contents=contents):
                self._sending.lacks(contents)
            case talk.Arrived():
                self._sending.arrived()
            case talk.NoRoom(cause=cause) | Refused(cause=cause):
                raise RunError(f"{self._host.name}: {cause}")
            case talk.Returned():
                self._receiving.take(message)
            case Grown(name=name) if is_inside(name):
                self._grow(message)
            case Replaced(name="status.json" | "labels.json" as name, text=text):
                write_atomically(self._paths.root / name, text)
            case Folders(names=names):
                self._remove_others(set(names))
            case Standing(driven=driven):
                self._standing = driven
                self._drive = (
                    False  # over another connection it is not to be started again, should it have ended
                )

    def _ask(self) -> None:
        root = self._paths.root
        files = [self._paths.events, *self._paths.logs.glob("*.log")]
        grown = {str(one.relative_to(root)): one.stat().st_size for one in files if one.is_file()}
        self._outbox.post(
            Follow(run=self._paths.id, grown=grown, folders=sorted(self._folders()), drive=self._drive)
        )

    def _folders(self) -> set[str]:
        root = self._paths.root
        found = {name for name in ("model", "final") if (root / name).is_dir()}
        for name in ("checkpoints", "best", "predictions"):
            found |= {f"{name}/{one.name}" for one in (root / name).glob("step-*")}
        return found

    def _send(self) -> None:
        """Send what a driver needs there: all that a worker does, and a configuration that has the driver where it is."""
        there = self._paths.root / CONFIG_THERE
        write_atomically(there, self._config.replace(**{"workers.driver": None}).to_yaml())
        files = needed(
            messages.Prepare(folder=str(self._paths.root), token="", search=[], sharing="none"),
            self._paths.root,
        )
        self._sending.begin({**files, "config.yaml": there})

    def _grow(self, piece: Grown) -> None:
        path = self._paths.root / piece.name
        with open(path, "r+b" if path.exists() else "xb", opener=_private) as file:
            file.seek(piece.offset)
            file.write(talk.unpacked(piece.data))

    def _remove_others(self, there: set[str]) -> None:
        for name in self._folders() - there:
            if name not in KEPT_HERE:
                shutil.rmtree(self._paths.root / name, ignore_errors=True)

    def _carry_requests(self) -> None:
        for path in sorted(self._paths.control.glob("[0-9]*.json")):
            with contextlib.suppress(OSError, ValueError):
                self._outbox.post(Asked(name=path.name, text=request_text(path)))
                path.unlink()


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def main(arguments: list[str]) -> int:
    """Follow a run; what keeps it from being followed is the cause of one that has not begun, and else stands in the log."""
    parser = argparse.ArgumentParser(prog="lepton_kit.runtime.hosts.follower", description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--lock", type=int, required=True, help="descriptor of the run's lock, held already")
    parser.add_argument("--drive", action="store_true", help="have the driver started if there is none")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    paths = RunPaths(Path(options.run))
    try:
        return Follower(paths, options.drive).run()
    except LeptonError as failure:
        if not paths.events.exists():  # else the log is a copy, to which nothing is added here
            write_failure(paths.root, str(failure))
        print(failure, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
