"""Runs that no training made, with real held-out samples and predictions of a make-believe model, for their readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.frozen import freeze
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.preprocessing import Target
from lepton_kit.models.answers import Answer
from lepton_kit.training.logged import Predicted
from lepton_kit.training.tally import ClassTally, LabelTally, Tally, ValueTally
from tests.panels.conftest import SyntheticRun

NOTHING: dict[str, Any] = {"names": [], "counts": [], "points": [], "examples": []}


def run_on(folder: Path, prepared: PreparedData, **options: Any) -> SyntheticRun:
    """A run under way whose folder has these data."""
    run = SyntheticRun(folder, **options)
    freeze(prepared, folder)
    return run.begin()


def tell(run: SyntheticRun, tally: Tally, epoch: int = 0) -> None:
    """Log what a tally has seen, as the driver of a worker that validates would."""
    told = Predicted(epoch=epoch, step=run.step, form=tally.form, **NOTHING | tally.told())
    run.write(Predicted.event, **told.content)


def classified(prepared: PreparedData, share: float = 0.8, seed: int = 0) -> ClassTally:
    """Class numbers of which about this share is right, and the wrong ones are often the next class."""
    held, classes = prepared.validation, prepared.num_classes or 2
    assert held is not None
    true = np.asarray(held.y).reshape(len(held), *held.y.shape[1:]).astype(np.int64)
    random = np.random.default_rng(seed)
    said = np.where(
        random.random(true.shape) < share, true, (true + random.geometric(0.6, true.shape)) % classes
    )
    outputs = np.full((*said.shape, classes), 0.3 / classes)
    np.put_along_axis(outputs, said[..., None], random.uniform(0.5, 0.95, (*said.shape, 1)), axis=-1)
    answer = Answer(task="classification", labels=prepared.class_names, shape=(*true.shape[1:], classes))
    tally = ClassTally(answer, len(held), classes, true.shape[1:])
    tally.add(0, true, outputs / outputs.sum(-1, keepdims=True))
    return tally


def labelled(rows: int, names: tuple[str, ...], seed: int = 0) -> LabelTally:
    """Several labels a sample, most of them right."""
    random = np.random.default_rng(seed)
    true = (random.random((rows, len(names))) < 0.3).astype(np.float64)
    tally = LabelTally(Answer(task="multilabel", labels=names, shape=(len(names),)), rows, len(names))
    tally.add(0, true, np.clip(true + random.normal(0, 0.3, true.shape), 0, 1))
    return tally


def valued(rows: int, values: int = 1, seed: int = 0) -> ValueTally:
    """Values that are off by a tenth of their spread."""
    random = np.random.default_rng(seed)
    true = random.normal(0, 1, (rows, values))
    target = Target(
        task="regression", name="price", mean=(2000.0,) * values, scale=(400.0,) * values, unit="€"
    )
    tally = ValueTally(Answer(task="regression", shape=(values,)), rows, values, target)
    tally.add(0, true, true + random.normal(0, 0.1, true.shape))
    return tally
