"""The state on its way to ranks that join: bytes in the driver's shared memory, so that no worker's death loses them."""

from __future__ import annotations

import json
import mmap
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lepton_kit.errors import RunError
from lepton_kit.training import native, state

_HEAD_BYTES = 4096
_PROGRESS_BYTES = 16
"""At the end of the head: the generation in which a state is put, and how many variables are there so far."""
_ABOUT_BYTES = _HEAD_BYTES - _PROGRESS_BYTES
FOLLOW_SECONDS = 0.001
"""Between two looks of a rank that follows."""
PIECE_BYTES = 1 << 25
"""So much is mapped at a time, where it has to be: a mapping counts as memory, and is found page by page."""
SENT_BYTES = 1 << 26
_ALIGNMENT = 64


@dataclass(frozen=True)
class Handed:
    """What a state in the segment is, beside the variables: the step it was at, and what belongs to it."""

    step: int
    logged_epochs: int
    history: np.ndarray
    callbacks: bytes


class Handover:
    """One state in a segment, from ``place`` on, for variables of equal shapes in every rank: put once, taken by many.

    ``generation`` is that of the ring in which it is handed over; what was put in another one is not followed.
    """

    def __init__(self, descriptor: int, place: int, variables: Sequence[Any], generation: int = 0):
        self._descriptor, self._place, self._variables = descriptor, place, variables
        self._generation, self._followed = generation, False
        self._places, self._end = _layout(variables)

    def put(self, handed: Handed, left: int | None = None) -> None:
        """Write the state of this rank, as it is now; before the last byte is there it counts as none.

        ``left``: the generation that this rank has left by agreement, if it has.
        """
        rows = handed.history.reshape(-1)
        length = self._end + rows.nbytes + len(handed.callbacks)
        if os.fstat(self._descriptor).st_size < self._place + length:
            os.ftruncate(self._descriptor, self._place + length)
        with (
            mmap.mmap(self._descriptor, _HEAD_BYTES, offset=self._place) as head,
            memoryview(head)[_ABOUT_BYTES:] as end,
            end.cast("q") as progress,
        ):
            about = _About(
                handed.step, handed.logged_epochs, len(handed.history), len(handed.callbacks), left
            )
            _note(head, None)
            progress[1], progress[0] = 0, self._generation
            for there in self._fill(state.capture(self._variables)):
                progress[1] = there
            _write(
                self._descriptor,
                self._place + self._end,
                np.frombuffer(rows.tobytes() + handed.callbacks, np.uint8),
            )
            _note(head, about)

    def send(self, collective: Any, rank: int) -> None:
        """Have what rank 0 has put lie in the segments of all ranks, where they have none in common.

        The ranks with a seat in Horovod's ring do so; others share the segment of one of those.
        """
        length = os.fstat(self._descriptor).st_size - self._place if rank == 0 else 0
        told = np.array([length >> 40, length >> 20 & 0xFFFFF, length & 0xFFFFF], np.float32)
        high, middle, low = (int(part) for part in collective.agree(told))  # each is exact in float32
        length = high << 40 | middle << 20 | low
        if collective.membership.seat is None:
            return
        if rank != 0:
            os.ftruncate(self._descriptor, self._place + length)
        with mmap.mmap(self._descriptor, length, offset=self._place) as memory:
            for start in range(0, length, SENT_BYTES):
                stop = min(start + SENT_BYTES, length)
                received = collective.broadcast_to_leaders(np.frombuffer(memory[start:stop], np.uint8))
                if rank != 0:
                    memory[start:stop] = received.tobytes()

    @property
    def followable(self) -> bool:
        """Whether variables can take their values one by one, in any thread."""
        return native.available() and state.on_host(self._variables)

    def follow(self, wanted: Callable[[], bool]) -> None:
        """Give each variable its value as soon as that is put, until all have theirs or it is ``wanted`` no more.

        Only for a rank that holds no state yet: between two variables it has something of both.
        """
        give, taken = _giver(self._variables), 0
        while wanted():
            there = self._there()
            while taken < there and wanted():
                give(self._variables[taken], self._descriptor, self._place + self._places[taken])
                taken += 1
            if taken == len(self._variables):
                self._followed = True
                return
            time.sleep(FOLLOW_SECONDS)

    def take(self, left: int | None = None) -> Handed:
        """Give the variables the values that were put. Raises `RunError` where there is no whole state.

        Variables of a rank that has ``left`` the same generation by agreement as the one that has put them have these
        values already, and are not looked at; nor are those of a rank that has followed to the end.
        """
        about = self._about()
        if about is None:
            raise RunError("the state that was to be handed over is not whole")
        if not self._followed and (left is None or left != about.left):
            give = _giver(self._variables)
            for variable, place in zip(self._variables, self._places, strict=True):
                give(variable, self._descriptor, self._place + place)
        shape = (about.history_rows, state.HISTORY_COLUMNS)
        start, history_bytes = self._place + self._end, 8 * shape[0] * shape[1]
        history = np.frombuffer(_read(self._descriptor, history_bytes, start), np.float64).reshape(shape)
        callbacks = _read(self._descriptor, about.callbacks_bytes, start + history_bytes)
        return Handed(about.step, about.logged_epochs, history.copy(), callbacks)

    def _fill(self, arrays: Sequence[np.ndarray]) -> Iterator[int]:
        """Write them one after the other; gives how many are there."""
        for k, (place, array) in enumerate(zip(self._places, arrays, strict=True)):
            _write(self._descriptor, self._place + place, array.reshape(-1).view(np.uint8))
            yield k + 1

    def _there(self) -> int:
        """How many variables have been put in this generation so far."""
        found = os.pread(self._descriptor, _PROGRESS_BYTES, self._place + _ABOUT_BYTES)
        generation, there = np.frombuffer(found, np.int64) if len(found) == _PROGRESS_BYTES else (-1, 0)
        return int(there) if generation == self._generation else 0

    def _about(self) -> _About | None:
        found = os.pread(self._descriptor, _ABOUT_BYTES, self._place).strip(b"\0 ")
        return _About(**json.loads(found)) if found else None


