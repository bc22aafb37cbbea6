"""The worker process: prepares a job, stands by, and joins generation after generation until it is told to go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.errors import DeviceError, LeptonError
from lepton_kit.processes.pressure import pressure
from lepton_kit.rundir.held import HeldFolder, named
from lepton_kit.runtime import seat
from lepton_kit.runtime.printing import printing_to
from lepton_kit.runtime.wire import Connection
from lepton_kit.training import messages
from lepton_kit.training.channel import Answer
from lepton_kit.training.slowness import Slowness

HEARTBEAT_SECONDS = 0.5


class DriverChannel:
    """The worker's side of its connection: a thread receives, the training loop asks for what came."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._incoming: queue.SimpleQueue[messages.Message] = queue.SimpleQueue()
        self._kept: deque[messages.Message] = deque()
        self.generation = 0
        self.slowness = Slowness()
        self.on_abort: Callable[[int], None] = lambda generation: None
        self.held: HeldFolder | None = None
        """The folder of the run that this worker is prepared for."""
        threading.Thread(target=self._receive, daemon=True, name="receive").start()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def send(self, message: messages.FromWorker) -> None:
        """Tell the driver something."""
        self._connection.send(message)

    def take_commands(self) -> list[messages.Command]:
        """Commands that came since the last call, without waiting."""
        self._read_all()
        commands = [one for one in self._kept if isinstance(one, messages.Command)]
        self._kept = deque(one for one in self._kept if not isinstance(one, messages.Command))
        return [command for command in commands if self._is_current(command)]

    def _read_all(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._kept.append(self._incoming.get_nowait())

    def newest(self, kind: type[Answer], *, keep: bool = False) -> Answer | None:
        """The last waiting message of a kind, taken with all before it unless it is to be kept; None without one."""
        self._read_all()
        waiting = [message for message in self._kept if isinstance(message, kind)]
        if not keep:
            self._kept = deque(message for message in self._kept if not isinstance(message, kind))
        return waiting[-1] if waiting else None

    def wait_for(self, *kinds: type[Answer]) -> Answer:
        """The next message of one of these kinds for this generation."""
        for message in list(self._kept):
            if isinstance(message, kinds) and self._is_current(message):
                self._kept.remove(message)
                return message
        while True:
            message = self._incoming.get()
            if isinstance(message, kinds) and self._is_current(message):
                return message
            if isinstance(message, messages.Exit):
                leave(0)
            self._kept.append(message)

    def _is_current(self, message: messages.Message) -> bool:
        return not isinstance(message, messages.InGeneration) or message.generation == self.generation

    def _receive(self) -> None:
        try:
            while not self._connection.closed:
                for message in self._connection.receive():
                    if isinstance(message, messages.Abort):
                        self.on_abort(message.generation)  # here, for the others may wait in an operation
                        self.slowness.wake()
                    elif isinstance(message, messages.Slow):
                        self.slowness.set(message.factor, message.data_seconds)
                    else:
                        self._incoming.put(message)
        except BaseException:  # a message that is not known, say
            traceback.print_exc()
            os._exit(1)
        os._exit(0)  # the driver is gone, and with it all reason to go on

    def _beat(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            with open("/proc/self/statm", encoding="ascii") as file:
                resident, shared = (int(field) for field in file.read().split()[1:3])
            used = time.process_time()
            memory = (resident - shared) * page
            self._connection.send(messages.Alive(memory_bytes=memory, cpu_seconds=used, **asdict(pressure())))
            time.sleep(HEARTBEAT_SECONDS)


def main(start: messages.Fork) -> int:
    """Be the worker that the driver has ordered; returns the exit code."""
    if (
        signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    ):  # as it is in a job, where the driver alone hears it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout, sys.stderr = printing_to(1), printing_to(2)
    refused = seat.pin(start.cores)  # before there is a thread that would stay elsewhere
    channel = DriverChannel(Connection(socket.socket(fileno=start.descriptor)))
    _log_to(start.log)
    import tensorflow as tf

    try:
        if refused:
            raise DeviceError(refused)
        device = seat.take(tf, start)
    except DeviceError as failure:
        _fail(channel, "error", failure)
        return 1
    with device:
        return _obey(channel, start)


def _obey(channel: DriverChannel, start: messages.Fork) -> int:
    """Do what the driver says until it says to go; returns the exit code."""
    prepared: tuple[str, Any] | None = None
    while True:
        message: messages.Message = channel.wait_for(
            messages.Prepare, messages.MakeRoom, messages.Join, messages.Exit
        )
        if isinstance(message, messages.Exit):
            return 0
        try:
            if isinstance(message, messages.Prepare):
                last = channel.newest(messages.Prepare) or message
                _log_to_run(Path(last.folder), start.worker)
                prepared = _prepare(last, prepared, channel)
            elif isinstance(message, messages.MakeRoom):
                assert prepared is not None, "the driver asks prepared workers"
                _make_room(prepared[1], message, channel)
            elif isinstance(message, messages.Join):
                assert prepared is not None, "the driver sends join only to prepared workers"
                _serve(prepared[1], message, channel)
        except MemoryError as failure:
            _fail(channel, "out of memory", failure)
            return 1
        except Exception as failure:
            if isinstance(message, messages.Prepare) and channel.newest(messages.Prepare, keep=True):
                continue  # what it was to prepare is wanted no more, and may be gone
            kind = "out of memory" if type(failure).__name__ == "ResourceExhaustedError" else "error"
            _fail(channel, kind, failure)
            return 1


def job_key(config: RunConfig, base: str) -> str:
    """Equal keys stand for equal jobs: a standby prepared for one serves the other."""
    values = config.to_dict()
    values.pop("name")
    workers = values.pop("workers")
    values["workers"] = {name: workers[name] for name in ("allreduce", "wire")}
    values["devices"] = sorted(config.workers.devices)
    for section in ("model", "data"):
        path = values[section].get("path")
        if path and not os.path.isabs(path):
            values[section]["path"] = os.path.join(base, path)
    if config.frozen is not None:  # the same contents, wherever they lie
        values["data"] = values.pop("frozen")["content"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _prepare(message: messages.Prepare, prepared: Any, channel: DriverChannel) -> tuple[str, Any]:
    from lepton_kit.training import job
    from lepton_kit.training.loop import Worker

    held = HeldFolder(Path(message.folder))
    config = RunConfig.load(held.inside / "config.yaml")
    while True:
        folder = held.path
        for entry in (*message.search, str(folder)):
            if entry not in sys.path:
                sys.path.append(entry)
        key = job_key(config, str(folder))
        built = prepared[1] if prepared is not None and prepared[0] == key else None
        try:
            if built is None:
                made = job.build(config, folder, message.sharing)
                channel.on_abort = made.collective.break_off
                built = Worker(made, channel)
            break
        except Exception:
            if held.gone or held.path == folder:
                raise  # else it was moved meanwhile: again
    built.attach(config, held.inside)
    earlier, channel.held = channel.held, held
    if earlier is not None:
        earlier.close()
    channel.send(
        messages.Ready(
            slot_bytes=built.slot_bytes,
            state_bytes=built.state_bytes,
            parameters=built.parameters,
            collective=built.collective,
            token=message.token,
        )
    )
    return key, built


def _make_room(worker: Any, order: messages.MakeRoom, channel: DriverChannel) -> None:
    try:
        worker.make_room(order)
    finally:
        if order.descriptor is not None:
            os.close(order.descriptor)
    channel.send(messages.RoomMade())


def _serve(worker: Any, join: messages.Join, channel: DriverChannel) -> None:
    channel.generation = join.membership.generation
    try:
        outcome = worker.run(join)
    finally:
        if join.descriptor is not None:
            os.close(join.descriptor)
    if outcome in ("finished", "stop"):
        worker.finish()
    channel.send(
        messages.Detached(
            generation=channel.generation,
            step=worker.position,
            outcome=outcome,
            whole=worker.holds_state,
            stopped_by=worker.stopped_by,
            trained_until=worker.trained_until,
        )
    )


def _fail(channel: DriverChannel, what: str, failure: BaseException) -> None:
    with contextlib.suppress(OSError):  # a full disk; the driver still has to hear of it
        traceback.print_exc()
    text = str(failure).strip() or type(failure).__name__
    if not isinstance(failure, LeptonError):
        text = f"{type(failure).__name__}: {text}"
    channel.send(messages.Failed(what=what, cause=named(text)[:2000]))


def _log_to_run(folder: Path, worker: int) -> None:
    if (folder / "logs").is_dir():  # else it is a folder of warm workers, which have a log
        _log_to(str(folder / "logs" / f"worker-{worker}.log"))


def _log_to(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return  # a full disk, say: what is printed goes where it went before
    _flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()


def leave(code: int) -> None:
    """End this process at once; what TensorFlow holds needs no goodbye."""
    _flush()
    os._exit(code)
