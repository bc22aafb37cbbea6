"""Whose process is at the other end of a connection on this host's loopback."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

TABLE = Path("/proc/net/tcp")


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


def _hexadecimal(address: tuple[str, int]) -> str:
    (packed,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{packed:08X}:{address[1]:04X}"


def is_mine(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether a connection to ``server`` comes from a process of this user; without /proc, loopback alone protects."""
    return not TABLE.exists() or owner_of_connection(client, server, TABLE.read_text("ascii")) == os.getuid()
