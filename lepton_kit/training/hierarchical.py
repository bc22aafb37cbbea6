"""Sums over ranks on several hosts: in shared memory within each host, by Horovod from leader to leader, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_kit.errors import CollectiveError
from lepton_kit.training import native
from lepton_kit.training.collective import (
    HorovodCollective,
    Kind,
    Membership,
    RingCollective,
    checked,
    counted,
)
from lepton_kit.training.over_horovod import summed, unique_name, unknown_zero


class HierarchicalCollective(RingCollective):
    """The leader of each host, its first rank, has a seat in Horovod's ring; the others reach it through shared memory.

    Every rank comes to hold the same bits: a leader adds up its host in rank order, Horovod gives all leaders the same
    sum, and that is copied. Without the native library a rank shares no memory: it has to be a leader of its own.
    """

    kind: Kind = "hierarchical"
    cycle_milliseconds = HorovodCollective.cycle_milliseconds

    def _load(self) -> tuple[Any, Any]:
        return native.load() if native.available() else (None, _NoMemory())

    def _enter(self, membership: Membership, segment: int | None) -> None:
        if self._operations is None and membership.shared_size > 1:
            raise CollectiveError("ranks that share memory need the native library; `make setup` builds it")
        self._open(membership, segment)
        # Graphs of a rank without the library always ask Horovod, so it has to be in a ring, if need be alone.
        if _crosses(membership) or self._operations is None:
            HorovodCollective._enter(self, membership, None)

    def rest(self) -> bool:
        """End the ring of the leaders, as `HorovodCollective.rest` does."""
        return HorovodCollective.rest(self)

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """Sums over ranks, in the graph: of ``means`` times ``scale``, of ``totals``, and of ``gradients``."""
        import tensorflow as tf

        tensors = [*means, *totals, *gradients]
        rounded = len(gradients) if self._wire != "float32" else 0
        name = unique_name("sums") or "sums"
        if self._operations is None:
            exact, other = _row(*counted(means, totals, gradients, scale), rounded)
        else:
            exact, other, leads = self._operations.lepton_ring_reduce(
                tensors=tensors, scale=scale, scaled=len(means), rounded=rounded
            )

        def between_hosts(rows: list[Any]) -> list[Any]:
            zero = unknown_zero()
            if not rounded:
                return [*summed(rows[:1], name, zero), rows[1]]
            wired = tf.cast(rows[1], self._wire)
            (sums,) = summed([wired], f"{name}_rounded", zero)
            sums = tf.cast(sums, tf.float32)
            if len(tensors) == rounded:
                return [rows[0], sums]
            with tf.control_dependencies([wired]):  # both at once, so that the leaders come together once
                return [*summed(rows[:1], name, zero), sums]

        if self._operations is None:
            return _cut(tf.concat(self._clock.around([exact, other], between_hosts), 0), tensors)
        exact, other = tf.cond(leads, lambda: between_hosts([exact, other]), lambda: [exact, other])
        return list(self._operations.lepton_ring_publish(exact=exact, other=other, like=tensors))

    def broadcast(self, data: np.ndarray) -> np.ndarray:
        """Rank 0's bytes (uint8, same length everywhere) on every rank. Raises `CollectiveError`."""
        import tensorflow as tf

        assert self.membership is not None
        if _crosses(self.membership):
            data = self.broadcast_to_leaders(data)
        if self.membership.shared_size == 1:
            return data
        words = tf.constant(np.pad(data, (0, -len(data) % 4)).view(np.float32))
        publish = self._operations.lepton_ring_publish
        received = checked(
            lambda: publish(exact=words, other=words[:0], like=[words], always=True)[0].numpy()
        )
        return received.view(np.uint8)[: len(data)]


class _NoMemory:
    """The functions of the native library for a rank that shares no memory."""

    def lepton_ring_open(self, *_: int) -> int:
        return 0

    def lepton_ring_abort(self) -> None:
        pass

    lepton_ring_close = lepton_ring_abort

    def lepton_ring_inside(self) -> int:
        return 0


def _crosses(membership: Membership) -> bool:
    """Whether this rank speaks for its host with others."""
    return membership.seat is not None and membership.seat.size > 1


def _row(exact: list[Any], gradients: list[Any], rounded: int) -> tuple[Any, Any]:
    """What a rank that is alone brings, as `lepton_ring_reduce` gives it."""
    import tensorflow as tf

    tensors = [*exact, *gradients]
    kept = len(tensors) - rounded
    nothing = tf.zeros([0])
    first, second = (
        tf.concat([nothing, *(tf.reshape(one, [-1]) for one in part)], 0)
        for part in (tensors[:kept], tensors[kept:])
    )
    return first, second


def _cut(row: Any, like: Sequence[Any]) -> list[Any]:
    """A row of numbers as tensors of these shapes."""
    import tensorflow as tf

    parts = tf.split(row, [tf.size(one) for one in like])
    return [tf.reshape(part, tf.shape(one)) for part, one in zip(parts, like, strict=True)]
