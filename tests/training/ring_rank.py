"""One rank of a ring in shared memory: sums tensors that are drawn from its rank, and prints a hash of the sums.

python -m tests.training.ring_rank DESCRIPTOR RANK RANKS SIZE...
"""

import hashlib
import sys

import numpy as np
import tensorflow as tf

from lepton_kit.training import native


def tensors(rank: int, sizes: list[int]) -> list[np.ndarray]:
    draw = np.random.default_rng(rank)
    return [draw.standard_normal(size, np.float32) for size in sizes]


def main() -> None:
    descriptor, rank, ranks, *sizes = map(int, sys.argv[1:])
    operations, functions = native.load()
    largest = 4 * sum(sizes)
    assert functions.lepton_ring_open(descriptor, rank, ranks, largest) == 0
    for _ in range(3):
        mine = [tf.constant(array) for array in tensors(rank, sizes)]
        sums = operations.lepton_ring_sum(tensors=mine, scale=0.5, scaled=1)
    functions.lepton_ring_close()
    print(hashlib.sha256(b"".join(value.numpy().tobytes() for value in sums)).hexdigest())


if __name__ == "__main__":
    main()
