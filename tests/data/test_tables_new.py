"""New rows for a trained table: read as the training file was read, and what is said where they differ."""

import json
import sqlite3

import numpy as np
import pandas
import pytest

from lepton_kit.data.preprocessing import parse
from lepton_kit.errors import DataError
from tests.data.sheets import only


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("y^b\n" + "".join(f"{'pq'[k % 2]}^{k}\n" for k in range(40)), {"separator": "^"}),
        ("".join(f"{k},{'pq'[k % 2]}\n" for k in range(40)), {"header": False, "target": "column_2"}),
        ("b,y\n" + "".join(f"{k},'{'pq'[k % 2]},'\n" for k in range(40)), {"quote": "'"}),
        ("b,y\n%note\n" + "".join(f"{k},{'pq'[k % 2]}\n" for k in range(40)), {"comment": "%"}),
    ],
)
def test_a_new_file_is_read_as_the_training_file_was(put, text, options):
    path = put(text)
    prepared, _ = only(path, validation_split=0.0, **options)
    again = parse(json.loads(prepared.preprocessing.model_dump_json()), "here")
    encoded = again.encode(path)
    assert (encoded.problems, dict(encoded.notes)) == ({}, {})
    assert np.array_equal(encoded.x, prepared.train.x)


def test_a_new_workbook_or_database_is_read_as_the_training_one_was(tmp_path):
    frame = pandas.DataFrame({"a": range(40), "y": [k % 2 for k in range(40)]})
    with pandas.ExcelWriter(tmp_path / "t.xlsx") as book:
        pandas.DataFrame({"info": ["r"]}).to_excel(book, sheet_name="Info", index=False)
        frame.to_excel(book, sheet_name="Data", index=False)
    with sqlite3.connect(tmp_path / "t.db") as connection:
        frame.to_sql("t", connection, index=False)
    connection.close()
    for name, options in (("t.xlsx", {"sheet": "Data"}), ("t.db", {"query": "select * from t"})):
        prepared, _ = only(tmp_path / name, **options)
        assert len(prepared.preprocessing.encode(tmp_path / name).x) == 40
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert len(prepared.preprocessing.encode(tmp_path / "t.csv").x) == 40


def test_a_new_file_in_another_dialect_says_so_or_is_refused(put, sheet):
    prepared, _ = only(sheet(";", b=lambda k: f"{k},5"))
    found = prepared.preprocessing.encode(put('a,b\n1,"2,5"\n', "new.csv"))
    assert "new.csv: separated by comma, the training rows by semicolon" in found.notes
    prepared, _ = only(put("".join(f"{k % 2},{k},{k}\n" for k in range(40))), target="column_1", header=False)
    with pytest.raises(DataError, match="2 columns without a header; expected the 3"):
        prepared.preprocessing.encode(put("1,2\n3,4\n", "new.csv"))
    with pytest.raises(DataError, match="4 columns without a header; expected the 3"):
        prepared.preprocessing.encode(put("1,2,3,4\n5,6,7,8\n", "new.csv"))
    prepared, _ = only(put("".join(f"{k},{k},{k % 2}\n" for k in range(40))), target="column_3", header=False)
    assert len(prepared.preprocessing.encode(put("1,2\n3,4\n", "new.csv")).x) == 2  # without the target


def test_new_numbers_are_read_in_the_form_of_the_training_rows(put):
    prepared, column = only(put("b;y\n" + "".join(f"{k},50;{k % 2}\n" for k in range(40))))

    def values(raw):
        found = prepared.preprocessing.encode(raw)
        return (
            np.round(found.x[:, 0].astype(float) * column.scale + column.mean, 2).tolist(),
            found.problems,
        )

    assert values(put("b\n1.234,50\n1.234\n12,50\n", "new.csv"))[0] == [1234.5, 1234, 12.5]
    assert values({"b": [1.234, "1.234", None]})[0][:2] == [1.23, 1234]
    found, problems = values({"b": ["7,5", "12.5"]})
    assert found == [7.5]
    assert "'12.5' is not a number" in problems[1]


def test_a_cell_that_holds_a_list_is_a_problem_of_its_row(put):
    prepared, _ = only(put("a,b,y\n" + "".join(f"{k},{'uvw'[k % 3]},{k % 2}\n" for k in range(40))))
    rows = [{"a": 1, "b": "u"}, {"a": [1, 2], "b": "u"}, {"a": 2, "b": {"c": 1}}]
    frame = {"a": [1, [1, 2], 2], "b": ["u", "u", {"c": 1}]}
    for raw in (rows, frame, pandas.DataFrame(frame)):
        found = prepared.preprocessing.encode(raw)
        assert found.rows.tolist() == [0]
        assert found.problems[1] == "column 'a' holds a list; expected one value a cell"
        assert "holds a dict" in found.problems[2]
        assert not found.notes


def test_one_category_has_one_spelling(put):
    names = ("Ko\u0308ln", "K\u00f6ln", "Ulm")
    text = "b,y\n" + "".join(f"{names[k % 3]},{k % 2}\n" for k in range(42))
    prepared, column = only(put(text))
    assert column.categories == ("K\u00f6ln", "Ulm")
    for name in names[:2]:
        for raw in (put(f"b\n{name}\n", "new.csv"), [{"b": name}]):
            assert prepared.preprocessing.encode(raw).x.tolist() == [[1.0, 0.0]]


def test_one_column_with_decimal_commas_is_one_column(put):
    prepared, column = only(put("b;y\n" + "".join(f"{k},50;{k % 2}\n" for k in range(40))))
    found = prepared.preprocessing.encode(put("b\n12,50\n13,75\n", "new.csv"))
    values = found.x[:, 0].astype(float) * column.scale + column.mean
    assert np.round(values, 2).tolist() == [12.5, 13.75]


def test_a_workbook_without_the_sheet_names_those_it_has(tmp_path):
    frame = pandas.DataFrame({"a": range(40), "y": [k % 2 for k in range(40)]})
    for name, sheet in (("t.xlsx", "Data"), ("new.xlsx", "Other")):
        with pandas.ExcelWriter(tmp_path / name) as book:
            frame.to_excel(book, sheet_name=sheet, index=False)
    prepared, _ = only(tmp_path / "t.xlsx", sheet="Data")
    with pytest.raises(DataError, match="no sheet 'Data'; it has Other"):
        prepared.preprocessing.encode(tmp_path / "new.xlsx")
