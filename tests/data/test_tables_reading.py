"""Files of tables as people have them: dialects, encodings, packed, other formats; and what is refused, with its line."""

import bz2
import gzip
import json
import lzma
import sqlite3
import zipfile

import numpy as np
import pandas
import polars
import pytest

from lepton_kit.data.tables import formats, reader
from lepton_kit.data.tables.chunks import is_frame, of_frame
from lepton_kit.data.tables.delimited import Dialect
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.values import as_text
from lepton_kit.errors import DataError

PLAIN = b"a,b\n1,2\n3,4\n5,6\n"


def cells(table, rows=None):
    """Column -> all its cells, and what was said."""
    chunks = list(table.chunks(rows))
    return {name: [cell for chunk in chunks for cell in chunk.columns[name].tolist()] for name in table.names}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,x\n", {"a": ["1"], "b": ["x"]}),
        ("a;b\n1,5;x\n", {"a": ["1,5"], "b": ["x"]}),
        ("a\tb\n1\tx y\n", {"a": ["1"], "b": ["x y"]}),
        ("a|b|\n1|x|\n", {"a": ["1"], "b": ["x"]}),
        ("a  b\n1   x\n 2 y\n", {"a": ["1", "2"], "b": ["x", "y"]}),
        (" a , b \n 1 , x y \n", {"a": ["1"], "b": ["x y"]}),
        ("a,b\r\n1,x\r\n", {"a": ["1"], "b": ["x"]}),
        ("a,b\r1,x\r", {"a": ["1"], "b": ["x"]}),
        ("\ufeffa,b\n1,x\n", {"a": ["1"], "b": ["x"]}),
        ("sep=;\na;b\n1;x\n", {"a": ["1"], "b": ["x"]}),
        ('a,b\n1,"x\ny"\n2,"z,"\n', {"a": ["1", "2"], "b": ["x\ny", "z,"]}),
        ('a,b\n1,"x\n"\n', {"a": ["1"], "b": ["x"]}),
        ('a,b\n1,"say ""hi"""\n', {"a": ["1"], "b": ['say "hi"']}),
        ('a,b\n1,"say \\"hi, you\\""\n', {"a": ["1"], "b": ['say "hi, you"']}),
        ('a,b\n1,5" pipe\n', {"a": ["1"], "b": ['5" pipe']}),
        ("a;b\n1;['x', 'y']\n2;['x', 'y', 'z']\n", {"a": ["1", "2"], "b": ["['x', 'y']", "['x', 'y', 'z']"]}),
        ("# made by a machine\na,b\n1,x\n", {"a": ["1"], "b": ["x"]}),
        ("# a,b\n1,2\n3,4\n", {"a": ["1", "3"], "b": ["2", "4"]}),
        ("Sales of May\n\na,b\n1,x\n2,y\n", {"a": ["1", "2"], "b": ["x", "y"]}),
        ("a,b\n1,x\n,\n,\n\x1a", {"a": ["1"], "b": ["x"]}),
        ("a,b\n1,x\na,b\n2,y\n", {"a": ["1", "2"], "b": ["x", "y"]}),
        ("a,b\n1,x,\n2,y,\n", {"a": ["1", "2"], "b": ["x", "y"]}),
        ("a,b\nrow1,1,x\nrow2,2,y\n", {"(row name)": ["row1", "row2"], "a": ["1", "2"], "b": ["x", "y"]}),
        ("a,b\n1,10,x\n2,20,y\n", {"(row name)": ["1", "2"], "a": ["10", "20"], "b": ["x", "y"]}),
        (
            'a,b\n"332", "Doe\\, Jo"\n"123","foo (\\"foo\\")"\n',
            {"a": ["332", "123"], "b": ["Doe, Jo", 'foo ("foo")']},
        ),
        ('F1;F2\n1;"F\ni,e,l,d\n,3"\n', {"F1": ["1"], "F2": ["F\ni,e,l,d\n,3"]}),
        (
            "a\tname\n1\tAda Love\n2\tAlan M Turing\n",
            {"a": ["1", "2"], "name": ["Ada Love", "Alan M Turing"]},
        ),
        (",a\n0,1\n1,2\n", {"(row name)": ["0", "1"], "a": ["1", "2"]}),
        ("a,,b\n1,2,x\n", {"a": ["1"], "column_2": ["2"], "b": ["x"]}),
        ('a,b\n"C:\\","x"\n"D:\\","y"\n', {"a": ["C:\\", "D:\\"], "b": ["x", "y"]}),
        ("a,b\n1,x ", {"a": ["1"], "b": ["x"]}),
        ("a,b\n1,\u00a0x\u00a0\n", {"a": ["1"], "b": ["x"]}),
    ],
)
def test_dialects_are_found_out(put, content, expected):
    assert cells(open_files([put(content)])) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings_are_found_out(put, encoding):
    table = open_files([put("name,b\nKöln,1\nUlm,2\n".encode(encoding))])
    assert cells(table)["name"] == ["Köln", "Ulm"]
    assert bool(table.notes) == (encoding == "cp1252")


