"""Which kinds hls4ml takes: those come out of its emulation as Keras has them, all others are refused by a layer's name."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lepton_kit.deploy.fpga_fit import check_layers
from lepton_kit.deploy.subject import store_model
from lepton_kit.errors import CompressionError
from lepton_kit.models.description import read_config
from tests.zoo import judge, kinds

pytestmark = [
    pytest.mark.processes,
    pytest.mark.conformance,
    pytest.mark.skipif(
        importlib.util.find_spec("hls4ml") is None or shutil.which("g++") is None,
        reason="hls4ml comes with the extra lepton_kit[fpga], g++ with the system",
    ),
]

TAKEN = {
    "dense softmax", "dense sigmoid", "several labels", "regression", "elu", "selu", "softplus", "prelu", "leaky relu",
    "mixed precision", "convolutions", "convolutions of bytes", "depthwise convolution", "residual",
    "average pooling and shapes", "augmentation inside", "Conv1D", "LSTM", "GRU", "stacked LSTM", "bidirectional LSTM",
    "long LSTM",
}  # fmt: skip
SAMPLES = 8
ONE = [
    kind
    for kind in kinds.KINDS
    if "several" not in kind and kind not in ("shared layer", "masked encoder and decoder")
]
"""Kinds of one input and one output; the path takes no others."""


@pytest.mark.parametrize("kind", [*ONE, "several labels"])
def test_a_kind_is_emulated_as_keras_has_it_or_refused_by_a_name(kind: str, workshop: Any, tmp_path: Path):
    model, _, held, _ = kinds.made(kind)
    stored = store_model(model, tmp_path)
    np.save(tmp_path / "held.npy", held[:SAMPLES])

    def emulated() -> None:
        check_layers(read_config(stored))
        workshop(
            "lepton_kit.deploy.fpga_build:emulate",
            model=str(stored),
            folder=str(tmp_path / "project"),
            precision="ap_fixed<28,12>",
            reuse_factor=1,
            io="auto",
            samples=str(tmp_path / "held.npy"),
            output=str(tmp_path / "answers.npz"),
        )

    if kind not in TAKEN:
        with pytest.raises(CompressionError) as caught:
            emulated()
        named = [layer.name for layer in model._flatten_layers()] + [one.name for one in _operations(model)]
        assert any(f"'{name}'" in str(caught.value) or "open size" in str(caught.value) for name in named)
        return
    emulated()
    with np.load(tmp_path / "answers.npz") as answers:
        assert judge.error([answers["fpga"]], [answers["keras"]]) < 0.1


def _operations(model: Any) -> list[Any]:
    graph = getattr(model, "_functional", None) or model
    return [one for one in graph.operations if not isinstance(one, keras.Layer)]
