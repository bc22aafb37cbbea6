"""Which rows of a file are trained on and which are held out: found from a row's place alone, without a list of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Run:
    """Neighbouring rows: ``start`` to ``stop`` (exclusive)."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows of the file at these places of the part."""
        return np.asarray(indices) + self.start


class Share:
    """Of each block of neighbouring rows a random share is held out; this part is those rows, or the others.

    ``edges`` are the first row of each block and the number of rows, int64, shape ``(blocks + 1,)``.

    >>> train, held = (Share(np.array([0, 6, 10]), 0.5, seed=0, held=held) for held in (False, True))
    >>> sorted([*train.rows(np.arange(5)).tolist(), *held.rows(np.arange(5)).tolist()]) == list(range(10))
    True
    """

    def __init__(self, edges: np.ndarray, share: float, seed: int, held: bool):
        self._edges, self._seed, self._held = np.asarray(edges, np.int64), seed, held
        sizes = np.diff(self._edges)
        self._held_of = np.round(sizes * share).astype(np.int64)
        if share and not 0 < self._held_of.sum() < self._edges[-1]:
            # Blocks too small for a share of their own: rounded over all of them.
            self._held_of = np.diff(np.round(self._edges * share)).astype(np.int64)
        if share and not self._held_of.sum() and self._edges[-1] > 1:
            self._held_of[int(np.argmax(sizes))] = 1
        self.edges = np.concatenate([[0], np.cumsum(self._held_of if held else sizes - self._held_of)])

    def __len__(self) -> int:
        return int(self.edges[-1])

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows of the file at these places of the part, as they lie inside a block."""
        indices = np.asarray(indices, np.int64)
        blocks = np.searchsorted(self.edges, indices, side="right") - 1
        found = np.empty_like(indices)
        for block in np.unique(blocks):
            mine = blocks == block
            first, size = int(self._edges[block]), int(self._edges[block + 1] - self._edges[block])
            chosen = _chosen(self._seed, int(block), size, int(self._held_of[block]), self._held)
            found[mine] = first + chosen[indices[mine] - self.edges[block]]
        return found


@lru_cache(maxsize=64)
def _chosen(seed: int, block: int, size: int, count: int, held: bool) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=(seed % 2**64) * 2**64 + block))
    order = generator.permutation(size)
    found = np.sort(order[:count] if held else order[count:])
    found.setflags(write=False)
    return found
