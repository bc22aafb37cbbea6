"""Tables as training data: what columns and targets become, and what is refused by name."""

import numpy as np
import pandas
import pytest

from lepton_kit import data
from lepton_kit.data.tables import chunks, targets
from lepton_kit.data.tables.values import filled
from lepton_kit.errors import ConfigError, DataError
from tests.data.sheets import CITIES, COUNT, only, said


@pytest.mark.parametrize(
    ("separator", "cell", "form", "value"),
    [
        (",", lambda k: k / 4, (".", ""), 1.25),
        (";", lambda k: f"{k},5", (",", "."), 5.5),
        (";", lambda k: f"1.{100 + k}", (",", "."), 1105),
        (",", lambda k: f'"1,{100 + k}"', (".", ","), 1105),
        (",", lambda k: f'"{k * 40:,d}"', (".", ","), 200),
        (",", lambda k: f"1'{100 + k}.5", (".", "'"), 1105.5),
        (";", lambda k: f"1\u202f{100 + k},5 €", (",", " "), 1105.5),
        (",", lambda k: f"({k + 1}.50)", (".", ""), -6.5),
        (",", lambda k: f"\u2212{k + 1}", (".", ""), -6),
        (",", lambda k: f"{k}%", (".", ""), 5),
    ],
)
def test_numbers_are_read_as_they_are_spelled(sheet, separator, cell, form, value):
    columns = {"c": lambda k: f"{k},5" if separator == ";" else k, "b": cell}
    prepared, column = only(sheet(separator, **columns))
    assert (column.kind, column.decimal, column.thousands) == ("number", *form)
    sample = prepared.preprocessing.encode([{"a": 0, "c": 0, "b": str(cell(5)).strip('"')}])
    assert sample.x[0, -1] == np.float32((value - column.mean) / column.scale)


def test_points_are_thousands_only_where_other_columns_have_decimal_commas(sheet):
    _, column = only(sheet(";", b=lambda k: f"1.{100 + k}"))
    assert (column.decimal, column.mean < 2) == (".", True)
    _, column = only(sheet(";", b=lambda k: f"1.{100 + k}"), decimal=",")
    assert (column.decimal, column.mean > 1000) == (",", True)


def test_whole_numbers_leave_the_decimal_mark_open(sheet):
    _, column = only(sheet("\t", b=lambda k: k + 1))
    assert column.decimal == "."
    _, column = only(sheet(";", b=lambda k: k + 1, c=lambda k: f"{k},5"))
    assert column.decimal == ","
    _, column = only(sheet(";", b=lambda k: f"{k + 1},125"))
    assert (column.decimal, column.mean < 70) == (",", True)


@pytest.mark.parametrize("word", ["-", "unknown", "n.a.", "#DIV/0!", "\\N", "", "odd"])
def test_a_few_words_among_numbers_are_missing(sheet, word):
    prepared, column = only(sheet(b=lambda k: word if k in (5, 6) else k))
    assert (column.kind, column.flag) == ("number", True)
    assert prepared.feature_names == ("a", "b", "b is missing")
    assert (f"{word!r} (2) taken as missing" in said(prepared)) == (word not in ("", "\\N"))


def test_many_words_among_numbers_make_categories_and_that_is_said(sheet):
    prepared, column = only(sheet(b=lambda k: f"w{k % 7}" if k % 4 == 0 else k % 9))
    assert column.kind == "category"
    assert "'b' is taken as categories: most of its values are numbers, but not 'w0', 'w4', 'w1'" in said(
        prepared
    )
    _, column = only(sheet(b=lambda k: "gone" if k % 3 == 0 else k), missing=["gone"])
    assert column.kind == "number"


@pytest.mark.parametrize("pair", [("false", "true"), ("No", "YES"), ("n", "y"), ("F", "T"), ("off", "on")])
def test_two_words_are_one_feature(sheet, pair):
    prepared, column = only(sheet(b=lambda k: "" if k % 9 == 0 else pair[k % 2]))
    assert (column.kind, prepared.feature_names) == ("boolean", ("a", "b", "b is missing"))
    rows = [{"a": 0, "b": pair[0]}, {"a": 0, "b": pair[1]}, {"a": 0, "b": True}, {"a": 0, "b": "perhaps"}]
    encoded = prepared.preprocessing.encode(rows)
    assert encoded.x[:, 1].tolist() == [0, 1, 1]
    assert encoded.problems == {3: "column 'b': 'perhaps' is neither true nor false"}


