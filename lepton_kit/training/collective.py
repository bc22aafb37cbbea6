"""Sums over all ranks: gradients inside the step, and the small vector by which ranks agree on what comes next.

`RingCollective` sums in shared memory (ranks of one host), `HorovodCollective` by Horovod's grouped allreduce, and
`HierarchicalCollective` by both: in shared memory within each host, by Horovod between the leaders of the hosts.
Horovod's own ring also carries the state to ranks that join.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from lepton_kit.errors import CollectiveError
from lepton_kit.training import native
from lepton_kit.training.clocks import Stopwatch
from lepton_kit.training.over_horovod import summed, unique_name, unknown_zero

Kind = Literal["shared_memory", "horovod", "hierarchical"]
Sharing = Literal["all", "host", "none"]
"""Which ranks of a run share memory: all of them, those of each host, or none."""
DESCRIPTORS = "/proc/self/fd"
HOST = "CPU:0"
HEADER_BYTES = native.HEADER_BYTES
FAILURE_NAMES = ("LeptonRing", "Horovod", "horovod", "Gloo", "gloo")
"""Words by which the text of a TensorFlow error shows that a collective failed, not the model."""


@dataclass(frozen=True)
class Seat:
    """What a rank is in Horovod's ring: among all in it, those of its host, and those with its local rank."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int


@dataclass(frozen=True)
class Membership:
    """What a worker is in one generation; ``host`` and ``interface`` are those of its place.

    ``shared_rank`` counts the ranks that share memory with it. Where these sum there first, the first one of each host
    alone has a ``seat`` in Horovod's ring.
    """

    generation: int
    rank: int
    world_size: int
    shared_rank: int
    shared_size: int
    seat: Seat | None
    host: str
    rendezvous_host: str
    rendezvous_port: int
    interface: str
    slot_bytes: int
    timeout_seconds: int


def environment(membership: Membership, cycle_milliseconds: float, cache_capacity: int) -> dict[str, str]:
    """The variables from which Horovod learns what this process is; it has to have a seat."""
    seat = membership.seat
    assert seat is not None
    told = {
        "RANK": seat.rank,
        "SIZE": seat.size,
        "LOCAL_RANK": seat.local_rank,
        "LOCAL_SIZE": seat.local_size,
        "CROSS_RANK": seat.cross_rank,
        "CROSS_SIZE": seat.cross_size,
        "HOSTNAME": membership.host,
        "CONTROLLER": "gloo",
        "CPU_OPERATIONS": "gloo",
        "GLOO_IFACE": membership.interface,
        "GLOO_RENDEZVOUS_ADDR": membership.rendezvous_host,
        "GLOO_RENDEZVOUS_PORT": membership.rendezvous_port,
        "GLOO_TIMEOUT_SECONDS": membership.timeout_seconds,
        "CYCLE_TIME": cycle_milliseconds,
        "CACHE_CAPACITY": cache_capacity,
        "STALL_CHECK_DISABLE": 1,
    }
    return {f"HOROVOD_{name}": str(value) for name, value in told.items()}


