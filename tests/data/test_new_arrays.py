"""New input of a model of arrays: whatever training takes is taken, and no number becomes another one without a word."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from lepton_kit import data
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
Y = np.arange(20) % 2


def trained_on(x):
    return preprocessing_of(data.arrays(x, Y, validation_split=0).prepare())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.float64(0.5), "x: 0.5; the model was trained on uint8, whole numbers from 0 to 255"),
        (np.float32(2.7), "x: 2.7; the model was trained on uint8"),
        (np.int64(-3), "x: -3; the model was trained on uint8"),
        (np.int64(300), "x: 300; the model was trained on uint8"),
        (np.float64(np.nan), "x: nan; the model was trained on uint8"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_number_that_the_samples_type_has_not_is_a_problem_of_its_row(values, said):
    how = trained_on(IMAGES)
    rows = IMAGES[:3].astype(values.dtype)
    rows[1, 2, 2, 0] = values
    encoded = how.encode(rows)
    assert list(encoded.problems) == [1]
    assert encoded.problems[1].startswith(said)
    assert encoded.rows.tolist() == [0, 2]
    assert encoded.x.dtype == np.uint8
    assert np.array_equal(encoded.x, IMAGES[[0, 2]])


def test_truths_are_0_and_1():
    encoded = trained_on(RNG.random((20, 3)) < 0.5).encode(np.array([[0.0, 1.0, 1.0], [0.0, 0.2, 1.0]]))
    assert encoded.problems == {1: "x: 0.2; the model was trained on bool, which is 0 or 1"}
    assert encoded.x.tolist() == [[False, True, True]]


def test_complex_numbers_are_refused():
    with pytest.raises(DataError, match="x: type complex128"):
        trained_on(RNG.normal(size=(20, 3))).encode(np.ones((2, 3)) * 1j)


TABLE = RNG.normal(size=(20, 3))
RAGGED = [[1, 2], [3], [4, 5, 6], [7]] * 5
WORDS = ["grüße du", "b", "c d e", ""] * 5


@pytest.mark.parametrize(
    ("x", "new"),
    [
        (scipy.sparse.csr_matrix(np.round(TABLE)), scipy.sparse.csr_matrix(np.round(TABLE[:4]))),
        (TABLE, pd.DataFrame(TABLE[:4])),
        (pd.Series(TABLE[:, 0]), pd.Series(TABLE[:4, 0])),
        (TABLE[:, 0], pd.Series(TABLE[:4, 0])),
        (pd.Series(TABLE[:, 0]), TABLE[:4, 0]),
        (RAGGED, RAGGED[:4]),
        (np.array(WORDS), WORDS[:4]),
        (np.array(WORDS), [text.encode() for text in WORDS[:4]]),
        (pd.Series(WORDS), pd.Series(WORDS[:4])),
        ([[text] for text in WORDS], [[text] for text in WORDS[:4]]),
    ],
)
def test_the_first_rows_given_anew_are_those_that_training_had(x, new):
    prepared = data.arrays(x, Y, validation_split=0).prepare()
    expected = prepared.train.x[:4]
    encoded = preprocessing_of(prepared).encode(new)
    assert not encoded.problems
    if expected.dtype.kind == "S":
        assert encoded.x.tolist() == np.char.decode(expected, "utf-8").tolist()
    else:
        assert encoded.x.dtype == expected.dtype
        assert np.array_equal(encoded.x, expected)


def test_shorter_sequences_are_padded_to_the_length_of_training():
    assert trained_on(RAGGED).encode([[1, 2], [3]]).x.tolist() == [[1, 2, 0], [3, 0, 0]]


def test_sequences_longer_than_in_training_are_refused():
    with pytest.raises(DataError, match=r"x: shape \(2, 4\); expected \(samples, 3\)"):
        trained_on(RAGGED).encode([[1, 2, 3, 4], [3]])


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(DataError, match="x: bytes that are no UTF-8"):
        trained_on(np.array(WORDS)).encode([b"\xff\xfe", b"b"])


def test_numbers_for_a_model_of_texts_are_refused():
    with pytest.raises(DataError, match="x: not an array of text, on which the model was trained"):
        trained_on(np.array(WORDS)).encode(np.ones(3))


def test_numbers_that_are_scaled_keep_their_precision(tmp_path):
    np.savez(tmp_path / "times.npz", x=1.7e9 + np.arange(20.0)[:, None], y=Y)
    source = data.npz(tmp_path / "times.npz", scale={"x": (1.0, -1.7e9)}, validation_split=0)
    how = source.prepare(tmp_path / "cache").preprocessing
    assert how.encode([[1.7e9 + 3]]).x.tolist() == [[3.0]]