def _write(descriptor: int, place: int, content: np.ndarray) -> None:
    """Write bytes to the segment; through mappings where the size of files is limited, which does not count for them."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY:
        while len(content):
            written = os.pwrite(descriptor, content.data, place)
            content, place = content[written:], place + written
        return
    for start in range(0, len(content), PIECE_BYTES):
        piece = content[start : start + PIECE_BYTES]
        before = (place + start) % mmap.ALLOCATIONGRANULARITY
        with mmap.mmap(descriptor, before + len(piece), offset=place + start - before) as memory:
            np.frombuffer(memory, np.uint8, len(piece), before)[:] = piece


def _read(descriptor: int, length: int, place: int) -> bytes:
    parts = []
    while length > 0:
        part = os.pread(descriptor, length, place)
        if not part:
            raise RunError("the state that was to be handed over is not whole")
        parts.append(part)
        length, place = length - len(part), place + len(part)
    return b"".join(parts)


def _giver(variables: Sequence[Any]) -> Callable[[Any, int, int], None]:
    """What gives a variable the bytes at a place of a file: in the memory that it has where the native library can."""
    if not native.available() or not state.on_host(variables):
        return _assign
    take = native.load()[0].lepton_take
    return lambda variable, descriptor, place: take(
        variable=state.held_by_tensorflow(variable).handle, descriptor=descriptor, place=place
    )


def _assign(variable: Any, descriptor: int, place: int) -> None:
    (mine,) = state.capture([variable])
    given = np.frombuffer(_read(descriptor, mine.nbytes, place), mine.dtype).reshape(mine.shape)
    if not same_bits(given, mine):
        variable.assign(given)  # copies


def _note(memory: mmap.mmap, about: _About | None) -> None:
    text = b"" if about is None else json.dumps(asdict(about)).encode()
    memory[:_ABOUT_BYTES] = text.ljust(_ABOUT_BYTES)


@dataclass(frozen=True)
class _About:
    step: int
    logged_epochs: int
    history_rows: int
    callbacks_bytes: int
    left: int | None


def _layout(variables: Sequence[Any]) -> tuple[list[int], int]:
    places, end = [], _HEAD_BYTES
    for array in state.capture(variables):
        places.append(end)
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    return places, end


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of one type and shape hold the same bits: -0.0 is not 0.0 here, and a NaN is itself.

    >>> same_bits(np.array([np.nan, 0.0]), np.array([np.nan, 0.0])), same_bits(np.array(0.0), np.array(-0.0))
    (True, False)
    """
    unit = np.dtype(np.uint32 if one.nbytes % 4 == 0 else np.uint8)
    first = np.ascontiguousarray(one).reshape(-1).view(unit)
    return bool(np.array_equal(first, np.ascontiguousarray(other).reshape(-1).view(unit)))
