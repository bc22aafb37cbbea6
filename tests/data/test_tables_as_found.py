"""Public data in the shapes in which people have them: each is read right, or asked about in words that name the way."""

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lepton_kit as lk
from lepton_kit import data
from lepton_kit.config import RunConfig
from lepton_kit.data import Dataset
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
        ("kg,how warm,", {}, 60, "line 2 holds units"),
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


@pytest.mark.parametrize(
    "options",
    [
        {"header": 4},
        {"header": False, "target": "column_1"},
        {"units": False},
        {"sheet": "Sales"},
        {"sheet": 1},
        {"thousands": {"a": "."}, "decimal": {"a": ","}},
        {"separator": "::"},
    ],
)
def test_how_a_file_is_written_stands_in_the_configuration_of_a_run(tmp_path, options):
    source = data.table(tmp_path / "t.csv", **{"target": "y", **options})
    config = RunConfig(model=lk.LeptonModel(input_shape=(2,), num_classes=2).spec(), data=source.spec())
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    for read in (
        RunConfig.load(tmp_path / "run.yaml"),
        RunConfig.model_validate_json(config.model_dump_json()),
    ):
        found = Dataset.from_spec(read.data, tmp_path)
        assert found == source
        assert {name: type(found.options[name]) for name in options} == {
            name: type(one) for name, one in options.items()
        }


def test_units_and_titles_of_recordings_and_texts_are_said(tmp_path):
    for kind in ("walk", "run"):
        for number in range(2):
            below = shapes.rows(lambda k, dice: (k / 10, f"{dice.uniform(0, 9):.2f}"), 60)
            shapes.write(tmp_path / "moves", f"{kind}/{number}.csv", f"Sensor log,\ntime,x\ns,m/s²\n{below}")
    prepared = data.windows(tmp_path / "moves", length=5).prepare()
    said(prepared.notes, "line 1 above the header skipped: 'Sensor log'", "line 3 holds units", "x in m/s²")
    assert sum("holds units" in note for note in prepared.notes) == 1
    talk = "A collection of talk\n\ntext,label\n" + shapes.rows(
        lambda k, _: (f"word {k} of talk", "pq"[k % 2])
    )
    path = shapes.write(tmp_path, "talk.csv", talk)
    for header in (True, 3):
        prepared = data.text(path, header=header).prepare()
        assert len(prepared.train) + len(prepared.validation) == ROWS
        assert prepared.class_names == ("p", "q")
    said(data.text(path).prepare().notes, "line 1 above the header skipped: 'A collection of talk'")


def test_blanks_with_a_tab_before_the_last_column(tmp_path):
    rows = shapes.rows(
        lambda k, _: (f"{9 + k}.5   {k % 5}   {100 + k}.0   ?   35{k:02d}.", f'"a car {k % 9}"'), 60, "\t"
    )
    prepared = data.table(
        shapes.write(tmp_path, "auto-mpg.data", rows), header=False, target="column_1"
    ).prepare()
    assert (prepared.task, len(prepared.train)) == ("regression", 48)
    assert prepared.feature_names[:3] == ("column_2", "column_3", "column_5")


def test_a_file_whose_target_is_empty_is_to_be_predicted(tmp_path):
    for name, label in (("train", True), ("test", False)):
        rows = shapes.rows(
            lambda k, _, label=label: (k % 7, "pq"[k % 2] if label else ""), 60 if label else 20
        )
        shapes.write(tmp_path / "d", f"{name}.csv", "a,y\n" + rows)
    prepared = data.table(tmp_path / "d", target="y").prepare()
    assert (len(prepared.train), len(prepared.validation)) == (48, 12)
    said(prepared.notes, "test.csv: without the target 'y', so data to predict")
    shapes.write(tmp_path / "d", "test.csv", "a,y\n1,\n2,q\n")
    with pytest.raises(
        DataError, match=r"^test\.csv: row 1 has no value in the target column 'y'; 1 of 62 rows have none"
    ):
        data.table(tmp_path / "d", target="y").prepare()


def test_lines_below_a_table_are_named(tmp_path):
    rows = shapes.rows(lambda k, _: (f"Land {k}", k / 2, k * 2.5))
    path = shapes.write(
        tmp_path, "t.csv", f"name,a,b\n{rows},,\nData from database: World Bank,,\nLast Updated: today,,\n"
    )
    found = lk.data.describe(path, target="b")
    said(
        [str(found.failure)],
        "row 91 has no value in the target column 'b'; 2 of 92 rows have none: take them out",
    )
    assert found.classes == {}


CELL = st.one_of(
    st.just(""), st.integers(-99, 99).map(str), st.sampled_from(["red", "a b", "kg", "n/a", "2.5"])
)


@given(st.integers(2, 6), st.data())
@settings(max_examples=60)
def test_a_header_is_no_title_and_titles_above_it_are(width, draw):
    rows = draw.draw(
        st.lists(st.lists(CELL, min_size=width, max_size=width).filter(any), min_size=2, max_size=12)
    )
    header = [f"name {k}" for k in range(width)]
    assert titles_above([header, *rows]) == 0
    full = [[*map(str, range(width))] for _ in rows]
    titles = [
        ["Report", *[""] * draw.draw(st.integers(0, width - 1))] for _ in range(draw.draw(st.integers(1, 3)))
    ]
    assert titles_above([*titles, header, *full, *full, *full]) == len(titles)


@given(
    st.lists(
        st.tuples(st.integers(-99, 99), st.sampled_from(["red", "kg", "", "m"])), min_size=2, max_size=12
    )
)
@settings(max_examples=60)
def test_a_row_with_a_number_is_never_one_of_units(rows):
    cells = [[str(number), word] for number, word in rows]
    assert units_below(["a", "b"], cells) is None
    found = units_below(["a", "b"], [["kg", ""], *cells])
    assert found == ({"a": "kg"}, True)