def test_another_encoding_is_asked_for_and_taken(put):
    path = put("имя,б\nпривет мир,2\n".encode("cp1251"))
    with pytest.raises(DataError, match=r"t\.csv: line 1 is not UTF-8.*give encoding="):
        open_files([path])
    assert cells(open_files([path], Dialect(encoding="cp1251"))) == {"имя": ["привет мир"], "б": ["2"]}
    with pytest.raises(DataError, match="not readable as utf-8"):
        open_files([path], Dialect(encoding="utf-8"))
    with pytest.raises(DataError, match="not readable as no-such-code"):
        open_files([path], Dialect(encoding="no-such-code"))


def test_a_dialect_may_be_said(put):
    assert cells(open_files([put("1 2;3\n4 5;6\n")], Dialect(separator=";", header=False))) == {
        "column_1": ["1 2", "4 5"],
        "column_2": ["3", "6"],
    }
    assert cells(open_files([put("a,b\n'x,y',2\n")], Dialect(quote="'")))["a"] == ["x,y"]
    assert cells(open_files([put('a,b\n"x,2\n')], Dialect(quote="")))["a"] == ['"x']
    assert cells(open_files([put("a,b\n1,2\n% no\n3,4\n")], Dialect(comment="%")))["a"] == ["1", "3"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "t.csv: an empty file; no header line"),
        ("\n \n", "no header line"),
        ("a,b,a\n1,2,3\n", "line 1: the column 'a' appears twice (fields 1 and 3)"),
        ("a, a\n1,2\n", "line 1: the column 'a' appears twice"),
        ("1,1\n2,2\n", "give header=False"),
        ("a,b\n3,5,x\n7,25,y\n", "line 2 has 3 fields; expected 2; is a decimal comma"),
        ("a,b\n1,2\n3\n", "line 3 has 1 fields; expected 2: '3'; take a note or a footer out"),
        ('a,b\n1,"x\ny"\n1,2,3\n', "line 4 has 3 fields; expected 2; is a decimal comma"),
        ('a,b\n1,"x\n3,4\n5,6\n', "line 2 opens a quotation mark that is never closed"),
        ('a,b\n1,"' + "x" * 200_000, "line 2: field larger than field limit"),
        (b"a,b\n1,\0\n" + b"x,y\n" * 50, "line 2 holds a zero byte"),
        ("<!DOCTYPE html><html></html>", "a web page or XML, not a table"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"%PDF-1.4 ", "a PDF file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel file of before 2007"),
        (b"\x80\x04\x95 pickled", "a pickle, which is never opened"),
        (gzip.compress(PLAIN * 1000)[:60], "damaged or cut off"),
        (gzip.compress(PLAIN)[:-6] + b"123456", "damaged or cut off"),
        (b"PK\x03\x04 not really", "not a readable zip file"),
        (b"PAR1 not really", "not a readable Parquet file"),
        (b"ARROW1 not really", "not a readable Feather file"),
        ('{"a": 1}\n{"a": \n', "line 2: not readable JSON"),
        ('{"a": 1}\n[2]\n', "line 2: expected an object"),
        ('{"a": 1, "b": [1, 2]}\n', "column 'b', row 1 holds a list; expected one value a cell"),
        ('{"a": \n1', "not readable JSON"),
        ('{"data": 5\n}', "expected a list of objects"),
    ],
)
def test_what_is_refused_is_named(put, content, said):
    with pytest.raises(DataError) as caught:
        cells(open_files([put(content)]))
    assert said in str(caught.value)
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        open_files([tmp_path / "none.csv"])


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files(put, pack):
    assert cells(open_files([put(pack(PLAIN), "t.csv.packed")]))["a"] == ["1", "3", "5"]