def test_dates_become_days_and_places_on_circles(sheet):
    prepared, column = only(sheet(b=lambda k: f"{1 + k % 28:02d}.03.2021"))
    assert column.kind == "date"
    assert prepared.feature_names[1:] == (
        "b",
        *(f"b {part} {wave}" for part in ("month", "weekday") for wave in ("sin", "cos")),
    )
    encoded = prepared.preprocessing.encode([{"a": 0, "b": "01.03.2021"}, {"a": 0, "b": "2021-03-01"}])
    # A Monday in March: a quarter of the month circle less one twelfth, the start of the week's circle.
    assert np.allclose(encoded.x[0, 2:], [np.sin(np.pi / 3), np.cos(np.pi / 3), 0, 1], atol=1e-6)
    assert encoded.problems == {
        1: "column 'b': '2021-03-01' is not a date in the format %d.%m.%Y of the training rows"
    }


def test_hours_count_where_there_are_any(sheet):
    prepared, column = only(sheet(b=lambda k: f"2021-03-{1 + k % 28:02d} {k % 24:02d}:00"))
    assert column.hours
    encoded = prepared.preprocessing.encode([{"a": 0, "b": "2021-03-01 06:00"}])
    assert np.allclose(encoded.x[0, -2:], [1, 0], atol=1e-6)


def test_the_order_of_dates_is_said_where_both_are_possible(sheet):
    path = sheet(b=lambda k: f"{1 + k % 12}/{1 + k % 11}/2021")
    prepared, column = only(path)
    assert column.format == "%m/%d/%Y"
    assert "'b': dates such as 1/1/2021 are read as month, day, year; day_first=True" in said(prepared)
    prepared, column = only(path, day_first=True)
    assert column.format == "%d/%m/%Y"
    assert "read as" not in said(prepared)


def test_categories_come_from_the_training_rows(sheet):
    prepared, column = only(
        sheet(b=lambda k: CITIES[k % 3], s=lambda k: "val" if k % 3 == 0 else "train"), split="s"
    )
    assert column.categories == ("Bonn", "Köln")
    assert (
        "held-out rows, column 'b': 'Ulm' was never seen in training; taken as none of the categories (20 rows)"
        in said(prepared)
    )


def test_many_texts_are_hashed(sheet):
    path = sheet(b=lambda k: f"name {k}")
    prepared, column = only(path, max_categories=10, hash_buckets=8)
    assert (column.kind, len(prepared.feature_names)) == ("hash", 9)
    assert "48 different texts are hashed into 8 buckets" in said(prepared)
    assert "drop=['b'] leaves it out" in said(prepared)
    assert prepared.train.x[:, 1:].sum(axis=1).tolist() == [1] * 48
    assert only(path, max_categories=10, drop=["b"])[1] is None


def test_codes_in_digits_may_be_categories(sheet):
    path = sheet(b=lambda k: f"0{k % 3}")
    assert only(path)[1].kind == "number"
    assert only(path, categorical=["b"])[1].categories == ("00", "01", "02")


def test_columns_that_say_nothing_are_named_and_left_out(sheet):
    path = sheet(
        b=lambda k: 5,
        c=lambda k: "",
        d=lambda k: "x",
        e=lambda k: k if k % 5 == 0 else "",
        s=lambda k: "val" if k % 5 == 0 else "train",
    )
    prepared, _ = only(path, split="s")
    assert prepared.feature_names == ("a",)
    for text in (
        "column 'b' is left out: it is 5 in every training row",
        "column 'c' is left out: it has no value in any row",
        "column 'd' is left out: it is 'x' in every training row",
        "column 'e' is left out: no training row has a value in it",
    ):
        assert text in prepared.notes


