"""Tables."""

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


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: data.table("x.csv", target=""), "data.target"),
        (lambda: data.table("x.csv", target="a", features="b"), "data.features"),
    ],
)
def test_setting_errors(make, field):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field
