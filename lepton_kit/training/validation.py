"""The validation of a run: its figures, and what the model said of the samples, both from one pass over the ranks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.preprocessing import Preprocessing
from lepton_kit.data.structure import items
from lepton_kit.errors import LeptonError
from lepton_kit.models.answers import Answer
from lepton_kit.models.targets import pair
from lepton_kit.rundir import RunPaths
from lepton_kit.training import state, tally
from lepton_kit.training.job import Job
from lepton_kit.training.logged import Predicted
from lepton_kit.training.reading import how_read
from lepton_kit.training.tally import ClassTally, LabelTally, Tally, ValueTally

MOST_VALUES = 128
"""Values a sample of a regression up to which they are shown."""


def tally_of(model: Any, data: PreparedData) -> Tally | str:
    """An empty tally for the validation split of a model, or why there can be none."""
    split = data.validation
    targets = [] if split is None else items(split.y)
    if split is None or not targets:
        return "the validation split has no targets"
    try:
        preprocessing, read, described = how_read(model, data)
        if len(read) != 1 or len(targets) != 1:
            return "the model has several outputs; predictions are shown of models with one"
        paired = next(iter(pair(described, targets[0][1])), None)
    except (LeptonError, ValueError) as failure:
        return f"it is not known how the outputs read ({failure})"
    return _tally(read[0], paired, len(split), np.shape(targets[0][1])[1:], preprocessing)


def _tally(
    answer: Answer, paired: Any, rows: int, given: tuple[int, ...], preprocessing: Preprocessing
) -> Tally | str:
    if answer.task == "other" or answer.shape is None:
        return "the outputs are neither classes nor values that are known how to read"
    if answer.task == "regression":
        values = int(np.prod([size or 1 for size in answer.shape]))
        if values > MOST_VALUES:
            return f"{values} values a sample; they are shown up to {MOST_VALUES}"
        return ValueTally(answer, rows, values, preprocessing.target)
    units = (answer.shape[-1] if answer.shape else 1) or 1
    classes = 2 if units == 1 and answer.task == "classification" else units
    if classes > tally.MOST_CLASSES:
        return f"{classes:,} classes; predictions are counted up to {tally.MOST_CLASSES:,}"
    if answer.task == "multilabel":
        return (
            LabelTally(answer, rows, classes)
            if len(answer.shape) == 1
            else "labels of places are not counted"
        )
    places = tuple(own or size for own, size in zip(answer.shape[:-1], given, strict=False))
    if len(places) > 2 or len(places) != len(answer.shape[:-1]):
        return "maps of more than two axes are not counted"
    loss = getattr(paired, "loss", None)
    return ClassTally(answer, rows, classes, places, loss["ignore"] if loss else None)


class Validation:
    """Evaluates the validation split of a job at the ends of epochs."""

    def __init__(self, job: Job):
        self._job = job
        self._seen: Tally | str = "nothing was validated yet"

    def due(self, completed: int) -> bool:
        """Whether the epoch that is the ``completed``-th of the run is followed by a validation."""
        return self._job.data.validation is not None and self._job.validates(completed)

    def run(self, weights: Any, rank: int) -> dict[str, float]:
        """Loss and metrics over the split, equal on every rank."""
        self._seen = tally_of(self._job.step.model, self._job.data)
        seen = None if isinstance(self._seen, str) else self._seen
        return self._job.step.evaluate(self._job.data.validation, weights, rank, seen)

    def told(self, epoch: int, step: int) -> Predicted:
        """What the last `run` has seen, on rank 0."""
        seen = self._seen
        if not isinstance(seen, str) and (seen.misfits or not seen.counts.any()):
            own = "the model's own code computes its loss, and what it predicts is not seen"
            seen = "the targets have another form than the outputs" if seen.misfits else own
        fields: dict[str, Any] = {"names": [], "counts": [], "points": [], "examples": []}
        if isinstance(seen, str):
            return Predicted(epoch=epoch, step=step, form="none", why=seen, **fields)
        return Predicted(epoch=epoch, step=step, form=seen.form, **fields | seen.told())  # type: ignore[arg-type]  # a literal

    def keep(self, folder: Path, step: int) -> None:
        """Store the counts of all classes where the log has those of the most confused alone. Raises `OSError`."""
        seen = self._seen
        if not isinstance(seen, ClassTally) or len(seen.counts) <= tally.SHOWN_CLASSES:
            return
        names = np.array([str(seen.answer.label(one)) for one in range(len(seen.counts))])
        paths = RunPaths(folder)
        target = paths.confusion(step)
        unfinished = paths.predictions / f".{target.parent.name}"
        for old in paths.predictions.glob("*step-*"):
            shutil.rmtree(old, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        state.write(
            unfinished / target.name,
            lambda file: np.savez_compressed(file, counts=seen.counts, names=names),
        )
        os.replace(unfinished, target.parent)
