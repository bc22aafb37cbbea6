"""Says what a worker will feed next, so that data larger than memory are read while the block before trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.data.prepared import Split
from lepton_kit.specs import BlockOrder


class Ahead:
    """Calls `Split.prefetch` with the samples after a block, as far as the source asks for.

    Of a source that reads whole blocks all ranks need the same ones, long before: the next window of the order. Of one
    that decodes single records each rank wants its own of the next steps.
    """

    PIECES = 8
    """A window is announced in this many parts."""

    def __init__(
        self, split: Split, *, seed: int, global_batch: int, shuffle: bool, order: BlockOrder | None
    ):
        self._split, self._source = split, split.source
        self._batch = global_batch
        self._batch_of = partial(
            sharding.batch_of,
            seed=seed,
            samples=len(split),
            global_batch=global_batch,
            shuffle=shuffle,
            order=order,
        )
        self._announced = 0

    def after(self, step: int, steps: int, own: Callable[[int], np.ndarray], last: int) -> None:
        """A block of ``steps`` ends before ``step``, counted from the start of the data's order.

        ``own`` gives this rank's samples of a step; the first step that is not trained any more is ``last``.
        """
        if self._source is None:
            return
        if not self._source.horizon:
            self._split.prefetch(_joined([own(one) for one in range(step, min(step + steps, last))]))
            return
        piece = max(1, self._source.horizon // self.PIECES // self._batch)
        goal = min(last, step + piece * self.PIECES)
        first = self._announced if step <= self._announced <= goal else step
        if first < goal and (first == step or goal - first >= piece):
            batches = [self._batch_of(one) for one in range(first, goal)]
            self._split.prefetch(_joined(batches))
            self._announced = goal


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([*parts, np.arange(0)])
