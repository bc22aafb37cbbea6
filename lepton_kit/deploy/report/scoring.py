"""What a model is worth on held-out samples: one score per sample, its mean, and a confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lepton_kit.deploy import overlaps
from lepton_kit.errors import CompressionError

METRICS = ("auto", "dice")
Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True, eq=False)
class Score:
    """The mean of ``samples`` (one number per held-out sample) with its 95 % interval.

    A Dice coefficient is no mean over samples: it is computed from the sums of ``counts``, and ``samples`` holds that of
    each sample alone.
    """

    metric: str
    higher_is_better: bool
    samples: np.ndarray
    low: float
    high: float
    counts: overlaps.Counts | None = None

    @property
    def value(self) -> float:
        """The mean over the held-out samples; of a Dice coefficient that of all their places together."""
        if self.counts is None:
            return float(self.samples.mean())
        found = self.counts
        return float(overlaps.dice(found.right.sum(0), found.told.sum(0), found.are.sum(0)))


def check_metric(metric: str) -> None:
    """Raise `CompressionError` for a metric that is none of `METRICS`."""
    if metric not in METRICS:
        raise CompressionError(f"metric: got {metric!r}; expected one of {', '.join(METRICS)}")


def score(predictions: np.ndarray, targets: np.ndarray, task: str, metric: str = "auto") -> Score:
    """Accuracy for classes and label maps, mean absolute error for numbers; ``metric="dice"`` for label maps.

    ``predictions`` has shape ``(samples, …)`` as the model returns it. The interval of an accuracy of single labels
    is Wilson's (1927, doi:10.1080/01621459.1927.10502953); any other one is a percentile bootstrap.
    """
    predictions, targets = np.asarray(predictions, np.float32), np.asarray(targets)
    if len(predictions) != len(targets) or not len(targets):
        raise CompressionError(
            f"held-out data: got {len(predictions)} predictions for {len(targets)} targets"
        )
    if not np.all(np.isfinite(predictions)):
        bad = ~np.isfinite(predictions).reshape(len(predictions), -1).all(1)
        raise CompressionError(
            f"the model answered NaN or infinity for {int(bad.sum())} of {len(bad)} samples"
        )
    if metric == "dice" and targets.dtype.kind == "f" and bool((targets == np.floor(targets)).all()):
        targets, task = targets.astype(np.int64), "classification"  # masks are often written as 0.0 and 1.0
    chosen = _classes(predictions, targets, task)
    if metric == "dice":
        return _dice(chosen, predictions)
    if chosen is None:
        if predictions.size != targets.size:
            raise CompressionError(f"predictions {predictions.shape} do not fit the targets {targets.shape}")
        each = np.abs(predictions.reshape(len(targets), -1) - targets.reshape(len(targets), -1)).mean(1)
        return Score("mean absolute error", False, each, *bootstrap(each))
    guess, truth = chosen
    each = (guess == truth).reshape(len(truth), -1).mean(1)
    if guess.ndim == 1:
        return Score("accuracy", True, each, *wilson(int(each.sum()), len(each)))
    return Score("accuracy per position", True, each, *bootstrap(each))


def _dice(chosen: tuple[np.ndarray, np.ndarray] | None, predictions: np.ndarray) -> Score:
    if chosen is None or chosen[0].ndim == 1:
        raise CompressionError(
            "metric: got 'dice'; the targets are no maps of class numbers, so leave it out (accuracy or absolute error)"
        )
    guess, truth = chosen
    units = predictions.shape[-1] if predictions.ndim > guess.ndim else 1
    found = overlaps.counts(truth, guess, max(units, 2, int(truth.max()) + 1))
    ends = overlaps.interval(found.resampled(overlaps.dice))
    return Score("Dice", True, overlaps.dice(found.right, found.told, found.are), *ends, counts=found)


def _classes(predictions: np.ndarray, targets: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray] | None:
    whole = np.issubdtype(targets.dtype, np.integer) or targets.dtype == bool
    if task == "regression" or not (task == "classification" or whole):
        return None
    if targets.ndim == predictions.ndim and targets.shape == predictions.shape and targets.shape[-1] > 1:
        return predictions.argmax(-1), targets.argmax(-1)  # one-hot
    if targets.ndim == predictions.ndim and targets.shape[-1] == 1:
        targets = targets[..., 0]
    if predictions.ndim == targets.ndim + 1 and predictions.shape[-1] > 1:
        return predictions.argmax(-1), targets
    if predictions.ndim == targets.ndim + 1:
        predictions = predictions[..., 0]
    if predictions.shape != targets.shape:
        return None
    threshold = (
        0.5 if predictions.min() >= 0 and predictions.max() <= 1 else 0.0
    )  # probabilities, else logits
    return (predictions > threshold).astype(targets.dtype), targets


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of successes.

    >>> low, high = wilson(90, 100)
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
    """
    share = right / total
    denominator = 1 + Z95**2 / total
    middle = (share + Z95**2 / (2 * total)) / denominator
    half = Z95 * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2)) / denominator
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(samples: np.ndarray, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of a mean (Efron 1979, doi:10.1214/aos/1176344552)."""
    generator = np.random.default_rng(seed)
    means = [samples[generator.integers(0, len(samples), len(samples))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def difference(score_: Score, reference: Score) -> tuple[float, float, float]:
    """(mean, low, high) of this score minus the reference's, paired sample by sample."""
    if score_.counts is not None and reference.counts is not None:  # both draw the same samples
        drawn = score_.counts.resampled(overlaps.dice) - reference.counts.resampled(overlaps.dice)
        return score_.value - reference.value, *overlaps.interval(drawn)
    paired = score_.samples - reference.samples + 0.0
    return float(paired.mean()), *bootstrap(paired)
