"""The Dice metric: its value is that of all places together, however they are cut, and a stored copy is equal."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.deploy import overlaps
from lepton_kit.errors import ModelError
from lepton_kit.models import build, store

RNG = np.random.default_rng(0)


def told(units: int, outputs: np.ndarray) -> np.ndarray:
    return (outputs[..., 0] > 0.5).astype(int) if units == 1 else outputs.argmax(-1)


@pytest.mark.parametrize("units", [1, 2, 3])
def test_it_is_the_dice_of_all_places_however_they_are_cut(units):
    outputs = RNG.random((7, 5, 4, units))
    truth = RNG.integers(0, max(units, 2), (7, 5, 4))
    whole, parts = lk.models.Dice(units), lk.models.Dice(units)
    whole.update_state(truth, outputs)
    for start in (0, 2, 3):
        stop = {0: 2, 2: 3, 3: 7}[start]
        parts.update_state(
            truth[start:stop, ..., None] if units < 3 else truth[start:stop], outputs[start:stop]
        )
    found = overlaps.counts(truth, told(units, outputs), max(units, 2))
    expected = overlaps.dice(found.right.sum(0), found.told.sum(0), found.are.sum(0))
    assert float(whole.result()) == pytest.approx(float(expected), abs=1e-6)
    assert float(parts.result()) == pytest.approx(float(expected), abs=1e-6)
    parts.reset_state()
    assert float(parts.result()) == (1.0 if units < 3 else 0.0)


def test_one_hot_targets_bytes_and_another_threshold():
    truth = np.array([[0, 1, 2, 2]], np.uint8)
    outputs = np.eye(3)[[[0, 1, 2, 1]]]
    for targets in (truth, np.eye(3)[truth]):
        metric = lk.models.Dice(3)
        metric.update_state(targets, outputs)
        assert float(metric.result()) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    logits = lk.models.Dice(threshold=0.0)
    logits.update_state(np.array([[True], [False]]), np.array([[0.2], [0.3]]))
    assert float(logits.result()) == pytest.approx(2 / 3)


def test_maps_as_wide_as_there_are_classes_are_maps_of_their_numbers():
    truth = np.array([[[0, 1], [1, 1], [0, 0]]])
    metric = lk.models.Dice(2)
    metric.update_state(truth, np.eye(2)[truth])
    assert float(metric.result()) == 1.0


def test_an_output_at_the_threshold_marks_nothing_and_half_a_target_neither():
    metric = lk.models.Dice()
    metric.update_state(np.array([[1.0], [1.0], [0.5]]), np.array([[0.5], [0.75], [0.25]]))
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_only_classes_that_occur_count():
    metric = lk.models.Dice(3)
    metric.update_state(np.zeros((1, 4), int), np.eye(3)[np.zeros((1, 4), int)])
    assert float(metric.result()) == 1.0


def test_nothing_marked_is_right():
    metric = lk.models.Dice()
    metric.update_state(np.zeros((1, 4, 1)), np.zeros((1, 4, 1)))
    assert float(metric.result()) == 1.0


def test_it_travels_with_its_model(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    model.compile(loss="dice", metrics=[lk.models.Dice(threshold=0.0)])
    copy = build(store(model, tmp_path / "model"), tmp_path, seed=0)
    assert (tmp_path / "model" / "model.keras").is_file()  # which compression and exports read
    assert not (tmp_path / "model" / "custom.pkl").exists()
    x, y = RNG.normal(size=(3, 4, 4, 1)), RNG.integers(0, 2, (3, 4, 4, 1))
    said = [one.evaluate(x, y, verbose=0, return_dict=True)["dice"] for one in (model, copy)]
    assert said[0] == said[1] > 0


def test_other_units_are_refused():
    with pytest.raises(ModelError, match="units: got 0; expected the number of units"):
        lk.models.Dice(0)
    with pytest.raises(ModelError, match="the output has 1 units; made for units=3"):
        lk.models.Dice(3).update_state(np.zeros((2, 4)), np.zeros((2, 4, 1)))
