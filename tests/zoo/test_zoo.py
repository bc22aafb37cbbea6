"""Every kind of model in every format: it answers as the model does, or is refused in words that name what is in the way."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_kit.compression.quantization.convert import convert
from lepton_kit.deploy.subject import store_model
from lepton_kit.errors import LeptonError
from tests.zoo import judge, kinds

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("ai_edge_litert", "tf2onnx", "onnxruntime")),
        reason="the formats come with lepton_kit[compression,onnx]",
    ),
]

EXPORTS = {"keras": ".keras", "saved_model": "", "litert": ".tflite", "onnx": ".onnx"}
LIMITS = {
    **dict.fromkeys(EXPORTS, 1e-4), "float16": 0.01, "dynamic_int8": 0.05, "int8": 0.06, "int4": 0.2,
}  # fmt: skip
"""Format -> the largest error, as `judge.error` counts it. Most kinds stay below a third of it."""
STEP_BY_STEP = "the state of every step is rounded, and the next step starts from that"
OWN_LIMITS = {
    ("simple RNN", "int8"): (0.1, STEP_BY_STEP),
    ("simple RNN", "int4"): (0.4, STEP_BY_STEP),
    ("stacked LSTM", "int8"): (0.15, STEP_BY_STEP),
    ("masked steps", "int8"): (0.2, STEP_BY_STEP),
    ("masked steps", "int4"): (0.3, STEP_BY_STEP),
    ("wide convolutions", "int4"): (0.3, "four layers with drawn weights follow each other in 4 bits"),
    ("layer norm", "int8"): (0.15, "squares and their mean share one range, so small rows lose digits"),
    ("attention", "int4"): (0.3, "embedding, projections and two dense layers follow each other in 4 bits"),
    **{
        ("mixed precision", name): (0.02, "the model itself computes in half precision")
        for name in ("keras", "saved_model", "litert", "onnx", "float16")
    },
}
"""(kind, format) -> (the largest error, why it is not that of the format)."""
STATE = "layer 'memory' keeps its state between calls"
LOOPS = "'int8' is impossible for the recurrent layer"
REFUSED = {
    **{("stateful LSTM", name): STATE for name in LIMITS if name not in ("keras", "saved_model")},
    ("long LSTM", "int8"): LOOPS,
    ("open LSTM", "int8"): LOOPS,
}
"""(kind, format) -> why not."""
FAST = {
    ("several of both", "litert"), ("masked label a step", "int8"),
    ("embedding of float ids", "int8"), ("mixed precision", "litert"),
    ("wide and deep", "int8"), ("augmentation inside", "onnx"), ("stateful LSTM", "litert"),
    ("means of colours", "onnx"),
}  # fmt: skip


def _table() -> list[Any]:
    return [
        pytest.param(
            kind, name, id=f"{kind}-{name}", marks=() if (kind, name) in FAST else pytest.mark.conformance
        )
        for kind in kinds.KINDS
        for name in LIMITS
    ]


def test_the_zoo_is_large():
    assert len(kinds.KINDS) >= 40
    assert {kind for kind, _ in {*REFUSED, *FAST, *OWN_LIMITS}} <= kinds.KINDS.keys()


@pytest.mark.parametrize(("kind", "name"), _table())
def test_a_kind_in_a_format(kind: str, name: str, workshop: Any, tmp_path: Path):
    model, x, held, _ = kinds.made(kind)
    stored = store_model(model, tmp_path)
    path = tmp_path / f"made{EXPORTS.get(name, '.tflite')}"
    if (kind, name) in REFUSED:
        with pytest.raises(LeptonError) as caught:
            _write(workshop, stored, name, path, x, held)
        assert REFUSED[kind, name] in str(caught.value)
        assert not path.exists()
        return
    expected = judge.answers(model, held)
    _write(workshop, stored, name, path, x, held)
    found = {
        "keras": lambda: judge.keras_file(path, held, kinds.custom(model)),
        "saved_model": lambda: judge.saved_model(path, judge.named(model, held)),
        "onnx": lambda: judge.onnx(path, judge.named(model, held)),
    }.get(name, lambda: judge.litert(path, judge.named(model, held)))()
    limit, _ = OWN_LIMITS.get((kind, name), (LIMITS[name], ""))
    error = judge.error(found, expected)
    print(f"error {error:.4g}")
    assert error < limit
    if name == "dynamic_int8" and kind.startswith("wide"):
        assert "int8" in judge.types(path)


def _write(call: Any, stored: Path, name: str, path: Path, x: Any, held: Any) -> None:
    """Have the package write a format in a child process, as its own verbs do."""
    if name in EXPORTS:
        call(
            "lepton_kit.deploy.exports:export_file",
            model=str(stored),
            format=name,
            output=str(path),
            samples=_files(held, path.parent, "held"),
        )
        return
    whole = path.with_name("whole.tflite")
    if name == "int4":
        convert(call, stored, "float32", whole)
    convert(call, stored, name, path, calibration=_files(x, path.parent, "x"), float_file=whole)


def _files(x: Any, folder: Path, name: str) -> list[list[Any]]:
    parts = x.items() if isinstance(x, dict) else [(None, x)]
    found = []
    for place, (key, part) in enumerate(parts):
        np.save(folder / f"{name}-{place}.npy", part)
        found.append([key, str(folder / f"{name}-{place}.npy")])
    return found
