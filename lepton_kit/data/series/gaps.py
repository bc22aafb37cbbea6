"""Gaps: rows that are missing in time or in value are refused by name, cut around, or filled along a straight line."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from lepton_kit.data.series.recordings import Recording
from lepton_kit.errors import DataError

RULES = ("refuse", "split", "interpolate")
TOLERANCE = 0.5
"""A step may be this share of the usual step longer or shorter before it counts as a gap."""
SPEED = 0.1
"""The usual steps of two recordings may differ by this share."""


def step_of(recording: Recording, file: str) -> float | None:
    """The usual time between two rows. Raises `DataError` where time stands still or goes back."""
    if recording.time is None or len(recording.time) < 2:
        return None
    if not np.isfinite(recording.time).all():
        row = int(np.flatnonzero(~np.isfinite(recording.time))[0])
        raise DataError(f"{file}: {recording.name!r}: row {recording.first + row} has no time")
    steps = np.diff(recording.time)
    if (steps <= 0).any():
        row = int(np.flatnonzero(steps <= 0)[0]) + 1
        what = "the same time as" if steps[row - 1] == 0 else "an earlier time than"
        raise DataError(
            f"{file}: {recording.name!r}: row {recording.first + row} has {what} the row before; "
            "sort the rows, or name the column that tells recordings apart (recording=)"
        )
    return float(np.median(steps))


def is_other_speed(own: float | None, usual: float | None) -> bool:
    """Whether rows come more than a tenth faster or slower than usual."""
    return own is not None and usual is not None and abs(own - usual) > SPEED * usual


def breaks(recording: Recording, step: float | None) -> np.ndarray:
    """Rows before which time jumps, int64, ascending."""
    if step is None or recording.time is None:
        return np.arange(0)
    return np.flatnonzero(np.abs(np.diff(recording.time) - step) > TOLERANCE * step) + 1


def holes(recording: Recording) -> np.ndarray:
    """Rows with a value that is missing or infinite, int64, ascending."""
    return np.flatnonzero(~np.isfinite(recording.values).all(axis=1))


def regular(recording: Recording, rule: str, step: float | None, file: str) -> tuple[list[Recording], int]:
    """(pieces without gaps, number of gaps). Raises `DataError` that names the row where gaps are refused."""
    jumps, missing = breaks(recording, step), holes(recording)
    count = len(jumps) + len(missing)
    if rule == "interpolate" and is_other_speed(step_of(recording, file), step):
        return [_filled(recording, step)], len(missing)
    if not count:
        return [recording], 0
    if rule == "refuse":
        hint = "; give gaps='split' to cut there, or gaps='interpolate'"
        if len(missing):
            row = int(missing[0])
            channel = int(np.flatnonzero(~np.isfinite(recording.values[row]))[0])
            raise DataError(
                f"{file}: {recording.name!r}: row {recording.first + row}, channel {channel} is "
                f"{recording.values[row, channel]}; expected finite numbers{hint}"
            )
        row = int(jumps[0])
        assert recording.time is not None
        gap = recording.time[row] - recording.time[row - 1]
        raise DataError(
            f"{file}: {recording.name!r}: row {recording.first + row} comes {gap:g} after the row before; "
            f"the usual step is {step:g}{hint}"
        )
    if rule == "split":
        return _cut(recording, jumps, missing), count
    return [_filled(recording, step)], count


def _cut(recording: Recording, jumps: np.ndarray, missing: np.ndarray) -> list[Recording]:
    edges = sorted({0, len(recording.values), *jumps.tolist(), *missing.tolist(), *(missing + 1).tolist()})
    bad = set(missing.tolist())
    return [
        recording.part(start, stop) for start, stop in pairwise(edges) if start not in bad and stop > start
    ]


def _filled(recording: Recording, step: float | None) -> Recording:
    """On a regular grid from its first row on, each channel along straight lines between the rows that have a value."""
    values = recording.values
    axis = recording.time if recording.time is not None and step else np.arange(len(values), dtype=np.float64)
    grid = axis
    if recording.time is not None and step:
        grid = axis[0] + step * np.arange(math.floor((axis[-1] - axis[0]) / step + 1e-6) + 1)
    filled = np.empty((len(grid), values.shape[1]), np.float32)
    for channel in range(values.shape[1]):
        known = np.isfinite(values[:, channel])
        filled[:, channel] = np.interp(grid, axis[known], values[known, channel]) if known.any() else np.nan
    return replace(recording, values=filled, time=grid if recording.time is not None else None)
