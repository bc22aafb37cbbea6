"""The points of a quantity of a run, along steps, epochs or seconds, and smoothed."""

from __future__ import annotations

import numpy as np

from lepton_kit.rundir.view import RunView


def points(view: RunView, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a quantity: of the loss one a step, of a metric one a report, on validation one an epoch."""
    if quantity == "loss":
        return view.steps + 1, view.loss.copy()
    if quantity in view.metrics:
        values = view.metrics[quantity]
        return view.report_steps.array[: len(values)].copy(), values.copy()
    rows = [
        (epoch["step"], epoch[quantity])
        for epoch in view.epochs
        if isinstance(epoch.get(quantity), int | float)
    ]
    table = np.asarray(rows, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def along(view: RunView, steps: np.ndarray, x: str) -> np.ndarray:
    """Where these steps lie on an axis: step, epoch, or seconds since the run began (NaN where no time is known)."""
    if x == "step":
        return steps
    if x == "epoch":
        return np.asarray(steps / (view.plan.get("steps_per_epoch") or max(view.step, 1)))
    if not len(view.time):
        return np.full(len(steps), np.nan)
    began = view.first_time if view.first_time is not None else view.time[0]
    return np.asarray(np.interp(steps, view.steps + 1, np.maximum.accumulate(view.time) - began))


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """A running mean that forgets: each value counts ``weight`` times as much as the next; NaN is passed over.

    Divided by the sum of its weights, so that it begins at the first value and not at 0.

    >>> smooth(np.array([1.0, 3.0]), 0.5).round(3).tolist()
    [1.0, 2.333]
    """
    found = np.asarray(values, np.float64).copy()
    mean = total = 0.0
    for place, value in enumerate(found):
        if np.isfinite(value):
            mean, total = weight * mean + (1 - weight) * value, weight * total + (1 - weight)
            found[place] = mean / total
    return found
