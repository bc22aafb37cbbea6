"""Exports are reloaded and compared before they count."""

import importlib.util

import numpy as np
import pytest

from lepton_kit.deploy import exports as exporting
from lepton_kit.deploy.comparing import compare
from lepton_kit.deploy.exports import export
from lepton_kit.errors import CompressionError


@pytest.mark.processes
def test_every_format_answers_as_the_model_does(workshop, digits, digits_cnn, tmp_path):
    formats = ["keras", "saved_model", "litert"]
    if all(importlib.util.find_spec(name) for name in ("tf2onnx", "onnxruntime")):
        formats.append("onnx")
    found = export(digits_cnn, tmp_path, formats=formats, samples=digits[2], call=workshop)
    assert set(found) == set(formats)
    for one in found.values():
        assert one.path.exists()
        assert one.samples == 16
        assert one.difference < 1e-4
    assert (tmp_path / "model" / "saved_model.pb").is_file()
    assert not list(tmp_path.glob("part-*"))
    export(digits_cnn, tmp_path, formats=["saved_model"], call=workshop)  # again, over the old one


def test_an_export_that_answers_otherwise_is_refused():
    expected = np.ones((2, 3), np.float32)
    assert compare(expected, expected + np.float32(1e-5), "litert") < 2e-5
    with pytest.raises(CompressionError, match=r"litert: the reloaded export differs from the model by 0\.1"):
        compare(expected, expected + np.float32(0.1), "litert")
    with pytest.raises(CompressionError, match=r"answers \(2, 2\); the model answers \(2, 3\)"):
        compare(expected, expected[:, :2], "onnx")
    with pytest.raises(CompressionError, match="differs"):
        compare(expected, expected * np.float32(np.nan), "onnx")


def test_wrong_formats_and_missing_packages_are_named(monkeypatch, tmp_path):
    with pytest.raises(CompressionError, match="formats: got 'h5'; expected one of keras, saved_model"):
        export("model.keras", tmp_path, formats=["h5"])
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        CompressionError, match=r"onnx: needs tf2onnx and onnxruntime; install lepton_kit\[onnx\]"
    ):
        export("model.keras", tmp_path, formats=["onnx"])


def test_samples_that_are_drawn_hold_more_than_one_whole_number(tmp_path):
    import keras

    ids, flags = keras.Input((6,), dtype="int32", name="ids"), keras.Input((3,), dtype="bool", name="flags")
    part = keras.layers.Embedding(2, 3)(ids)
    whole = keras.Model([ids, flags], [part, keras.ops.cast(flags, "float32")])
    for name, one in exporting._drawn(whole).items():
        assert sorted(set(one.ravel().tolist())) == [0, 1], name
    text = keras.Model(
        words := keras.Input((1,), dtype="string"), keras.layers.StringLookup(vocabulary=["a"])(words)
    )
    with pytest.raises(CompressionError, match="samples: got none, and the model takes text"):
        exporting._drawn(text)
