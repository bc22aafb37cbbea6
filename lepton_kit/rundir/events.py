"""The append-only event log: one writer, any number of readers, tolerant of a torn last line."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lepton_kit.errors import RunError
from lepton_kit.rundir.reading import NOT_JSON, open_regular

SHED = "the disk was full"
"""How a warning begins that stands for events that were given up."""

PIECE_BYTES = 1 << 18
"""How much of a log `EventReader.stream` reads at once."""

BACKLOG_LIMIT = 100_000
"""Events held in memory while the disk is full, before the oldest ones are given up."""


class Clock:
    """Unix time as it was when this began, and what has passed since: a system's clock that is set meanwhile changes no duration.

    What passes while the machine sleeps counts, where the system knows it (Linux).
    """

    def __init__(self) -> None:
        self._ahead = time.time() - _passed()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._ahead + _passed()


def _passed() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class EventLog:
    """Appends events as JSON lines; while the disk is full it keeps them in memory and tries again.

    A line torn by a crash or a full disk is ended first, so that what follows stays readable.
    """

    def __init__(self, path: Path):
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._backlog: deque[bytes] = deque()
        self._torn = _is_torn(self._descriptor)
        self._clock = Clock()
        self.given_up = 0

    @property
    def blocked(self) -> bool:
        """True while events wait in memory because the disk refuses them."""
        return bool(self._backlog)

    @property
    def lost(self) -> bool:
        """True if the file has no name any more: it was deleted, or another put in its place."""
        return os.fstat(self._descriptor).st_nlink == 0

    @property
    def size(self) -> int:
        """Bytes of the log on disk."""
        return os.fstat(self._descriptor).st_size

    def append(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Add an event; returns it with its time."""
        event = {"time": round(self._clock.now(), 3), "kind": kind, **fields}
        self._backlog.append(json.dumps(event, separators=(",", ":"), default=_plain).encode() + b"\n")
        if len(self._backlog) > BACKLOG_LIMIT:
            self._backlog.popleft()
            self.given_up += 1
        self.flush()
        return event

    def flush(self) -> bool:
        """Write what waits; False if the disk still refuses."""
        while self._backlog:
            line = (b"\n" if self._torn else b"") + self._backlog[0]
            try:
                written = os.write(self._descriptor, line)
            except OSError:
                return False
            if written < len(line):
                self._torn = _is_torn(self._descriptor)
                return False
            self._torn = False
            self._backlog.popleft()
        return True

    def shed(self, kind: str, limit: int) -> None:
        """Give up waiting events of a kind, with a warning in their place, if more than ``limit`` bytes wait."""
        kept = [line for line in self._backlog if json.loads(line)["kind"] != kind or SHED.encode() in line]
        lost = len(self._backlog) - len(kept)
        if lost and sum(map(len, self._backlog)) > limit:
            self._backlog = deque(kept)
            text = f"{SHED}: {lost} events of the kind {kind!r} are not in this log"
            self.append("warning", text=text)

    def sync(self) -> bool:
        """Have the disk hold every event so far, whatever happens to the machine; False if some wait in memory."""
        try:
            os.fsync(self._descriptor)
        except OSError:
            return False
        return not self.blocked

    def close(self) -> None:
        """Write what waits and close the file."""
        self.flush()
        os.close(self._descriptor)


class EventReader:
    """Reads the events that were appended since the last call.

    >>> EventReader(Path("nowhere.jsonl")).poll()
    []
    """

    def __init__(self, path: Path):
        self._path = path
        self._offset = 0
        self.skipped_lines = 0

    def poll(self) -> list[dict[str, Any]]:
        """New events, oldest first; a last line without its end waits for the next call.

        Raises `RunError` where the log is no file that can be read.
        """
        return self._events(self._read())

    def stream(self, piece_bytes: int = PIECE_BYTES) -> Iterator[dict[str, Any]]:
        """New events one by one, as `poll` gives them, with no more of the log in memory than a piece and a line."""
        length = piece_bytes
        while data := self._read(length):
            before = self._offset
            yield from self._events(data)
            if len(data) < length and self._offset == before:
                return  # the end of the last line is not there yet
            length = piece_bytes if self._offset > before else 2 * length

    def _read(self, length: int = -1) -> bytes:
        try:
            with open_regular(self._path) as file:
                file.seek(self._offset)
                return file.read(length)
        except FileNotFoundError:
            return b""
        except OSError as failure:
            raise RunError(f"{self._path}: the event log cannot be read ({failure.strerror})") from None

    def _events(self, data: bytes) -> list[dict[str, Any]]:
        end = data.rfind(b"\n") + 1
        self._offset += end
        events = []
        for line in data[:end].splitlines():
            if not line.strip():
                continue
            try:
                event = json.loads(line)
            except NOT_JSON:
                event = None
            if isinstance(event, dict) and isinstance(event.get("kind"), str):
                events.append(event)
            else:
                self.skipped_lines += 1
        return events


def _is_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"an event holds {type(value).__name__}, which has no JSON form")
