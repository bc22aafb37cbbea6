"""A worker that can't be forked: the driver hears why, and the zygote goes on."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from lepton_kit.runtime import zygote
from lepton_kit.runtime.executor import Ended
from lepton_kit.runtime.local import LocalExecutor
from lepton_kit.runtime.places import HERE, Place
from lepton_kit.runtime.wire import Connection, pair
from lepton_kit.training import messages


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
