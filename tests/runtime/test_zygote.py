"""A worker that can't be forked: the driver hears why, and the zygote goes on."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from lepton_kit.runtime import zygote
from lepton_kit.runtime.crew import Crew
from lepton_kit.runtime.wire import Connection, pair


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_driver_hears_why_a_worker_is_not_there(monkeypatch: pytest.MonkeyPatch):
    mine, theirs = pair()
    crew = Crew("", (zygote.Forked(0), mine))
    member = crew.spawn(threads=1, device="cpu")

    def full() -> int:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(os, "fork", full)
    socket.socket(fileno=os.dup(mine.fileno())).shutdown(socket.SHUT_WR)
    serving = Connection(theirs)
    assert zygote.serve(serving) == 0
    crew.hear_zygote()
    crew.hear_zygote()
    assert member.cause == "could not be forked: Cannot allocate memory"
    assert member.connection.receive() == []
    assert member.connection.closed, "its end went as that of a worker that dies"
    serving.close()
    mine.close()
