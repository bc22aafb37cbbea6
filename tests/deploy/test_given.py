"""Held-out samples given to a report: in the form of training, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lepton_kit.data import arrays
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.deploy.modelcard.given import with_held_out
from lepton_kit.errors import DataError

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
NAMES = np.where(X[:, 0] > 0, "cat", "dog")
PREPARED = arrays(X, NAMES).prepare()
HOW = preprocessing_of(PREPARED)


def test_names_and_numbers_of_classes_are_taken():
    for y in (["dog", "cat"], [1, 0], [[1], [0]]):
        held = with_held_out(replace(PREPARED), (X[:2], np.array(y)), HOW).validation
        assert held.y.reshape(-1).tolist() == [1, 0]
        assert np.array_equal(held.x, X[:2])


def test_values_are_standardised_as_the_targets_of_training():
    prepared = arrays(X, X[:, 0] * 50 + 200, scale={"y": "standardize"}).prepare()
    how = preprocessing_of(prepared)
    held = with_held_out(prepared, (X[:2], np.array([200.0, 250.0])), how).validation
    assert how.target.values(held.y[:, None])[:, 0] == pytest.approx([200, 250], abs=1e-3)


def test_a_data_set_gives_its_validation_split():
    other = arrays(X[:10], NAMES[:10], validation=(X[10:15], NAMES[10:15]))
    for data in (other, other.prepare()):
        found = with_held_out(PREPARED, data, HOW)
        assert np.array_equal(found.validation.x, X[10:15])
        assert found.details["held_out"] == "the given samples"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((X, NAMES, 1), "data: 3 parts; expected"),
        ((X[:2], NAMES[:3]), "data: 2 inputs but 3 targets"),
        ((X[:2], np.array(["cat", "cow"])), "data: row 1 has the class 'cow'; the run learned cat, dog"),
        ((X[:2], np.array([0, 2])), "data: row 1 has the class '2'"),
        ((X[:2] * np.nan, NAMES[:2]), "data: 0: x: a number that is not finite"),
        (3, "data: got int; expected"),
        (arrays(X, NAMES, validation_split=0.0), "holds out nothing"),
        (
            arrays(X, np.where(NAMES == "cat", "cow", "dog")),
            "data: the classes are cow, dog; the run learned cat, dog",
        ),
        (arrays(X[:, :2], NAMES), r"x: shape \(3,\) in train but \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(data, said):
    with pytest.raises(DataError, match=said):
        with_held_out(PREPARED, data, HOW)