def test_a_column_that_only_numbers_the_rows_is_left_out(tmp_path):
    frame = pandas.DataFrame({"a": range(COUNT), "y": np.arange(COUNT) % 2})
    frame.to_csv(tmp_path / "t.csv", index=True)
    prepared = data.table(tmp_path / "t.csv", target="y").prepare()
    assert prepared.feature_names == ("a",)
    assert "it names or numbers the rows" in said(prepared)


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e400", "1e301", "-1e301"])
def test_infinite_and_absurd_numbers_are_refused_by_row(sheet, cell):
    with pytest.raises(DataError, match=r"t\.csv: row 10, column 'b': .*expected a number between"):
        only(sheet(b=lambda k: cell if k == 9 else k))


def test_large_numbers_are_standardised(sheet):
    prepared, column = only(sheet(b=lambda k: f"{k}e298"))
    assert np.isfinite(prepared.train.x).all()
    assert column.scale == pytest.approx(np.std(np.arange(60)) * 1e298, rel=0.1)


def test_units_are_kept_and_a_mixture_is_said(sheet):
    prepared, column = only(sheet(b=lambda k: f"${k}"))
    assert column.units == ("$",)
    told = {"kind": "number", "features": 1, "missing": False, "mean": column.mean, "deviation": column.scale}
    assert prepared.details["columns"]["b"] == told
    assert "column 'b': numbers in $" in prepared.notes
    prepared, _ = only(sheet(b=lambda k: f"{'$€'[k % 2]}{k}"))
    assert "column 'b': values in $ and €; they are taken as they stand" in prepared.notes


# Targets.


@pytest.mark.parametrize(
    ("cell", "options", "expected"),
    [
        (lambda k: ("None", "NA", "mild")[k % 3], {}, ("NA", "None", "mild")),
        (lambda k: k % 2 == 0, {}, ("False", "True")),
        (lambda k: f"{k % 3}.0", {}, ("0", "1", "2")),
        (lambda k: k % 12, {}, tuple(map(str, range(12)))),
        (lambda k: k % 25, {"task": "classification"}, tuple(map(str, range(25)))),
        (lambda k: k % 2 + 0.5, {"task": "classification"}, ("0.5", "1.5")),
        (lambda k: ("1", "2", "x")[k % 3], {}, ("1", "2", "x")),
    ],
)
def test_classes_have_their_names(sheet, cell, options, expected):
    prepared, _ = only(sheet(y=cell), **options)
    assert (prepared.task, prepared.class_names, prepared.num_classes) == (
        "classification",
        expected,
        len(expected),
    )
    assert prepared.preprocessing.target.class_names == expected
    assert ("counts as a class" in said(prepared)) == ("None" in expected)


def test_a_regression_is_answered_in_its_unit(sheet):
    prepared, _ = only(sheet(y=lambda k: f'"${k * 1000:,d}"'))
    target = prepared.preprocessing.target
    assert (prepared.task, target.unit, prepared.train.y.dtype) == ("regression", "$", np.float32)
    assert abs(prepared.train.y.mean()) < 1e-6
    assert prepared.train.y.std() == pytest.approx(1)
    back = target.values(np.concatenate([prepared.train.y, prepared.validation.y])[:, None])
    assert sorted(back[:, 0].round()) == [k * 1000 for k in range(COUNT)]
    assert f"an error of 1 is {target.scale[0]:.6g} $" in said(prepared)
    assert only(sheet(y=lambda k: k * 1.5), unit="m")[0].preprocessing.target.unit == "m"


@pytest.mark.parametrize("kind", [str, int, float])
def test_a_target_of_many_different_numbers_is_kept_as_numbers(put, monkeypatch, kind):
    monkeypatch.setattr(targets, "MANY", 10)
    monkeypatch.setattr(chunks, "CELLS", 1)  # so that a piece has 256 rows
    values = np.random.default_rng(0).permutation(2000)
    if kind is str:
        path = put("a,y\n" + "".join(f"{k},{value}\n" for k, value in enumerate(values)))
    else:
        path = pandas.DataFrame({"a": range(2000), "y": values.astype(kind)})
    prepared = data.table(path, target="y", validation_split=0.0).prepare()
    back = prepared.preprocessing.target.values(prepared.train.y[:, None])[:, 0]
    assert back.round().tolist() == values.tolist()


