"""Whose process is at the other end of a connection on this host's loopback."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

TABLE = Path("/proc/net/tcp")
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBBI")
_UNKNOWN = 0xFFFFFFFF
_UID = 16 + 4 + 48 + 12
"""Where the user id stands in an answer: after nlmsghdr, four bytes, inet_diag_sockid and three numbers."""


def asked(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """User id of the process behind a TCP connection on this host, from the kernel's socket diagnosis (sock_diag(7)).

    None if there is no such connection. Raises `OSError` where the kernel can't be asked. It looks one connection up in some
    20 µs; the table of all of them takes tens of milliseconds to read, and a ring that forms asks a hundred times.
    """
    ends = struct.pack(">HH", client[1], server[1]) + _padded(client) + _padded(server)
    body = _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _UNKNOWN) + ends
    body += struct.pack("=III", 0, _UNKNOWN, _UNKNOWN)  # any interface, no cookie
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, 1, 0, 0) + body)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == SOCK_DIAG_BY_FAMILY:
        return int(struct.unpack_from("=I", answer, _UID)[0])
    error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
    if error == 2:  # ENOENT is of this connection; a kernel without the diagnosis of TCP says it too
        return None
    raise OSError(error, os.strerror(error))


def owner_of_connection(client: tuple[str, int], server: tuple[str, int], table: str) -> int | None:
    """User id of the process behind a TCP connection on this host, from the text of /proc/net/tcp (proc(5)).

    None if the table does not list the connection.
    """
    wanted = (_hexadecimal(client), _hexadecimal(server))
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and (fields[1], fields[2]) == wanted:
            return int(fields[7])
    return None


def _padded(address: tuple[str, int]) -> bytes:
    return socket.inet_aton(address[0]) + bytes(12)


def _hexadecimal(address: tuple[str, int]) -> str:
    (packed,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{packed:08X}:{address[1]:04X}"


def owner(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """User id of the process behind a TCP connection on this host; None where nothing tells."""
    try:
        if (found := asked(client, server)) is not None:
            return found
    except (OSError, AttributeError, struct.error):  # no netlink, or another kernel's
        pass
    return owner_of_connection(client, server, TABLE.read_text("ascii"))


def is_mine(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether a connection to ``server`` comes from a process of this user; without /proc, loopback alone protects."""
    return not TABLE.exists() or owner(client, server) == os.getuid()
