"""Memory that a worker will need in a ring, got before it joins: what was not used before comes page by page.

While a ring forms all its ranks wait for the slowest of them, so what can be done before is done while the others train.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_kit.training import beside, messages, state
from lepton_kit.training.handover import PIECE_BYTES

POPULATE = 23
"""MADV_POPULATE_WRITE of madvise(2), which Python does not name: pages come as by a write, and keep what they hold."""
COPIES = 2
"""Beside weights and optimizer a step holds the gradients, and their sums or the optimizer's passing results."""
NICER = 5
"""Than those who train is who makes room: a third of their share, since somebody waits for it."""


def make(trained: Sequence[Any], order: messages.MakeRoom) -> None:
    """Get all that joining takes beside those who train; what can't be had now comes when it is needed."""

    def got() -> None:
        for_steps(trained)
        if order.descriptor is not None:
            in_segment(order.descriptor, order.state_place, order.state_bytes)

    beside.begin(got, NICER).join()


def for_steps(trained: Sequence[Any]) -> None:
    """Have TensorFlow keep the memory that a step of these variables takes: what it has freed it uses again."""
    import tensorflow as tf

    if not state.on_host(trained):
        return
    populate = ctypes.CDLL(None, use_errno=True).madvise
    populate.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    sizes = [array.nbytes for array in state.capture(trained) for _ in range(COPIES)]
    with contextlib.suppress(
        tf.errors.ResourceExhaustedError
    ):  # then it fails where it is needed, and is told there
        # TensorFlow's own operations would write to it in threads of theirs, which are as fast as training's.
        passing = [tf.raw_ops.Empty(shape=[size], dtype=tf.uint8, init=False) for size in sizes]
        for array in (np.asarray(memoryview(one)) for one in passing):
            start = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
            stop = array.ctypes.data + array.nbytes
            for place in range(start, stop, PIECE_BYTES):
                if populate(place, min(PIECE_BYTES, stop - place), POPULATE) != 0:  # an old kernel
                    return


def in_segment(descriptor: int, place: int, length: int) -> None:
    """Have a part of a segment in memory, and what lies there as it is; more than it has room for is left out."""
    with contextlib.suppress(
        OSError, ValueError
    ):  # an old kernel, no memory, a shorter segment: then it comes later
        for start in range(0, length, PIECE_BYTES):
            size = min(PIECE_BYTES, length - start)
            with mmap.mmap(descriptor, size, offset=place + start) as memory:
                memory.madvise(POPULATE)
