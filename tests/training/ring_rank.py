"""One rank of rings in shared memory: sums tensors that are drawn from its rank, and prints what came of each case.

python -m tests.training.ring_rank RANK CASES, where CASES is a JSON list of a descriptor and the fields of a `Case` each.
"""

import hashlib
import json
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lepton_kit.training import native

SCALED = 1


@dataclass(frozen=True)
class Case:
    """Ranks with these scales sum tensors of these sizes.

    ``way`` is `sum`, or how a host with its leader sums: `host` for one that is alone, `hosts` where another one takes
    part, which brings the same as this one; `lost` waits for one more rank, until a thread says that it is lost.
    """

    way: str
    scales: tuple[float, ...]
    sizes: tuple[int, ...]

    @property
    def ranks(self) -> int:
        """How many the ring has."""
        return len(self.scales) + (self.way == "lost")

    @property
    def expected(self) -> str:
        """What each rank prints: the hash of the sums, added up in rank order."""
        if self.way == "lost":
            return "LeptonRing: a rank has left"
        sums = [np.zeros(size, np.float32) for size in self.sizes]
        for rank, scale in enumerate(self.scales):
            for k, one in enumerate(tensors(rank, self.sizes) if scale else []):
                sums[k] += one * np.float32(scale) if k < SCALED else one
        hosts = np.float32(2 if self.way == "hosts" else 1)
        return hashed([hosts * one for one in sums])


def tensors(rank: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    draw = np.random.default_rng(rank)
    return [draw.standard_normal(size, np.float32) for size in sizes]


def hashed(arrays: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(one.tobytes() for one in arrays)).hexdigest()


def result(case: Case, descriptor: int, rank: int) -> str:
    """Sums several times over, one rank or the other late, and returns the hash of the last sums."""
    operations, functions = native.load()
    scale, way = case.scales[rank], case.way
    opened = functions.lepton_ring_open(
        descriptor, rank, case.ranks, 4 * sum(case.sizes), way in ("hosts", "lost")
    )
    assert opened == 0
    found = tensors(rank, case.sizes)
    mine = [tf.constant(one if scale else np.full_like(one, np.nan)) for one in found]
    if way == "lost" and rank == 0:
        threading.Timer(0.5, functions.lepton_ring_abort).start()
    for turn in range(4):
        if rank == turn % len(case.scales):
            time.sleep(0.05)
        if way == "sum":
            sums = operations.lepton_ring_sum(tensors=mine, scale=scale, scaled=SCALED)
        else:
            rounded = turn % (len(case.sizes) + 1)
            exact, other, leads = operations.lepton_ring_reduce(
                tensors=mine, scale=scale, scaled=SCALED, rounded=rounded
            )
            assert bool(leads) == (way == "hosts" and rank == 0)
            if leads:
                exact, other = 2.0 * exact, 2.0 * other
            sums = operations.lepton_ring_publish(exact=exact, other=other, like=mine)
    functions.lepton_ring_close()
    return hashed([one.numpy() for one in sums])


def main() -> None:
    rank = int(sys.argv[1])
    for descriptor, *fields in json.loads(sys.argv[2]):
        case = Case(*fields)
        if rank >= len(case.scales):
            print("")
            continue
        try:
            print(result(case, descriptor, rank))
        except tf.errors.AbortedError as failure:
            print(failure.message.rpartition("}} ")[2].partition(" [Op:")[0])
            native.load()[1].lepton_ring_close()


if __name__ == "__main__":
    main()
