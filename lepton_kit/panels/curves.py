"""From a run's view to the few points that a plot shows: pure, numpy only, bounded however long the run is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lepton_kit.errors import ConfigError
from lepton_kit.rundir.decimate import thin
from lepton_kit.rundir.view import RunView, main_metric

POINTS = 600
"""Points a curve may have on the screen: a plot is 300 to 600 pixels wide."""
MOST_RANKS = 64
"""Ranks that get a bar of their own; more are told in the workers table."""

FENCE = 3.0
"""The far fence of Tukey's box plot (Exploratory Data Analysis, 1977), around wider hinges, for curves fall."""

EMPTY = (np.empty(0), np.empty(0))
Curve = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Curves:
    """The curves of one run. Every one is ``(x, y)``; x counts steps, but ranks in ``per_rank``."""

    loss: Curve = EMPTY
    validation_loss: Curve = EMPTY
    metric: Curve = EMPTY
    validation_metric: Curve = EMPTY
    sparsity: Curve = EMPTY
    throughput: Curve = EMPTY
    world_size: Curve = EMPTY
    per_rank: Curve = EMPTY
    cores: Curve = EMPTY
    memory: Curve = EMPTY
    gpu: Curve = EMPTY
    gpu_memory: Curve = EMPTY
    metric_name: str = "accuracy"
    order: tuple[str, ...] = field(
        default=(
            "loss", "validation_loss", "metric", "validation_metric", "sparsity",
            "throughput", "world_size", "per_rank", "cores", "memory", "gpu", "gpu_memory",
        ),
        repr=False,
    )  # fmt: skip


def curves_of(view: RunView, points: int = POINTS) -> Curves:
    """What the live plot shows of a view; each curve has at most ``points`` points."""
    metric = main_metric(list(view.metrics))
    reports = view.report_steps.array
    speeds = view.per_rank_throughput
    ranks = sorted(speeds)[:MOST_RANKS]
    steps, shares = view.sparsity_series
    world_size = view.report_world_size.array
    return Curves(
        cores=_taken(view, "cores", points),
        memory=_taken(view, "memory_bytes", points),
        gpu=_taken(view, "gpu", points),
        gpu_memory=_taken(view, "gpu_memory_bytes", points),
        loss=_finite(*thin(view.steps + 1, view.loss, points)),
        validation_loss=_epochs(view, "val_loss"),
        metric=_finite(*thin(reports, view.metrics[metric], points)) if metric else EMPTY,
        validation_metric=_epochs(view, f"val_{metric}") if metric else EMPTY,
        sparsity=thin(steps.array, shares.array, points),
        throughput=_finite(*thin(reports, view.throughput, points)),
        world_size=_changes(reports, world_size, points),
        per_rank=(np.array(ranks), np.array([speeds[rank] for rank in ranks], np.float64)),
        metric_name=metric or "accuracy",
    )


def far_values(curves: Sequence[np.ndarray]) -> tuple[float, float, int] | None:
    """The ends of an axis that leaves out single far values of some curves, and how many those are; None if there are none.

    Far is more than `FENCE` times the distance of a curve's 2nd and 98th hundredth beyond them: a spike of the loss, and
    not the fall at its beginning.

    >>> far_values([np.array([1.0, 2.0] * 50 + [900.0])])
    (1.0, 2.0, 1)
    """
    lows, highs, count = [], [], 0
    for values in curves:
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        low, high = np.quantile(known, (0.02, 0.98), method="nearest")
        reach = FENCE * (high - low)
        near = known[(known >= low - reach) & (known <= high + reach)]
        lows.append(float(near.min()))
        highs.append(float(near.max()))
        count += len(known) - len(near)
    return (min(lows), max(highs), count) if count and min(lows) < max(highs) else None


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """A running mean that forgets: each value counts ``weight`` times as much as the one after it; NaN stays NaN.

    Raises `ConfigError` for a weight outside [0, 1).

    >>> smooth(np.array([1.0, 3.0]), 0.5)
    array([1.        , 2.33333333])
    """
    if not 0 <= weight < 1:
        raise ConfigError("smoothing", given=weight, rule="a number from 0 (not at all) to below 1")
    found = np.full(len(values), np.nan)
    total = counted = 0.0
    for place, value in enumerate(np.asarray(values, np.float64).tolist()):
        if value == value and abs(value) != float("inf"):
            total, counted = weight * total + (1 - weight) * value, weight * counted + (1 - weight)
            found[place] = total / counted
    return found


def _finite(x: np.ndarray, y: np.ndarray) -> Curve:
    good = np.isfinite(y)
    return x[good].astype(np.float64), y[good].astype(np.float32)


def _taken(view: RunView, name: str, points: int) -> Curve:
    return _finite(*thin(view.resource_series["step"].array, view.resource_series[name].array, points))


def _epochs(view: RunView, name: str) -> Curve:
    rows = [(row["step"], row[name]) for row in view.epochs if row.get(name) is not None]
    if not rows:
        return EMPTY
    table = np.asarray(rows, np.float64)
    return thin(table[:, 0], table[:, 1], POINTS)


def _changes(steps: np.ndarray, counts: np.ndarray, points: int) -> Curve:
    """A staircase needs only the points where it steps, and its end."""
    if not len(counts):
        return EMPTY
    turns = np.flatnonzero(np.diff(counts)) + 1
    chosen = np.concatenate([turns, [len(counts) - 1]]).astype(np.int64)
    x = np.concatenate([[0.0], steps[chosen]])
    y = np.concatenate([counts[:1], counts[chosen]]).astype(np.float64)
    return thin(x, y, points)
