"""The proof of what was fed: a hash per sample whose sums add up exactly, however a batch is cut."""

from __future__ import annotations

import numpy as np

HASH_LIMBS = 5
"""A 40-bit hash per sample travels as five 8-bit limbs, whose float32 sums are exact up to batches of 65,536."""
PROOF_SIZE = HASH_LIMBS + 1
"""What a rank proves per step: the limb sums of what it fed, and how many samples these were."""


def sample_hashes(indices: np.ndarray) -> np.ndarray:
    """A 40-bit hash of every sample index, uint64, same shape (splitmix64's finaliser, Steele et al. 2014).

    >>> int(sample_hashes(np.array([0, 1]))[0])
    246878686639
    """
    z = np.asarray(indices).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) & np.uint64(2**40 - 1)


def proof_of(indices: np.ndarray) -> np.ndarray:
    """Limb sums and count of each row's indices: float32, shape ``(rows, PROOF_SIZE)``."""
    hashes = sample_hashes(indices)
    limbs = [(hashes >> np.uint64(8 * k)) & np.uint64(255) for k in range(HASH_LIMBS)]
    sums = [limb.sum(axis=-1, dtype=np.float32) for limb in limbs]
    return np.stack([*sums, np.full(len(indices), indices.shape[-1], np.float32)], axis=-1)


def proof_values(proofs: np.ndarray) -> tuple[list[int], list[int]]:
    """The sum of hashes and the number of samples of each step that proofs (one a row) stand for.

    >>> proof_values(proof_of(np.array([[0, 1], [2, 3]])))[0][0] == int(sample_hashes(np.arange(2)).sum())
    True
    """
    sums = np.asarray(proofs, np.float64).reshape(-1, PROOF_SIZE).astype(np.uint64)
    hashes = sum(sums[:, k] << np.uint64(8 * k) for k in range(HASH_LIMBS))
    return np.asarray(hashes, np.uint64).tolist(), sums[:, HASH_LIMBS].tolist()
