"""Public data in the shapes in which people have them: each is read right, or asked about in words that name the way."""

import openpyxl
import pytest

import lepton_kit as lk
from lepton_kit import data
from lepton_kit.data.tables.heading import heading_of, titles_above
from lepton_kit.data.tables.reader import open_files
from lepton_kit.data.tables.units import is_unit, units_below
from lepton_kit.errors import DataError
from tests.data import shapes

ROWS = shapes.ROWS


def said(sentences, *parts):
    told = " | ".join(sentences)
    assert all(part in told for part in parts), told


def test_the_file_to_predict_tells_the_target_and_holds_nothing_out(tmp_path):
    found = lk.data.describe(shapes.titanic(tmp_path / "titanic"))
    assert (found.failure, found.code.rpartition(", ")[2]) == (None, "target='Survived')")
    assert (len(found.prepared.train), len(found.prepared.validation)) == (72, 18)
    said(
        found.left_out,
        "target 'Survived': the one column that test.csv lacks",
        "test.csv: without the target 'Survived', so data to predict, not held out: run.predict('test.csv')",
        "gender_submission.csv: shows how answers are handed in, left alone",
    )
    fresh = found.prepared.preprocessing.encode(tmp_path / "titanic" / "test.csv")
    assert (fresh.x.shape[0], fresh.problems) == (30, {})


def test_a_text_beside_the_tables_of_a_folder_is_no_table(tmp_path):
    found = lk.data.describe(shapes.houses(tmp_path / "houses"))
    assert (found.failure, found.prepared.task) == (None, "regression")
    said(found.left_out, "data_description.txt: no table by its ending", "sample_submission.csv: shows how")


def test_several_columns_that_the_file_to_predict_lacks_are_asked_about(tmp_path):
    folder = shapes.bikes(tmp_path / "bikes")
    found = lk.data.describe(folder)
    assert found.concerns == "target"
    said([str(found.failure)], "test.csv lacks 'casual', 'registered', 'count'; likely 'count'")
    found = lk.data.describe(folder, target="count")
    said(
        found.problems,
        "test.csv lacks 'casual', 'registered': a model that learns from them",
        "drop=['casual', 'registered']",
    )
    said(found.left_out, "test.csv: without 'casual', 'registered' too")
    found = lk.data.describe(folder, target="count", drop=["casual", "registered"])
    fresh = found.prepared.preprocessing.encode(folder / "test.csv")
    assert (fresh.x.shape[0], fresh.problems) == (30, {})


def test_files_without_a_header_are_asked_about_and_read(tmp_path):
    folder = shapes.adult(tmp_path / "adult")
    found = lk.data.describe(folder)
    assert (found.concerns, found.choices["header"]) == ("header", (False, True))
    said(
        [str(found.failure)], "does the first line name the columns?", "header=False", "column_1 to column_4"
    )
    found = lk.data.describe(folder, header=False, target="column_4")
    assert found.classes.keys() == found.held_out.keys() == {"<=50K", ">50K"}
    assert (sum(found.classes.values()), sum(found.held_out.values())) == (ROWS, 40)
    said(
        found.left_out,
        "'|1x3 Cross validator'",
        "adult.names: no table",
        "read '<=50K.' as '<=50K', '>50K.' as '>50K'",
    )


def test_semicolons(tmp_path):
    prepared = data.table(shapes.wine(tmp_path), target="quality").prepare()
    assert (prepared.feature_names, prepared.task) == (("fixed acidity", "alcohol"), "classification")


def test_short_messages_in_latin_1_without_header_or_ending(tmp_path):
    path = shapes.messages(tmp_path / "sms")
    found = lk.data.describe(path)
    assert (found.verb, found.failure) == ("text", None)
    assert sum(found.classes.values()) + sum(found.held_out.values()) == ROWS
    with pytest.raises(
        DataError, match=r"give the path of the one that holds the data \(SMSSpamCollection\)"
    ):
        lk.data.describe(path.parent)


def test_two_colons_between_fields(tmp_path):
    path = shapes.ratings(tmp_path / "ml")
    prepared = data.table(path, header=False, target="column_3").prepare()
    assert (len(prepared.train) + len(prepared.validation), prepared.num_classes) == (ROWS, 5)
    said(prepared.notes, "separated by two colons")
    fresh = path.with_name("new.dat")
    fresh.write_text("7::12::3::978300761\n")
    assert prepared.preprocessing.encode(fresh).x.shape == (1, 3)
    with pytest.raises(
        DataError, match="if they are different tables, give the path of the one that is meant"
    ):
        lk.data.describe(path.parent, target="column_3", header=False)
    assert open_files([shapes.write(tmp_path, "one.csv", "a\nstd::map\nstd::set\n")]).names == ["a"]