def test_zip_files(tmp_path):
    def archive(*names):
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as file:
            for name in names:
                file.writestr(name, PLAIN)
        return open_files([tmp_path / "t.zip"])

    assert cells(archive("d/a.csv", "__MACOSX/d/._a.csv", "d/.DS_Store"))["b"] == ["2", "4", "6"]
    with pytest.raises(DataError, match=r"t\.zip: 2 files inside \(a\.csv, b\.csv\)"):
        archive("a.csv", "b.csv")


FRAME = pandas.DataFrame(
    {
        "whole": [1, 2, 3, 4],
        "part": [1.5, np.nan, 3, 4],
        "text": ["x", None, " z ", "w"],
        "moment": pandas.to_datetime(["2020-01-01", "2020-01-02", None, "2020-01-04"]),
        "truth": [True, False, True, True],
        "maybe": pandas.array([True, None, True, False], "boolean"),
        "kind": pandas.Categorical(["u", "v", "u", None]),
        "long": pandas.to_timedelta([1, 2, 3, 4], "s"),
    }
)


def test_a_frame_has_typed_columns():
    chunk = next(of_frame(FRAME).chunks())
    kinds = {name: array.dtype.kind for name, array in chunk.columns.items()}
    assert "".join(kinds.values()) == "ifOMbOOf"
    assert chunk.columns["text"].tolist() == ["x", None, "z", "w"]
    assert chunk.columns["maybe"].tolist() == ["True", None, "True", "False"]
    assert chunk.columns["long"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("way", ["parquet", "feather"])
def test_columnar_files_read_as_their_frame(tmp_path, way):
    path = tmp_path / f"t.{way}"
    getattr(FRAME, f"to_{way}")(path)
    table = open_files([path])
    one = next(of_frame(FRAME).chunks())
    for rows in (None, 3):
        for name in table.names:
            # A piece without missing values may have another type, but the same text.
            found = [cell for chunk in table.chunks(rows) for cell in as_text(chunk.columns[name])]
            assert found == as_text(one.columns[name]).tolist()


def test_an_index_with_a_name_is_a_column(tmp_path):
    FRAME[["whole", "text"]].set_index("text").dropna().to_parquet(tmp_path / "t.parquet")
    assert open_files([tmp_path / "t.parquet"]).names == ["whole", "text"]


def test_excel_files(tmp_path):
    with pandas.ExcelWriter(tmp_path / "t.xlsx") as book:
        FRAME[["whole", "text"]].to_excel(book, sheet_name="one", index=False)
        FRAME[["part"]].to_excel(book, sheet_name="two", index=False)
    table = open_files([tmp_path / "t.xlsx"])
    assert cells(table) == {"whole": ["1", "2", "3", "4"], "text": ["x", "", "z", "w"]}
    assert "the sheet 'one' is read" in next(iter(table.notes))
    assert cells(open_files([tmp_path / "t.xlsx"], sheet="two")) == {"part": ["1.5", "", "3", "4"]}
    with pytest.raises(DataError, match=r"t\.xlsx: no sheet 'three'; it has one, two"):
        open_files([tmp_path / "t.xlsx"], sheet="three")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('{"a": 1, "b": "x"}\n\n{"a": null, "c": 2.0}\n', "t.jsonl"),
        ('[{"a": 1, "b": "x"}, {"a": null, "c": 2.0}]', "t.json"),
        ('{"data": [{"a": 1, "b": "x"},\n {"a": null, "c": 2.0}]}', "t.json"),
        ('{"a": [1, null], "b": ["x", null], "c": [null, 2.0]}', "t.json"),
        ('{"a": {"0": 1, "1": null}, "b": {"0": "x", "1": null}, "c": {"0": null, "1": 2.0}}', "t.json"),
    ],
)
def test_json_in_its_shapes(put, content, name):
    assert cells(open_files([put(content, name)])) == {"a": ["1", None], "b": ["x", None], "c": [None, "2"]}


