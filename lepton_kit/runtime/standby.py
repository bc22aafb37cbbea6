"""A driver before it has a run: workers forked and warm, and told on standard input what to prepare for."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.errors import RunError
from lepton_kit.machine.devices import usable_cores
from lepton_kit.processes.detached import private
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.local import LocalExecutor, Started
from lepton_kit.runtime.seating import places_now
from lepton_kit.training import messages


class Standby:
    """Keeps the last prepared configuration's workers warm until a run or the end of input comes."""

    def __init__(self, folder: Path, started: Started | None = None, nursery: int | None = None):
        self._folder = folder
        self.executor = LocalExecutor(str(folder / "standby.log"), started, nursery)
        self.group = WorkerGroup(self.executor)
        self._buffer = b""

    def wait_for_run(self) -> str | None:
        """Obey orders, one JSON object a line: ``{"prepare": folder}`` or ``{"run": folder}``.

        Returns the run's folder, or None when the input ends.
        """
        try:
            while True:
                ready, _, _ = select.select([sys.stdin.fileno(), *self.executor.filenos()], [], [])
                for order in self._read_orders() if sys.stdin.fileno() in ready else []:
                    if order is None:
                        self.executor.close()
                        shutil.rmtree(self._folder, ignore_errors=True)  # a client that was killed did not
                        return None
                    os.chdir(order["cwd"])
                    self.group.search = order["search"]
                    if "run" in order:
                        result: str | None = order["run"]
                        return result
                    self._prepare(Path(order["prepare"]))
                self._listen()
        except BaseException:
            self.executor.close()
            raise

    def move_log(self, log: Path) -> None:
        """Go on in the log of a run, which begins with what was printed so far; the folder of this one goes."""
        texts = []
        for name in ("driver.log", "standby.log"):
            with contextlib.suppress(OSError):
                texts.append((self._folder / name).read_bytes())
        self.executor.log = str(log)
        try:
            with open(log, "ab", buffering=0, opener=private) as file:
                for text in texts:
                    file.write(text)
                for standard in (1, 2):
                    os.dup2(file.fileno(), standard)
                self.executor.log_to(str(log), file.fileno())
        except OSError as failure:  # a full disk, say
            print(f"{log}: can't be written ({failure})", file=sys.stderr)

    def _read_orders(self) -> list[dict[str, Any] | None]:
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            return [None]
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _prepare(self, folder: Path) -> None:
        config = RunConfig.load(folder / "config.yaml")
        count = config.workers.count
        wanted = (int(count) if count != "auto" else 1) + config.workers.standby
        self.executor.offer(places_now(config, usable_cores()))
        self.group.settle()
        standing = [one for one in self.group.roster.members.values() if one.state != "leaving"]
        spawned = [self.group.spawn() for _ in range(wanted - len(standing))]
        standing += [member for member in spawned if member is not None]
        for member in standing:
            self.group.prepare(member, folder, str(folder))

    def _listen(self) -> None:
        members = self.group.roster.members
        for worker, message in self.executor.receive():
            members[worker].last_heard = time.monotonic()
            if isinstance(message, messages.Hello):
                members[worker].pid = message.pid
        for loss in self.executor.losses():
            raise RunError(loss.cause)
        for ended in self.executor.ended():
            self.group.roster.remove(members[ended.worker])


def accept() -> None:
    """Tell the client, on standard input, that this driver has the run; one that has died meanwhile doesn't matter."""
    with contextlib.suppress(OSError):
        os.write(0, b"+")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
