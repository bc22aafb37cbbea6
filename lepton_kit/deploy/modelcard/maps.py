"""The figures of maps of classes, such as masks: a class for each place, whole samples as what was drawn."""

from __future__ import annotations

import numpy as np

from lepton_kit.deploy import overlaps
from lepton_kit.deploy.modelcard.sections import ClassFigures, Metric
from lepton_kit.deploy.overlaps import Counts

HOW = "bootstrap of samples"
"""How the intervals are made. Places of one sample are alike, so a figure over a million of them is less sure than it looks."""


def metrics(found: Counts) -> tuple[Metric, ...]:
    """Dice, mean IoU, balanced accuracy and macro F1 over all places, with intervals that resample whole samples."""
    rules = {"Dice": overlaps.dice, "mean IoU": overlaps.iou, "balanced accuracy": _recall, "macro F1": _f1}
    return tuple(_metric(name, found, rule) for name, rule in rules.items())


def of_classes(found: Counts, names: list[str]) -> tuple[ClassFigures, ...]:
    """Precision, recall, F1 (which is the class's Dice coefficient) and places of every class."""
    told, are = found.told.sum(axis=0), found.are.sum(axis=0)
    right = found.right.sum(axis=0)
    return tuple(
        ClassFigures(
            name=name,
            precision=_metric("precision", found, lambda r, t, a, k=k: _share(r[..., k], t[..., k])),
            recall=_metric("recall", found, lambda r, t, a, k=k: _share(r[..., k], a[..., k])),
            f1=2 * int(right[k]) / int(told[k] + are[k]) if told[k] + are[k] else None,
            support=int(are[k]),
        )
        for k, name in enumerate(names)
    )


def _metric(name: str, found: Counts, rule: overlaps.Rule) -> Metric:
    value = float(rule(found.right.sum(axis=0), found.told.sum(axis=0), found.are.sum(axis=0)))
    if np.isnan(value):
        return Metric(name=name, value=None)
    low, high = overlaps.interval(found.resampled(rule))
    return Metric(name=name, value=value, low=low, high=high, how=HOW)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _recall(right: np.ndarray, told: np.ndarray, are: np.ndarray) -> np.ndarray:
    return _mean(right / np.maximum(are, 1), are > 0)


def _f1(right: np.ndarray, told: np.ndarray, are: np.ndarray) -> np.ndarray:
    return _mean(2 * right / np.maximum(told + are, 1), are > 0)


def _mean(each: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Over the classes that have places."""
    result: np.ndarray = np.where(there, each, 0).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)
    return result
