"""Messages between the processes of a run: length-prefixed, over socket pairs that no other process can open, or pipes."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Mapping

from lepton_kit.errors import RunError
from lepton_kit.training.messages import KINDS, Carrying, Message, decode, encode

MAX_MESSAGE_BYTES = 1 << 28
_HEAD = struct.Struct("!IB")
"""Length of a message, and how many descriptors ride along."""
_INT = struct.Struct("i")
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""Descriptors that arrive are not handed on to other programs (Linux)."""


class Connection:
    """One end of a socket pair. File descriptors can ride along with the messages that are `Carrying`."""

    def __init__(self, end: socket.socket, kinds: Mapping[str, type[Message]] = KINDS):
        """Of ``kinds`` are the messages that are received."""
        self._socket = end
        self._kinds = kinds
        self._buffer = bytearray()
        self._descriptors: list[int] = []
        self._send_lock = threading.Lock()
        self.closed = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def send(self, message: Message) -> bool:
        """Send one message; False if the other end is gone."""
        body = encode(message)
        descriptor = message.descriptor if isinstance(message, Carrying) else None
        data = _HEAD.pack(len(body), descriptor is not None) + body
        with self._send_lock:
            try:
                self._write(data, descriptor)
            except OSError:
                return False  # what the other end has sent before it went can still be received
        return True

    def receive(self, *, wait: bool = True) -> list[Message]:
        """All whole messages that one read brings, none if there is nothing and `wait` is off; sets `closed` at the end.

        Raises `RunError` that names a message which is not known.
        """
        try:
            data = self._read(wait)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        self._buffer += data
        messages = []
        while len(self._buffer) >= _HEAD.size:
            length, carried = _HEAD.unpack_from(self._buffer)
            if length > MAX_MESSAGE_BYTES:
                self.closed = True
                break
            end = _HEAD.size + length
            if len(self._buffer) < end:
                break
            body = self._buffer[_HEAD.size : end]
            del self._buffer[:end]
            descriptor = self._descriptors.pop(0) if carried else None
            try:
                messages.append(decode(body, descriptor, self._kinds))
            except RunError:
                if descriptor is not None:
                    os.close(descriptor)
                raise
        return messages

    def shut(self) -> None:
        """End it for both sides; whoever waits in it is woken."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def _write(self, data: bytes, descriptor: int | None) -> None:
        sent = 0
        if descriptor is not None:
            sent = socket.send_fds(self._socket, [data], [descriptor])
        self._socket.sendall(data[sent:])

    def _read(self, wait: bool) -> bytes:
        flags = CLOSE_ON_EXEC | (0 if wait else socket.MSG_DONTWAIT)
        # socket.recv_fds would do, but it ignores its flags in Python 3.11.
        data, ancillary, _, _ = self._socket.recvmsg(1 << 16, socket.CMSG_LEN(8 * _INT.size), flags)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % _INT.size
                self._descriptors += [number for (number,) in _INT.iter_unpack(content[:whole])]
        return data

    def close(self) -> None:
        """Close the socket, and descriptors that came and were not taken."""
        self.closed = True
        self._socket.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


class Pipe(Connection):
    """The same over two descriptors, such as standard input and output; file descriptors can't ride along."""

    def __init__(self, reading: int, writing: int, kinds: Mapping[str, type[Message]]):
        self._reading, self._writing, self._kinds = reading, writing, kinds
        self._buffer = bytearray()
        self._descriptors = []
        self._send_lock = threading.Lock()
        self.closed = False

    def fileno(self) -> int:
        """The descriptor from which messages come."""
        return self._reading

    def _write(self, data: bytes, descriptor: int | None) -> None:
        if descriptor is not None:
            raise OSError("a pipe carries no file descriptor")
        view = memoryview(data)
        while view:
            view = view[os.write(self._writing, view) :]

    def _read(self, wait: bool) -> bytes:
        if not wait and not select.select([self._reading], [], [], 0.0)[0]:
            raise BlockingIOError
        return os.read(self._reading, 1 << 16)

    def close(self) -> None:
        """Close both descriptors."""
        self.closed = True
        for descriptor in {self._reading, self._writing}:
            os.close(descriptor)


def pair() -> tuple[Connection, socket.socket]:
    """A connection and the raw other end, to be handed to another process."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Connection(mine), theirs
