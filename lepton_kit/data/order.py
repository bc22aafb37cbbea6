"""The order of an epoch by blocks, in memory that does not grow with the data: whole blocks, then rows in a window.

`sharding.epoch_order` permutes all rows at once, which needs an index of every row in memory and reads a disk in single
rows. Here blocks of neighbouring rows are permuted, a window of some blocks in that order is read as a whole, and the
rows inside the window are permuted. Any part of the order is found from its position alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from lepton_kit.errors import ConfigError
from lepton_kit.specs import BlockOrder

ROUNDS = 6


def mix(values: np.ndarray | np.uint64) -> np.ndarray:
    """splitmix64's finaliser (Steele et al. 2014, doi:10.1145/2660193.2660195) on uint64 values.

    >>> int(mix(np.uint64(1)))
    6238072747940578789
    """
    z = np.atleast_1d(np.asarray(values, np.uint64)).copy()
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z if np.ndim(values) else z[0]


def key_of(*words: int) -> int:
    """One 64-bit key from whole numbers of any size.

    >>> key_of(1, 2) == key_of(2, 1)
    False
    """
    key = 0x9E3779B97F4A7C15
    for word in words:
        for part in (word % 2**64, word >> 64):
            key = int(mix(np.uint64((key * 31 + part + 0x632BE59BD9B4E019) % 2**64)))
    return key


class Bijection:
    """A keyed permutation of ``range(size)`` in O(1) memory: a Feistel network that walks until it is in range.

    Black & Rogaway 2002, "Ciphers with arbitrary finite domains" (doi:10.1007/3-540-45760-7_9), cycle walking.

    >>> one = Bijection(10, key=3)
    >>> sorted(one(np.arange(10)).tolist()) == list(range(10))
    True
    >>> one.inverse(one(np.arange(10))).tolist() == list(range(10))
    True
    """

    def __init__(self, size: int, key: int):
        self._size = size
        self._half = np.uint64(max(1, -(-max(1, size - 1).bit_length() // 2)))
        self._mask = np.uint64(2 ** int(self._half) - 1)
        self._keys = [np.uint64(key_of(key, number)) for number in range(ROUNDS)]

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """What stands at the places, int64."""
        return self._walk(places, self._forward)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Where the values stand, int64."""
        return self._walk(values, self._backward)

    def _walk(self, values: np.ndarray, step: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        found = np.asarray(values).astype(np.uint64)
        left = np.arange(found.size)
        while left.size:
            found[left] = step(found[left])
            left = left[found[left] >= np.uint64(self._size)]
        return found.astype(np.int64)

    def _forward(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (mix(right ^ key) & self._mask)
        return (left << self._half) | right

    def _backward(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self._half, values & self._mask
        for key in reversed(self._keys):
            left, right = right ^ (mix(left ^ key) & self._mask), left
        return (left << self._half) | right


@dataclass(frozen=True)
class Order:
    """The order of one epoch of ``samples`` rows, in blocks of ``block`` rows and windows of ``window`` blocks.

    >>> order = Order(samples=10, block=4, window=2, seed=0, epoch=0)
    >>> sorted(order.at(0, 10).tolist()) == list(range(10))
    True
    >>> order.at(3, 6).tolist() == order.at(0, 10)[3:6].tolist()
    True
    """

    samples: int
    block: int
    window: int
    seed: int
    epoch: int

    def __post_init__(self) -> None:
        for name in ("samples", "block", "window"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"order.{name}", given=getattr(self, name), rule="a whole number of at least 1"
                )

    @property
    def blocks(self) -> int:
        """Number of blocks; the last one in the data may be short, wherever it comes in the order."""
        return -(-self.samples // self.block)

    @property
    def windows(self) -> int:
        """Number of windows."""
        return -(-self.blocks // self.window)

    @cached_property
    def _order_of_blocks(self) -> Bijection:
        return Bijection(self.blocks, key_of(self.seed, self.epoch))

    @cached_property
    def _short(self) -> int:
        """The place of the short block among the permuted ones."""
        return int(self._order_of_blocks.inverse(np.array([self.blocks - 1]))[0])

    def start(self, window: int) -> int:
        """Position in the epoch of the first row of a window; of the window after the last one: the number of rows."""
        first = min(window * self.window, self.blocks)
        lacking = self.blocks * self.block - self.samples
        return first * self.block - (lacking if self._short < first else 0)

    def window_at(self, position: int) -> int:
        """The window that a position of the epoch lies in."""
        found = position // (self.window * self.block)
        return found + 1 if position >= self.start(found + 1) else found

    def at(self, start: int, stop: int) -> np.ndarray:
        """The rows at the positions ``start`` to ``stop`` (exclusive) of the epoch, int64."""
        parts, position, stop = [], max(0, start), min(stop, self.samples)
        while position < stop:
            window = self.window_at(position)
            low, high = self.start(window), self.start(window + 1)
            parts.append(_rows(self, window)[position - low : min(stop, high) - low])
            position = high
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.arange(0)])

    def _chosen(self, window: int) -> np.ndarray:
        """The blocks of a window, as they come."""
        first = window * self.window
        return self._order_of_blocks(np.arange(first, min(first + self.window, self.blocks)))

    def _rows_of(self, chosen: np.ndarray) -> np.ndarray:
        rows = (chosen[:, None] * self.block + np.arange(self.block)).reshape(-1)
        return rows[rows < self.samples]


@dataclass(frozen=True)
class VariedOrder(Order):
    """The same for blocks of different sizes, which takes memory for each block: ``sizes`` are (rows, how many such).

    >>> order = VariedOrder(samples=10, block=4, window=1, seed=0, epoch=0, sizes=((4, 2), (2, 1)))
    >>> sorted(order.at(0, 10).tolist()) == list(range(10))
    True
    """

    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return sum(count for _, count in self.sizes)

    @cached_property
    def _edges(self) -> np.ndarray:
        """The first row of each block, and the number of rows."""
        each = np.repeat([rows for rows, _ in self.sizes], [count for _, count in self.sizes])
        return np.concatenate([[0], np.cumsum(each)])

    @cached_property
    def _starts(self) -> np.ndarray:
        order = self._order_of_blocks(np.arange(self.blocks))
        ends = np.concatenate([[0], np.cumsum(np.diff(self._edges)[order])])
        return ends[np.minimum(np.arange(self.windows + 1) * self.window, self.blocks)]

    def start(self, window: int) -> int:
        """See `Order.start`."""
        return int(self._starts[min(window, self.windows)])

    def window_at(self, position: int) -> int:
        """See `Order.window_at`."""
        return int(np.searchsorted(self._starts, position, side="right")) - 1

    def _rows_of(self, chosen: np.ndarray) -> np.ndarray:
        return np.concatenate([np.arange(self._edges[one], self._edges[one + 1]) for one in chosen])


@lru_cache(maxsize=8)
def _rows(order: Order, window: int) -> np.ndarray:
    """The rows of a window in their order: at most window x block of them."""
    rows = order._rows_of(order._chosen(window))
    # The hash decides, and equal hashes keep their order: nothing here depends on a library's random numbers.
    key = np.uint64(key_of(order.seed, order.epoch, window + 1))
    places = np.arange(1, len(rows) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    rows = rows[np.argsort(mix(places + key), kind="stable")]
    rows.setflags(write=False)
    return rows


@lru_cache(maxsize=4)
def order_of(chosen: BlockOrder, seed: int, epoch: int, samples: int) -> Order:
    """The order of an epoch as a configuration describes it. Raises `ConfigError` for blocks of other data."""
    if isinstance(chosen.blocks, int):
        return Order(samples, chosen.blocks, chosen.window, seed, epoch)
    total = sum(rows * count for rows, count in chosen.blocks)
    if total != samples:
        raise ConfigError("training.order.blocks", given=total, rule=f"blocks of {samples} rows in all")
    largest = max(rows for rows, _ in chosen.blocks)
    return VariedOrder(samples, largest, chosen.window, seed, epoch, chosen.blocks)


def sizes_of(edges: np.ndarray) -> int | tuple[tuple[int, int], ...]:
    """Blocks as a configuration writes them: their common size, or (rows, how many such) in order; empty ones left out.

    >>> sizes_of(np.array([0, 4, 8, 9])), sizes_of(np.array([0, 1, 4, 4, 7]))
    (4, ((1, 1), (3, 2)))
    """
    sizes = np.diff(edges)
    sizes = sizes[sizes > 0]
    if (sizes[:-1] == sizes[0]).all() and sizes[-1] <= sizes[0]:
        return int(sizes[0])
    changes = np.flatnonzero(np.diff(sizes)) + 1
    runs = np.split(sizes, changes)
    return tuple((int(run[0]), len(run)) for run in runs)
