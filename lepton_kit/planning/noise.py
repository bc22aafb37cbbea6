"""The gradient noise scale: how large a batch may grow before it costs more epochs, from norms that a run has measured.

A step cuts its batch of B samples over N ranks with b_r samples each. With the mean gradient g_r of each rank and that of
the whole batch, g, both

    S = B / (N - 1) · (Σ (b_r / B) |g_r|² - |g|²)      the trace of the covariance of one sample's gradient, and
    G² = |g|² - S / B · (1 - B / n)                      the squared norm of the gradient over all n samples

are unbiased, for equal and for unequal b_r, and for batches drawn without replacement (without the last factor where they
are drawn with it). The noise scale S / G² is in samples. Training for a given loss takes about (B + S/G²) / (B₀ + S/G²) times as
many epochs with batches of B as of B₀: McCandlish et al., "An Empirical Model of Large-Batch Training" (2018), section 2
and appendix A; used to choose batches by Pollux (Qiao et al., OSDI 2021). It is an estimate: the model behind it takes the loss to
be quadratic and plain SGD with the best rate; how far that holds differs between models and data (Shallue et al., JMLR 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lepton_kit.errors import ConfigError
from lepton_kit.planning.estimates import Estimate, digits
from lepton_kit.rundir.view import RunView

DECAY = 0.98
"""Weight of a measurement beside the next one: about the last hundred count. Single ones are far off, and while a model trains
the noise scale grows over hundreds of steps (McCandlish et al. 2018, section 4); our choice, 2026-11."""
LEAST = 8
"""Measurements below which nothing is said."""
LEVEL = 0.9
"""Of the interval: it holds the value nine times of ten."""
NORMAL = 1.6448536269514722
"""The quantile of the normal distribution for it (0.95)."""


@dataclass(frozen=True)
class Measured:
    """Norms of ``count`` steps up to ``step``, means: ``small`` is Σ (b_r/B) |g_r|² over the ``ranks`` with samples, ``large`` |g|².

    ``batch`` is B. Raises `ConfigError` for fewer than two ranks.
    """

    step: int
    batch: int
    ranks: int
    count: int
    small: float
    large: float

    def __post_init__(self) -> None:
        if self.ranks < 2:
            raise ConfigError("ranks", given=self.ranks, rule="at least 2: of one there is no noise to see")
        if self.batch < self.ranks or self.count < 1:
            raise ConfigError("batch", given=self.batch, rule="a sample a rank, of one step or more")

    def estimates(self, samples: int | None = None) -> tuple[float, float]:
        """S and G², either of which may come out below 0. ``samples`` are all that an epoch draws from without replacement.

        >>> Measured(0, 8, 2, 1, small=3.0, large=2.0).estimates()
        (8.0, 1.0)
        """
        noise = self.batch / (self.ranks - 1) * (self.small - self.large)
        left = 1.0 if samples is None else 1.0 - min(1.0, self.batch / samples)
        return noise, self.large - noise / self.batch * left


@dataclass(frozen=True)
class NoiseScale(Estimate):
    """The gradient noise scale in samples, estimated up to ``step`` from ``measures``; ``value`` may be infinite."""

    step: int
    measures: int
    origin: str = "estimated"

    def __str__(self) -> str:
        """What a panel says.

        >>> str(NoiseScale(312.4, 250.0, 402.0, step=900, measures=60))
        'noise scale ≈ 312 samples (estimated, 250 to 402)'
        """
        between = f"{digits(self.low)} to {digits(self.high)}"
        if not math.isfinite(self.value):
            return f"noise scale at least {digits(self.low)} samples (estimated)"
        if not math.isfinite(self.high):
            between = f"at least {digits(self.low)}"
        return f"noise scale ≈ {digits(self.value)} samples (estimated, {between})"


def noise_scale(measured: Iterable[Measured], samples: int | None = None) -> NoiseScale | None:
    """What the measurements say, the last ones most; None where there are fewer than `LEAST`.

    S and G² are smoothed apart and then divided: a mean of ratios would be off. The interval of the ratio is Fieller's
    (1954), with Student's quantile for as many measurements as the weights amount to. Where it can't be told from 0 that the gradient
    has a length at all, ``high`` is infinite.

    >>> quiet = [Measured(k, 64, 2, 1, small=1.5 + 0.01 * (k % 3), large=1.0) for k in range(30)]
    >>> round(noise_scale(quiet).value)
    67
    """
    rows = list(measured)
    if len(rows) < LEAST:
        return None
    values = np.array([row.estimates(samples) for row in rows])
    weights = np.array([row.count for row in rows]) * DECAY ** np.arange(len(rows) - 1, -1, -1)
    weights = weights / weights.sum()
    noise, square = weights @ values
    apart = values - (noise, square)
    shares = weights**2
    many = 1.0 / float(shares.sum())
    covariance = (apart.T * shares) @ apart * many / max(many - 1.0, 1.0)
    low, high = _ratio(noise, square, covariance, _student(many - 1.0))
    value = max(0.0, noise / square) if square > 0 else math.inf
    last = rows[-1].step
    return NoiseScale(value, min(low, value), max(high, value), step=last, measures=len(rows))


def epochs(noise: Estimate, batch_from: int, batch_to: int) -> Estimate:
    """How many times as many epochs the same loss takes with the one batch as with the other, with the interval.

    Raises `ConfigError` for a batch below 1.

    >>> epochs(Estimate(832.0, 600.0, 1200.0), 128, 512)
    Estimate(value=1.4, low=1.2891566265060241, high=1.5274725274725274)
    """
    for name, batch in (("batch_from", batch_from), ("batch_to", batch_to)):
        if batch < 1:
            raise ConfigError(name, given=batch, rule="at least 1 sample")
    found = [_epochs(scale, batch_from, batch_to) for scale in (noise.value, noise.high, noise.low)]
    return Estimate(found[0], min(found[1:]), max(found[1:]))


def _epochs(scale: float, batch_from: int, batch_to: int) -> float:
    return (batch_to + scale) / (batch_from + scale) if math.isfinite(scale) else 1.0


def costs(noise: Estimate, batch: int, factor: int = 4) -> str:
    """What batches that are larger by a factor would cost, in words.

    >>> costs(Estimate(832.0, 600.0, 1200.0), 128)
    '128 → 512 costs 1.4 × the epochs'
    """
    ratio = epochs(noise, batch, factor * batch)
    return f"{batch:,} → {factor * batch:,} costs {digits(ratio.value, 2)} × the epochs"


def of_view(view: RunView) -> NoiseScale | None:
    """The noise scale of a run as its view has it now; None where nothing can be said."""
    samples = view.plan.get("samples")
    return noise_scale(of_rows(view.norms), samples if isinstance(samples, int) and samples > 0 else None)


def of_rows(rows: Iterable[Sequence[float]]) -> list[Measured]:
    """The measurements of a run's log: `step, batch, ranks, count, small, large` each; what is none is passed over."""
    found = []
    for row in rows:
        try:
            step, batch, ranks, count = (int(one) for one in row[:4])
            small, large = (float(one) for one in row[4:])
            if math.isfinite(small) and math.isfinite(large):
                found.append(Measured(step, batch, ranks, count, small, large))
        except (ValueError, TypeError, OverflowError, ConfigError):
            continue
    return found


def _ratio(top: float, bottom: float, covariance: np.ndarray, quantile: float) -> tuple[float, float]:
    """Fieller's interval of a ratio that is not below 0: all ρ with (top - ρ · bottom)² ≤ quantile² · its variance."""
    (aa, ab), (_, bb) = quantile**2 * covariance
    a, b, c = bottom**2 - bb, top * bottom - ab, top**2 - aa  # a ρ² - 2 b ρ + c ≤ 0
    if a <= 0 or bottom <= 0:  # no bound above; below, the least of the one by the most of the other
        most = bottom + math.sqrt(bb)
        return (max(0.0, top - math.sqrt(aa)) / most if most > 0 else 0.0), math.inf
    root = math.sqrt(max(0.0, b**2 - a * c))
    return max(0.0, (b - root) / a), max(0.0, (b + root) / a)


def _student(degrees: float) -> float:
    """Student's quantile by the series of Fisher and Cornish (Abramowitz and Stegun 26.7.5), good to 1 % from 3 degrees on."""
    z, v = NORMAL, max(degrees, 1.0)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3
