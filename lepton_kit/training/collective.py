"""Sums over all ranks: gradients inside the step, and the small vector by which ranks agree on what comes next.

`RingCollective` sums in shared memory (ranks of one host), `HorovodCollective` by Horovod's grouped allreduce.
Both form and leave Horovod's own ring, which carries the state to ranks that join.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from lepton_kit.errors import CollectiveError
from lepton_kit.training import native

Kind = Literal["shared_memory", "horovod"]
DESCRIPTORS = "/proc/self/fd"
HEADER_BYTES = native.HEADER_BYTES
FAILURE_NAMES = ("LeptonRing", "Horovod", "horovod", "Gloo", "gloo")
"""Words by which the text of a TensorFlow error shows that a collective failed, not the model."""


@dataclass(frozen=True)
class Membership:
    """What a worker is in one generation of the ring; ``host`` and ``interface`` are those of its place."""

    generation: int
    rank: int
    world_size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int
    host: str
    rendezvous_host: str
    rendezvous_port: int
    interface: str
    slot_bytes: int
    timeout_seconds: int


def environment(membership: Membership, cycle_milliseconds: float) -> dict[str, str]:
    """The variables from which Horovod learns what this process is."""
    told = {
        "RANK": membership.rank,
        "SIZE": membership.world_size,
        "LOCAL_RANK": membership.local_rank,
        "LOCAL_SIZE": membership.local_size,
        "CROSS_RANK": membership.cross_rank,
        "CROSS_SIZE": membership.cross_size,
        "HOSTNAME": membership.host,
        "CONTROLLER": "gloo",
        "CPU_OPERATIONS": "gloo",
        "GLOO_IFACE": membership.interface,
        "GLOO_RENDEZVOUS_ADDR": membership.rendezvous_host,
        "GLOO_RENDEZVOUS_PORT": membership.rendezvous_port,
        "GLOO_TIMEOUT_SECONDS": membership.timeout_seconds,
        "CYCLE_TIME": cycle_milliseconds,
        "STALL_CHECK_DISABLE": 1,
    }
    return {f"HOROVOD_{name}": str(value) for name, value in told.items()}


def choose(allreduce: str, device: str) -> Kind:
    """The collective that a run uses: what was asked for, else shared memory where it can work."""
    if allreduce == "horovod" or device == "gpu":
        return "horovod"
    return "shared_memory" if native.available() else "horovod"


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

    def sum(self, means: Sequence[Any], totals: Sequence[Any], scale: Any) -> list[Any]:
        """Inside a graph: sums over ranks of ``scale * mean`` and of ``total``, in that order, all float32."""

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The element-wise sum of every rank's float32 vector."""


