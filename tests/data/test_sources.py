"""Arrays, specs and the bundled samples."""

import importlib
import inspect
import json
from typing import get_args

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.data import Dataset
from lepton_kit.data.dataset import KINDS
from lepton_kit.errors import ConfigError, DataError
from lepton_kit.specs import FOUND, DataSpec

X = np.arange(40, dtype=np.float64).reshape(20, 2)
Y = np.arange(20) % 2


def test_arrays_are_split_by_class():
    prepared = data.arrays(X, Y).prepare()
    assert (len(prepared.train), len(prepared.validation)) == (16, 4)
    assert prepared.train.x.dtype == np.float32
    assert prepared.train.y.dtype == np.int64
    assert np.bincount(prepared.validation.y).tolist() == [2, 2]
    assert prepared.value_range == (float(prepared.train.x.min()), float(prepared.train.x.max()))
    assert "16 samples to train on" in prepared.summary()


def test_text_labels_become_classes():
    prepared = data.arrays(X, np.where(Y, "yes", "no")).prepare()
    assert prepared.class_names == ("no", "yes")
    assert set(prepared.train.y) == {0, 1}


def test_regression_and_several_inputs_and_outputs():
    assert data.arrays(X, Y.astype(float)).prepare().task == "regression"
    prepared = data.arrays({"a": X, "b": X[:, :1]}, {"c": Y, "d": X}).prepare()
    assert prepared.sample_shape == {"a": (2,), "b": (1,)}
    assert prepared.task == "other"
    x, y = prepared.train.take(np.array([1, 0]))
    assert x["b"].shape == (2, 1)
    assert y["d"].shape == (2, 2)
    assert repr(prepared) == "PreparedData(16 + 4 samples, a 2, b 1, other)"


@pytest.mark.parametrize("x", [X, {"a": X, "b": X[:, :1]}])
def test_stored_arrays_come_back(tmp_path, x):
    source = data.arrays(x, Y, class_names=["even", "odd"])
    spec = source.store(tmp_path / "run" / "data")
    assert spec == json.loads(json.dumps(spec)) == {"kind": "arrays", "path": "data"}
    back = Dataset.from_spec(spec, tmp_path / "run")
    one, two = source.prepare(), back.prepare()
    assert two.class_names == ("even", "odd")
    assert two.value_range == one.value_range
    assert one.fingerprint == two.fingerprint
    for (_, name, a), (_, other, b) in zip(one.train.arrays(), two.train.arrays(), strict=True):
        assert name == other
        assert np.array_equal(a, b)
        assert isinstance(b, np.memmap)


def test_fingerprint_follows_the_values():
    assert data.arrays(X, Y).prepare().fingerprint != data.arrays(X + 1, Y).prepare().fingerprint


def bad(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: data.arrays(X, Y[:-1]), "x has 20 rows but y has 19"),
        (lambda: data.arrays(X[:0], Y[:0]), "x: no samples"),
        (lambda: data.arrays(bad(7, 1, np.nan), Y), "x: row 7, position 1 is nan"),
        (lambda: data.arrays(X, np.append(np.zeros(19), np.inf)), "y: row 19 is inf"),
        (
            lambda: data.arrays(X, Y * 2, class_names=["a", "b"]),
            "y: label 2 is out of range; allowed: 0 to 1",
        ),
        (lambda: data.arrays(X, np.where(Y, "yes", "no"), class_names=["no", "maybe"]), "the label 'yes'"),
        (lambda: data.arrays(X, np.array([["a", "b"]] * 20)), "expected one label a row"),
        (lambda: data.arrays(X, {"out": np.where(Y, "a", "b")}), "single output only"),
        (lambda: data.arrays(X.astype(complex), Y), "type complex128"),
        (lambda: data.arrays(3.0, Y), "a single value"),
        (lambda: data.arrays({}, Y), "an empty dictionary"),
        (lambda: data.arrays(X, Y, validation=X), "y: one array to train on but nothing in validation"),
        (
            lambda: data.arrays(X, Y, validation=(X[:, :1], Y)),
            "x: shape (2,) in train but (1,) in validation",
        ),
        (
            lambda: data.arrays({"a": X}, Y, validation=({"b": X}, Y)),
            "x: a dictionary of 'a' to train on but",
        ),
        (
            lambda: data.arrays(X, Y, validation=(X, Y[:-1])),
            "validation x has 20 rows but validation y has 19",
        ),
        (lambda: data.arrays(X, Y).spec(), "store(folder)"),
    ],
)
def test_array_errors(make, said):
    with pytest.raises(DataError) as caught:
        make()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: data.npz(3), "data.path"),
        (lambda: Dataset.from_spec({"kind": "folder", "path": "x"}), "data.kind"),
        (lambda: Dataset.from_spec({"kind": "npz"}), "data.path"),
        (lambda: Dataset.from_spec({"kind": "npz", "path": "x", "colour": 1}), "data.colour"),
        (lambda: Dataset.from_spec({"kind": "table", "path": "x"}), "data"),
        (lambda: Dataset.from_spec({"kind": "arrays"}), "data"),
    ],
)
def test_setting_errors(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


def test_relative_paths_count_from_the_base(tmp_path):
    source = Dataset.from_spec({"kind": "npz", "path": "in/a.npz", "seed": 4}, tmp_path)
    assert source.spec()["path"] == str(tmp_path / "in" / "a.npz")
    assert source.options["seed"] == 4
    assert source == data.npz(tmp_path / "in" / "a.npz", seed=4)
    assert source.store(tmp_path) == source.spec()


def test_a_stored_folder_that_is_gone(tmp_path):
    with pytest.raises(DataError, match="not a readable folder"):
        Dataset.from_spec({"kind": "arrays", "path": "gone"}, tmp_path).prepare()


@pytest.mark.parametrize("name", data.samples())
def test_bundled_samples(name):
    prepared = data.sample(name).prepare()
    assert len(prepared.train) > 100
    assert len(prepared.validation) > 30
    assert Dataset.from_spec(json.loads(json.dumps(data.sample(name).spec()))) == data.sample(name)
    assert Dataset.from_spec({"kind": "sample", "name": name}) == data.sample(name)


def test_samples_that_cannot_be_found(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no sample 'cats'; there are digits"):
        data.sample("cats")
    monkeypatch.setenv("LEPTON_DATA_SAMPLES", str(tmp_path / "none"))
    with pytest.raises(DataError, match="no such folder"):
        data.sample("digits")
    monkeypatch.setenv("LEPTON_DATA_SAMPLES", str(tmp_path))
    with pytest.raises(DataError, match=r"digits.zip: no such file"):
        data.sample("digits").prepare()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("arrays", "sample")])
def test_what_a_verb_takes_is_what_a_configuration_holds(kind):
    module, name = KINDS[kind]
    verb = getattr(importlib.import_module(f"lepton_kit.data.{module}"), name)
    taken = {name: one.default for name, one in inspect.signature(verb).parameters.items()}
    (spec,) = [
        one
        for one in get_args(get_args(DataSpec)[0])
        if get_args(one.model_fields["kind"].annotation) == (kind,)
    ]
    held = {name: field.default for name, field in spec.model_fields.items()}
    assert set(taken) == set(held) - {"kind", *FOUND}
    for name in set(taken) - {"path"}:
        if taken[name] is not inspect.Parameter.empty:
            assert held[name] == (tuple(taken[name]) if isinstance(taken[name], list) else taken[name]), name
