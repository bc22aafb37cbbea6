"""The zygote forks workers and says so; the driver hears why one is not there, and of every end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lepton_kit.runtime import worker, zygote
from lepton_kit.runtime.executor import Ended
from lepton_kit.runtime.local import LocalExecutor
from lepton_kit.runtime.places import HERE, Place
from lepton_kit.runtime.wire import Connection, pair
from lepton_kit.training import messages


class NoProcess:
    """A zygote in this process, or nothing."""

    pid = 0

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int:
        return 0


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_driver_hears_why_a_worker_is_not_there(monkeypatch: pytest.MonkeyPatch):
    mine, theirs = pair()
    executor = LocalExecutor("", (zygote.Forked(0), mine))
    executor.start(0, Place(HERE, 0, "cpu", 1))

    def full() -> int:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(os, "fork", full)
    socket.socket(fileno=os.dup(mine.fileno())).shutdown(socket.SHUT_WR)
    serving = Connection(theirs)
    assert zygote.serve(serving) == 0
    assert executor.receive() == executor.receive() == []
    assert executor.ended() == [Ended(0, None, "could not be forked: Cannot allocate memory")]
    assert not executor.send(0, messages.Exit())
    serving.close()
    mine.close()


def test_a_worker_that_hangs_in_its_first_moment_can_be_missed_and_ended(monkeypatch: pytest.MonkeyPatch):
    """Hello is said for it, by the process that has forked it: what never spoke could not be silent."""
    monkeypatch.setattr(worker, "main", lambda order: time.sleep(1000))
    forked, connection = zygote.fork()
    executor = LocalExecutor("", (forked, connection))
    try:
        executor.start(0, Place(HERE, 0, "cpu", 1))
        (number, hello) = wait_for(executor.receive)[0]
        assert number == 0
        assert isinstance(hello, messages.Hello)
        executor.kill(0)

        def ended() -> list[Ended]:
            executor.receive()
            return executor.ended()

        assert wait_for(ended) == [Ended(0, -signal.SIGKILL)]
    finally:
        executor.close(0.1)


def test_a_worker_has_ended_though_a_process_that_it_forked_holds_its_connection_open():
    mine, theirs = pair()
    executor, serving = LocalExecutor("", (NoProcess(), mine)), Connection(theirs)
    executor.start(0, Place(HERE, 0, "cpu", 1))
    (order,) = serving.receive()
    assert isinstance(order, messages.Fork)
    assert order.descriptor is not None
    left_open = Connection(socket.socket(fileno=order.descriptor))
    left_open.send(messages.Hello(pid=2**30))
    serving.send(messages.Exited(worker=0, code=-9))
    heard: list[messages.Message] = []

    def ended() -> list[Ended]:
        heard.extend(message for _, message in executor.receive())
        return executor.ended()

    try:
        assert wait_for(ended) == [Ended(0, -9)]
        assert heard == [messages.Hello(pid=2**30)]
    finally:
        left_open.close()
        executor.close(0.0)
        serving.close()


def wait_for(ask: Callable[[], list[Any]]) -> list[Any]:
    """The first answer that is not empty."""
    deadline = time.monotonic() + 60
    while not (found := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found
