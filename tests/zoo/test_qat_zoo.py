"""Quantization-aware training over the zoo: what can't be rounded is named, and once that is left in float the file answers
as the trained model does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.compression.quantization.convert import convert
from lepton_kit.compression.quantization.qat import quantization_aware
from lepton_kit.config import QuantizationAwareConfig
from lepton_kit.deploy.subject import store_model
from lepton_kit.errors import CompressionError
from tests.zoo import judge, kinds

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        importlib.util.find_spec("ai_edge_litert") is None,
        reason="the formats come with lepton_kit[compression]",
    ),
]

LIMIT = 0.1
"""The largest error of the file against the trained model in Keras, as `judge.error` counts it."""
SKIPPED: dict[str, set[str]] = {
    **{
        kind: {"LSTM"}
        for kind in ("LSTM", "stacked LSTM", "long LSTM", "open LSTM", "nested recurrent", "masked LSTM")
    },
    "masked encoder and decoder": {"LSTM"},
    "GRU": {"GRU"},
    "simple RNN": {"SimpleRNN"},
    "RNN of cells": {"RNN"},
    "masked steps": {"RNN", "Masking"},
    "bidirectional LSTM": {"Bidirectional"},
    "label a step": {"Bidirectional"},
    "masked label a step": {"Bidirectional"},
    "wide text": {"Bidirectional"},
    "time distributed": {"TimeDistributed", "LSTM"},
    "layer norm": {"LayerNormalization"},
    "channel by channel": {"LayerNormalization"},
    "group norm": {"GroupNormalization"},
    "grouped convolution": {"Conv2D"},
    "own layer with build": {"Scaled"},
    "registered own layer": {"Squared"},
    "wide and deep": {"CategoryEncoding"},
    "several categories": {"CategoryEncoding"},
    "Conv3D": {"Conv3D", "GlobalAveragePooling3D"},
    "attention": {"LayerNormalization", "MultiHeadAttention"},
}
"""Kind -> classes of the layers that have to be left in float."""
IMPOSSIBLE = {"stateful LSTM": "layer 'memory' keeps its state between calls"}
"""Kind -> why it has no file."""
FAST = {"separable convolution", "prelu", "LSTM", "frozen backbone"}


def _table() -> list[Any]:
    return [
        pytest.param(kind, id=kind, marks=() if kind in FAST else pytest.mark.conformance)
        for kind in kinds.KINDS
    ]


@pytest.mark.parametrize("kind", _table())
def test_a_kind_is_trained_with_rounding_or_what_is_in_the_way_is_named(
    kind: str, workshop: Any, tmp_path: Path
):
    model, x, held, y = kinds.made(kind)
    aware, skipped = _aware(model)
    if kind in IMPOSSIBLE:
        with pytest.raises(CompressionError, match=IMPOSSIBLE[kind]):
            convert(workshop, store_model(aware, tmp_path), "qat8", tmp_path / "made.tflite")
        return
    aware.compile("adam", model.loss)
    y = y if isinstance(y, list) else [y]
    trained = [part[: kinds.TRAIN] for part in y]
    aware.fit(x, trained if len(trained) > 1 else trained[0], epochs=1, verbose=0)
    expected = judge.answers(aware, held)
    convert(workshop, store_model(aware, tmp_path), "qat8", tmp_path / "made.tflite")
    error = judge.error(judge.litert(tmp_path / "made.tflite", judge.named(model, held)), expected)
    print(f"error {error:.4g}")
    assert skipped == SKIPPED.get(kind, set())
    assert error < LIMIT


def _aware(model: Any) -> tuple[Any, set[str]]:
    """The rounding model, and the classes of the layers that its refusals asked to leave in float."""
    skip: list[str] = []
    classes = set()
    while True:
        try:
            return quantization_aware(model, QuantizationAwareConfig(skip=tuple(skip))), classes
        except CompressionError as refusal:
            told = str(refusal)
        named = re.match(r"layer '([^']+)' \((\w+)[^)]*\) can't be trained .*name it in skip", told)
        assert named, told
        assert named[1] not in skip
        skip.append(named[1])
        classes.add(named[2])
