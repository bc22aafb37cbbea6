"""Judges the outputs of a model against the targets of held-out samples: the figures of one output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_kit.data.preprocessing import Target
from lepton_kit.deploy import overlaps
from lepton_kit.deploy.modelcard import figures, maps
from lepton_kit.deploy.modelcard.sections import Bin, Metric, OutputCard, Residuals, WorstSample
from lepton_kit.deploy.report.scoring import truth_of
from lepton_kit.models.answers import Answer

WORST = 12
POINTS = 400
ROUGH = 30  # fewer samples of a class give figures that another draw would change much
UNCALIBRATED = 0.1  # of this calibration error the card warns
Show = Callable[..., dict[str, Any]]
"""The row of a held-out sample (and of a mask what was answered and what is true) to its name, picture, text."""


def judge(
    answer: Answer, target: Target, outputs: np.ndarray, y: Any, train_y: Any, show: Show
) -> OutputCard:
    """The figures of one output. ``outputs`` and ``y`` have a row a held-out sample, ``train_y`` the training's."""
    about: dict[str, Any] = {"name": answer.name, "task": answer.task, "unit": target.unit}
    if y is None:
        return OutputCard(**about, limits=("The data have no targets, so nothing could be compared.",))
    y, train_y = np.asarray(y), np.asarray(train_y) if train_y is not None else None
    if y.dtype.kind not in "biuf" or len(y) != len(outputs):
        return OutputCard(**about, limits=("These targets are no numbers that could be compared.",))
    if answer.task == "classification":
        return _classes(answer, outputs, y, train_y, show, about)
    if answer.task == "multilabel" and y.shape == outputs.shape:
        return _labels(answer, outputs, y, train_y, about)
    if answer.task == "regression" and y.size == outputs.size:
        return _values(target, outputs, y, train_y, show, about)
    return OutputCard(**about, limits=("What this output means is the model's own, so it was not judged.",))


def _classes(
    answer: Answer, outputs: np.ndarray, y: np.ndarray, train_y: Any, show: Show, about: dict[str, Any]
) -> OutputCard:
    truth = truth_of(answer, y, outputs.shape)
    if truth is None:
        return OutputCard(**about, limits=("The targets are no class numbers, so it was not judged.",))
    found = answer.probabilities(outputs)
    each = answer.scores(outputs) if found is None else found
    chosen, count = answer.classes(outputs), each.shape[-1]
    names = [str(answer.label(k)) for k in range(count)]
    table = figures.confusion(truth, chosen, count)
    right = truth == chosen
    alone = truth.ndim == 1
    overlap = None if alone else overlaps.counts(truth, chosen, count)
    if overlap is None:
        metrics = [
            figures.share("accuracy", int(right.sum()), right.size),
            *figures.macro_metrics(table),
        ]
    else:
        each_right = right.reshape(len(right), -1).mean(axis=1)
        metrics = [figures.mean("accuracy per position", each_right), *maps.metrics(overlap)]
    of_truth = np.take_along_axis(each, truth[..., None], axis=-1)[..., 0]
    limits: list[str] = []
    calibrated: tuple[Bin, ...] = ()
    if found is not None:
        loss = -np.log(np.clip(of_truth, 1e-15, None)).reshape(len(of_truth), -1).mean(axis=1)
        metrics.append(figures.mean("log loss", loss))
        calibrated, error = figures.calibration(each.max(axis=-1).ravel(), right.ravel())
        metrics.append(Metric(name="calibration error", value=error))
        limits += _calibration_limit(error, float(each.max(axis=-1).mean()), float(right.mean()))
    else:
        limits.append("There are no probabilities; scores only rank the classes.")
    if count == 2:
        area = figures.auc(each[..., 1].ravel(), truth.ravel() == 1)
        # Its interval counts places as if each was drawn by itself.
        metrics.append(area if alone else Metric(name=area.name, value=area.value))
    baseline, rule = _majority(answer, truth, train_y, outputs.shape, names, metrics[0].name)
    limits += _class_limits(table, names, metrics[0], baseline, alone)
    if overlap is None:
        worth = of_truth
        classes = figures.of_classes(table, names)
    else:
        worth = overlaps.dice(overlap.right, overlap.told, overlap.are)
        classes = maps.of_classes(overlap, names)
    worst = np.argsort(worth, kind="stable")[:WORST]
    return OutputCard(
        **about,
        places=not alone,
        metrics=tuple(metrics),
        baseline=baseline,
        baseline_rule=rule,
        classes=classes,
        confusion=tuple(map(tuple, table.tolist())) if count <= figures.MOST_CLASSES else None,
        calibration=calibrated,
        worst=tuple(
            WorstSample(
                row=int(row),
                truth=names[int(truth[row])] if alone else "a map",
                answer=names[int(chosen[row])] if alone else "a map",
                score=float(worth[row]),
                **(show(int(row)) if alone else show(int(row), chosen[row], truth[row])),
            )
            for row in worst
        ),
        limits=tuple(limits),
    )


def _calibration_limit(error: float, said: float, true: float) -> list[str]:
    if error <= UNCALIBRATED:
        return []
    way = "higher" if said > true else "lower"
    return [
        f"Probabilities are mostly {way} than the share of right answers, by {error:.2f} on average: "
        "don't read them as chances."
    ]