class HorovodCollective:
    """Horovod's grouped allreduce: any hosts, CPU or GPU."""

    kind: Kind = "horovod"
    cycle_milliseconds = 0.5

    def __init__(self, wire: str = "float32"):
        self._wire = wire
        self.membership: Membership | None = None
        self._links: set[tuple[int, str]] = set()
        self._broken: int | None = None

    def join(self, membership: Membership, segment: int | None = None) -> None:
        """Form the ring with the other members. Raises `CollectiveError` if a member does not come."""
        import horovod.tensorflow as hvd

        if self._broken == membership.generation:
            raise CollectiveError(f"generation {membership.generation} has lost a member before it formed")
        os.environ.update(environment(membership, self.cycle_milliseconds))
        others = sockets()
        try:
            hvd.init()
        except Exception as failure:
            hvd.shutdown()
            raise CollectiveError(f"generation {membership.generation} did not form: {failure}") from None
        self.membership, self._links = membership, sockets() - others
        if self._broken == membership.generation:
            self.break_off(membership.generation)

    def break_off(self, generation: int) -> None:
        """End the connections of a ring that has lost a member, so that nobody waits in it for the time-out.

        Any thread may call it. Whoever waits in an operation of Horovod, here or in another rank, sees it fail at once.
        """
        self._broken = generation
        if self.membership is not None and self.membership.generation == generation:
            for link in self._links:
                shut(*link)

    def leave(self) -> None:
        """Leave the ring; safe to call when it is broken or was never formed."""
        import horovod.tensorflow as hvd

        hvd.shutdown()
        self.membership, self._links = None, set()

    def sum(self, means: Sequence[Any], totals: Sequence[Any], scale: Any) -> list[Any]:
        """Inside a graph: sums over ranks of ``scale * mean`` and of ``total``, in that order, all float32.

        A rank whose scale is 0 has no samples, and counts for nothing in either.
        """
        import horovod.tensorflow as hvd
        import tensorflow as tf

        wire = tf.as_dtype(self._wire)
        weighted = [
            tf.cast(tf.math.multiply_no_nan(tf.cast(mean, tf.float32), scale), wire) for mean in means
        ]
        present = tf.cast(scale > 0, tf.float32)
        counted = [tf.math.multiply_no_nan(total, present) for total in totals]
        summed = hvd.grouped_allreduce(weighted, op=hvd.Sum) if weighted else []
        sums = [tf.cast(value, tf.float32) for value in summed]
        return sums + (list(hvd.grouped_allreduce(counted, op=hvd.Sum)) if counted else [])

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The element-wise sum of every rank's float32 vector, equal on all ranks. Raises `CollectiveError`."""
        import horovod.tensorflow as hvd
        import tensorflow as tf

        return _checked(
            lambda: hvd.allreduce(tf.constant(vector, tf.float32), op=hvd.Sum, name="agree").numpy()
        )

    def broadcast(self, data: np.ndarray) -> np.ndarray:
        """Rank 0's bytes (uint8, same length everywhere) on every rank. Raises `CollectiveError`."""
        import horovod.tensorflow as hvd
        import tensorflow as tf

        return _checked(lambda: hvd.broadcast(tf.constant(data), root_rank=0, name="state").numpy())

    def waited_seconds(self) -> float:
        """Time that this process has spent waiting for others; Horovod does not tell, so 0."""
        return 0.0


class RingCollective(HorovodCollective):
    """Shared memory for the gradients, Horovod's ring for the rest: all ranks on one host, CPU."""

    kind: Kind = "shared_memory"
    cycle_milliseconds = 20.0

    def __init__(self) -> None:
        super().__init__()
        self._operations, self._functions = native.load()

    def join(self, membership: Membership, segment: int | None = None) -> None:
        """Enter a ring over this segment of shared memory. Raises `CollectiveError` without one."""
        if segment is None:
            raise CollectiveError("the ring needs the file descriptor of its shared segment")
        super().join(membership)
        opened = self._functions.lepton_ring_open(
            segment, membership.rank, membership.world_size, membership.slot_bytes
        )
        if opened != 0:
            self.leave()
            raise CollectiveError(
                f"the shared segment of generation {membership.generation} cannot be mapped"
            )

    def leave(self) -> None:
        """Leave the ring and unmap its memory."""
        self._functions.lepton_ring_close()
        super().leave()

    def sum(self, means: Sequence[Any], totals: Sequence[Any], scale: Any) -> list[Any]:
        """Sums over ranks: of ``means`` times ``scale``, and of ``totals``, in the graph."""
        return list(
            self._operations.lepton_ring_sum(tensors=[*means, *totals], scale=scale, scaled=len(means))
        )

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The same vector summed over ranks, outside the graph."""
        import tensorflow as tf

        tensor = tf.constant(vector, tf.float32)
        return _checked(
            lambda: self._operations.lepton_ring_sum(tensors=[tensor], scale=1.0, scaled=0)[0].numpy()
        )

    def waited_seconds(self) -> float:
        """Seconds that this rank has waited for others, in all."""
        return float(self._functions.lepton_ring_waited() / 1e9)


def make(kind: Kind, wire: str = "float32") -> HorovodCollective:
    """The collective of this kind; only Horovod's sends float16."""
    return RingCollective() if kind == "shared_memory" else HorovodCollective(wire)


def _checked(operation: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return operation()
    except Exception as failure:
        if is_collective_failure(failure):
            raise CollectiveError(str(failure).splitlines()[0]) from None
        raise
