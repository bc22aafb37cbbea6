"""The sums of a rank that has no samples: it takes part in each of them, with nothing, and computes nothing for it.

The graph of such a rank is traced like that of the others, so that it has the same sums in the same order. As nothing
depends any more on what the model computes, TensorFlow leaves that out of the graph: forward and backward of everything
that has no effect of its own. What the ranks have together (losses of gathered predictions, the update) stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_kit.training.collective import Summing
from lepton_kit.training.gather import lengths
from lepton_kit.training.gather import zeros as zeros_of
from lepton_kit.training.traces import NotApart


class Idle:
    """A collective that brings zeros in place of what it is given. One for each step that is traced.

    Each sum waits for the one before it, whether or not somebody asks for what it gives: the other ranks wait for it.
    """

    def __init__(self, collective: Summing):
        import tensorflow as tf

        self._collective, self._graph = collective, tf.compat.v1.get_default_graph()
        self._before: list[Any] = []

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """As `Summing.sum`, of nothing. Raises `NotApart` in a graph within the step's, as of a loop of the model."""
        import tensorflow as tf

        if tf.compat.v1.get_default_graph() is not self._graph:
            raise NotApart("a sum over ranks inside a loop or a condition of the model")
        if any(value.shape.rank is None for part in (means, totals, gradients) for value in part):
            raise NotApart("a sum of what has no shape before it is computed")
        with tf.control_dependencies(self._before):
            nothing = [
                [zeros_of(lengths(value), tf.float32) for value in part]
                for part in (means, totals, gradients)
            ]
            self._before = self._collective.sum(nothing[0], nothing[1], scale, nothing[2])
        return list(self._before)

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """As `Summing.agree`."""
        return self._collective.agree(vector)


class Listed:
    """A collective that keeps a list of the sums which are traced, by their shapes: ranks with other lists don't meet."""

    def __init__(self, collective: Summing):
        self._collective = collective
        self.sums: list[list[str]] = []

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """As `Summing.sum`."""
        self.sums.append(
            [
                f"{name} {one.shape}"
                for name, part in zip("mtg", (means, totals, gradients), strict=True)
                for one in part
            ]
        )
        return self._collective.sum(means, totals, scale, gradients)

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """As `Summing.agree`."""
        return self._collective.agree(vector)