def _majority(
    answer: Answer, truth: np.ndarray, train_y: Any, shape: tuple[int, ...], names: list[str], figure: str
) -> tuple[tuple[Metric, ...], str | None]:
    """Always answering the class that training had most of."""
    if train_y is None:
        return (), None
    known = truth_of(answer, train_y, (len(train_y), *shape[1:]))
    if known is None:
        return (), None
    most = int(np.bincount(known.ravel(), minlength=len(names)).argmax())
    rule = f"always {names[most]!r}, the most frequent class in training"
    found = [figures.share(figure, int((truth == most).sum()), truth.size)]
    if figure == "accuracy" and (truth == most).any():  # of the classes that are there it answers one right
        found.append(Metric(name="balanced accuracy", value=1 / len(np.unique(truth))))
        if len(names) == 2:
            found.append(Metric(name="AUC", value=0.5))
    return tuple(found), rule


def _class_limits(
    table: np.ndarray, names: list[str], accuracy: Metric, baseline: Sequence[Metric], alone: bool
) -> list[str]:
    found = []
    support = table.sum(axis=1)
    few = [name for name, count in zip(names, support, strict=True) if count < ROUGH] if alone else []
    if few:
        shown = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        found.append(f"Fewer than {ROUGH} held-out samples: the figures of {shown} are rough.")
    if baseline and accuracy.low is not None and accuracy.low <= (baseline[0].value or 0):
        found.append("The accuracy is not clearly above the baseline.")
    if support.max() > 0.9 * support.sum():
        most = names[int(support.argmax())]
        found.append(f"Over 90 % of the samples are {most!r}: accuracy misleads, see balanced accuracy.")
    return found


def _labels(
    answer: Answer, outputs: np.ndarray, y: np.ndarray, train_y: Any, about: dict[str, Any]
) -> OutputCard:
    outputs, y = outputs.reshape(-1, outputs.shape[-1]), y.reshape(-1, y.shape[-1])
    told, truth = answer.classes(outputs) == 1, y > 0.5
    names = [str(answer.label(k)) for k in range(truth.shape[1])]
    right, said, are = ((told & truth).sum(axis=0), told.sum(axis=0), truth.sum(axis=0))
    classes = tuple(
        figures.class_figures(name, int(right[k]), int(said[k]), int(are[k])) for k, name in enumerate(names)
    )
    known = [one.f1 for one in classes if one.f1 is not None]
    exact = (told == truth).all(axis=1)
    total = int(said.sum() + are.sum())
    metrics = [
        figures.share("all labels right", int(exact.sum()), len(exact)),
        Metric(name="micro F1", value=2 * int(right.sum()) / total if total else None),
        Metric(name="macro F1", value=float(np.mean(known)) if known else None),
    ]
    found = answer.probabilities(outputs)
    calibrated: tuple[Bin, ...] = ()
    if found is not None:
        confidence = np.where(told, found, 1 - found).ravel()
        calibrated, error = figures.calibration(confidence, (told == truth).ravel())
        metrics.append(Metric(name="calibration error", value=error))
    baseline: tuple[Metric, ...] = ()
    if train_y is not None:
        usual = train_y.reshape(-1, train_y.shape[-1]).mean(axis=0) > 0.5
        baseline = (figures.share("all labels right", int((truth == usual).all(axis=1).sum()), len(truth)),)
    rule = "for each label the more frequent answer in training" if baseline else None
    return OutputCard(
        **about,
        metrics=tuple(metrics),
        baseline=baseline,
        baseline_rule=rule,
        classes=classes,
        calibration=calibrated,
    )


def _values(
    target: Target, outputs: np.ndarray, y: np.ndarray, train_y: Any, show: Show, about: dict[str, Any]
) -> OutputCard:
    shape = (len(outputs), -1)
    told = target.values(outputs.reshape(shape))
    truth = target.values(y.reshape(shape))
    metrics = figures.regression(truth.mean(axis=1), told.mean(axis=1)) if truth.shape[1] == 1 else ()
    limits: tuple[str, ...] = ()
    if truth.shape[1] > 1:
        metrics = figures.regression(truth.ravel(), told.ravel())
        limits = (f"The figures are over all {truth.shape[1]} values of the target together.",)
    baseline: tuple[Metric, ...] = ()
    if train_y is not None and train_y.dtype.kind in "biuf":
        usual = np.broadcast_to(target.values(train_y.reshape(len(train_y), -1)).mean(axis=0), truth.shape)
        baseline = figures.regression(truth.ravel(), usual.ravel())[:2]
    error = (told - truth).ravel()
    steps = (0, 5, 25, 50, 75, 95, 100)
    few = np.unique(np.linspace(0, error.size - 1, POINTS).astype(np.int64))
    far = np.abs(told - truth).max(axis=1)
    return OutputCard(
        **about,
        metrics=metrics,
        baseline=baseline,
        baseline_rule="always the mean of the training targets" if baseline else None,
        residuals=Residuals(
            quantiles={f"{k} %": float(np.percentile(error, k)) for k in steps},
            points=tuple(zip(truth.ravel()[few].tolist(), told.ravel()[few].tolist(), strict=True)),
        ),
        worst=tuple(
            WorstSample(
                row=int(row),
                truth=_numbers(truth[row]),
                answer=_numbers(told[row]),
                score=float(far[row]),
                **show(int(row)),
            )
            for row in np.argsort(-far, kind="stable")[:WORST]
        ),
        limits=limits,
    )


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in values[:4]) + (", …" if len(values) > 4 else "")
