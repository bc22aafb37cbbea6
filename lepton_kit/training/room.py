"""Memory that a worker will need in a ring, got before it joins: what was not used before comes page by page.

While a ring forms all its ranks wait for the slowest of them, so what can be done before is done while the others train.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from typing import Any

from lepton_kit.training import state
from lepton_kit.training.handover import PIECE_BYTES

POPULATE = 23
"""MADV_POPULATE_WRITE of madvise(2), which Python does not name: pages come as by a write, and keep what they hold."""
COPIES = 2
"""Beside weights and optimizer a step holds the gradients, and their sums or the optimizer's passing results."""


def for_steps(trained: Sequence[Any]) -> None:
    """Have TensorFlow keep the memory that a step of these variables takes: what it has freed it uses again."""
    import tensorflow as tf

    if not state.on_host(trained):
        return
    with contextlib.suppress(
        tf.errors.ResourceExhaustedError
    ):  # then it fails where it is needed, and is told there
        passing = [tf.fill(one.shape, tf.cast(0, one.dtype)) for one in trained for _ in range(COPIES)]
        del passing


def in_segment(descriptor: int, place: int, length: int) -> None:
    """Have a part of a segment in memory, and what lies there as it is; more than it has room for is left out."""
    with contextlib.suppress(
        OSError, ValueError
    ):  # an old kernel, no memory, a shorter segment: then it comes later
        for start in range(0, length, PIECE_BYTES):
            size = min(PIECE_BYTES, length - start)
            with mmap.mmap(descriptor, size, offset=place + start) as memory:
                memory.madvise(POPULATE)