def test_sqlite_files_answer_a_query(tmp_path, put):
    with sqlite3.connect(tmp_path / "t.db") as base:
        FRAME[["whole", "text"]].to_sql("rows", base, index=False)
    base.close()
    found = open_files([tmp_path / "t.db"], query="select whole * 2 as w from rows order by whole")
    assert cells(found) == {"w": [2, 4, 6, 8]}
    with pytest.raises(DataError, match="give query="):
        open_files([tmp_path / "t.db"])
    with pytest.raises(DataError, match="no such column"):
        open_files([tmp_path / "t.db"], query="select absent from rows")
    with pytest.raises(DataError, match="no SQLite database"):
        open_files([put(PLAIN)], query="select 1")


def test_a_failing_query_does_not_show_the_address():
    with pytest.raises(DataError) as caught:
        formats.of_query("sqlite:////no/such/folder/secret.db", "select 1")
    assert "secret" not in str(caught.value).replace("unable to open database file", "")


def test_several_files_are_one_table(put):
    paths = [put("a,b\n1,2\n", "one.csv"), put("b;a\n4;3\n", "two.csv")]
    assert cells(open_files(paths)) == {"a": ["1", "3"], "b": ["2", "4"]}
    with pytest.raises(DataError, match=r"three\.csv: other columns than one\.csv: b, c"):
        open_files([paths[0], put("a,c\n1,2\n", "three.csv")])


def test_rows_keep_their_names():
    frame = pandas.DataFrame({"a": [1, 2]}, index=["x", "y"])
    assert list(next(of_frame(frame).chunks()).names) == ["x", "y"]


@pytest.mark.parametrize(
    "frame",
    [
        pandas.DataFrame({"a": [1, 2], "b": ["x", None]}),
        polars.DataFrame({"a": [1, 2], "b": ["x", None]}),
        polars.LazyFrame({"a": [1, 2], "b": ["x", None]}),
    ],
)
def test_frames_of_two_libraries(frame):
    assert is_frame(frame)
    assert cells(of_frame(frame)) == {"a": [1, 2], "b": ["x", None]}


def test_records_and_dictionaries():
    assert cells(of_frame([{"a": 1}, {"b": "x"}])) == {"a": ["1", None], "b": [None, "x"]}
    assert cells(of_frame({"a": [1, 2]})) == {"a": ["1", "2"]}
    assert cells(of_frame({"a": 1, "b": "x"})) == {"a": ["1"], "b": ["x"]}


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"a": [1, 2], "b": [1]}, "columns of [1, 2] rows"),
        ([{"a": 1}, 2], "row 1 is a int"),
        ({}, "no columns"),
        (pandas.DataFrame([[1, 2]], columns=["a", "a"]), "the column 'a' appears twice"),
        (pandas.DataFrame([[1, 2]], columns=["a", " a"]), "the column 'a' appears twice"),
        (pandas.DataFrame({"a": [1j]}), "complex numbers"),
    ],
)
def test_tables_in_memory_that_are_refused(frame, said):
    with pytest.raises(DataError) as caught:
        cells(of_frame(frame))
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "module"), [("parquet", "pyarrow.ipc"), ("excel", "openpyxl")])
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, name, module):
    path = tmp_path / "t"
    FRAME[["whole"]].to_parquet(path) if name == "parquet" else FRAME[["whole"]].to_excel(
        path.with_suffix(".xlsx")
    )
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(DataError, match=rf"pip install lepton-kit\[{name}\]"):
        open_files([path if name == "parquet" else path.with_suffix(".xlsx")])


def test_sql_without_its_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sqlalchemy", None)
    with pytest.raises(DataError, match=r"pip install lepton-kit\[sql\]"):
        formats.of_query("sqlite://", "select 1")


def test_columns_of_text_for_other_sources(put):
    header, rows = reader.read_csv(put("text;label\nhello there;a\n;b\n"))
    assert header == ["text", "label"]
    assert reader.column(header, rows, "text", "t.csv") == ["hello there", ""]
    with pytest.raises(DataError, match=r"t\.csv: no column 'x'; it has text, label"):
        reader.column(header, rows, "x", "t.csv")
    with pytest.raises(DataError, match="no rows"):
        reader.read_csv(put("a,b\n"))


def test_json_lines_are_read_in_pieces(put, monkeypatch):
    rows = [{"a": k, "b": "x" * k} for k in range(50)]
    path = put("\n".join(map(json.dumps, rows)), "t.jsonl")
    table = open_files([path])
    assert [len(chunk) for chunk in table.chunks(20)] == [20, 20, 10]
    assert cells(table, 7)["b"] == ["x" * k for k in range(50)]