def segment_bytes(world_size: int, slot_bytes: int) -> int:
    """Size of the shared segment of a generation, as `lepton_ring_bytes` computes it, without loading TensorFlow."""
    return HEADER_BYTES + 2 * world_size * min(native.PIECE_BYTES, -(-slot_bytes // 4096) * 4096)


def is_collective_failure(failure: BaseException) -> bool:
    """True if this error of a TensorFlow operation means that a peer has left."""
    return isinstance(failure, CollectiveError) or any(name in str(failure) for name in FAILURE_NAMES)


def sockets() -> set[tuple[int, str]]:
    """The descriptors of this process that are sockets, each with the name of its socket (Linux; proc(5))."""
    found = set()
    for descriptor in os.listdir(DESCRIPTORS) if os.path.isdir(DESCRIPTORS) else ():
        with contextlib.suppress(OSError):
            name = os.readlink(f"{DESCRIPTORS}/{descriptor}")
            if name.startswith("socket:"):
                found.add((int(descriptor), name))
    return found


def shut(descriptor: int, name: str) -> None:
    """End a TCP connection for both sides; its owner still has to close it. Nothing is done to another socket."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as link:
        same = os.readlink(f"{DESCRIPTORS}/{link.fileno()}") == name
        if same and link.family in (socket.AF_INET, socket.AF_INET6) and link.type == socket.SOCK_STREAM:
            link.shutdown(socket.SHUT_RDWR)


class Summing(Protocol):
    """What a training step needs of a collective."""

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """Inside a graph: sums over ranks of ``scale * mean``, ``total`` and ``gradient``, in that order, all float32.

        A rank whose scale is 0 has no samples, and counts for nothing in any of them. Gradients alone may be rounded
        on their way.
        """

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The element-wise sum of every rank's float32 vector."""


class HorovodCollective:
    """Horovod's grouped allreduce: any hosts, CPU or GPU."""

    kind: Kind = "horovod"
    cycle_milliseconds = 0.5
    cache_capacity = 0
    """Sums that Horovod remembers, so that each rank decides by itself which tensors of them travel together.

    A rank that was alone decides otherwise afterwards: it lets each travel by itself, the others don't, and Gloo ends the process.
    With no memory rank 0 decides for all."""

    def __init__(self, wire: str = "float32", staged: bool = False):
        """``wire``: what goes over Horovod may be rounded to float16. ``staged``: sums take place in the host's memory."""
        self._wire, self._staged = wire, staged
        self.membership: Membership | None = None
        self._links: set[tuple[int, str]] = set()
        self._broken: int | None = None
        self._clock = Stopwatch()

    def join(self, membership: Membership, segment: int | None = None) -> None:
        """Come together with the other members. Raises `CollectiveError` if a member does not come.

        ``segment`` is a descriptor of the memory that this rank shares with others.
        """
        if self._broken == membership.generation:
            raise CollectiveError(f"generation {membership.generation} has lost a member before it formed")
        self._enter(membership, segment)
        self.membership = membership
        if self._broken == membership.generation:
            self.break_off(membership.generation)

    def _enter(self, membership: Membership, segment: int | None) -> None:
        import horovod.tensorflow as hvd

        os.environ.update(environment(membership, self.cycle_milliseconds, self.cache_capacity))
        others = sockets()
        try:
            hvd.init()
        except Exception as failure:
            hvd.shutdown()
            raise CollectiveError(f"generation {membership.generation} did not form: {failure}") from None
        self._links = sockets() - others

    def break_off(self, generation: int) -> None:
        """End the connections of a ring that has lost a member, so that nobody waits in it for the time-out.

        Any thread may call it. Whoever waits for this rank or with it, here or elsewhere, sees it fail at once.
        """
        self._broken = generation
        if self.membership is not None and self.membership.generation == generation:
            for link in self._links:
                shut(*link)

    def rest(self) -> bool:
        """End Horovod's ring for as long as the run is held; whether there was one. Then a new generation goes on.

        Its threads ask each other what to sum 2,000 times a second, whether there is anything or not.
        """
        import horovod.tensorflow as hvd

        seat = None if self.membership is None else self.membership.seat
        if seat is None or seat.size == 1:
            return False
        hvd.shutdown()
        self._links = set()
        return True

    def leave(self) -> None:
        """Leave the ring; safe to call when it is broken or was never formed."""
        import horovod.tensorflow as hvd

        hvd.shutdown()
        self.membership, self._links = None, set()

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """Sums over ranks, in the graph: of ``means`` times ``scale``, of ``totals``, and of ``gradients``."""
        import tensorflow as tf

        exact, rounded = counted(means, totals, gradients, scale)
        wire = tf.as_dtype(self._wire)
        rounded = [tf.cast(value, wire) for value in rounded]

        name = unique_name("sums")

        def together(tensors: list[Any]) -> list[Any]:
            first, second = tensors[: len(exact)], tensors[len(exact) :]
            with self._on_host():
                zero = unknown_zero()
                return summed(first, name, zero) + summed(second, name and f"{name}_rounded", zero)

        found = self._clock.around(self._brought([*exact, *rounded]), together)
        return [tf.cast(value, tf.float32) for value in found]

    def _brought(self, tensors: list[Any]) -> list[Any]:
        """The same where they are summed: what a GPU computes has arrived there before its sum begins, and is no part of it."""
        if not self._staged:
            return tensors
        import tensorflow as tf

        with self._on_host():
            return [tf.identity(one) for one in tensors]

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The element-wise sum of every rank's float32 vector, equal on all ranks. Raises `CollectiveError`."""
        import horovod.tensorflow as hvd
        import tensorflow as tf

        with self._clock.running(), self._on_host():
            return checked(
                lambda: hvd.allreduce(tf.constant(vector, tf.float32), op=hvd.Sum, name="agree").numpy()
            )

    def broadcast(self, data: np.ndarray) -> np.ndarray:
        """Rank 0's bytes (uint8, same length everywhere) on every rank. Raises `CollectiveError`."""
        return self.broadcast_to_leaders(data)

    def broadcast_to_leaders(self, data: np.ndarray) -> np.ndarray:
        """The same, for the ranks with a seat alone, which alone may call it."""
        import horovod.tensorflow as hvd
        import tensorflow as tf

        with self._on_host():
            return checked(lambda: hvd.broadcast(tf.constant(data), root_rank=0, name="state").numpy())

    def _on_host(self) -> AbstractContextManager[Any]:
        """Where sums take place. Staged ones say so: ranks on a GPU copy what they bring there, and the sums back.

        Else TensorFlow would place Horovod's operation on the GPU where Horovod has one for it, and ranks without a GPU
        would not find their peers.
        """
        if not self._staged:
            return contextlib.nullcontext()
        import tensorflow as tf

        scope: AbstractContextManager[Any] = tf.device(HOST)
        return scope

    def inside_seconds(self) -> float:
        """Seconds that this process has spent in sums, in all: for the sums themselves, and waiting for others."""
        return self._clock.seconds


class RingCollective(HorovodCollective):
    """Shared memory for the gradients, Horovod's ring for the rest: all ranks on one host, CPU."""

    kind: Kind = "shared_memory"
    cycle_milliseconds = 20.0
    cache_capacity = 1024
    """Horovod's own: here a sum that goes over it is one tensor, and there is nothing to decide."""

    def __init__(self, wire: str = "float32", staged: bool = False) -> None:
        super().__init__(wire, staged)
        self._operations, self._functions = self._load()
        self._mapped = threading.Lock()

    def _load(self) -> tuple[Any, Any]:
        return native.load()

    def _enter(self, membership: Membership, segment: int | None) -> None:
        if segment is None:
            raise CollectiveError("the ring needs the file descriptor of its shared segment")
        super()._enter(membership, segment)
        self._open(membership, segment)

    def _open(self, membership: Membership, segment: int | None) -> None:
        rank, size = membership.shared_rank, membership.shared_size
        opened = self._functions.lepton_ring_open(
            -1 if segment is None else segment,
            rank,
            size,
            membership.slot_bytes,
            membership.world_size > size,
        )
        if opened != 0:
            self.leave()
            raise CollectiveError(
                f"the shared segment of generation {membership.generation} cannot be mapped"
            )

    def rest(self) -> bool:
        """Nothing: it is asked 50 times a second, which costs next to nothing."""
        return False

    def break_off(self, generation: int) -> None:
        """Wake those who wait in shared memory, too."""
        super().break_off(generation)
        with self._mapped:
            if self.membership is not None and self.membership.generation == generation:
                self._functions.lepton_ring_abort()

    def leave(self) -> None:
        """Leave the ring and unmap its memory."""
        with self._mapped:
            self._functions.lepton_ring_close()
        super().leave()

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """Sums over ranks, in the graph: of ``means`` times ``scale``, of ``totals``, and of ``gradients``."""
        tensors = [*means, *totals, *gradients]
        with self._on_host():
            return list(self._operations.lepton_ring_sum(tensors=tensors, scale=scale, scaled=len(means)))

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The same vector summed over ranks, outside the graph."""
        import tensorflow as tf

        tensor = tf.constant(vector, tf.float32)
        return checked(lambda: self.sum([], [tensor], 1.0)[0].numpy())

    def inside_seconds(self) -> float:
        """Seconds that this process has spent in sums, in all: for the sums themselves, and waiting for others."""
        return float(self._functions.lepton_ring_inside() / 1e9) + self._clock.seconds


def counted(
    means: Sequence[Any], totals: Sequence[Any], gradients: Sequence[Any], scale: Any
) -> tuple[list[Any], list[Any]]:
    """What a rank brings to a sum: means weighted, and nothing at all where it has no samples, even of NaN."""
    import tensorflow as tf

    weighted = [tf.math.multiply_no_nan(tf.cast(mean, tf.float32), scale) for mean in means]
    present = tf.cast(scale > 0, tf.float32)
    counted = [tf.math.multiply_no_nan(total, present) for total in totals]
    return [*weighted, *counted], [tf.math.multiply_no_nan(one, present) for one in gradients]


def checked(operation: Callable[[], Any]) -> np.ndarray:
    """What the operation gives. Raises `CollectiveError` where it fails because a peer has left."""
    try:
        return np.asarray(operation())
    except Exception as failure:
        if is_collective_failure(failure):
            raise CollectiveError(str(failure).splitlines()[0]) from None
        raise
