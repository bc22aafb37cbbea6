"""Messages between driver, zygote and workers: length-prefixed JSON over socket pairs that no other process can open."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from typing import Any

MAX_MESSAGE_BYTES = 1 << 28
_LENGTH = struct.Struct("!I")
_INT = struct.Struct("i")
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""Descriptors that arrive are not handed on to other programs (Linux)."""


class Connection:
    """One end of a socket pair. Messages are dictionaries with a ``kind``; file descriptors can ride along."""

    def __init__(self, end: socket.socket):
        self._socket = end
        self._buffer = bytearray()
        self._descriptors: list[int] = []
        self._send_lock = threading.Lock()
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: str, *, descriptor: int | None = None, **fields: Any) -> bool:
        """Send one message; False if the other end is gone."""
        fields["kind"] = kind
        fields["descriptors"] = 0 if descriptor is None else 1
        body = json.dumps(fields, separators=(",", ":")).encode()
        data = _LENGTH.pack(len(body)) + body
        with self._send_lock:
            try:
                sent = 0
                if descriptor is not None:
                    sent = socket.send_fds(self._socket, [data], [descriptor])
                self._socket.sendall(data[sent:])
            except OSError:
                return False  # what the other end has sent before it went can still be received
        return True

    def receive(self, *, wait: bool = True) -> list[dict[str, Any]]:
        """All whole messages that one read brings, none if there is nothing and `wait` is off; sets `closed` at the end.

        A message that brought a file descriptor holds its number under ``descriptor``.
        """
        try:
            flags = CLOSE_ON_EXEC | (0 if wait else socket.MSG_DONTWAIT)
            # socket.recv_fds would do, but it ignores its flags in Python 3.11.
            data, ancillary, _, _ = self._socket.recvmsg(1 << 16, socket.CMSG_LEN(8 * _INT.size), flags)
        except BlockingIOError:
            return []
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.closed = True
            return []
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % _INT.size
                self._descriptors += [number for (number,) in _INT.iter_unpack(content[:whole])]
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_MESSAGE_BYTES:
                self.closed = True
                break
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            message = json.loads(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            if message.pop("descriptors"):
                message["descriptor"] = self._descriptors.pop(0)
            messages.append(message)
        return messages

    def close(self) -> None:
        self.closed = True
        self._socket.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


def pair() -> tuple[Connection, socket.socket]:
    """A connection and the raw other end, to be handed to another process."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Connection(mine), theirs