def test_a_comma_at_the_end_of_lines_without_a_header(tmp_path):
    path = shapes.connections(tmp_path)
    assert lk.data.describe(path).concerns == "header"
    found = lk.data.describe(path, header=False, target="column_6")
    assert sum(found.classes.values()) + sum(found.held_out.values()) == ROWS
    said(found.left_out, "'column_7' is left out: it has no value in any row")


def test_units_below_a_german_header(tmp_path):
    prepared = data.table(shapes.plant(tmp_path), target="Zustand").prepare()
    columns = {one.name: one for one in prepared.preprocessing.columns}
    assert {name: one.unit for name, one in columns.items()} == {
        "Zeit": None,
        "Temperatur": "°C",
        "Druck": "bar",
        "Durchfluss": "m³/h",
    }
    assert 1000 < columns["Durchfluss"].mean < 3000
    assert not columns["Durchfluss"].flag
    assert len(prepared.train) + len(prepared.validation) == ROWS
    said(
        prepared.notes,
        "line 2 holds units and is no row of data: Temperatur in °C",
        "units=False reads it as a row",
    )
    new = "Zeit;Temperatur;Druck;Durchfluss\n;K;bar;m³/h\n01.03.2024 00:00;300,5;1,5;2.000,5\n"
    fresh = prepared.preprocessing.encode(shapes.write(tmp_path, "new.csv", new))
    assert fresh.x.shape[0] == 1
    said(fresh.notes, "column 'Temperatur' is in K, in the training rows in °C")


def test_lines_of_another_table_above_the_header(tmp_path):
    path = shapes.world(tmp_path)
    prepared = data.table(path, target="1965").prepare()
    assert len(prepared.train) + len(prepared.validation) == ROWS
    said(prepared.notes, "lines 1 to 3 above the header skipped: 'Data Source, World Development Indicators'")
    assert data.table(path, target="1965", header=5).prepare().train.x.shape == prepared.train.x.shape
    for header, told in ((4, "line 4 is empty"), (2000, "line 2000 is not there")):
        with pytest.raises(DataError, match=f"header={header}: {told}; expected the number of the line"):
            data.table(path, target="1965", header=header).prepare()


def test_a_form_with_times_of_zones(tmp_path):
    found = lk.data.describe(shapes.form(tmp_path), target="Would you recommend us?")
    assert (found.failure, found.columns[0].kind) == (None, "date")
    # 1:15 PM two hours ahead of Greenwich, and 2:15 PM one hour ahead
    assert found.columns[0].examples[:2] == ("2024-02-29 23:15:30", "2024-03-02 13:15:30")
    assert all("\n" not in one for column in found.columns for one in column.examples)


def test_the_sheet_that_holds_a_table_under_a_merged_title(tmp_path):
    path = shapes.report(tmp_path)
    found = lk.data.describe(path, target="status")
    assert (found.failure, sum(found.classes.values()) + sum(found.held_out.values())) == (None, ROWS)
    assert [one.name for one in found.columns] == ["region", "mass", "price", "status"]
    said(
        found.left_out,
        "the sheet 'Sales' is read; it also has 'About': sheet=NAME reads another",
        "rows 1 to 2 above the header skipped: 'Sales report 2024'; 'Prepared by J. Doe'",
        "row 5 holds units and is no row of data: mass in kg, price in EUR",
    )
    assert found.choices["sheet"] == ("About", "Sales")
    assert data.table(path, target="price").prepare().preprocessing.target.unit == "EUR"
    with pytest.raises(DataError, match="no sheet 'Costs'; it has About, Sales"):
        data.table(path, target="status", sheet="Costs").prepare()


def test_a_second_sheet_with_a_table_is_a_doubt(tmp_path):
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("2024")):
        for row in (["a", "label"], *([k, "xy"[k % 2]] for k in range(30))):
            sheet.append(row)
    book.save(tmp_path / "t.xlsx")
    said(lk.data.describe(tmp_path / "t.xlsx").problems, "the sheet 'Sheet' is read; it also has '2024'")
    assert not any("sheet" in one for one in lk.data.describe(tmp_path / "t.xlsx", sheet="2024").problems)


def test_points_that_may_group_thousands_are_asked_about_with_both_readings(tmp_path):
    cells = shapes.rows(lambda k, dice: (f"{1 + k % 9}.{100 + k}", f"{k}.5", "ab"[k % 2]))
    path = shapes.write(tmp_path, "t.csv", "price,size,label\n" + cells)
    found = lk.data.describe(path)
    assert found.choices["thousands"] == ({"price": ""}, {"price": "."})
    said(
        found.problems,
        "1.100 is read as 1.1,",
        "if points group thousands it is 1,100",
        "thousands={'price': '.'}",
    )
    means = []
    for mark in found.choices["thousands"]:
        read = lk.data.describe(path, thousands=mark)
        assert not any("group thousands" in one for one in (*read.problems, *read.left_out))
        means.append([one.mean for one in read.prepared.preprocessing.columns])
    assert [round(large / small) for small, large in zip(*means, strict=True)] == [1000, 1]


