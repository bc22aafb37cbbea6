"""The proof of what was fed: a hash per sample, of place and content, whose sums add up however a batch is cut."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

HASH_LIMBS = 5
"""A 40-bit hash per sample travels as five 8-bit limbs, whose float32 sums are exact up to batches of 65,536."""
PROOF_SIZE = HASH_LIMBS + 1
"""What a rank proves per step: the limb sums of what it fed, and how many samples these were."""
PIECE_BYTES = 1 << 17
"""Rows are hashed in pieces that fit the second-level cache of a core; measured best of 2^15 to 2^18."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(z: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele et al. 2014): every bit of the input changes half of the output's."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = z ^ (z >> np.uint64(31))
    return result


@lru_cache(maxsize=16)
def _factors(count: int, stream: int) -> np.ndarray:
    """Odd 64-bit factors, one a word of a row."""
    with np.errstate(over="ignore"):
        factors = _mixed((np.arange(count, dtype=np.uint64) + np.uint64(stream << 40)) * GOLDEN + GOLDEN)
    factors |= np.uint64(1)
    factors.setflags(write=False)
    return factors


def content_hashes(arrays: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """A 64-bit hash of each sample's bytes over several arrays of ``rows`` rows: uint64, shape ``(rows,)``.

    The 64-bit words of a row are each folded, multiplied by a factor of their place, folded and multiplied again, and
    added up (multilinear hashing, Lemire and Kaser 2014, arXiv:1202.4961, with folds, so that differences in high bits
    count as much). It finds accidents: two given samples that differ have equal hashes once in 2^40 or less often. It
    is no defence against somebody who searches for equal ones.

    >>> one, other = np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]])
    >>> bool(content_hashes([one], 1) == content_hashes([other], 1))
    False
    """
    found = np.zeros(rows, np.uint64)
    for place, array in enumerate(arrays):
        width = int(np.prod(array.shape[1:], dtype=np.int64))
        size = array.dtype.itemsize * width
        words = -(-size // 8)
        first, second = _factors(words, 2 * place + 1), _factors(words, 2 * place + 2)
        step = max(1, PIECE_BYTES // max(1, 8 * words))
        padded = np.zeros((min(step, rows), 8 * words), np.uint8)
        z, fold = np.empty((2, len(padded), words), np.uint64)
        for start in range(0, rows, step):
            given = np.ascontiguousarray(array[start : start + step])
            count = len(given)
            if size and not size % 8:
                read = given.reshape(count, width).view(np.uint64)
            else:
                padded[:count, :size] = given.reshape(count, width).view(np.uint8)
                read = padded[:count].view(np.uint64)
            into, shift = z[:count], fold[:count]
            for factors in (first, second):
                np.right_shift(read, np.uint64(32), out=shift)
                np.bitwise_xor(read, shift, out=into)
                np.multiply(into, factors, out=into)
                read = into
            found[start : start + count] = _mixed(
                (found[start : start + count] + np.uint64(size + 1)) * GOLDEN + into.sum(axis=1)
            )
            _let_go(array)
    return found


def _let_go(array: np.ndarray) -> None:
    """Have what was read of a mapped file no longer count as this process's memory; the kernel's cache keeps it."""
    if isinstance(array, np.memmap) and array.mode == "r":
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]  # not in NumPy's stub


def sample_hashes(indices: np.ndarray, contents: np.ndarray | None = None) -> np.ndarray:
    """A 40-bit hash of every sample's index and content hash (same shape): uint64, the shape of ``indices``.

    Without contents it is the index alone, as in the logs of runs whose data were not frozen.

    >>> int(sample_hashes(np.array([0, 1]))[0])
    246878686639
    >>> bool(sample_hashes(np.array([0]), np.array([7])) == sample_hashes(np.array([0]), np.array([8])))
    False
    """
    places = np.asarray(indices).astype(np.uint64)
    if contents is None:
        z = places + GOLDEN
    else:
        z = (places + np.uint64(1)) * GOLDEN + np.asarray(contents).astype(np.uint64)
    return _mixed(z) & np.uint64(2**40 - 1)


def proof_of(indices: np.ndarray, contents: np.ndarray | None = None) -> np.ndarray:
    """Limb sums and count of each row's samples: float32, shape ``(rows, PROOF_SIZE)``; see `sample_hashes`."""
    hashes = sample_hashes(indices, contents)
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
