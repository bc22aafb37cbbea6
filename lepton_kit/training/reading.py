"""How the outputs of a model that is in memory read, given its data."""

from __future__ import annotations

from typing import Any

from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.preprocessing import Preprocessing
from lepton_kit.models.answers import Answer, answers
from lepton_kit.models.description import describe


def how_read(model: Any, data: PreparedData) -> tuple[Preprocessing, tuple[Answer, ...], dict[str, Any]]:
    """(preprocessing of the data, how each output reads, description of the model). Raises `LeptonError`, `ValueError`."""
    preprocessing = preprocessing_of(data)
    described = describe(model, data.train.part(slice(0, 1)).x)
    return preprocessing, answers(described, preprocessing.target, data.train.y), described
