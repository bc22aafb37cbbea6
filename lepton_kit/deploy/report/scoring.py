"""What answers are worth on held-out samples: a score with a confidence interval, compared sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lepton_kit.data.preprocessing import Target
from lepton_kit.deploy import overlaps
from lepton_kit.errors import CompressionError
from lepton_kit.models.answers import Answer

METRICS = ("auto", "dice")
RESAMPLES = 1000
Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
NO_MAPS = "metric: got 'dice'; the targets are no maps of class numbers, so leave it out (accuracy or absolute error)"


@dataclass(frozen=True, eq=False)
class Score:
    """A score with its 95 % interval. ``draws`` are its values on resampled samples, drawn alike for every score of as
    many samples, so that differences are paired; empty where it was not resampled."""

    metric: str
    higher_is_better: bool
    value: float
    low: float | None
    high: float | None
    draws: np.ndarray
    samples: int

    def lost_to(self, reference: Score, *, relative: bool = False) -> float:
        """How much worse it is, above 0 where it is worse; ``relative``: as a share of the reference's value."""
        lost = (reference.value - self.value) * (1 if self.higher_is_better else -1)
        return lost / abs(reference.value) if relative and reference.value else lost


def score(
    outputs: np.ndarray,
    y: np.ndarray,
    answer: Answer,
    metric: str = "auto",
    *,
    ignore: int | None = None,
    counted: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    target: Target | None = None,
) -> Score:
    """The score of one output, shape ``(samples, …)`` as the model gives it, against its targets.

    Classes: accuracy, of maps per position, or with ``metric="dice"`` the Dice coefficient. Several labels a sample:
    accuracy per label. Values: mean absolute error, in the unit of ``target``. Left out are places of the class
    ``ignore``, those where ``counted`` is False, and those that weigh 0, as the loss leaves them out; any other weight
    counts as 1. The interval of an accuracy of single
    labels is Wilson's (1927, doi:10.1080/01621459.1927.10502953), any other a percentile bootstrap over samples.
    """
    outputs, y = np.asarray(outputs, np.float32), np.asarray(y)
    if len(outputs) != len(y) or not len(y):
        raise CompressionError(f"held-out data: got {len(outputs)} predictions for {len(y)} targets")
    check_finite(outputs)
    if answer.task == "classification":
        truth = truth_of(answer, y, outputs.shape, ignore)
        if truth is None:
            raise CompressionError(
                f"the targets, shape {y.shape}, are no class numbers of the outputs {outputs.shape}"
            )
        if metric == "dice":
            return _dice(answer, outputs, truth)
        right = answer.classes(outputs) == truth
        kept = kept_of(right.shape, counted, weights)
        if ignore is not None:
            kept &= truth != ignore
        name = "accuracy" if right.ndim == 1 else "accuracy per position"
        return _share(name, right & kept, kept)
    if metric == "dice":
        raise CompressionError(NO_MAPS)
    if answer.task == "multilabel" and outputs.shape == y.shape:
        right = answer.classes(outputs) == (y > 0.5)
        return _share("accuracy per label", right, kept_of(right.shape, counted, weights))
    return _error(outputs, y, kept_of(outputs.shape, counted, weights), target)


def kept_of(shape: tuple[int, ...], *said: np.ndarray | None) -> np.ndarray:
    """Which places of ``shape`` count by all that is said (false or 0: not), of the shape or of its first axes.

    >>> kept_of((2, 2), np.array([True, False]), np.array([[1.0, 0.0], [2.0, 3.0]])).tolist()
    [[True, False], [False, False]]
    """
    kept = np.ones(shape, bool)
    for one in said:
        if one is not None and one.ndim == len(shape) + 1 and one.shape[-1] == 1:
            one = one[..., 0]
        if one is not None and one.shape == shape[: one.ndim]:
            kept &= (np.asarray(one) != 0).reshape(*one.shape, *[1] * (len(shape) - one.ndim))
    return kept


def check_finite(outputs: np.ndarray) -> None:
    """Raise `CompressionError` that says for how many samples the outputs hold NaN or infinity."""
    if not np.isfinite(outputs).all():
        bad = ~np.isfinite(outputs).reshape(len(outputs), -1).all(1)
        raise CompressionError(
            f"the model answered NaN or infinity for {int(bad.sum())} of {len(bad)} samples"
        )


