"""Which weights stay and when: masks from magnitudes and the pruning schedule, pure functions of numpy arrays.

Every mask is a function of the weights alone, with ties broken by position, so ranks that hold equal weights
compute equal masks without talking to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lepton_kit.config import PruningConfig
from lepton_kit.errors import CompressionError

# NVIDIA's sparse tensor cores define the 2:4 pattern (Mishra et al. 2021, arXiv:2104.08378).
GROUP_KEEP, GROUP_SIZE = 2, 4
# A run spends its last quarter at the final sparsity, to recover (config.PruningConfig.end_step).
DEFAULT_END_SHARE = 0.75


def check_sparsity(sparsity: float, option: str = "sparsity") -> float:
    """Return the value, or raise `CompressionError` that names the option: 0 <= sparsity < 1.

    >>> check_sparsity(0.8)
    0.8
    """
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float, np.integer, np.floating)):
        raise CompressionError(f"{option}: got {sparsity!r}; expected a number of at least 0 and below 1")
    if not 0 <= sparsity < 1:
        raise CompressionError(f"{option}: got {sparsity!r}; expected at least 0 and below 1")
    return float(sparsity)


def _drop_lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """A flat boolean array with exactly `count` False, at the lowest scores; the earlier of equals goes first."""
    keep = np.ones(scores.size, bool)
    if count <= 0:
        return keep
    flat = scores.ravel()
    threshold = np.partition(flat, count - 1)[count - 1]
    below = flat < threshold
    keep[below] = False
    ties = np.flatnonzero(flat == threshold)
    keep[ties[: count - int(below.sum())]] = False
    return keep


def _magnitudes(weights: np.ndarray) -> np.ndarray:
    """Absolute values; infinity for a weight that is no number: one that has diverged is not a small one."""
    return np.where(np.isnan(weights), np.inf, np.abs(weights))


def magnitude_mask(weights: np.ndarray, sparsity: float) -> np.ndarray:
    """Mask of ones and zeros (float32, same shape) with exactly ``round(sparsity * size)`` zeros.

    >>> magnitude_mask(np.array([[0.5, -0.1], [0.1, 2.0]]), 0.25)
    array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    check_sparsity(sparsity)
    keep = _drop_lowest(_magnitudes(weights), round(sparsity * weights.size))
    return keep.reshape(weights.shape).astype(np.float32)


def layer_adaptive_scores(magnitudes: np.ndarray) -> np.ndarray:
    """Scores that compare weights across layers: own square over the sum of all squares at least as large.

    LAMP (Lee et al. 2021, arXiv:2010.07611). The largest weight of every layer scores 1, so no layer is cut off. An
    infinite one scores infinity and leaves the scores of the others as they would be without it.

    >>> layer_adaptive_scores(np.array([1.0, 2.0, np.inf]))
    array([0.2, 1. , inf])
    """
    flat = magnitudes.ravel().astype(np.float64)
    infinite = np.isinf(flat)
    squares = np.square(np.where(infinite, 0.0, flat))
    order = np.argsort(squares, kind="stable")
    remaining = np.cumsum(squares[order][::-1])[::-1]
    scores = np.zeros(squares.size)
    scores[order] = squares[order] / np.where(remaining > 0, remaining, 1)
    scores[infinite] = np.inf
    return scores.reshape(magnitudes.shape)


