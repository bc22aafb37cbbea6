"""Messages on their way over a channel that may be slow: a thread sends them, what is urgent before what is bulky."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from lepton_kit.runtime.wire import Connection
from lepton_kit.training.messages import Message

BULK_AHEAD = 8
"""So many bulky messages wait at most before whoever brings more has to wait."""


class Outbox:
    """Sends without having the sender wait, but those who `post_bulk`."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._urgent: deque[Message] = deque()
        self._bulk: deque[Message] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="outbox")
        self._thread.start()

    def post(self, message: Message) -> None:
        """Send this before anything bulky."""
        with self._changed:
            self._urgent.append(message)
            self._changed.notify_all()

    def post_bulk(self, message: Message) -> None:
        """Send this when nothing urgent waits, in the order of these calls; waits while much of that kind does."""
        with self._changed:
            while len(self._bulk) >= BULK_AHEAD and not self._closed:
                self._changed.wait()
            self._bulk.append(message)
            self._changed.notify_all()

    def close(self, *, drain_seconds: float = 0.0) -> None:
        """Send no more; what waits gets so much time yet."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (self._urgent or self._bulk), drain_seconds)
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """True once nothing is sent any more: it was closed, or the other end is gone."""
        return self._closed

    def _run(self) -> None:
        for message in self._waiting():
            if not self._connection.send(message):
                self.close()
                return

    def _waiting(self) -> Iterator[Message]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._urgent or self._bulk or self._closed)
                if self._closed:
                    return
                message = (self._urgent or self._bulk)[0]
            yield message
            with self._changed:
                (self._urgent if self._urgent and self._urgent[0] is message else self._bulk).popleft()
                self._changed.notify_all()
