"""Where the time of a rank goes: reading its data, computing, adding up with others, waiting for the slowest of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.training.slowness import Slowness

FIGURES = 3
"""Numbers by which a rank tells the others of its time; see `Clock.take`."""


class Stopwatch:
    """Seconds that a process spends in something, also where that is a part of TensorFlow's graph."""

    def __init__(self) -> None:
        self._eager = 0.0
        self._in_graph: Any = None

    @property
    def seconds(self) -> float:
        """All of them so far."""
        return self._eager + (0.0 if self._in_graph is None else float(self._in_graph.numpy()))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of a block of Python."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._eager += time.perf_counter() - start

    def around(self, inputs: Sequence[Any], act: Callable[[list[Any]], list[Any]]) -> list[Any]:
        """What ``act`` gives for these tensors; counted from when all of them are there until all results are.

        In a graph three small operations do so. A GPU's tensors count as there when its work on them is queued.
        """
        import tensorflow as tf

        if tf.executing_eagerly():
            with self.running():
                return act(list(inputs))
        if self._in_graph is None:
            with tf.init_scope(), tf.device("cpu"):
                self._in_graph = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        with tf.control_dependencies(list(inputs)):
            start = tf.timestamp()
        with tf.control_dependencies([start]):
            results = act([tf.identity(one) for one in inputs])
        with tf.control_dependencies(results):
            counted = self._in_graph.assign_add(tf.timestamp() - start)
        with tf.control_dependencies([counted]):
            return [tf.identity(one) for one in results]


class Clock:
    """The time of one rank between two agreements. ``inside`` tells the seconds that it has spent in sums, in all.

    What ``slowness`` has it rest counts as that for which it rests: reading, or computing.
    """

    def __init__(self, inside: Callable[[], float], slowness: Slowness | None = None):
        self._inside = inside
        self._slowness = slowness or Slowness()
        self._at = inside()
        self._data = self._computed = 0.0
        self._steps = 0
        self.step_seconds = 0.0
        """Of the last steps, each; with the wait for the slowest rank, so all ranks find them as long."""

    @contextlib.contextmanager
    def reading(self, steps: int = 1) -> Iterator[None]:
        """While the samples of a block of so many steps are fetched."""
        start = time.perf_counter()
        yield
        self._slowness.after_reading(steps)
        self._steps += steps
        self._data += time.perf_counter() - start

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """While a block trains: what is not spent in sums is computing."""
        start, inside = time.perf_counter(), self._inside()
        self._slowness.begin()
        try:
            yield
            self._slowness.after_computing(time.perf_counter() - start - (self._inside() - inside))
        finally:
            self._computed += time.perf_counter() - start - (self._inside() - inside)

    def skip(self) -> None:
        """The sums since the last block were of no step: those of a validation, or of callbacks."""
        self._at = self._inside()

    def take(self) -> np.ndarray:
        """Seconds since this was asked last, float32 of shape ``(3,)``: reading, computing, in sums."""
        now = self._inside()
        taken = np.array([self._data, self._computed, now - self._at], np.float32)
        if self._steps:
            self.step_seconds = float(taken.sum()) / self._steps
        self._at, self._data, self._computed, self._steps = now, 0.0, 0.0, 0
        return taken


@dataclass
class Spent:
    """The seconds of all ranks over some blocks: arrays of shape ``(ranks,)``; communicating takes all as long."""

    data: np.ndarray
    computed: np.ndarray
    waited: np.ndarray
    communicated: float = 0.0

    @classmethod
    def nothing(cls, ranks: int) -> Spent:
        """Of so many ranks, before the first block."""
        return cls(np.zeros(ranks), np.zeros(ranks), np.zeros(ranks))

    def add(self, figures: np.ndarray) -> None:
        """A block more: what each rank's `Clock.take` gave, shape ``(ranks, 3)``.

        Nobody waits for the rank that comes last into a sum, so its time there is that of communicating; what others
        spend there beyond that is waiting.

        >>> spent = Spent.nothing(2)
        >>> spent.add(np.array([[0.1, 1.0, 2.5], [0.1, 3.0, 0.5]]))
        >>> spent.waited.tolist(), spent.communicated
        ([2.0, 0.0], 0.5)
        """
        least = float(figures[:, 2].min())
        self.data += figures[:, 0]
        self.computed += figures[:, 1]
        self.waited += figures[:, 2] - least
        self.communicated += least
