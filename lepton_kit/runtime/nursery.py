"""A process with TensorFlow imported that forks whole drivers, so that a client's second launch imports nothing.

The zygote of a client's first run imports the libraries anyway. Before it serves its driver it forks the nursery off,
which stays while the client holds the other end of its connection, and runs nothing itself. A driver that it forks
forks its own zygote when its run is to have workers; from then on nothing differs from a driver that was started as a
program.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial

from lepton_kit.runtime import zygote
from lepton_kit.runtime.wire import Connection
from lepton_kit.training import messages

READ_WHILE_LOADING = (
    *("TF_", "XLA_", "KERAS_", "HOROVOD_", "CUDA_", "NVIDIA_", "NCCL_", "ABSL_", "ONEDNN_", "DNNL_", "MKL_"),
    *("OMP_", "KMP_", "GOMP_", "OPENBLAS_", "MALLOC_", "GLIBC_", "LD_", "PYTHON"),
)
"""Beginnings of the names of variables that Python, TensorFlow and what they link with may read only once."""


def fixed(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a loaded process can't change any more; a worker reads CUDA_VISIBLE_DEVICES late."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_WHILE_LOADING) and name != "CUDA_VISIBLE_DEVICES"
    }


def branch_off(descriptor: int, added: Mapping[str, str], serving: Connection) -> None:
    """Fork the nursery from a loaded zygote, as a grandchild that nobody has to wait for; a launch can do without one."""
    with contextlib.suppress(OSError):  # no memory, or no more processes
        child = os.fork()
        if child == 0:
            with contextlib.suppress(OSError):
                if os.fork() == 0:
                    serving.close()
                    zygote.end_after(lambda: serve(Connection(socket.socket(fileno=descriptor)), added))
            os._exit(0)
        os.waitpid(child, 0)
    os.close(descriptor)


def serve(client: Connection, added: Mapping[str, str]) -> int:
    """Fork a driver for each order until the client closes the connection or ends."""
    from lepton_kit.runtime import command  # imported here, where no first run waits for it

    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes the drivers' exit status
    gc.freeze()  # the forks share these objects; the collector need not touch, and so copy, them
    client.send(messages.NurseryReady(pid=os.getpid()))
    while not client.closed:
        for order in client.receive():
            if not isinstance(order, messages.ForkDriver) or order.descriptor is None:
                continue
            try:
                pid = os.fork()
            except OSError:
                pid = -1  # no memory, say: the client sees its end close and starts a driver itself
            if pid == 0:
                client.close()
                zygote.end_after(partial(_become_driver, command.main, order, added))
            os.close(order.descriptor)
    return 0


def _become_driver(drive: Callable[..., int], order: messages.ForkDriver, added: Mapping[str, str]) -> int:
    """Put on what a program started by the client would have, and be the driver."""
    assert order.descriptor is not None, "serve asks for it"
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    os.environ.clear()
    os.environ.update({**added, **order.environment})
    os.chdir(order.cwd)
    os.sched_setaffinity(0, order.cores)
    importlib.invalidate_caches()
    os.dup2(order.descriptor, 0)
    os.close(order.descriptor)
    return drive(order.arguments, zygote.fork)


def main(descriptor: int, parent: int, client: int) -> None:
    """Be the zygote of the driver ``parent``, and fork the nursery off for the client."""
    before = dict(os.environ)

    def branch(serving: Connection) -> None:
        added = {name: value for name, value in os.environ.items() if before.get(name) != value}
        branch_off(client, added, serving)

    zygote.main(descriptor, parent, branch)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
