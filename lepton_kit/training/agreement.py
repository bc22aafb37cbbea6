"""What ranks say to each other between two blocks: one vector, which is summed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from lepton_kit.training.clocks import FIGURES

SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 1.0
"""Of a block. What is asked of a run waits for the end of one."""
EACH_STEP_SECONDS = 0.01
"""Reports that are asked for more often than this are of one step each, and so is a block."""
AGREEMENTS = 40.0
"""So many agreements would fit into a block, as far as it stays short: over a network one takes several round trips."""


class Agrees(Protocol):
    """What adds the vectors of all ranks up."""

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The element-wise sum of every rank's float32 vector."""


class Agreement:
    """Rank 0 decides, every rank tells where its time went; `by` makes it what all ranks know.

    >>> said = Agreement(2)
    >>> said.decide(action=0, steps=5, learning_rate=0.0, weights=(3.0, 1.0))
    >>> said.action, said.steps, said.speeds.tolist(), said.figures.shape
    (0, 5, [3.0, 1.0], (2, 3))
    >>> said.norms.tolist()
    [0.0, 0.0]
    """

    def __init__(self, size: int, vector: np.ndarray | None = None):
        self._size = size
        self._vector = np.zeros(3 + (2 + FIGURES) * size, np.float32) if vector is None else vector
        self.speeds = self._vector[3 : 3 + size]
        """By which batches are cut from here on, one a rank; all 0 where nothing changes."""
        self.norms = self._vector[3 + size : 3 + 2 * size]
        """Squared norms of each rank's own gradients, `Norms.take`'s first."""
        self.figures = self._vector[3 + 2 * size :].reshape(size, FIGURES)
        """What `Clock.take` gives, of each rank."""

    def decide(self, *, action: int, steps: int, learning_rate: float, weights: Sequence[float]) -> None:
        """Rank 0's word. Weights of a ring of another size are of an earlier one, and passed over."""
        self._vector[:3] = action, steps, learning_rate
        if len(weights) == self._size:
            self.speeds[:] = weights

    def by(self, collective: Agrees) -> Agreement:
        """The same of all ranks together. Raises `CollectiveError`."""
        return Agreement(self._size, collective.agree(self._vector))

    @property
    def action(self) -> int:
        """What all do next."""
        return int(self._vector[0])

    @property
    def steps(self) -> int:
        """Of the next block."""
        return int(self._vector[1])

    @property
    def learning_rate(self) -> float:
        """The rate to be set; 0 where it stays."""
        return float(self._vector[2])


class Blocks:
    """How long blocks should be, by what the agreements between them cost.

    >>> blocks = Blocks()
    >>> blocks.note(0.005), blocks.note(0.5)
    (None, None)
    >>> blocks.seconds
    0.2
    """

    def __init__(self) -> None:
        self._costs: deque[float] = deque(maxlen=8)

    def note(self, seconds: float) -> None:
        """An agreement took so long. The quickest of the last ones counts: the others waited for a rank that was late."""
        self._costs.append(seconds)

    def timed(self, agree: Callable[[], Agreement]) -> Agreement:
        """What an agreement gives; its time is noted."""
        start = time.perf_counter()
        agreed = agree()
        self.note(time.perf_counter() - start)
        return agreed

    @property
    def seconds(self) -> float:
        """The length to aim at."""
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, AGREEMENTS * min(self._costs, default=0.0)))
