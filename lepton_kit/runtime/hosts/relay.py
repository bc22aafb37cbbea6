"""The rendezvous of a ring, on the loopback of a host that is not the driver's: a relay through the agent's channel."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.owners import is_mine
from lepton_kit.training.messages import Message

READ_BYTES = 1 << 16


class Relay:
    """Passes streams on. At a host it listens for workers; at the driver it connects to the rendezvous for each stream."""

    def __init__(self, tell: Callable[[Message], None], *, listens: bool):
        self._tell = tell
        self._streams: dict[int, socket.socket] = {}
        self._next = 0
        self._listener: socket.socket | None = None
        self.address = ("127.0.0.1", 0)
        if listens:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self._listener.setblocking(False)
            self.address = self._listener.getsockname()

    def filenos(self) -> list[int]:
        """Descriptors that become readable when there is something to pass on."""
        listening = [] if self._listener is None else [self._listener.fileno()]
        return [*listening, *(one.fileno() for one in self._streams.values())]

    def pass_on(self, ready: set[int]) -> None:
        """Tell the other end what has come on the ``ready`` descriptors."""
        if self._listener is not None and self._listener.fileno() in ready:
            self._accept()
        for stream, end in list(self._streams.items()):
            if end.fileno() not in ready:
                continue
            try:
                data = end.recv(READ_BYTES)
            except OSError:
                data = b""
            self._tell(talk.Streamed(stream=stream, data=talk.packed(data)))
            if not data:
                self._drop(stream)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            end, client = self._listener.accept()
            if not is_mine(client, end.getsockname()):
                end.close()
                return
            self._streams[self._next] = end
            self._tell(talk.Opened(stream=self._next))
            self._next += 1

    def open(self, stream: int, address: tuple[str, int]) -> None:
        """A stream has begun at the other end: connect it to this address."""
        try:
            self._streams[stream] = socket.create_connection(address, timeout=5.0)
            self._streams[stream].settimeout(None)
        except OSError:
            self._tell(talk.Streamed(stream=stream, data=""))

    def write(self, stream: int, data: bytes) -> None:
        """Bytes have come from the other end; none: it has ended."""
        end = self._streams.get(stream)
        if end is None:
            return
        try:
            if data:
                end.sendall(data)
            else:
                self._drop(stream)
        except OSError:
            self._drop(stream)

    def _drop(self, stream: int) -> None:
        end = self._streams.pop(stream, None)
        if end is not None:
            end.close()

    def close(self) -> None:
        """End all streams."""
        for stream in list(self._streams):
            self._drop(stream)
        if self._listener is not None:
            self._listener.close()
