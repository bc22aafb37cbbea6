"""Kinds of models that public reports are about: their files answer as they do, in float and in full int8."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.compression.quantization.convert import convert
from lepton_kit.compression.quantization.qat import quantization_aware
from lepton_kit.config import QuantizationAwareConfig
from lepton_kit.deploy.subject import store_model
from tests.zoo import judge, kinds
from tests.zoo.registry import REPORTED
from tests.zoo.test_zoo import LIMITS, _write

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        importlib.util.find_spec("ai_edge_litert") is None,
        reason="the formats come with lepton_kit[compression]",
    ),
]

FAST = {("masked attention", "int8"), ("spectral normalization", "int8")}
BEGUN = 0.05
"""The largest error of a rounding model before it is trained: only its kernels are rounded then, to 8 bits."""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(
            kind, name, id=f"{kind}-{name}", marks=() if (kind, name) in FAST else pytest.mark.conformance
        )
        for kind in REPORTED
        for name in ("litert", "int8")
    ],
)
def test_a_reported_kind_answers_as_its_model_does(kind: str, name: str, workshop: Any, tmp_path: Path):
    model, x, held, _ = kinds.made(kind)
    _write(workshop, store_model(model, tmp_path), name, tmp_path / "made.tflite", x, held)
    found = judge.litert(tmp_path / "made.tflite", judge.named(model, held))
    error = judge.error(found, judge.answers(model, held))
    print(f"error {error:.4g}")
    assert error < LIMITS[name]


@pytest.mark.parametrize(
    ("kind", "skip"),
    [
        ("masked mean", None),
        pytest.param("masked attention", "MultiHeadAttention", marks=pytest.mark.conformance),
        pytest.param("spectral normalization", "SpectralNormalization", marks=pytest.mark.conformance),
    ],
)
def test_what_is_masked_or_wrapped_is_trained_with_rounding(
    kind: str, skip: str | None, workshop: Any, tmp_path: Path
):
    model, x, held, y = kinds.made(kind)
    names = tuple(layer.name for layer in model.layers if type(layer).__name__ == skip)
    aware = quantization_aware(model, QuantizationAwareConfig(skip=names))
    assert judge.error(judge.answers(aware, held), judge.answers(model, held)) < BEGUN
    aware.compile("adam", model.loss)
    aware.fit(x, y[: kinds.TRAIN], epochs=1, verbose=0)
    convert(workshop, store_model(aware, tmp_path), "qat8", tmp_path / "made.tflite")
    found = judge.litert(tmp_path / "made.tflite", judge.named(model, held))
    assert judge.error(found, judge.answers(aware, held)) < 0.1


def test_a_mask_reaches_the_loss_of_a_rounding_model():
    import keras
    from keras import layers

    x = keras.Input((4,), dtype="int32")
    model = keras.Model(x, layers.Dense(3)(layers.Embedding(5, 3, mask_zero=True)(x)))
    ids = keras.ops.convert_to_tensor([[1, 2, 0, 0]])
    masks = [one(ids)._keras_mask for one in (model, quantization_aware(model))]
    assert [mask.numpy().tolist() for mask in masks] == [[[True, True, False, False]]] * 2
