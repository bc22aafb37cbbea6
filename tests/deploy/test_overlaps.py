"""Overlaps of maps: Dice and IoU by their definitions, and intervals that resample whole samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.deploy import overlaps
from lepton_kit.deploy.report import scoring
from lepton_kit.errors import CompressionError
from lepton_kit.models.answers import Answer

CLASSES = Answer(task="classification")

MAPS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=4, max_size=24)


@given(MAPS, st.integers(2, 3))
def test_dice_and_iou_are_their_definitions(pairs, classes):
    truth, told = (
        np.minimum(part, classes - 1)[: len(part) // 2 * 2].reshape(2, -1) for part in np.array(pairs).T
    )
    found = overlaps.counts(truth, told, classes)
    sums = [each.sum(axis=0) for each in (found.right, found.told, found.are)]
    each_dice, each_iou = [], []
    for k in range(classes):
        a, b = truth == k, told == k
        if (a | b).any():
            each_dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
            each_iou.append((a & b).sum() / (a | b).sum())
    if classes == 2:
        there = ((truth == 1) | (told == 1)).any()
        assert overlaps.dice(*sums) == pytest.approx(each_dice[-1] if there else 1.0)
    else:
        assert overlaps.dice(*sums) == pytest.approx(np.mean(each_dice))
    assert overlaps.iou(*sums) == pytest.approx(np.mean(each_iou))


def test_an_interval_holds_the_middle_95_of_100_and_leaves_out_what_is_no_number():
    values = np.arange(1001) / 1000
    assert overlaps.interval(values) == pytest.approx((0.025, 0.975))
    assert overlaps.interval(np.concatenate([values, [np.nan] * 50])) == pytest.approx((0.025, 0.975))


def test_what_occurs_nowhere_counts_nowhere():
    one, none = np.array([0, 3, 0]), np.array([0, 0, 0])
    assert overlaps.dice(one, one, one) == overlaps.iou(one, one, one) == 1.0
    assert overlaps.dice(none, one, one) == overlaps.iou(none, one, one) == 0.0
    assert (
        overlaps.dice(np.array([4, 0]), np.array([4, 0]), np.array([4, 0])) == 1.0
    )  # the second is not there
    assert overlaps.dice(np.array([1, 1, 0]), np.array([1, 1, 0]), np.array([1, 1, 2])) == pytest.approx(
        2 / 3
    )
    assert overlaps.iou(np.array([1, 1, 0]), np.array([1, 1, 0]), np.array([1, 1, 1])) == pytest.approx(2 / 3)


def test_each_draw_takes_as_many_samples_as_there_are():
    found = overlaps.counts(np.ones((7, 3), int), np.ones((7, 3), int), 2)
    drawn = found.resampled(lambda right, told, are: np.stack([right, told, are], axis=1))
    assert drawn.shape == (1000, 3, 2)
    assert (drawn == [0, 21]).all()


def test_whole_samples_are_drawn_not_places():
    truth = np.zeros((20, 1000), int)
    truth[:, :500] = 1
    told = truth.copy()
    told[:10, :250] = 0  # half of the samples are much worse than the others
    found = overlaps.counts(truth, told, 2)
    low, high = overlaps.interval(found.resampled(overlaps.dice))
    places = overlaps.counts(truth.reshape(-1, 1), told.reshape(-1, 1), 2)
    narrow = overlaps.interval(places.resampled(overlaps.dice))
    assert low < 6 / 7 < high  # 2 * 7500 / 17500
    assert high - low > 5 * (narrow[1] - narrow[0])
    assert overlaps.interval(found.resampled(overlaps.dice)) == (low, high)


def test_a_score_may_be_dice_and_its_difference_is_paired():
    y = np.zeros((6, 4, 4), np.int32)
    y[:, :2] = 1
    good = y[..., None] * 0.8 + 0.1
    poor = good.copy()
    poor[:, 0] = 0.1
    one, two = (scoring.score(outputs, y, CLASSES, "dice") for outputs in (good, poor))
    assert (one.metric, one.value, one.low, one.high) == ("Dice", 1.0, 1.0, 1.0)
    assert two.value == pytest.approx(2 / 3)
    assert scoring.difference(two, one) == pytest.approx((-1 / 3, -1 / 3, -1 / 3))
    assert scoring.score(good, y.astype(np.float32), CLASSES, "dice").value == 1.0
    several = scoring.score(np.eye(3)[np.array([[0, 1, 2, 2]])], np.array([[0, 1, 2, 1]]), CLASSES, "dice")
    assert several.value == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_dice_of_what_is_no_map_is_refused():
    with pytest.raises(CompressionError, match="metric: got 'dice'; the targets are no maps"):
        scoring.score(np.eye(2)[[0, 1]], np.array([0, 1]), CLASSES, "dice")
    with pytest.raises(CompressionError, match="the targets are no maps"):
        scoring.score(np.zeros((2, 3)), np.full((2, 3), 0.5), Answer(task="regression"), "dice")