def global_masks(tensors: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """One mask per tensor, with exactly ``round(sparsity * all sizes)`` zeros over all of them together.

    Weights are ranked by `layer_adaptive_scores`, so layers of different scale compete fairly.
    """
    check_sparsity(sparsity)
    scores = [layer_adaptive_scores(_magnitudes(tensor)) for tensor in tensors]
    return [keep.astype(np.float32) for keep in _drop_lowest_over(scores, sparsity)]


def _drop_lowest_over(scores: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    sizes = [score.size for score in scores]
    flat = np.concatenate([score.ravel() for score in scores]) if scores else np.zeros(0)
    keep = _drop_lowest(flat, round(sparsity * flat.size))
    parts = np.split(keep, np.cumsum(sizes)[:-1]) if scores else []
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def as_matrix(weights: np.ndarray, output_axes: Sequence[int] = (-1,)) -> tuple[np.ndarray, tuple[int, ...]]:
    """The kernel as (reduction, outputs) and the axis order that led there; `from_matrix` undoes it.

    >>> matrix, order = as_matrix(np.zeros((3, 3, 8, 16)))
    >>> matrix.shape, order
    ((72, 16), (0, 1, 2, 3))
    """
    outputs = [axis % weights.ndim for axis in output_axes]
    order = tuple(axis for axis in range(weights.ndim) if axis not in outputs) + tuple(outputs)
    moved = weights.transpose(order)
    columns = int(np.prod([weights.shape[axis] for axis in outputs]))
    return moved.reshape(-1, columns), order


def from_matrix(matrix: np.ndarray, shape: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    """Undo `as_matrix`: a (reduction, outputs) array in the kernel's own shape."""
    return matrix.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def group_fits(weights: np.ndarray, output_axes: Sequence[int] = (-1,), size: int = GROUP_SIZE) -> bool:
    """Whether the reduction size divides into whole groups, which 2:4 needs."""
    return bool(as_matrix(weights, output_axes)[0].shape[0] % size == 0)


def group_mask(
    weights: np.ndarray,
    keep: int = GROUP_KEEP,
    size: int = GROUP_SIZE,
    output_axes: Sequence[int] = (-1,),
) -> np.ndarray:
    """N:M mask: the `keep` largest of every `size` weights in a row along the reduction axis stay (float32).

    Raises `CompressionError` when the reduction size is no multiple of `size`.

    >>> group_mask(np.array([[1.0], [4.0], [2.0], [3.0]])).ravel()
    array([0., 1., 0., 1.], dtype=float32)
    """
    matrix, order = as_matrix(weights, output_axes)
    if not 0 < keep <= size:
        raise CompressionError(f"pattern {keep}:{size}: keep must be from 1 to {size}")
    if matrix.shape[0] % size:
        raise CompressionError(
            f"pattern {keep}:{size}: the reduction size {matrix.shape[0]} is no multiple of {size}; leave it dense"
        )
    groups = _magnitudes(matrix).reshape(-1, size, matrix.shape[1])
    largest = np.argsort(-groups, axis=1, kind="stable")[:, :keep]
    mask = np.zeros(groups.shape, np.float32)
    np.put_along_axis(mask, largest, 1, axis=1)
    return from_matrix(mask.reshape(matrix.shape), weights.shape, order)


def block_scores(
    weights: np.ndarray, block: tuple[int, int], output_axes: Sequence[int] = (-1,)
) -> np.ndarray:
    """Mean magnitude of every block of the (reduction, outputs) matrix; blocks at the edge may be smaller."""
    rows, columns = block
    if rows < 1 or columns < 1:
        raise CompressionError(f"block: got {tuple(block)!r}; expected two whole numbers of at least 1")
    matrix = _magnitudes(as_matrix(weights, output_axes)[0]).astype(np.float64)
    row_starts = np.arange(0, matrix.shape[0], rows)
    column_starts = np.arange(0, matrix.shape[1], columns)
    sums = np.add.reduceat(np.add.reduceat(matrix, row_starts, axis=0), column_starts, axis=1)
    heights = np.diff(np.append(row_starts, matrix.shape[0]))
    widths = np.diff(np.append(column_starts, matrix.shape[1]))
    result: np.ndarray = sums / (heights[:, None] * widths[None])
    return result


def spread_blocks(
    keep: np.ndarray,
    block: tuple[int, int],
    shape: tuple[int, ...],
    output_axes: Sequence[int] = (-1,),
) -> np.ndarray:
    """A mask in the kernel's shape (float32) from one flag per block."""
    rows, columns = block
    order = as_matrix(np.empty(shape, bool), output_axes)[1]
    height = int(np.prod([shape[axis] for axis in order[: len(shape) - len(tuple(output_axes))]]))
    width = int(np.prod(shape)) // max(height, 1)
    matrix = np.repeat(np.repeat(keep, rows, axis=0)[:height], columns, axis=1)[:, :width]
    return from_matrix(matrix.astype(np.float32), shape, order)


def block_mask(
    weights: np.ndarray,
    sparsity: float,
    block: tuple[int, int],
    output_axes: Sequence[int] = (-1,),
) -> np.ndarray:
    """Mask (float32) whose zeros are whole blocks: exactly ``round(sparsity * blocks)`` of them.

    >>> block_mask(np.array([[1.0, 1, 5, 5], [1, 1, 5, 5]]), 0.5, (2, 2))
    array([[0., 0., 1., 1.],
           [0., 0., 1., 1.]], dtype=float32)
    """
    check_sparsity(sparsity)
    scores = block_scores(weights, block, output_axes)
    keep = _drop_lowest(scores, round(sparsity * scores.size)).reshape(scores.shape)
    return spread_blocks(keep, block, weights.shape, output_axes)


def masks_for(
    tensors: Sequence[np.ndarray],
    output_axes: Sequence[Sequence[int]],
    sparsity: float,
    config: PruningConfig,
) -> list[np.ndarray]:
    """Masks of one update, in the order of the tensors, for the pattern and scope of the configuration.

    For ``2:4`` the sparsity decides how far the ramp is: below 1/8 dense, below 3/8 3 of 4, then 2 of 4; a kernel
    whose reduction size is no multiple of 4 stays dense.
    """
    check_sparsity(sparsity)
    pairs = list(zip(tensors, output_axes, strict=True))
    if config.pattern == "2:4":
        keep = max(GROUP_KEEP, GROUP_SIZE - int(np.floor(sparsity * GROUP_SIZE + 0.5)))
        return [
            group_mask(tensor, keep, GROUP_SIZE, axes)
            if group_fits(tensor, axes)
            else np.ones(tensor.shape, np.float32)
            for tensor, axes in pairs
        ]
    if config.pattern == "block":
        if config.scope == "layer":
            return [block_mask(tensor, sparsity, config.block, axes) for tensor, axes in pairs]
        scores = [layer_adaptive_scores(block_scores(tensor, config.block, axes)) for tensor, axes in pairs]
        kept = _drop_lowest_over(scores, sparsity)
        return [
            spread_blocks(keep, config.block, tensor.shape, axes)
            for keep, (tensor, axes) in zip(kept, pairs, strict=True)
        ]
    if config.scope == "global":
        return global_masks(tensors, sparsity)
    return [magnitude_mask(tensor, sparsity) for tensor in tensors]


# ------------------------------------------------------------------------------------------------ schedule


def final_sparsity(config: PruningConfig) -> float:
    """The share of zeros at the end: the configured one, or one half for the 2:4 pattern."""
    return GROUP_KEEP / GROUP_SIZE if config.pattern == "2:4" else config.sparsity


def resolve(config: PruningConfig, total_steps: int) -> PruningConfig:
    """The configuration with `end_step` filled in (3/4 of the run), checked against the run's length.

    Raises `CompressionError` when the schedule does not fit into `total_steps`.

    >>> resolve(PruningConfig(), 800).end_step
    600
    """
    begin, end = config.begin_step, config.end_step
    if begin >= total_steps:
        raise CompressionError(
            f"pruning.begin_step: got {begin}, but the run has {total_steps} steps; expected an earlier step"
        )
    if end is None:
        return config.model_copy(update={"end_step": max(begin + 1, round(total_steps * DEFAULT_END_SHARE))})
    if end <= begin:
        raise CompressionError(f"pruning.end_step: got {end}; expected a step after begin_step ({begin})")
    if end > total_steps:
        raise CompressionError(
            f"pruning.end_step: got {end}, but the run has {total_steps} steps, so the sparsity would never be "
            f"reached; expected at most {total_steps}, or null for 3/4 of the run"
        )
    return config


def sparsity_at(step: int, config: PruningConfig) -> float:
    """Wanted share of zeros after `step` steps: polynomial from begin_step to end_step, none before.

    ``final + (initial - final) * (1 - progress) ** power`` (Zhu & Gupta 2017, arXiv:1710.01878, eq. 1).

    >>> ramp = PruningConfig(sparsity=0.8, begin_step=0, end_step=100)
    >>> [round(sparsity_at(step, ramp), 3) for step in (0, 50, 100, 900)]
    [0.0, 0.7, 0.8, 0.8]
    """
    end = _end(config)
    if step < config.begin_step:
        return 0.0
    final = final_sparsity(config)
    progress = min(1.0, (step - config.begin_step) / (end - config.begin_step))
    return float(final + (min(config.initial_sparsity, final) - final) * (1 - progress) ** config.power)


def next_update_step(step: int, config: PruningConfig) -> int | None:
    """The smallest update step that is at least `step`; None after the last one, which is end_step.

    >>> ramp = PruningConfig(begin_step=5, end_step=50, frequency=20)
    >>> [next_update_step(step, ramp) for step in (0, 6, 46, 51)]
    [5, 25, 50, None]
    """
    end, begin = _end(config), config.begin_step
    if step > end:
        return None
    periods = max(0, -(-(step - begin) // config.frequency))
    return min(end, begin + periods * config.frequency)


def update_steps(config: PruningConfig) -> Iterator[int]:
    """All steps at which the masks are computed anew, in order."""
    step = next_update_step(0, config)
    while step is not None:
        yield step
        step = next_update_step(step + 1, config)


def _end(config: PruningConfig) -> int:
    if config.end_step is None:
        raise CompressionError(
            "pruning.end_step: got None; expected a step: call resolve(config, total_steps) first"
        )
    if config.end_step <= config.begin_step:
        raise CompressionError(
            f"pruning.end_step: got {config.end_step}; expected a step after begin_step ({config.begin_step})"
        )
    return config.end_step
