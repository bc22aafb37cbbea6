"""Remarks on a launch: exact on any number of workers, but not what the loss, the classes or their shares suggest."""

from __future__ import annotations

import contextlib
from typing import Any

from lepton_kit.config import RunSettings
from lepton_kit.data import PreparedData
from lepton_kit.errors import LeptonError
from lepton_kit.models.balance import class_counts
from lepton_kit.models.shapes import describe_for
from lepton_kit.models.targets import default_loss, pair

LOPSIDED = 0.9
"""The share of one class from which accuracy alone says little."""


def remarks_on(trained: Any, settings: RunSettings, prepared: PreparedData) -> list[str]:
    """Sentences for the run's warnings."""
    return [*_of_answers(trained, settings, prepared), *_of_balance(prepared)]


def _of_answers(trained: Any, settings: RunSettings, prepared: PreparedData) -> list[str]:
    """Where the outputs don't read as the loss or the classes of the data suggest; a prediction says it again."""
    from lepton_kit.data.array_input import preprocessing_of
    from lepton_kit.models import answers

    with contextlib.suppress(
        LeptonError, ValueError
    ):  # a prediction says why not; training has no need of it
        described, loss = describe_for(trained, prepared, loss=settings.training.loss), None
        if not described["compiled"]:
            first, *more = pair(described, prepared.train.y)  # the loss that suits the targets is taken
            loss = None if more else default_loss(first)
        read = answers.answers(described, preprocessing_of(prepared).target, prepared.train.y, loss)
        return [answer.note for answer in read if answer.note]
    return []


def _of_balance(prepared: PreparedData) -> list[str]:
    """Where one class is so frequent that always answering it looks good. Samples that lie elsewhere are not read."""
    found = class_counts(prepared)
    if found is None:
        return []
    kinds, counts = found
    most, share = int(counts.argmax()), counts.max() / counts.sum()
    if share < LOPSIDED:
        return []
    names = prepared.class_names
    name = names[int(kinds[most])] if names is not None else str(kinds[most])
    return [
        f"accuracy misleads here: {share:.1%} of the training samples are of class {name!r}, so a model that always "
        "says so is right as often; run.report() shows balanced accuracy and the recall of each class"
    ]
