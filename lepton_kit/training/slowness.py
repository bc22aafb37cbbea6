"""A worker made slow for real, for lessons and tests: it rests where a slow processor computes, or a slow disk reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any


class Slowness:
    """How slow a worker is made; belongs to its process, so a ring that forms anew changes nothing.

    >>> slow = Slowness()
    >>> slow.set(factor=3.0)
    >>> slow.factor, slow.data_seconds
    (3.0, 0.0)
    """

    def __init__(self) -> None:
        self.factor = 1.0
        """Computing takes so many times as long …"""
        self.data_seconds = 0.0
        """… and reading so many seconds a step longer."""
        self._woken = threading.Event()
        self.begin()

    def begin(self) -> None:
        """A block begins to train."""
        self._mark, self._rested, self._paid = time.perf_counter(), 0.0, 0.0

    def set(self, factor: float | None = None, data_seconds: float | None = None) -> None:
        """Be as slow as this from the next block on; None leaves it as it is. Ends a rest, from any thread."""
        self.factor = self.factor if factor is None else factor
        self.data_seconds = self.data_seconds if data_seconds is None else data_seconds
        self.wake()

    def after_reading(self, steps: int) -> None:
        """Rest for what reading so many steps takes longer."""
        self._rest(lambda: self.data_seconds * steps)

    def before_sum(self) -> None:
        """Rest for what was computed since the last sum: a slow device comes late into the next one."""
        self._pay(time.perf_counter() - self._mark)

    def after_sum(self) -> None:
        """A sum has ended: computing goes on."""
        self._mark = time.perf_counter()

    def excuse(self, seconds: float) -> None:
        """So many seconds of this block were not computing: a graph was traced, say."""
        self._paid += seconds
        self._mark += seconds

    def after_computing(self, seconds: float) -> None:
        """The block has ended after so many seconds without its sums, rests among them: rest for what is left of it."""
        self._pay(max(0.0, seconds - self._rested - self._paid))

    def _pay(self, computed: float) -> None:
        start = time.perf_counter()
        self._rest(lambda: (self.factor - 1.0) * computed)
        self._paid += computed
        self._rested += time.perf_counter() - start

    def wake(self) -> None:
        """End a rest: the ring breaks up, or it is undone."""
        self._woken.set()

    def _rest(self, seconds: Callable[[], float]) -> None:
        self._woken.clear()  # before it is asked how long, so that no change is missed
        if (wanted := seconds()) > 0:
            self._woken.wait(wanted)


class Resting:
    """A collective for a slowed worker: it rests before each sum, in the graph.

    Resting after a block instead would be slower than a slow device is: within the block the worker waits for the others
    in each sum, and such a device computes meanwhile.
    """

    def __init__(self, collective: Any, slowness: Slowness):
        self._collective, self._slowness = collective, slowness

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """As `Summing.sum`."""
        rest, goes_on = self._slowness.before_sum, self._slowness.after_sum
        parts = [len(means), len(means) + len(totals)]
        given = _after([*means, *totals, *gradients], rest)
        found = self._collective.sum(given[: parts[0]], given[parts[0] : parts[1]], scale, given[parts[1] :])
        return _after(found, goes_on)

    def agree(self, vector: Any) -> Any:
        """As `Summing.agree`."""
        return self._collective.agree(vector)


def _after(tensors: Sequence[Any], act: Callable[[], None]) -> list[Any]:
    """The tensors, once all are there and something was done then."""
    import numpy as np
    import tensorflow as tf

    def done() -> np.ndarray:
        act()
        return np.zeros((), np.float32)

    with tf.control_dependencies(list(tensors)):
        acted = tf.numpy_function(done, [], tf.float32)
    with tf.control_dependencies([acted]):
        return [tf.identity(one) for one in tensors]
