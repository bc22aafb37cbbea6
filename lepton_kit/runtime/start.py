"""Starting the driver of a run: the warm one that waits for its first run, one forked by the nursery, or a new program."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.errors import LeptonError, RunError, why_not_written
from lepton_kit.processes.detached import start_detached
from lepton_kit.processes.scratch import Scratch
from lepton_kit.rundir import RunPaths, Status, lock, read_requests
from lepton_kit.rundir.paths import RESERVE_BYTES, write_atomically
from lepton_kit.runtime.nursery import fixed
from lepton_kit.runtime.wire import Connection
from lepton_kit.training import messages

DRIVER = "lepton_kit.runtime.entry"
FOLLOWER = "lepton_kit.runtime.hosts.follower"
TAKE_OVER_SECONDS = 10.0


class _Nursery:
    """This process' connection to its nursery (`lepton_kit.runtime.nursery`), which may still be on its way."""

    def __init__(self) -> None:
        mine, self.theirs = socket.socketpair()
        self._connection = Connection(mine)
        self._fixed = fixed(os.environ)
        self.pid: int | None = None

    def fileno(self) -> int:
        return self._connection.fileno()

    def serves(self) -> bool:
        """True unless it ended, or loaded its libraries under variables that have changed since."""
        for message in self._connection.receive(wait=False):
            if isinstance(message, messages.NurseryReady):
                self.pid = message.pid
        return not self._connection.closed and self._fixed == fixed(os.environ)

    def fork_driver(self, arguments: Sequence[str], log: Path, orders: socket.socket) -> bool:
        """Have a driver forked that reads ``orders`` as its standard input; False if the nursery is gone."""
        order = messages.ForkDriver(
            descriptor=orders.fileno(),
            arguments=list(arguments),
            log=str(log),
            cwd=os.getcwd(),
            environment=dict(os.environ),
            cores=sorted(os.sched_getaffinity(0)),
        )
        return self._connection.send(order)

    def close(self) -> None:
        self.theirs.close()
        self._connection.close()

    def kill(self) -> None:
        """End one that does not answer, so that it can't serve later what was given up."""
        if self.pid is not None and not self._connection.closed:
            os.kill(self.pid, signal.SIGKILL)
        self.close()


class _Standby:
    """A driver without a run whose workers are warm; it ends when this end of its orders closes."""

    def __init__(self, start: Callable[[Sequence[str], Path, socket.socket], object]):
        self._scratch = Scratch("lepton-warm-")
        self.folder = self._scratch.path
        self._environment = dict(os.environ)
        self.orders, theirs = socket.socketpair()
        with theirs:
            start(["--standby", str(self.folder)], self.folder / "driver.log", theirs)

    def serves(self) -> bool:
        """True unless it ended, or has another environment than a driver started now would have."""
        return not _at_end(self.orders) and self._environment == dict(os.environ)

    def order(self, **fields: Any) -> bool:
        """Tell it what to do; False if it is gone."""
        try:
            self.orders.sendall(
                json.dumps({"cwd": os.getcwd(), "search": _search(), **fields}).encode() + b"\n"
            )
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.orders.close()
        self._scratch.close()

    def forget(self) -> None:
        """In a fork of this process: leave it to the parent."""
        self.orders.close()
        self._scratch.forget()


class _Kept:
    """What this process keeps for its next launch, shared by its threads."""

    def __init__(self) -> None:
        self.nursery: _Nursery | None = None
        self.standby: _Standby | None = None
        self.lock = threading.Lock()

    def ready_nursery(self) -> _Nursery | None:
        if self.nursery is not None and not self.nursery.serves():
            self.nursery.close()
            self.nursery = None
        return self.nursery if self.nursery is not None and self.nursery.pid is not None else None

    def start(self, arguments: Sequence[str], log: Path, orders: socket.socket) -> None:
        """Start a driver that takes ``orders``: forked if the nursery is ready, else as a program."""
        nursery = self.ready_nursery()
        if nursery is None or not nursery.fork_driver(arguments, log, orders):
            self.start_program(arguments, log, stdin=orders.fileno())

    def start_program(self, arguments: Sequence[str], log: Path, **options: Any) -> None:
        """Start a driver as a program; its zygote brings forth a nursery if none is there or on its way."""
        descriptors = list(options.pop("descriptors", ()))
        arriving = None
        self.ready_nursery()  # forgets one that has ended
        if self.nursery is None:
            arriving = self.nursery = _Nursery()
            descriptors.append(arriving.theirs.fileno())
            arguments = [*arguments, "--nursery", str(arriving.theirs.fileno())]
        try:
            start_detached(DRIVER, arguments, log, descriptors=descriptors, **options)
        finally:
            if arriving is not None:
                arriving.theirs.close()

    def take_standby(self) -> _Standby | None:
        standby, self.standby = self.standby, None
        if standby is not None and not standby.serves():
            standby.close()
            return None
        return standby

    def release(self) -> None:
        """Close all connections: what has no run ends."""
        for kept in (self.standby, self.nursery):
            if kept is not None:
                kept.close()
        self.standby = self.nursery = None

    def forget(self) -> None:
        """In a fork of this process: what is kept is its parent's."""
        if self.standby is not None:
            self.standby.forget()
        if self.nursery is not None:
            self.nursery.close()
        self.__init__()  # type: ignore[misc]  # as new: this class alone is made here