@pytest.mark.parametrize(
    ("text", "names", "doubt"),
    [
        ("Report\na,b,c\n1,2,3\n4,5,6\n", ["a", "b", "c"], None),
        ("Report,,\n,,\nby,J. Doe,\n\na,b,c,d\n1,2,3,4\n4,5,6,7\n", ["a", "b", "c", "d"], None),
        ("made, in May, by Jo\na,b,c,d,e\n1,2,3,4,5\n1,2,3,4,5\n", ["a", "b", "c", "d", "e"], None),
        ("a,,c\n1,2,3\n4,5,6\n", ["a", "column_2", "c"], None),
        (",b\nr,2\ns,4\n", ["(row name)", "b"], None),
        ("v1,v2,,,\nham,x,,,\nspam,y,,,\n", ["v1", "v2"], None),
        ("a,b,c,d\n1,,,\n,,3,\n", ["a", "b", "c", "d"], None),
        (
            ",Sales,,,Costs,,\nn,1,2,3,1,2,3\nx,4,5,6,7,8,9\n",
            None,
            "4 of its 7 fields are empty; header=NUMBER",
        ),
    ],
)
def test_titles_and_headers(tmp_path, text, names, doubt):
    table = open_files([shapes.write(tmp_path, "t.csv", text)])
    assert names is None or table.names == names
    said(table.doubts, doubt) if doubt else None
    assert doubt or not table.doubts


def test_a_header_in_doubt_may_be_settled(tmp_path):
    path = shapes.write(tmp_path, "t.csv", "5,red\n" + shapes.rows(lambda k, _: (k, ("red", "blue")[k % 2])))
    assert lk.data.describe(path).concerns == "header"
    assert lk.data.describe(path, header=True, target="red").failure is None
    assert len(lk.data.describe(path, header=False, target="column_2").dataset.prepare().notes) == 0


@pytest.mark.parametrize(
    ("second", "options", "rows", "told"),
    [
        ("kg,°C,", {}, 60, "line 2 holds units"),
        ("[kg],[°C],-", {}, 60, "a in kg, b in °C"),
        ("kg,,unit", {}, 60, "line 2 holds units"),
        ("kg,°C,p", {"units": False}, 61, "'kg' (1) taken as missing"),
        ("how heavy,how warm,which", {}, 61, "holds texts where the rows below hold numbers"),
        ("how heavy,how warm,which", {"units": True}, 60, "line 2 holds units"),
        ("n/a,-,p", {}, 61, None),
        ("1,2,q", {}, 61, None),
    ],
)
def test_a_row_of_units_is_never_kept_in_silence(tmp_path, second, options, rows, told):
    below = shapes.rows(lambda k, _: (k, k / 2, "pq"[k % 2]), 60)
    path = shapes.write(tmp_path, "t.csv", f"a,b,y\n{second}\n{below}")
    prepared = data.table(path, target="y", **options).prepare()
    assert len(prepared.train) + len(prepared.validation) == rows
    said(prepared.notes, told) if told else None


def test_units_that_differ_between_files_are_said(tmp_path):
    below = shapes.rows(lambda k, _: (k, "pq"[k % 2]))
    for name, unit in (("a", "kg"), ("b", "g"), ("val", "t")):
        shapes.write(tmp_path / "d", f"{name}.csv", f"mass,y\n{unit},\n{below}")
    files = [tmp_path / "d" / name for name in ("a.csv", "b.csv")]
    notes = data.table(files, target="y", validation=tmp_path / "d" / "val.csv").prepare().notes
    for file, unit in (("b.csv", "g"), ("val.csv", "t")):
        said(notes, f"{file}: column 'mass' is in {unit}, in a.csv in kg; its values are taken as they stand")


def test_units_in_words():
    for text in ("kg", "°C", "m/s^2", "µg/m³", "EUR", "kWh", "1/min", "[bar]", "%", "USD/kg", "mmHg", "days"):
        assert is_unit(text), text
    for text in ("red", "male", "12", "", "-", "Monday", "m" * 50, "a b c d e f g hello"):
        assert not is_unit(text), text
    assert units_below(["a"], [["kg"]]) is None
    assert units_below(["a", "b"], [["kg", "x"], ["1", "x"], ["2", "y"]]) is None
    assert titles_above([["a", "b"]]) == 0
    assert heading_of([(1, ["a", "b"]), (2, ["1", "2"])], False, None, "t").names == ["column_1", "column_2"]
