"""What is doubtful in a table: said, or refused."""

import pandas
import pytest

from lepton_kit import data
from lepton_kit.errors import DataError
from tests.data.sheets import noted, rows_of


@pytest.mark.parametrize("words", [["-999"], [-999], [-999.0], ["-999.0"]])
def test_numbers_may_stand_for_missing(put, words):
    text = rows_of("a,y", lambda k: f"{-999 if k % 7 == 0 else k},{'pq'[k % 2]}")
    prepared, _ = noted(text, put, missing=words)
    assert prepared.feature_names == ("a", "a is missing")
    frame = pandas.DataFrame({"a": [-999, 5, 6] * 20, "y": [0, 1] * 30})
    assert len(data.table(frame, target="y", missing=words).prepare().feature_names) == 2
    assert prepared.preprocessing.encode({"a": [-999.0, 5.0]}).x[:, 1].tolist() == [1, 0]
    with pytest.raises(DataError, match="no value in the target"):
        noted(rows_of("a,y", lambda k: f"{k},{-999 if k == 7 else k + 0.5}"), put, missing=words)


def test_the_order_of_ambiguous_dates_is_said_for_time_too(put):
    text = rows_of("t,a,y", lambda k: f"{k % 12 + 1:02d}/{k % 11 + 1:02d}/2023,{k},{k % 2}")
    _, said = noted(text, put, time="t")
    assert "are read as month, day, year; day_first=True" in said


def test_two_currencies_of_a_target_are_said(put):
    _, said = noted(rows_of("a,y", lambda k: f"{k},{'$€'[k % 2]}{1000 + k * 37}"), put)
    assert "target 'y': values in $ and €; they are taken as they stand" in said


@pytest.mark.parametrize(
    ("cell", "options", "expected"),
    [
        (lambda k: f"1.{100 + k}", {}, "1.100 is read as 1.1, with three digits behind the decimal point"),
        (lambda k: f"1.{100 + k} €", {}, "if points group thousands it is 1,100: give thousands='.', or"),
        (lambda k: f"1.{100 + k}", {"thousands": "."}, None),
        (lambda k: f"1.{100 + k}", {"decimal": "."}, None),
        (lambda k: f"1.{100 + k}", {"thousands": {"b": ""}}, None),
        (lambda k: f"1.{100 + k}", {"thousands": {"a": ""}}, "1.100 is read as 1.1"),
        (lambda k: f"0.{100 + k}", {}, None),
        (lambda k: f"{k}.5", {}, None),
        (lambda k: f"0{1000 + k}", {}, "01000 is read as the number 1000; categorical=['b']"),
        (lambda k: f"0{1000 + k}", {"categorical": ["b"]}, None),
        (lambda k: f"{k % 28 + 1:02d}.02.{50 + k % 40}", {}, "read as 1969 to 2068"),
        (lambda k: f"{k % 28 + 1:02d}.02.19{50 + k % 40}", {}, None),
        (lambda k: f"{k % 7} kg", {}, "is taken as categories: '0 kg', '1 kg', '2 kg' are not spelt as"),
        (lambda k: f"{k % 7}0-{k % 7}9", {}, None),
        (lambda k: "0000-00-00" if k == 7 else f"2023-{k % 12 + 1:02d}-01", {}, "'0000-00-00' (1) taken as"),
        (
            lambda k: f"2023-02-{k % 28 + 1:02d}" if k % 3 else f"{k % 28 + 1:02d}/02/2023",
            {},
            "'b' is taken as categories: its dates have several formats",
        ),
        (lambda k: f"street {k % 5}", {}, None),
    ],
)
def test_doubtful_cells_are_said(put, cell, options, expected):
    _, said = noted(rows_of("a,b,y", lambda k: f"{k},{cell(k)},{k % 2}"), put, **options)
    doubts = ("behind the decimal point", "categorical=[", "two digits", "as categories", "as missing")
    assert expected in said if expected else not any(doubt in said for doubt in doubts)


def test_an_odd_date_is_missing(put):
    text = rows_of(
        "a,b,y", lambda k: f"{k},{'00/00/0000' if k == 7 else f'{k % 28 + 1:02d}/02/2023'},{k % 2}"
    )
    prepared, _ = noted(text, put)
    column = prepared.preprocessing.columns[1]
    assert (column.kind, column.format, column.flag) == ("date", "%d/%m/%Y", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            rows_of("5.1,setosa", lambda k: f"{k}.2,{('setosa', 'other')[k % 2]}"),
            "looks like values (5.1, setosa)",
        ),
        (
            rows_of("hello,ham", lambda k: f"text {k},{('ham', 'spam')[k % 2]}"),
            "looks like values (hello, ham)",
        ),
        (rows_of("a,y", lambda k: f"{k},{k % 2}"), None),
        (rows_of("land,2019,2020", lambda k: f"l{k},{k},{k}"), None),
        (
            rows_of("a,y", lambda k: f"{k},{k % 5},{k % 2}"),
            "the header has one field less than the rows (2 and 3)",
        ),
    ],
)
def test_a_header_that_may_be_none_is_said(put, text, expected):
    path = put(text)
    target = text.splitlines()[0].rpartition(",")[2]
    notes = " | ".join(data.table(path, target=target, max_categories=100).prepare().notes)
    problems = " | ".join(data.describe(path, target=target).problems)
    assert all(expected in said if expected else "header" not in said for said in (notes, problems))


def test_new_rows_longer_than_their_header_are_said(put):
    prepared, _ = noted(rows_of("a,b,y", lambda k: f"{k},{k % 5},{k % 2}"), put)
    path = put("a,b\nu,1,2\nv,3,4\n", "new.csv")
    assert any("one field less" in note for note in prepared.preprocessing.encode(path).notes)


def test_thousands_in_doubt_are_a_finding(put):
    path = put(rows_of("a;y", lambda k: f"1.{100 + k};{k % 2}"))
    assert any("give thousands='.'" in one for one in data.describe(path, target="y").problems)
