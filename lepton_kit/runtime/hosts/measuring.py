"""What an agent measures when it is asked before a run: its clock, disk and files, and the ways to other hosts."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lepton_kit.errors import RunError
from lepton_kit.machine.devices import free_disk
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.cleaning import clean, environments
from lepton_kit.runtime.hosts.mirror import hosts_folder
from lepton_kit.runtime.hosts.ways import address_on
from lepton_kit.training import messages, native

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
ROUND_TRIPS = 5
CHUNK = bytes(1 << 16)
COUNT = struct.Struct("!Q")


class Measuring:
    """Answers questions, each in a thread of its own, so that nobody else waits."""

    def __init__(self, tell: Callable[[messages.Message], None]):
        self._tell = tell
        self._listeners: list[socket.socket] = []

    def ask(self, question: talk.Question) -> None:
        """Find out, and tell."""
        threading.Thread(target=self._answer, args=(question,), daemon=True, name="measuring").start()

    def close(self) -> None:
        """Listen no more."""
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _answer(self, question: talk.Question) -> None:
        match question:
            case talk.AskTime(number=number):
                self._tell(talk.Time(number=number, clock=time.time()))
            case talk.AskState():
                self._tell(state(question))
            case talk.AskClean(number=number):
                freed, runs = clean(hosts_folder(), environments())
                self._tell(talk.Cleaned(number=number, bytes=freed, runs=runs))
            case talk.Listen():
                self._listen(question)
            case talk.Dial():
                self._tell(dial(question))

    def _listen(self, question: talk.Listen) -> None:
        try:
            address = address_on(question.interface)
            listener = socket.create_server((address, 0), family=_family(address))
        except (OSError, RunError) as failure:
            problem = f"can't listen on {question.interface} ({_words(failure)})"
            self._tell(talk.Listening(number=question.number, problem=problem))
            return
        self._listeners.append(listener)
        port = listener.getsockname()[1]
        self._tell(talk.Listening(number=question.number, address=address, port=port))
        deadline = time.monotonic() + question.seconds
        with listener, contextlib.suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                listener.settimeout(left)
                end, _ = listener.accept()
                threading.Thread(target=_serve, args=(end, question.nonce, left), daemon=True).start()


def _serve(end: socket.socket, nonce: str, seconds: float) -> None:
    """Whoever knows the nonce gets bytes back one by one, and then the number of those that it sends."""
    with end, contextlib.suppress(OSError):
        end.settimeout(seconds)
        if not secrets.compare_digest(_read(end, len(nonce)), nonce.encode()):
            return
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ROUND_TRIPS):
            end.sendall(_read(end, 1))
        count = 0
        while data := end.recv(len(CHUNK)):
            count += len(data)
        end.sendall(COUNT.pack(count))


def dial(question: talk.Dial) -> talk.Dialed:
    """Connect as a rank would, and measure the way for a moment."""
    place = (question.address, question.port)
    try:
        with socket.create_connection(place, question.seconds) as end:
            return _measured(end, question)
    except OSError as failure:
        return talk.Dialed(number=question.number, problem=_words(failure))


def _measured(end: socket.socket, question: talk.Dial) -> talk.Dialed:
    end.settimeout(question.seconds)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.sendall(question.nonce.encode())
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        end.sendall(b"?")
        _read(end, 1)
        times.append(time.perf_counter() - began)
    sent, began = 0, time.perf_counter()
    while sent < question.bytes and time.perf_counter() - began < question.seconds / 4:
        end.sendall(CHUNK)
        sent += len(CHUNK)
    end.shutdown(socket.SHUT_WR)
    (arrived,) = COUNT.unpack(_read(end, COUNT.size))
    rate = arrived / (time.perf_counter() - began) if arrived else None
    return talk.Dialed(number=question.number, latency=min(times), rate=rate)


def _read(end: socket.socket, size: int) -> bytes:
    """So many bytes. Raises `OSError` at the end."""
    found = b""
    while len(found) < size:
        if not (data := end.recv(size - len(found))):
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        found += data
    return found


def state(question: talk.AskState) -> talk.State:
    """What this host has, and what is wrong with each of these files."""
    cache = hosts_folder()
    missing = {path: wrong for path, size, mark in question.files if (wrong := _wrong(path, size, mark))}
    return talk.State(
        number=question.number,
        native=None if native.available() else "not built",
        cache=str(cache),
        disk_bytes=free_disk(cache),
        cache_problem=_can_write(cache),
        ports=_ports(),
        missing=missing,
    )


def _can_write(folder: Path) -> str | None:
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_bytes(CHUNK)
        probe.unlink()
    except OSError as failure:
        return _words(failure)
    return None


def _wrong(path: str, size: int, mark: str) -> str | None:
    try:
        found = os.stat(path)
    except OSError as failure:
        return _words(failure)
    if found.st_size != size:
        return f"{found.st_size} bytes there, {size} here"
    return None if str(found.st_mtime_ns) == mark else "same size, written at another time"


def _ports() -> tuple[int, int]:
    """The ports that the system gives to whoever asks for any."""
    try:
        first, last = PORTS.read_text().split()
        return int(first), int(last)
    except (OSError, ValueError):
        return 32768, 60999  # Linux' own


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _words(failure: Exception) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer"
    return (failure.strerror if isinstance(failure, OSError) else None) or str(failure)
