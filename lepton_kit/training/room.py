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
ASIDE = 4096
"""Bytes beside each array, for its place to begin where TensorFlow wants it."""
NICER = 5
"""Than those who train is who makes room: a third of their share, since somebody waits for it."""


M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Of mallopt(3)."""


def keep_freed() -> None:
    """Have this process and its forks keep what they free, for the next step, in one place that all threads take from.

    The GNU C library gives what is as large as a gradient back to the system at once, and gets it page by page again in every
    step; and what one thread has freed another, with an arena of its own, doesn't find. To be called before there are threads.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such settings
        for setting, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
            ctypes.CDLL(None).mallopt(setting, value)


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
    needed = sum(COPIES * (array.nbytes + ASIDE) for array in state.capture(trained))
    with contextlib.suppress(
        tf.errors.ResourceExhaustedError
    ):  # then it fails where it is needed, and is told there
        # TensorFlow's own operations would write to it in threads of theirs, which are as fast as training's. And one piece: of
        # many that were freed the C library finds none again for what is as large, unless they lie side by side.
        array = np.asarray(memoryview(tf.raw_ops.Empty(shape=[needed], dtype=tf.uint8, init=False)))
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
