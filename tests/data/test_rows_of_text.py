"""Tables and windows over time."""

import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.errors import ConfigError, DataError


@pytest.fixture
def sheet(tmp_path):
    def save(*lines):
        path = tmp_path / "sheet.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return save


def rows(count=20):
    return [f"{i},{'red' if i % 3 else 'blue'},{'good' if i % 2 else 'bad'}" for i in range(count)]


def test_table_uses_training_statistics_alone(sheet):
    prepared = data.table(sheet("age,colour,risk", *rows()), target="risk").prepare()
    assert prepared.feature_names == ("age", "colour=blue", "colour=red")
    assert prepared.class_names == (
        "bad",
        "good",
    )
    assert abs(prepared.train.x[:, 0].mean()) < 1e-6
    assert abs(prepared.train.x[:, 0].std() - 1) < 1e-6
    assert abs(prepared.validation.x[:, 0].std() - 1) > 1e-3
    assert np.array_equal(prepared.train.x[:, 1:].sum(1), np.ones(16))


def test_missing_values_are_flagged(sheet):
    prepared = data.table(
        sheet("age,colour,risk", ",red,good", "?,red,bad", *rows()), target="risk"
    ).prepare()
    assert "age is missing" in prepared.feature_names
    flag = prepared.feature_names.index("age is missing")
    both = np.concatenate([prepared.train.x, prepared.validation.x])
    assert both[:, flag].sum() == 2
    assert np.all(both[both[:, flag] == 1, 0] == 0)


def test_a_numeric_target(sheet):
    path = sheet("a,b", *[f"{i},{i / 7}" for i in range(30)])
    assert data.table(path, target="b").prepare().task == "regression"
    path = sheet("a,b", *[f"{i},{5 + i % 2}" for i in range(30)])
    assert data.table(path, target="b").prepare().class_names == ("5", "6")


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        (("a,b", "1,x", "2"), {}, "line 3 has 1 fields"),
        (("a,a", "1,x"), {}, "'a' appears twice"),
        (("a,b",), {}, "no rows"),
        (("",), {}, "no header"),
        (("a,c", "1,x"), {}, "no column 'b'"),
        (("a,b", "1,x", "2,"), {}, "row 2 has no value in the target"),
        (("a,b", "1,x", "inf,y", "3,x", "4,y"), {}, "row 2, column 'a': inf; expected a number"),
        (("a,b", "1,x", "2,x"), {}, "one class only"),
        (("a,b", ",x", "?,y", ",x", ",y"), {}, "column 'a' is left out: it has no value"),
        (("b", "x", "y"), {}, "no feature columns"),
        (("a,b", "1,x", "2,y"), {"features": ["a", "b"]}, "among the features"),
        (("a,b", "1,x", "2,y"), {"features": ["z"]}, "no column 'z'"),
    ],
)
def test_table_errors(sheet, lines, options, said):
    with pytest.raises(DataError) as caught:
        data.table(sheet(*lines), target="b", **options).prepare()
    assert said in str(caught.value)


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not readable as utf-16"):
        data.table(tmp_path / "x.csv", target="b").prepare()


@pytest.fixture
def runs(tmp_path):
    def save(**changes):
        generator = np.random.default_rng(0)
        arrays = {f"train_0{i}": generator.normal(3, 2, (50, 4)) for i in range(2)}
        arrays |= {f"test_0{i}": generator.normal(3, 2, (60, 4)) for i in range(2)} | changes
        np.savez(tmp_path / "runs.npz", **{k: v for k, v in arrays.items() if v is not None})
        return tmp_path / "runs.npz"

    return save


def test_windows(runs):
    prepared = data.windows(runs(columns=np.array(list("abcd"))), length=10, validation_start=20).prepare()
    assert prepared.sample_shape == (10, 4)
    assert prepared.class_names == ("00", "01")
    assert prepared.feature_names == tuple("abcd")
    assert np.bincount(prepared.train.y).tolist() == [9, 9]
    assert np.bincount(prepared.validation.y).tolist() == [6, 4]
    assert np.array_equal(prepared.train.x[0, 5:], prepared.train.x[1, :5])
    assert abs(prepared.train.x.mean()) < 0.1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_00": None, "train_01": None}, "no array named train_CLASS"),
        ({"train_00": None, "test_00": None}, "one class only"),
        ({"train_00": np.zeros(5)}, "'train_00' has shape (5,)"),
        ({"train_00": np.zeros((50, 3))}, "[3, 4] channels"),
        ({"train_00": np.zeros((5, 4))}, "class '00' has 5 rows; a window needs 20"),
        ({"train_00": np.full((50, 4), np.nan)}, "'train_00': row 0"),
        ({"test_07": np.zeros((60, 4))}, "test_07 has no train_07"),
    ],
)
def test_window_errors(runs, changes, said):
    with pytest.raises(DataError) as caught:
        data.windows(runs(**changes), validation_start=20).prepare()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: data.table("x.csv", target=""), "data.target"),
        (lambda: data.table("x.csv", target="a", features="b"), "data.features"),
        (lambda: data.windows("x.npz", stride=0), "data.stride"),
        (lambda: data.windows("x.npz", validation_start=-1), "data.validation_start"),
    ],
)
def test_setting_errors(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field
