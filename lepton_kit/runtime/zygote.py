"""A process that has imported TensorFlow, Keras and Horovod, has run nothing, and forks workers on request.

A fork takes milliseconds and shares the pages of the libraries. The zygote lives as long as its driver.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
from typing import Any

from lepton_kit.runtime.wire import Connection

PR_SET_PDEATHSIG = 1
ALIVE_SECONDS = 1.0


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (Linux; prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(descriptor: int, parent: int) -> None:
    """Serve fork requests from the driver until it closes the connection."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(socket.socket(fileno=descriptor))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import horovod.tensorflow  # noqa: F401  imported here once, for all forks
    import keras  # noqa: F401  the same
    import tensorflow  # noqa: F401  the same

    from lepton_kit.runtime import worker
    from lepton_kit.training import job, loop  # noqa: F401  the same

    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    connection.send("warm", pid=os.getpid())
    children: dict[int, int] = {}
    zygote = os.getpid()
    while not connection.closed:
        ready, _, _ = select.select([connection.fileno(), wake_read], [], [], ALIVE_SECONDS)
        if not ready:
            connection.send("alive")
        if wake_read in ready:
            _drain(wake_read)
            _report_exits(connection, children)
        if connection.fileno() in ready:
            for message in connection.receive():
                pid = os.fork()
                if pid == 0:
                    die_with_parent(zygote)
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(wake_read)
                    os.close(wake_write)
                    _become_worker(worker, connection, message)
                os.close(message["descriptor"])
                children[pid] = message["worker"]
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def _become_worker(worker: Any, connection: Connection, message: dict[str, Any]) -> None:
    code = 1
    try:
        connection.close()
        code = worker.main(message)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
        connection.send("exited", worker=children.pop(pid), code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