def _error(outputs: np.ndarray, y: np.ndarray, kept: np.ndarray, target: Target | None) -> Score:
    if outputs.size != y.size or y.dtype.kind not in "biuf":
        raise CompressionError(f"predictions {outputs.shape} do not fit the targets {y.shape}")
    if not np.isfinite(y).all():
        raise CompressionError("held-out data: the targets hold NaN or infinity")
    errors = np.abs(outputs.reshape(len(y), -1).astype(np.float64) - y.reshape(len(y), -1))
    name = "mean absolute error"
    if target is not None and target.scale is not None and errors.shape[1] == len(target.scale):
        errors = errors * np.array(target.scale)
    if target is not None and target.unit:
        name += f" ({target.unit})"
    kept = kept.reshape(errors.shape)
    return _mean(name, False, (errors * kept).sum(1), kept.sum(1))


def truth_of(
    answer: Answer, y: np.ndarray, shape: tuple[int, ...], ignore: int | None = None
) -> np.ndarray | None:
    """Targets as class numbers, of the shape of the outputs' places; None where they can't be read as such.

    >>> truth_of(Answer(task="classification"), np.array([[0.0, 1.0], [1.0, 0.0]]), (2, 2)).tolist()
    [1, 0]
    """
    places = shape[:-1] if len(shape) > 1 else shape
    units = shape[-1] if len(shape) > 1 else 1
    if units > 1 and y.shape == shape:
        result: np.ndarray | None = y.argmax(axis=-1)
        return result
    if y.shape == (*places, 1):
        y = y[..., 0]
    if y.shape != places:
        return None
    if units == 1:  # 0 and 1, or -1 and 1
        return (y > (answer.middle if answer.link == "score" else 0.5)).astype(np.int64)
    bad = (y < 0) | (y >= units) | (y != np.floor(y))
    if (bad if ignore is None else bad & (y != ignore)).any():
        return None
    return y.astype(np.int64)


def _share(name: str, right: np.ndarray, kept: np.ndarray) -> Score:
    """The share of what is right among what counts, shapes ``(samples, …)``."""
    if right.ndim > 1 or not kept.all():
        return _mean(name, True, right.reshape(len(right), -1).sum(1), kept.reshape(len(kept), -1).sum(1))
    ends = wilson(int(right.sum()), len(right))
    return Score(name, True, float(right.mean()), *ends, _resampled(right, kept), len(right))


def _mean(name: str, higher: bool, sums: np.ndarray, counts: np.ndarray) -> Score:
    """The mean over all that counts: sums and counts of each sample."""
    if not counts.sum():
        raise CompressionError("held-out data: the loss leaves every target out, so nothing can be judged")
    draws = _resampled(sums, counts)
    low, high = overlaps.interval(draws)
    return Score(name, higher, float(sums.sum() / counts.sum()), low, high, draws, len(sums))


def _dice(answer: Answer, outputs: np.ndarray, truth: np.ndarray) -> Score:
    if truth.ndim == 1:
        raise CompressionError(NO_MAPS)
    units = outputs.shape[-1] if outputs.ndim > truth.ndim else 1
    found = overlaps.counts(truth, answer.classes(outputs), max(units, 2, int(truth.max()) + 1))
    draws = found.resampled(overlaps.dice)
    value = float(overlaps.dice(found.right.sum(0), found.told.sum(0), found.are.sum(0)))
    return Score("Dice", True, value, *overlaps.interval(draws), draws, len(truth))


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


def _resampled(sums: np.ndarray, counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Ratios of sums to counts over samples drawn with replacement (Efron 1979, doi:10.1214/aos/1176344552)."""
    generator = np.random.default_rng(seed)
    found = np.empty(resamples)
    for place in range(resamples):
        drawn = generator.integers(0, len(sums), len(sums))
        found[place] = sums[drawn].sum() / max(1, counts[drawn].sum())
    return found


def bootstrap(samples: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of a mean."""
    return overlaps.interval(_resampled(samples, np.ones(len(samples), np.int64), resamples, seed))


def difference(score_: Score, reference: Score) -> tuple[float, float | None, float | None]:
    """(difference, low, high) of this score minus the reference's, paired sample by sample."""
    value = score_.value - reference.value
    if not len(score_.draws) or score_.draws.shape != reference.draws.shape:
        return value, None, None
    return value, *overlaps.interval(score_.draws - reference.draws)
