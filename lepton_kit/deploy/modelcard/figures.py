"""Figures of answers on held-out samples, with intervals: pure functions of arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lepton_kit.deploy.modelcard.sections import Bin, ClassFigures, Metric
from lepton_kit.deploy.report.scoring import Z95, bootstrap, wilson
from lepton_kit.errors import DataError

BINS = 10
FEW = 20_000  # up to so many samples a mean is resampled; above, the normal approximation is as good
RESAMPLES = 1000
MOST_CLASSES = 50  # a larger confusion matrix is no picture any more, and its resampling takes long


def confusion(truth: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    """Counts of shape ``(classes, classes)``: rows the true class, columns the answer.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    pairs = truth.astype(np.int64).ravel() * classes + answer.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def share(name: str, right: int, total: int) -> Metric:
    """A share with Wilson's interval (1927, doi:10.1080/01621459.1927.10502953); None of nothing."""
    if not total:
        return Metric(name=name, value=None)
    low, high = wilson(right, total)
    return Metric(name=name, value=right / total, low=low, high=high, how="Wilson")


def mean(name: str, samples: np.ndarray) -> Metric:
    """A mean with its interval: a percentile bootstrap, of very many samples the normal approximation."""
    value = float(np.mean(samples))
    if len(samples) <= FEW:
        low, high = bootstrap(np.asarray(samples, np.float64), RESAMPLES)
        return Metric(name=name, value=value, low=low, high=high, how="bootstrap")
    half = Z95 * float(np.std(samples)) / math.sqrt(len(samples))
    return Metric(name=name, value=value, low=value - half, high=value + half, how="normal")


def of_classes(table: np.ndarray, names: list[str]) -> tuple[ClassFigures, ...]:
    """Precision, recall, F1 and support of every class of a confusion matrix."""
    right, told, are = np.diag(table), table.sum(axis=0), table.sum(axis=1)
    return tuple(
        class_figures(name, int(right[k]), int(told[k]), int(are[k])) for k, name in enumerate(names)
    )


def class_figures(name: str, right: int, told: int, are: int) -> ClassFigures:
    """The figures of one class: ``right`` answers among ``told`` ones, of ``are`` samples."""
    return ClassFigures(
        name=name,
        precision=share("precision", right, told),
        recall=share("recall", right, are),
        f1=2 * right / (told + are) if told + are else None,
        support=are,
    )


def macro(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(balanced accuracy, macro F1) of confusion matrices ``(…, k, k)``, over the classes that have samples.

    >>> [round(float(value), 3) for value in macro(np.array([[8, 2], [0, 10]]))]
    [0.9, 0.899]
    """
    tables = np.asarray(tables, np.float64)
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    told, are = tables.sum(axis=-2), tables.sum(axis=-1)
    there = are > 0
    count = np.maximum(there.sum(axis=-1), 1)
    recall = np.where(there, right / np.maximum(are, 1), 0)
    f1 = np.where(there, 2 * right / np.maximum(told + are, 1), 0)
    return recall.sum(axis=-1) / count, f1.sum(axis=-1) / count


def macro_metrics(table: np.ndarray) -> tuple[Metric, Metric]:
    """Balanced accuracy and macro F1; samples are resampled through the matrix's cells, which is the same draw."""
    values = [float(value) for value in macro(table)]
    names = ("balanced accuracy", "macro F1")
    if len(table) > MOST_CLASSES:
        return Metric(name=names[0], value=values[0]), Metric(name=names[1], value=values[1])
    total = int(table.sum())
    drawn = np.random.default_rng(0).multinomial(total, table.ravel() / total, size=RESAMPLES)
    found = []
    for name, value, samples in zip(names, values, macro(drawn.reshape(-1, *table.shape)), strict=True):
        low, high = np.quantile(samples, [0.025, 0.975])
        found.append(Metric(name=name, value=value, low=float(low), high=float(high), how="bootstrap"))
    return found[0], found[1]


def auc(score: Any, positive: Any) -> Metric:
    """Area under the ROC curve from ranks, ties at half; interval by Hanley and McNeil (1982,
    doi:10.1148/radiology.143.1.7063747), for samples that do not depend on each other.

    ``score`` are numbers of shape (N,), ``positive`` which of the samples are positive, as truth values or 0 and 1. Its
    value is None where all samples are of one kind, or a score is NaN. Raises `DataError`.

    >>> auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).value
    0.75
    """
    score, truth = np.asarray(score, np.float64), np.asarray(positive)
    if score.ndim != 1 or score.shape != truth.shape:
        raise DataError(
            f"positive: got shape {truth.shape} for scores of shape {score.shape}; expected (N,) of both"
        )
    if not np.isin(truth, (0, 1)).all():
        raise DataError("positive: got other values than True, False, 1 and 0")
    positive = truth.astype(bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m or np.isnan(score).any():
        return Metric(name="AUC", value=None)
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    value = float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    spread = value * (1 - value) + (n - 1) * (q1 - value**2) + (m - 1) * (q2 - value**2)
    half = Z95 * math.sqrt(max(0.0, spread) / (n * m))
    return Metric(
        name="AUC", value=value, low=max(0.0, value - half), high=min(1.0, value + half), how="Hanley-McNeil"
    )


def calibration(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> tuple[tuple[Bin, ...], float]:
    """Reliability in bins of equal width, without the empty ones, and the expected calibration error (Guo et al. 2017,
    arXiv:1706.04599): the mean distance of what was said from what came true.

    >>> found, error = calibration(np.array([0.95, 0.95]), np.array([True, False]))
    >>> found[0].count, round(error, 3)
    (2, 0.45)
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    said = np.bincount(place, confidence, bins) / np.maximum(count, 1)
    true = np.bincount(place, right, bins) / np.maximum(count, 1)
    error = float((count * np.abs(said - true)).sum() / max(1, count.sum()))
    found = tuple(
        Bin(
            low=k / bins,
            high=(k + 1) / bins,
            confidence=float(said[k]),
            accuracy=float(true[k]),
            count=int(count[k]),
        )
        for k in range(bins)
        if count[k]
    )
    return found, error


def regression(truth: np.ndarray, told: np.ndarray) -> tuple[Metric, ...]:
    """Mean absolute error, root mean squared error, R² and mean error of values, shapes ``(n,)``."""
    error = told - truth
    squared = mean("mean squared error", error**2)
    root = Metric(
        name="RMSE",
        value=math.sqrt(squared.value or 0),
        low=math.sqrt(max(0.0, squared.low or 0)),
        high=math.sqrt(squared.high or 0),
        how=squared.how,
    )
    return mean("MAE", np.abs(error)), root, _r2(truth, error), mean("mean error", error)


def _r2(truth: np.ndarray, error: np.ndarray) -> Metric:
    total = float(((truth - truth.mean()) ** 2).sum())
    if total == 0:
        return Metric(name="R²", value=None)
    value = 1 - float((error**2).sum()) / total
    if len(truth) > FEW:
        return Metric(name="R²", value=value)
    generator, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(truth), len(truth))
        spread = ((truth[rows] - truth[rows].mean()) ** 2).sum()
        if spread > 0:
            drawn.append(1 - (error[rows] ** 2).sum() / spread)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Metric(name="R²", value=value, low=float(low), high=float(high), how="bootstrap")
