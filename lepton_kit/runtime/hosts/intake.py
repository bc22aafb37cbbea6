"""Writes what comes back from a host beside the driver's loop, which waits for no disk, in the order in which it came."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable

from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.receiving import Receiving
from lepton_kit.training import messages

BEHIND = 64
"""With so many pieces (of a quarter of a megabyte) that wait for the disk, no more are read from the channel."""


class Intake:
    """A thread that writes. What a worker says of a folder is heard once that folder is written."""

    def __init__(self, receiving: Receiving):
        self._receiving = receiving
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._done: deque[tuple[int, messages.Message]] = deque()
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._closed = False
        threading.Thread(target=self._run, daemon=True, name="intake").start()

    def fileno(self) -> int:
        """Becomes readable when `done` has something."""
        return self._reading

    @property
    def is_behind(self) -> bool:
        """Whether the disk is so much slower than the network that the latter has to wait."""
        return self._jobs.qsize() > BEHIND

    def take(self, piece: talk.Returned) -> None:
        """Have a piece of a file written."""
        self._jobs.put(lambda: self._receiving.take(piece))

    def printed(self, worker: int, text: str) -> None:
        """Have something added to a worker's log."""
        self._jobs.put(lambda: self._receiving.printed(worker, text))

    def tell(self, worker: int, message: messages.Message) -> None:
        """Have a worker's message heard when all that came before it is written."""
        self._jobs.put(lambda: self._tell(worker, message))

    def done(self) -> list[tuple[int, messages.Message]]:
        """Messages of workers whose files are written, since this was asked last."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reading, 1 << 12):
                pass
        return [self._done.popleft() for _ in range(len(self._done))]

    def close(self) -> None:
        """Write no more than what is being written; nobody waits for that."""
        self._closed = True
        self._jobs.put(None)

    def _run(self) -> None:
        while not self._closed and (job := self._jobs.get()) is not None:
            job()
        os.close(self._reading)
        os.close(self._writing)

    def _tell(self, worker: int, message: messages.Message) -> None:
        self._done += [(worker, one) for one in self._receiving.told(message)]
        with contextlib.suppress(BlockingIOError):  # it is readable already
            os.write(self._writing, b"!")