def test_words_behind_many_numbers_make_the_target_texts(monkeypatch):
    monkeypatch.setattr(targets, "MANY", 10)
    whole = targets.Whole("y")
    for cells in (["1", *map(str, range(20))], ["x", None], ["5"]):
        whole.add(filled(cells))
    assert whole.texts().tolist()[-4:] == ["19", "x", None, "5"]


def test_several_targets(sheet):
    prepared, _ = only(sheet(y=lambda k: k * 1.5, z=lambda k: k**2), target=["y", "z"])
    assert prepared.train.y.shape == (48, 2)
    assert len(prepared.preprocessing.target.scale) == 2
    prepared, _ = only(sheet(z=lambda k: int(k % 3 == 0)), target=["y", "z"])
    assert (prepared.task, prepared.class_names) == ("multilabel", ("y", "z"))
    assert prepared.train.y.dtype == np.float32


def test_labels_in_one_cell(sheet):
    prepared, _ = only(sheet(y=lambda k: ("a|b", "b ", "")[k % 3]), task="multilabel")
    assert (prepared.task, prepared.class_names) == ("multilabel", ("a", "b"))
    whole = np.concatenate([prepared.train.y, prepared.validation.y])
    assert whole.sum(axis=0).tolist() == [20, 40]


@pytest.mark.parametrize(
    ("cell", "options", "text"),
    [
        (lambda k: ("1", "NA", "2")[k % 3], {}, "row 2 has no value in the target column 'y'"),
        (lambda k: "" if k == 4 else "ab"[k % 2], {}, "row 5 has no value in the target column 'y'"),
        (lambda k: "" if k == 4 else k * 1.5, {}, "row 5 has no value in the target column 'y'"),
        (lambda k: "inf" if k == 4 else k * 1.5, {}, "row 5, target 'y' is inf"),
        (lambda k: "inf" if k == 4 else k % 2, {}, "row 5, target 'y' is inf"),
        (lambda k: f"n{k}", {}, "60 different values in 60 rows are no classes; for a value"),
        (lambda k: f"n{k}", {"task": "regression"}, "row 1, target 'y' is 'n0'; expected a number"),
        (lambda k: 1.5, {}, "one value only in the training rows"),
        (lambda k: "x", {}, "one class only"),
        (
            lambda k: k % 2,
            {"target": ["y", "a"], "task": "classification"},
            "give one column, or task='multilabel'",
        ),
        (lambda k: k % 3, {"target": ["y", "b"], "task": "multilabel"}, "target 'y' is '2'; expected 0 or 1"),
        (lambda k: k % 2, {"target": "z"}, "no column 'z'; it has a, b, y"),
        (lambda k: k % 2, {"target": "Y"}, "did you mean 'y'?"),
        (lambda k: k % 2, {"features": ["a", "y"]}, "the target 'y' is among the features"),
        (lambda k: k % 2, {"drop": ["a", "b"]}, "no feature columns beside the target"),
        (lambda k: k % 2, {"features": ["b"]}, "no feature column says anything: column 'b' is left out"),
        (lambda k: k % 2, {"class_weight": {"2": 1}}, "class_weight: the class '2'; expected some of 0, 1"),
        (lambda k: k * 1.5, {"class_weight": "balanced"}, "is a regression; expected a classification"),
        (lambda k: k % 2, {"sample_weight": "c"}, "no column 'c'"),
    ],
)
def test_what_is_wrong_is_named(sheet, cell, options, text):
    with pytest.raises(DataError) as caught:
        only(sheet(b=lambda k: 5, y=cell), **options)
    assert text in str(caught.value)
    assert str(caught.value).startswith("t.csv: ")


def test_columns_of_a_frame_without_names_are_given_by_number():
    frame = pandas.DataFrame({0: range(20), 1: range(20), 2: [0.5, 1.5] * 10, 3: [0, 1] * 10})
    prepared = data.table(frame, target=3, drop=[0], time=1).prepare()
    assert (prepared.task, prepared.train.x.shape) == ("classification", (16, 1))
    with pytest.raises(ConfigError, match="target: got True"):
        data.table(frame, target=True)