_kept = _Kept()
atexit.register(_kept.release)
os.register_at_fork(after_in_child=_kept.forget)


def prepare(fill: Callable[[Path], object]) -> None:
    """Have warm workers, started if there are none, prepare the run that ``fill`` writes into a folder."""
    with _kept.lock:
        standby = _kept.take_standby() or _Standby(_kept.start)
        _kept.standby = standby
        folder = Path(tempfile.mkdtemp(dir=standby.folder))
        fill(folder)
        standby.order(prepare=str(folder))


def cool() -> None:
    """Give the warm workers back, and the process that has TensorFlow loaded for the next launch."""
    with _kept.lock:
        ends = [] if _kept.standby is None else [_kept.standby.orders.dup()]
        if (nursery := _kept.ready_nursery()) is not None:
            ends.append(socket.socket(fileno=os.dup(nursery.fileno())))
        _kept.release()
    for end in ends:
        with end, contextlib.suppress(OSError):
            end.settimeout(TAKE_OVER_SECONDS)
            end.shutdown(socket.SHUT_WR)
            while end.recv(1 << 10):
                pass


def start_driver(paths: RunPaths) -> None:
    """Hand a run to the warm workers if there are any, else to a new driver; either holds it when this returns.

    Raises `RunError` if the run has a driver, or its disk has no room for even its last words.
    """
    if _is_elsewhere(paths):
        return follow(paths, drive=True)
    with _kept.lock:
        for folder in (paths.logs, paths.control):  # a copy may lack what was empty
            folder.mkdir(mode=0o700, exist_ok=True)
        if not lock.held(paths):
            _reserve(paths)
            _announce(paths)
        if not lock.held(paths) and (_give_to_standby(paths) or _give_to_fork(paths)):
            return
        descriptor = lock.take(paths)
        try:
            read_requests(paths)  # what was asked of an earlier driver, and not heard, is forgotten
            arguments = [str(paths.root), "--lock", str(descriptor), "--search", *_search()]
            _kept.start_program(arguments, paths.driver_log, descriptors=(descriptor,))
        finally:
            os.close(descriptor)


def _is_elsewhere(paths: RunPaths) -> bool:
    """Whether the driver of a run is on another host; a configuration that can't be read is for a driver here to tell."""
    try:
        return RunConfig.load(paths.config).workers.driver is not None
    except LeptonError:
        return False


def follow(paths: RunPaths, *, drive: bool) -> None:
    """Have a run whose driver is on another host followed here; with ``drive`` that one is started if need be."""
    descriptor = lock.take(paths)
    try:
        _announce(paths)
        arguments = [str(paths.root), "--lock", str(descriptor), *(["--drive"] if drive else [])]
        start_detached(FOLLOWER, arguments, paths.logs / "follower.log", descriptors=(descriptor,))
    finally:
        os.close(descriptor)


def _reserve(paths: RunPaths) -> None:
    try:
        paths.reserve.write_bytes(bytes(RESERVE_BYTES))
    except OSError as failure:
        with contextlib.suppress(OSError):
            paths.reserve.unlink(missing_ok=True)
        raise RunError(
            f"{paths.root}: the run can't start ({why_not_written(failure, paths.root)})"
        ) from None


def _announce(paths: RunPaths) -> None:
    """What an earlier driver, or a queue, has said of the run is no more true; its new driver's first word takes a moment."""
    with contextlib.suppress(OSError):
        write_atomically(
            paths.status, json.dumps({"status": Status.STARTING, "cause": None, "driver_pid": None})
        )


def _give_to_standby(paths: RunPaths) -> bool:
    standby = _kept.take_standby()
    if standby is None:
        return False
    read_requests(paths)
    try:
        return standby.order(run=str(paths.root)) and _accepted(standby.orders)
    except TimeoutError:
        return lock.held(paths)
    finally:
        standby.close()


def _give_to_fork(paths: RunPaths) -> bool:
    nursery = _kept.ready_nursery()
    if nursery is None:
        return False
    read_requests(paths)
    mine, theirs = socket.socketpair()
    arguments = [str(paths.root), "--search", *_search()]
    with mine:
        with theirs:
            sent = nursery.fork_driver(arguments, paths.driver_log, theirs)
        try:
            return sent and _accepted(mine)
        except TimeoutError:
            nursery.kill()
            return lock.held(paths)


def _accepted(orders: socket.socket) -> bool:
    """Wait for a driver's word that it has its run; False if it ends first. Raises `TimeoutError`."""
    orders.settimeout(TAKE_OVER_SECONDS)
    try:
        return orders.recv(1) == b"+"
    except ConnectionError:
        return False


def _at_end(orders: socket.socket) -> bool:
    try:
        return not orders.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _search() -> list[str]:
    """Where this process looks for modules, as absolute paths."""
    return [os.path.abspath(entry) for entry in sys.path if os.path.exists(entry or ".")]
