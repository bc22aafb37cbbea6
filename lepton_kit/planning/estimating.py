"""The costs of the scaling law from measured steps, with what is not known about them, and predictions with intervals.

Costs are positive and are fitted as logarithms, by Gauss-Newton steps damped as Levenberg (1944) and Marquardt (1963) do. Each
has a wide prior, which decides where nothing was measured; around the best fit the posterior is taken as normal (Laplace's
approximation, MacKay 1992, *Bayesian Interpolation*). An interval is that of draws from it, widened by the law's own error.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.errors import ConfigError
from lepton_kit.planning.estimates import Estimate
from lepton_kit.planning.scaling import LOOPBACK, NAMES, Setting, parts

COVERS = 0.9
"""Part of the cases in which an interval is to hold the truth."""
QUANTILE = 1.6449
"""Standard deviations of a normal distribution to either side that hold 90 %."""
LAW_ERROR, MORE_ERROR, CROWD_ERROR, HOSTS_ERROR = 0.05, 0.03, 0.04, 0.06
"""What the law itself is off, relative, where all costs are known: near what was measured; for each doubling of the workers beyond that;
where workers take turns on cores, and over a link, if neither was measured. Our choice, 2026-11, held against `benchmarks/planner.py`."""
TOTAL_ERROR, PART_ERROR = 0.02, 0.04
"""The least that a measured step and a part of it are taken to scatter, relative to the step."""
DRAWS = 512
PRIORS = {
    "contention": (0.08, 1.0),
    "reading": (1e-7, 2.0),
    "skew": (0.03, 1.0),
    "meeting": (3e-4, 0.8),
    "byte": (1.2e-10, 0.5),
    "queueing": (1.0, 0.2),
    "block": (1e-3, 1.2),
    "call": (1e-3, 0.6),
    "wire": (1.2e-9, 0.8),
    "messages": (1.0, 0.15),
    "polling": (0.5, 0.7),
}
"""Median of each cost before anything is measured, and the deviation of its logarithm; seconds, or factors.

