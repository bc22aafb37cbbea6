"""Scaling by column: from the training rows, the same in memory, in files and for new rows."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lepton_kit import data
from lepton_kit.data import preprocessing, scaling
from lepton_kit.data.archives import readers
from lepton_kit.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(5, [1, 100, 0], (60, 3)).astype(np.float32)
Y = np.arange(60) % 2


@settings(max_examples=50)
@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=st.floats(-1e6, 1e6, width=32)
    ),
    st.integers(1, 7),
)
def test_pieces_give_the_statistics_of_the_whole(array, step):
    found = scaling.learned("standardize", [array[i : i + step] for i in range(0, len(array), step)])
    mean, spread = array.mean(0), array.std(0)
    assert np.allclose(1 / np.array(found.factor)[spread > 1e-3], spread[spread > 1e-3], rtol=1e-6)
    size = np.abs(array).max() + 1
    assert np.allclose(-np.array(found.offset) / np.array(found.factor), mean, atol=1e-9 * size)


def test_training_rows_alone_decide_and_new_rows_are_scaled_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "CHUNK_BYTES", 100)
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    from_file = data.npz(tmp_path / "a.npz", scale="standardize").prepare()
    in_memory = data.arrays(X, Y, scale="standardize").prepare()
    for prepared in (from_file, in_memory):
        assert np.allclose(prepared.train.x.mean(0), 0, atol=1e-6)
        assert np.allclose(prepared.train.x.std(0)[:2], 1, atol=1e-5)
        assert not prepared.train.x[:, 2].any()
        assert "standardised by column, with the training rows' mean and deviation" in prepared.notes[0]
        assert prepared.train.x.dtype == np.float32
    assert np.allclose(from_file.train.x, in_memory.train.x, atol=1e-6)
    kept = preprocessing.parse(json.loads(from_file.preprocessing.to_json()), "here")
    assert kept == from_file.preprocessing
    everything = kept.encode(X).x
    for split in (from_file.train, from_file.validation):
        assert {row.tobytes() for row in split.x} <= {row.tobytes() for row in everything}
    assert np.array_equal(kept.encode(X.tolist()).x, everything)
    assert kept.target.task == "classification"


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8])
def test_new_rows_of_memory_become_what_they_would_have_become(kind):
    x = (X * 7).clip(0, 200).astype(kind)
    prepared = data.arrays(x, Y, scale="standardize", validation_split=0).prepare()
    assert np.array_equal(prepared.preprocessing.encode(x).x, prepared.train.x)
    assert np.array_equal(prepared.preprocessing.encode(x.astype(np.float64)).x, prepared.train.x)


def test_a_file_keeps_the_digits_of_large_values(tmp_path):
    stamps = 1_700_000_000_000 + np.arange(60, dtype=np.float64)[:, None]
    np.savez(tmp_path / "a.npz", x=stamps, y=Y)
    prepared = data.npz(tmp_path / "a.npz", scale="standardize", validation_split=0).prepare()
    assert len(np.unique(prepared.train.x)) == 60
    assert np.array_equal(prepared.preprocessing.encode(stamps).x, prepared.train.x)


@pytest.mark.parametrize("scale", ["standardize", (1.0, -1.7e9)])
@pytest.mark.parametrize("kind", ["float64", "int64"])
def test_memory_keeps_the_digits_of_large_values(kind, scale):
    steps = np.arange(20)
    x, y = (1.7e9 + 3 * np.stack([steps, steps], 1)).astype(kind), (1.7e9 + steps).astype(kind)
    held = (x[:4], y[:4])
    wanted = data.arrays(x - int(1.7e9), y - int(1.7e9), validation=(held[0] - int(1.7e9), held[1] - int(1.7e9)),
        scale=dict.fromkeys("xy", "standardize" if scale == "standardize" else (1.0, 0.0)), task="regression").prepare()  # fmt: skip
    found = data.arrays(x, y, validation=held, scale=dict.fromkeys("xy", scale), task="regression").prepare()
    for split in ("train", "validation"):
        for role in "xy":
            one, other = (np.asarray(getattr(getattr(p, split), role)) for p in (found, wanted))
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=1e-5)
    again = found.preprocessing.encode(x)
    np.testing.assert_array_equal(again.x, np.asarray(found.train.x))


def test_what_is_not_scaled_becomes_float32_beside_what_is():
    x = {"a": np.zeros((10, 2)), "b": np.ones((10, 1))}
    found = data.arrays(x, np.arange(10) * 0.5, scale={"a": (2.0, 0.0)}, task="regression").prepare()
    kinds = {key: array.dtype for key, array in found.train.x.items()} | {"y": found.train.y.dtype}
    assert set(kinds.values()) == {np.dtype("float32")}


def test_pairs_names_and_targets_in_their_own_unit(tmp_path):
    price = X[:, 1].astype(np.float64)
    np.savez(tmp_path / "a.npz", x=X[:, :1], small=X, price=price)
    wish = {"small": "standardize", "price": (0.01, -2.0)}
    prepared = data.npz(
        tmp_path / "a.npz", x=["x", "small"], y="price", scale=wish, validation_split=0
    ).prepare()
    assert np.array_equal(prepared.train.x["x"], X[:, :1])
    assert np.allclose(prepared.train.y, 0.01 * price - 2)
    assert np.allclose(
        prepared.preprocessing.target.values(prepared.train.y[:, None])[:, 0], price, rtol=1e-5
    )
    in_memory = data.arrays(
        {"x": X[:, :1], "small": X}, price, scale=wish | {"y": "standardize"}, validation_split=0
    )
    found = in_memory.prepare()
    assert np.allclose(found.preprocessing.target.values(found.train.y[:, None])[:, 0], price, rtol=1e-5)
    assert np.allclose(found.train.x["small"], prepared.train.x["small"], atol=1e-5)
    encoded = found.preprocessing.encode({"x": X[:, :1], "small": X})
    assert np.array_equal(encoded.x["small"], found.train.x["small"])


def test_a_pair_scales_samples_and_not_targets(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((60, 2), 255, np.uint8), y=Y)
    prepared = data.npz(tmp_path / "a.npz", scale=(1 / 255, 0)).prepare()
    assert (prepared.train.x == 1).all()
    assert (prepared.task, prepared.num_classes) == ("classification", 2)
    held = data.arrays(X, Y, validation=(X[:3], Y[:3]), scale=(2, 1)).prepare()
    assert np.array_equal(held.validation.x, 2 * X[:3] + 1)


@pytest.mark.parametrize(
    "scale", ["max", (1,), (1, 2, 3), (0, 1), ("a", 1), (np.inf, 0), {"x": "max"}, 3, {"x": None}]
)
def test_wishes_that_are_none(scale):
    for make in (lambda: data.npz("a.npz", scale=scale), lambda: data.arrays(X, Y, scale=scale)):
        with pytest.raises(ConfigError) as caught:
            make()
        assert caught.value.field == "data.scale"


def test_values_beyond_float32_and_text_are_refused():
    with pytest.raises(DataError, match="x: row 0, position 0 is inf"):
        data.arrays(X, Y, scale=(3e38, 0)).prepare()
    with pytest.raises(DataError, match="x: text can't be scaled"):
        data.arrays(np.array([["a"]] * 60), Y, scale="standardize")


@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 2), (40, 3), (40, 4, 2), (40, 2, 3)])
def test_every_column_comes_out_with_mean_0_and_deviation_1_however_little_it_varies(shape):
    columns = shape[-1] if len(shape) > 1 else 1
    spreads, means = np.array([0.01, 100.0, 1e-6])[:columns], np.array([3.0, -200.0, 0.0])[:columns]
    rows = RANDOM.normal(size=shape)
    array = rows * (spreads if len(shape) > 1 else spreads[0]) + (means if len(shape) > 1 else means[0])
    found = scaling.learned(
        "standardize", [array[:7], array[:0], array[7:]]
    )  # a piece may hold no training row
    assert len(found.factor) == len(found.offset) == columns
    scaled = found(array).reshape(-1, columns)
    assert np.allclose(scaled.mean(0), 0, atol=1e-5)
    assert np.allclose(scaled.std(0), 1, atol=1e-5)
    target = found.target("regression")
    back = target.values(scaled) - array.reshape(-1, columns)
    assert np.allclose(back / spreads, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("uint8", "float64"), ("int32", "float64"), ("int64", "float64"), ("bool", "float64")],
)  # fmt: skip
def test_new_values_keep_the_digits_of_training(given, kept):
    assert scaling.raw_type(np.dtype(given)) == kept


def test_an_array_is_scaled_as_its_name_or_its_key_says_and_targets_only_by_name():
    wish = {"a": "standardize", "1": (2.0, 0.0), "y": (3.0, 0.0)}
    assert scaling.of(wish, "x", 0, "a") == "standardize"
    assert scaling.of(wish, "x", 1, "b") == (2.0, 0.0)
    assert scaling.of(wish, "x", 2, "b") is None
    assert scaling.of(wish, "x", None, "b") is None
    assert scaling.of(wish, "y", None, "y") == (3.0, 0.0)
    assert scaling.of({"None": "standardize"}, "x", None, "b") is None
    assert [scaling.of("standardize", role, None, "a") for role in ("x", "y")] == ["standardize", None]
