"""The one pure function that decides who trains on what.

Each global batch of ``B`` samples is cut into ``b_r`` samples per rank with ``sum(b_r) == B``. The order of
the samples depends on the seed and the epoch alone, so the same global batch can be cut anew for any number
of ranks at any step: ``(epoch, step)`` is the whole state of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lepton_kit.data.order import order_of
from lepton_kit.errors import ConfigError
from lepton_kit.specs import BlockOrder


def steps_per_epoch(samples: int, global_batch: int) -> int:
    """Number of global batches in an epoch; the last one may be short.

    >>> steps_per_epoch(10, 4)
    3
    """
    if samples < 1:
        raise ConfigError("samples", given=samples, rule="at least 1 sample")
    if global_batch < 1:
        raise ConfigError("global_batch", given=global_batch, rule="a whole number of at least 1")
    return -(-samples // global_batch)


def position(step: int, samples: int, global_batch: int) -> tuple[int, int]:
    """The (epoch, step in that epoch) of a step counted from the start of the run.

    >>> position(7, samples=10, global_batch=4)
    (2, 1)
    """
    return divmod(step, steps_per_epoch(samples, global_batch))


def batch_size(step: int, samples: int, global_batch: int) -> int:
    """Size of the global batch at a step of the run: ``global_batch``, or less for the last of an epoch.

    >>> [batch_size(s, samples=10, global_batch=4) for s in range(4)]
    [4, 4, 2, 4]
    """
    _, within = position(step, samples, global_batch)
    return min(global_batch, samples - within * global_batch)


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, samples: int) -> np.ndarray:
    """The order of an epoch: a permutation of ``arange(samples)``, shape ``(samples,)``, int64, read-only.

    It comes from a Philox counter keyed by ``(seed, epoch)`` (Salmon et al., 2011, doi:10.1145/2063384.2063405),
    so any epoch is found without visiting the ones before it.

    >>> epoch_order(seed=0, epoch=3, samples=5).sum()
    np.int64(10)
    """
    generator = np.random.Generator(np.random.Philox(key=(seed % 2**64) * 2**64 + epoch))
    order = generator.permutation(samples)
    order.setflags(write=False)
    return order


def batch_of(
    step: int,
    *,
    seed: int,
    samples: int,
    global_batch: int,
    shuffle: bool = True,
    order: BlockOrder | None = None,
) -> np.ndarray:
    """The sample indices of the global batch at a step of the run, int64, shape ``(batch_size(step),)``.

    With ``order`` a new order of each epoch goes by blocks, else it is a permutation of all rows.

    >>> batch_of(2, seed=0, samples=10, global_batch=4, shuffle=False).tolist()
    [8, 9]
    """
    epoch, within = position(step, samples, global_batch)
    rows = slice(within * global_batch, min((within + 1) * global_batch, samples))
    if not shuffle:  # no order of all samples is made for a batch
        return np.arange(rows.start, rows.stop)
    if order is not None:
        return order_of(order, seed, epoch, samples).at(rows.start, rows.stop)
    return epoch_order(seed, epoch, samples)[rows]


def edges_of(batch: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Where each rank's part of a batch begins, and the end: one number more than there are ranks.

    >>> edges_of(128, [3, 1])
    (0, 96, 128)
    """
    return (0, *(int(edge) for edge in np.cumsum(cut(batch, weights))))


def cut(batch: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Cut a batch into one part per rank, proportional to the weights, by largest remainders.

    ``weights`` are relative speeds, one per rank, each >= 0 with a positive sum. Ties go to the lower rank, so
    every process computes the same cut.

    >>> cut(128, [1, 1, 1])
    (43, 43, 42)
    >>> cut(128, [3, 1])
    (96, 32)
    """
    if not len(weights):
        raise ConfigError("weights", given=weights, rule="one weight per rank, so at least one")
    shares = np.asarray(weights, np.float64)
    if not np.all(np.isfinite(shares)) or np.any(shares < 0) or shares.sum() <= 0:
        raise ConfigError("weights", given=list(weights), rule="finite numbers >= 0 with a positive sum")
    exact = batch * (shares / shares.sum())
    parts = np.floor(exact).astype(np.int64)
    order = np.argsort(parts - exact, kind="stable")
    parts[order[: batch - int(parts.sum())]] += 1
    return tuple(int(part) for part in parts)


def shard(
    *,
    seed: int,
    step: int,
    samples: int,
    global_batch: int,
    weights: Sequence[float],
    shuffle: bool = True,
    order: BlockOrder | None = None,
) -> tuple[np.ndarray, ...]:
    """The sample indices of every rank for one step of the run: one int64 array of shape ``(b_r,)`` per rank.

    Joined in rank order they are the global batch; over the steps of an epoch every sample comes exactly
    once, whatever the number of ranks at each step. Without ``shuffle`` they come as they lie, in every epoch.

    >>> parts = shard(seed=0, step=0, samples=10, global_batch=4, weights=[1, 1])
    >>> [len(part) for part in parts]
    [2, 2]
    """
    batch = batch_of(
        step, seed=seed, samples=samples, global_batch=global_batch, shuffle=shuffle, order=order
    )
    edges = edges_of(len(batch), weights)
    return tuple(batch[low:high] for low, high in pairwise(edges))