Of shared memory: 8 GB/s, and ranks that come together within 0.3 ms. ``queueing`` is chance alone; steps of 3 and 4 workers on 2 cores
said 0.82 to 1.15 of four kinds of models, and 0.76 of one on a machine whose cores slow each other ten times as much (measured 2026-11-27). Of
Horovod: an allreduce of one number 0.5 ms at best and 1.4 ms in the mean, and of 2.7 MB 4.5 ms, on loopback; its loop takes a
tenth to a fifth of a core there (both measured 2026-11), and ranks that it interrupts keep the others waiting. ``fixed`` and
``sample`` start from the steps themselves."""


@dataclass(frozen=True)
class Row:
    """A measured step: where, how many seconds, its parts as ranks measured them (means over ranks), and the scatter.

    ``parts`` may hold data, compute, communicate and wait; ``scatter`` is the relative standard error of ``seconds``.
    """

    setting: Setting
    seconds: float
    parts: Mapping[str, float]
    scatter: float = 0.0


@dataclass(frozen=True)
class Law:
    """Fitted costs: the likeliest logarithms in the order of `NAMES`, and their covariance.

    ``parameters`` is the number of the model's weights, ``scatter`` what measured steps are off the law, relative, and
    ``measured`` the settings of these.
    """

    likeliest: np.ndarray
    covariance: np.ndarray
    parameters: int
    scatter: float
    measured: tuple[Setting, ...]

    @property
    def costs(self) -> dict[str, float]:
        """The likeliest costs, in seconds (contention, skew and messages: factors)."""
        return {name: float(value) for name, value in zip(NAMES, np.exp(self.likeliest), strict=True)}

    def parts(self, setting: Setting) -> dict[str, float]:
        """Seconds of a step by what they go to."""
        return {name: float(value) for name, value in parts(self.costs, setting, self.parameters).items()}

    def step(self, setting: Setting) -> Estimate:
        """Seconds of a step."""
        return _interval(*self._steps(setting), self.error(setting))

    def ratio(self, setting: Setting, other: Setting) -> Estimate:
        """How many times as long a step lasts as in another setting; what both have in common is off alike in both."""
        value, draws = self._steps(setting)
        base, others = self._steps(other)
        one, two = self.error(setting), self.error(other)
        error = 0.0 if setting == other else math.hypot(min(one, two) / 2, math.sqrt(abs(one**2 - two**2)))
        return _interval(value / base, draws / others, error)

    def error(self, setting: Setting) -> float:
        """The relative deviation of steps from the law where all costs are known, by how far from what was measured it is."""
        most = max(one.workers for one in self.measured)
        terms = [max(LAW_ERROR, self.scatter), MORE_ERROR * max(0.0, math.log2(setting.workers / most))]
        crowded = [one for one in self.measured if one.crowd > one.places]
        if setting.crowd > setting.places and not crowded:
            terms.append(CROWD_ERROR)
        linked = [one for one in self.measured if one.hosts > 1 and one.link != LOOPBACK]
        if setting.hosts > 1 and not linked:
            terms.append(HOSTS_ERROR)
        return math.hypot(*terms)

    @functools.cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(0)
        half = generator.standard_normal((DRAWS // 2, len(NAMES)))
        spread = np.linalg.cholesky(self.covariance + 1e-12 * np.eye(len(NAMES)))
        logs = self.likeliest + np.concatenate([half, -half]) @ spread.T
        return dict(zip(NAMES, np.exp(logs).T, strict=True))

    def _steps(self, setting: Setting) -> tuple[float, np.ndarray]:
        draws = np.broadcast_to(sum(parts(self._draws, setting, self.parameters).values()), DRAWS)
        return sum(self.parts(setting).values()), draws


@dataclass(frozen=True)
class Prediction:
    """A setting and what is predicted of it. ``epochs`` is None where the batch is another and no noise scale is known.

    ``step`` and ``seconds`` (to the end) are in seconds, ``efficiency`` is the speed beside that of so many times one worker;
    ``parts`` are the seconds of a step by what they go to.
    """

    setting: Setting
    step: Estimate
    samples_per_second: Estimate
    efficiency: Estimate
    epochs: Estimate | None
    seconds: Estimate | None
    parts: Mapping[str, float]


def _interval(value: float, draws: np.ndarray, error: float) -> Estimate:
    low, high = np.quantile(draws, [(1 - COVERS) / 2, (1 + COVERS) / 2])
    wide = QUANTILE * error
    below = math.hypot(math.log(value / min(low, value)), wide)
    above = math.hypot(math.log(max(high, value) / value), wide)
    return Estimate(value, value * math.exp(-below), value * math.exp(above))


def fit(rows: Sequence[Row], parameters: int) -> Law:
    """The law of a model with so many parameters from measured steps; one is enough, more make intervals narrower.

    What one number of workers and one batch can't tell apart keeps its prior. Raises `ConfigError` without rows.
    """
    known = [row for row in rows if row.seconds > 0 and math.isfinite(row.seconds)]
    if not known:
        raise ConfigError("rows", given=len(rows), rule="at least one measured step of positive length")
    center, width = _priors(known)
    likeliest, covariance = _fitted(known, parameters, center, width, 1.0)
    left = _residuals(likeliest, known, parameters, 1.0)
    inflated = max(
        1.0, math.sqrt(float(left @ left) / len(left))
    )  # Birge's ratio: what scatters more than it should
    if inflated > 1.0:
        likeliest, covariance = _fitted(known, parameters, center, width, inflated)
    costs = dict(zip(NAMES, np.exp(likeliest), strict=True))
    off = [float(sum(parts(costs, row.setting, parameters).values())) / row.seconds - 1.0 for row in known]
    scatter = float(np.sqrt(np.mean(np.square(off))))
    return Law(likeliest, covariance, parameters, scatter, tuple(row.setting for row in known))


def _priors(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    shortest = min(rows, key=lambda row: row.setting.samples)
    crowd = max(1.0, shortest.setting.crowd / shortest.setting.places)
    compute = min(shortest.parts.get("compute", math.inf), shortest.seconds / crowd)
    compute = max(compute, 1e-9)
    own = {"fixed": (compute / 2, 1.2), "sample": (compute / 2 / shortest.setting.samples, 1.2)}
    both = [(own | PRIORS)[name] for name in NAMES]
    return np.log([median for median, _ in both]), np.array([width for _, width in both])


def _residuals(logs: np.ndarray, rows: Sequence[Row], parameters: int, inflated: float) -> np.ndarray:
    """How far the law is from what was measured, in deviations."""
    costs = dict(zip(NAMES, np.exp(logs), strict=True))
    found = []
    for row in rows:
        said = {name: float(value) for name, value in parts(costs, row.setting, parameters).items()}
        scatter = math.hypot(TOTAL_ERROR, row.scatter) * inflated
        found.append((sum(said.values()) - row.seconds) / (scatter * row.seconds))
        if row.setting.crowd > row.setting.places or row.setting.ring > 1:
            continue  # ranks that take turns, or share cores with Horovod's loop, find others' time in each of their parts
        said["communicate"] += said["between"]
        scatter = math.hypot(PART_ERROR, row.scatter) * inflated
        for name, seconds in row.parts.items():
            found.append((said[name] - seconds) / (scatter * row.seconds))
    return np.array(found)


def _fitted(
    rows: Sequence[Row], parameters: int, center: np.ndarray, width: np.ndarray, inflated: float
) -> tuple[np.ndarray, np.ndarray]:
    def off(logs: np.ndarray) -> np.ndarray:
        return np.concatenate([_residuals(logs, rows, parameters, inflated), (logs - center) / width])

    logs, damping = center.copy(), 1e-2
    here = off(logs)
    for _ in range(60):
        slopes = _slopes(off, logs, here)
        square = slopes.T @ slopes
        step = np.linalg.solve(square + damping * np.diag(np.diag(square)), -slopes.T @ here)
        there = off(logs + np.clip(step, -2.0, 2.0))
        if there @ there < here @ here:
            gained = here @ here - there @ there
            logs, here, damping = logs + np.clip(step, -2.0, 2.0), there, max(damping / 5, 1e-9)
            if gained < 1e-7 * (here @ here):
                break
        else:
            damping *= 4
            if damping > 1e8:
                break
    slopes = _slopes(off, logs, here)
    return logs, np.linalg.inv(slopes.T @ slopes)


def _slopes(off: Any, logs: np.ndarray, here: np.ndarray, step: float = 1e-4) -> np.ndarray:
    columns = []
    for place in range(len(logs)):
        moved = logs.copy()
        moved[place] += step
        columns.append((off(moved) - here) / step)
    return np.array(columns).T
