"""Sensitivity: one layer at a time in a coarser number format."""

import numpy as np
import pytest

from lepton_kit.deploy.report.sensitivities import LayerLoss, Sensitivity, sensitivity
from lepton_kit.errors import CompressionError


@pytest.mark.processes
def test_each_layer_alone_shrinks_the_file_and_tells_its_loss(workshop, digits, digits_cnn):
    found = sensitivity(digits_cnn, digits, precision="int4", calibration_size=20, call=workshop)
    assert {one.layer for one in found.layers} == {"conv_a", "conv_b", "dense", "out"}
    assert [one.lost for one in found.layers] == sorted((one.lost for one in found.layers), reverse=True)
    for one in found.layers:
        assert one.lost == pytest.approx(found.float_score - one.score)
        assert one.low <= one.lost <= one.high
    sizes = {one.layer: one.file_bytes for one in found.layers}
    assert sizes["dense"] == min(sizes.values()) < found.float_bytes


@pytest.mark.processes
def test_int8_hurts_no_layer_of_the_digits_much(workshop, digits, digits_cnn):
    few = (digits[0][:100], digits[1][:100], digits[2], digits[3])
    found = sensitivity(digits_cnn, few, calibration_size=20, call=workshop)
    assert max(abs(one.lost) for one in found.layers) < 0.02


@pytest.mark.processes
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_every_layer_is_rounded_in_turn_the_embedding_and_the_last_one_too(workshop, words, precision):
    path, x, y = words
    found = sensitivity(path, (x, y, x, y), precision=precision, calibration_size=50, call=workshop)
    sizes = {one.layer: one.file_bytes for one in found.layers}
    assert sizes.keys() == {"words", "conv", "dense", "dense_1"}
    assert all(size != found.float_bytes for size in sizes.values())
    assert sizes["words"] == min(sizes.values()) < 0.7 * found.float_bytes


def test_the_worst_layers_are_named_and_shown():
    layers = (LayerLoss("a", 0.7, 0.2, 0.1, 0.3, 10), LayerLoss("b", 0.9, 0.0, 0.0, 0.0, 20))
    found = Sensitivity("int8", "accuracy", 50, 0.9, 30, layers)
    assert found.worst(2) == ("a",)
    assert found.table().loc["a", "lost"] == 0.2
    assert list(found.figure().data[0].x) == ["a", "b"]
    assert repr(found) == "Sensitivity(int8, 2 layers, accuracy on 50 samples)"


def test_unknown_formats_are_refused():
    with pytest.raises(CompressionError, match="precision: got 'int2'; expected one of int8, int4"):
        sensitivity("model.keras", (np.zeros((4, 2)), np.zeros(4, int)), precision="int2")
