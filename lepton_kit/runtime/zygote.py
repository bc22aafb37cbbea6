"""A process that has imported TensorFlow, Keras and Horovod, has run nothing, and forks workers on request.

A fork takes milliseconds and shares the pages of the libraries. The zygote lives as long as its driver.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, Protocol

from lepton_kit.processes import limits
from lepton_kit.runtime.wire import Connection, pair
from lepton_kit.training import messages, room

PR_SET_PDEATHSIG = 1
ALIVE_SECONDS = 1.0


class Process(Protocol):
    """What a driver needs of its zygote, started or forked."""

    @property
    def pid(self) -> int:
        """Its number."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code."""


class Forked:
    """A forked child of this process, with the three verbs of `subprocess.Popen` that its parent needs."""

    def __init__(self, pid: int):
        self.pid = pid
        self._code: int | None = None

    def kill(self) -> None:
        """End it at once."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            pid, status = os.waitpid(self.pid, 0 if deadline is None else os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("zygote", timeout or 0.0)
            else:
                time.sleep(0.005)
        return self._code


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (Linux; prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_after(work: Callable[[], int]) -> NoReturn:
    """Do a forked child's work and end the process, whatever happens, without its parent's exit handlers."""
    code = 1
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # a full disk
                stream.flush()
        os._exit(code)


def load() -> None:
    """Import, once for all forks, what workers need."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    room.keep_freed()
    import horovod.tensorflow  # noqa: F401  imported here once, for all forks
    import keras  # noqa: F401  the same
    import tensorflow  # noqa: F401  the same

    from lepton_kit.runtime import worker  # noqa: F401  the same
    from lepton_kit.training import autograph, job, loop  # noqa: F401  the same

    autograph.keep_in_memory()


def fork(*unwanted: int) -> tuple[Forked, Connection]:
    """A zygote forked from this process, which has loaded the libraries.

    It closes the ``unwanted`` descriptors and the standard input, by which others see that this process has ended.
    """
    connection, end = pair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with_parent(parent)
        connection.close()
        for descriptor in unwanted:
            os.close(descriptor)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        end_after(lambda: serve(Connection(end)))
    end.close()
    return Forked(pid), connection


def serve(connection: Connection) -> int:
    """Fork workers for the driver until it closes the connection."""
    from lepton_kit.runtime import worker

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    connection.send(messages.Warm(pid=os.getpid()))
    children: dict[int, int] = {}
    zygote = os.getpid()
    while not connection.closed:
        ready, _, _ = select.select([connection.fileno(), wake_read], [], [], ALIVE_SECONDS)
        if not ready:
            connection.send(messages.StillThere())
        if wake_read in ready:
            _drain(wake_read)
            _report_exits(connection, children)
        if connection.fileno() in ready:
            for message in connection.receive():
                if isinstance(message, messages.LogTo) and message.descriptor is not None:
                    _log_to(message.descriptor)
                if not isinstance(message, messages.Fork) or message.descriptor is None:
                    continue
                try:
                    pid = os.fork()
                except OSError as failure:  # no memory, say
                    said = f"could not be forked: {limits.told(failure) or failure.strerror}"
                    connection.send(messages.Exited(worker=message.worker, code=None, said=said))
                    os.close(message.descriptor)
                    continue
                if pid == 0:
                    die_with_parent(zygote)
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(wake_read)
                    os.close(wake_write)
                    connection.close()
                    end_after(partial(worker.main, message))
                children[pid] = message.worker
                workers_end = Connection(socket.socket(fileno=message.descriptor))
                workers_end.send(messages.Hello(pid=pid))  # for it: a fork may hang before its first word
                workers_end.close()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)
    return 0


def _in_words(failure: BaseException) -> str:
    """An exception and, where it is another, the one that began it all."""
    first = failure
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    said = [f"{type(one).__name__}: {one}"[:1000] for one in (failure, first)]
    return said[0] if first is failure else f"{said[0]} ({said[1]})"


def _log_to(descriptor: int) -> None:
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _report_exits(connection: Connection, children: dict[int, int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        connection.send(messages.Exited(worker=children.pop(pid), code=code))


def main(descriptor: int, parent: int, before_serving: Callable[[Connection], Any] = lambda _: None) -> None:
    """Serve the driver ``parent`` as a process of its own."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(socket.socket(fileno=descriptor))
    try:
        load()
    except BaseException as failure:
        connection.send(messages.NotLoaded(cause=_in_words(failure)))
        raise
    before_serving(connection)
    serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
