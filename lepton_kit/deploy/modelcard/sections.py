"""The parts of a model card as plain, frozen data that JSON holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from lepton_kit.errors import DataError
from lepton_kit.rundir.reading import read_mapping
from lepton_kit.specs import Section

FILE = "card.json"


class Metric(Section):
    """A figure on the held-out samples with its 95 % interval; ``how`` names the interval's method."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    how: str | None = None


class ClassFigures(Section):
    """One class (or label): of those told to be it so many are (precision), of those that are it so many are found
    (recall), with Wilson intervals; ``support`` counts the samples that are it."""

    name: str
    precision: Metric
    recall: Metric
    f1: float | None
    support: int


class Bin(Section):
    """Samples whose probability lies between ``low`` and ``high``: what it said on average, and how many were right."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


class WorstSample(Section):
    """A held-out sample that the model answers worst; ``picture`` is a PNG as a data URI, ``text`` its words."""

    row: int
    name: str
    truth: str
    answer: str
    score: float = Field(
        description="probability of the truth, the distance from it, or of a map the Dice coefficient"
    )
    picture: str | None = None
    text: str | None = None


class Residuals(Section):
    """Predicted minus true values, in the target's unit: quantiles, and some points (true, predicted) to draw."""

    quantiles: dict[str, float]
    points: tuple[tuple[float, float], ...]


class OutputCard(Section):
    """The figures of one output."""

    name: str | None
    task: str
    unit: str | None = None
    metrics: tuple[Metric, ...] = ()
    baseline: tuple[Metric, ...] = ()
    baseline_rule: str | None = None
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = Field(
        None, description="rows: true class, columns: answer"
    )
    calibration: tuple[Bin, ...] = ()
    residuals: Residuals | None = None
    worst: tuple[WorstSample, ...] = ()
    limits: tuple[str, ...] = ()
    places: bool = Field(False, description="a class for each place of a sample, such as a pixel")


class DataFacts(Section):
    """What the model learned from."""

    fingerprint: str | None = None
    kind: str | None = None
    training_samples: int | None = None
    validation_samples: int | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


class Facts(Section):
    """A model card as it is stored; see `lepton_kit.deploy.modelcard.card.ModelCard`."""

    version: Literal[1] = 1
    name: str
    created: str
    step: int | None = None
    split: Literal["validation", "given"] | None = Field(
        None, description="what the figures are of: the run's own validation split, or rows that were given"
    )
    data: DataFacts
    outputs: tuple[OutputCard, ...] = ()
    configuration: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    formats: dict[str, dict[str, Any]] = Field(default_factory=dict)
    preprocessing: str = Field("", description="what the model's file does itself with raw input, in words")
    limits: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As text, which `load` reads."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)


def load(path: Path) -> Facts:
    """The facts of a ``card.json``. Raises `DataError`."""
    try:
        return Facts.model_validate(read_mapping(path))
    except (OSError, ValueError, pydantic.ValidationError) as failure:
        raise DataError(f"{path}: not a readable model card ({str(failure).splitlines()[0]})") from None
