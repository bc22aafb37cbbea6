"""Rows of tables: which are held out and what they weigh, and new rows as the training rows were."""

import json
import sqlite3

import numpy as np
import pandas
import polars
import pytest

from lepton_kit import data
from lepton_kit.data import Dataset
from lepton_kit.data.preprocessing import load, parse
from lepton_kit.data.splitting import split_rows
from lepton_kit.data.tables import making
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.preprocessing import TablePreprocessing
from lepton_kit.errors import ConfigError, DataError
from tests.data.sheets import CITIES, COUNT, only

# What is held out.


def test_a_column_says_what_is_held_out(sheet):
    words = ("Train", "train", "VAL", "test")
    prepared, _ = only(sheet(s=lambda k: words[k % 4]), split="s")
    assert (len(prepared.train), len(prepared.validation), prepared.feature_names) == (30, 15, ("a",))
    assert "15 rows that 's' calls test are left alone" in prepared.notes
    prepared, _ = only(sheet(s=lambda k: ("training", "test")[k % 3 == 0]), split="s")
    assert (len(prepared.train), len(prepared.validation)) == (40, 20)
    for words, text in (
        (("train", "hm"), "row 2, column 's' is 'hm'; expected train"),
        (("val", "test"), "calls no row train"),
    ):
        with pytest.raises(DataError, match=text):
            only(sheet(s=lambda k, words=words: words[k % 2]), split="s")


def test_groups_are_held_out_as_a_whole(sheet):
    prepared, _ = only(sheet(g=lambda k: f"person {k // 5}", b=lambda k: k // 5), group="g", features=["b"])
    assert not set(prepared.train.x[:, 0]) & set(prepared.validation.x[:, 0])
    assert len(prepared.validation) == 10
    with pytest.raises(DataError, match="row 3 has no value in the group column 'g'"):
        only(sheet(g=lambda k: "" if k == 2 else k // 5), group="g")


@pytest.mark.parametrize(
    "cell", [lambda k: f"{1 + k % 28:02d}.{1 + k // 28:02d}.2021", lambda k: k / 2, lambda k: k // 4]
)
def test_later_rows_are_held_out(sheet, cell):
    prepared, _ = only(sheet(t=cell), time="t")
    assert (len(prepared.train), len(prepared.validation)) == (48, 12)
    assert prepared.train.x.max() < prepared.validation.x.min()
    assert "the column 't' says what is held out, and is no feature" in prepared.notes


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_times_of_a_frame(unit):
    times = pandas.Series(pandas.date_range("2020-01-01", periods=COUNT, freq="7h", tz="UTC").as_unit(unit))
    frame = pandas.DataFrame({"a": range(COUNT), "t": times, "y": np.arange(COUNT) % 2})
    prepared = data.table(frame.sample(frac=1, random_state=0), target="y", time="t").prepare()
    assert prepared.train.x.max() < prepared.validation.x.min()


def test_times_that_are_none(sheet):
    for cell, text in (
        (lambda k: "x", "holds neither dates nor numbers"),
        (lambda k: 5, "one time only"),
        (lambda k: "" if k == 3 else k, "row 4 has no time in the column 't'"),
    ):
        with pytest.raises(DataError, match=text):
            only(sheet(t=cell), time="t")
    assert only(sheet(t=lambda k: k), time="t", validation_split=0.0)[0].validation is None


def test_a_second_file_is_held_out(sheet, put, tmp_path):
    path = sheet(w=lambda k: 2)
    other = put("y;a\n1;100\n0;101\n", "v.csv")
    prepared, _ = only(path, validation=str(other), sample_weight="w")
    assert (len(prepared.train), len(prepared.validation)) == (60, 2)
    assert prepared.validation.y.tolist() == [1, 0]
    assert (set(prepared.train.w), set(prepared.validation.w)) == ({2.0}, {1.0})
    assert data.table(path, target="y", validation="v.csv").options["validation"] == str(other)
    for content, text in (("a\n1\n", "v.csv: no column 'y'"), ("a,y\n", "v.csv: no rows")):
        with pytest.raises(DataError, match=text):
            only(path, validation=put(content, "v.csv"), drop=["w"])


def test_a_change_of_the_second_file_is_a_change_of_the_data(sheet, put):
    path, other = sheet(), put("a,y\n1,1\n", "v.csv")
    source = data.table(path, target="y", validation=other)
    before = source.prepare().fingerprint
    put("a,y\n1,1\n2,0\n", "v.csv")
    assert source.prepare().fingerprint != before


# Weights.


def test_weights_of_rows_and_classes(sheet):
    path = sheet(w=lambda k: k / 10, y=lambda k: "ab"[k % 3 == 0])
    prepared, _ = only(path, sample_weight="w", validation_split=0.0)
    assert np.allclose(prepared.train.w, np.arange(60) / 10)
    assert prepared.feature_names == ("a",)
    prepared, _ = only(path, class_weight="balanced", validation_split=0.0, drop=["w"])
    assert prepared.train.w.tolist() == [1.5 if k % 3 == 0 else 0.75 for k in range(COUNT)]
    both, _ = only(path, class_weight={"b": 2.0}, sample_weight="w")
    assert both.validation.w.max() < 6
    tenths = both.train.w / np.where(both.train.y == 1, 2, 1) * 10
    assert np.allclose(tenths, tenths.round(), atol=1e-4)


@pytest.mark.parametrize("cell", ["-1", "inf", "", "much"])
def test_a_weight_that_is_none(sheet, cell):
    with pytest.raises(DataError, match=r"row 8, weight 'w' is .*expected a number of at least 0"):
        only(sheet(w=lambda k: cell if k == 7 else 1.5), sample_weight="w")


# New rows.


@pytest.fixture
def houses(tmp_path):
    rng = np.random.default_rng(0)
    count = 200
    frame = pandas.DataFrame(
        {
            "area": rng.uniform(30, 200, count).round(1),
            "rooms": [str(k % 7) if k % 50 else "-" for k in range(count)],
            "fee": [f"${value:,.0f}" for value in rng.uniform(500, 9e5, count)],
            "share": [f"{value:.1f}%" for value in rng.uniform(0, 100, count)],
            "heated": rng.choice(["yes", "no", ""], count),
            "city": rng.choice([*CITIES, "NA"], count),
            "built": pandas.date_range("2001-01-01", periods=count).strftime("%d/%m/%Y"),
            "seen": pandas.date_range("2020-01-01 03:00", periods=count, freq="7h").strftime(
                "%Y-%m-%d %H:%M:%S"
            ),
            "owner": [f"owner {k}" for k in range(count)],
            "none": "",
        }
    )
    frame["price"] = 1000 * frame.area + 50_000 + rng.normal(0, 100, count)
    frame.to_csv(tmp_path / "houses.csv", index=False)
    return frame, tmp_path / "houses.csv"


def test_new_rows_become_what_they_would_have_become_in_training(houses, monkeypatch):
    frame, path = houses
    monkeypatch.setattr(making, "KEEP_CELLS", 100)  # so that the file is read again in each pass
    prepared = data.table(path, target="price", unit="€").prepare()
    ours = parse(json.loads(prepared.preprocessing.to_json()), "test")
    assert ours == prepared.preprocessing
    train, held = split_rows(len(frame), 0.2, 0)
    stored = np.empty((len(frame), len(prepared.feature_names)), np.float32)
    stored[train], stored[held] = prepared.train.x, prepared.validation.x
    order = np.random.default_rng(1).permutation(len(frame))
    without = frame.drop(columns="price")
    for raw in (path, [path], frame, without, frame.to_dict("records"), polars.from_pandas(frame)):
        encoded = ours.encode(raw)
        assert not encoded.problems
        assert not encoded.notes
        assert encoded.x.tobytes() == stored.tobytes()
    assert ours.encode(without.iloc[order]).x.tobytes() == stored[order].tobytes()
    alone = [ours.encode(without.iloc[[k]]).x[0] for k in range(20)]
    assert np.stack(alone).tobytes() == stored[:20].tobytes()
    pieces = list(ours.pieces(path, rows=7))
    assert [len(piece.names) for piece in pieces[:-1]] == [7] * 28
    assert np.concatenate([piece.x for piece in pieces]).tobytes() == stored.tobytes()


def test_a_frame_in_memory_is_prepared_as_its_file(houses, tmp_path):
    frame, path = houses
    from_file = data.table(path, target="price").prepare()
    source = data.table(frame, target="price")
    assert source.prepare().train.x.tobytes() == np.asarray(from_file.train.x).tobytes()
    spec = source.store(tmp_path / "run" / "data")
    stored = Dataset.from_spec(spec, tmp_path / "run").prepare()
    read = {"reading": from_file.preprocessing.reading}  # the separator of the file
    assert stored.preprocessing.model_copy(update=read) == from_file.preprocessing
    assert stored.notes == source.prepare().notes


def test_numbers_of_a_typed_frame_fit_those_of_text(sheet):
    prepared, _ = only(sheet(b=lambda k: k % 3), categorical=["b"])
    typed = pandas.DataFrame({"a": [0, 1], "b": [1.0, 2.0]})
    texts = [{"a": "0", "b": "1"}, {"a": "1", "b": "2"}]
    ours = prepared.preprocessing
    assert ours.encode(typed).x.tolist() == ours.encode(texts).x.tolist()


def test_input_unlike_the_training_rows_is_named(houses):
    frame, path = houses
    ours = data.table(path, target="price").prepare().preprocessing
    new = frame.iloc[:4].drop(columns=["price", "rooms"]).copy()
    new["area"] = ["wide", "", "inf", "70"]
    new["city"] = ["Rom", "Ulm", "Ulm", "Ulm"]
    new["fee"] = "5 €"
    new["extra"] = 1
    new.index = ["w", "x", "y", "z"]
    encoded = ours.encode(new)
    assert encoded.names == ("w", "x", "y", "z")
    assert encoded.rows.tolist() == [1, 3]
    assert encoded.problems == {
        0: "column 'area': 'wide' is not a number",
        2: "column 'area': inf; expected a number between -1e300 and 1e300",
    }
    assert encoded.notes == {
        "the column 'rooms' is not there; taken as missing, as in some training rows": 4,
        "columns that the training rows did not have are not used: extra": 4,
        "column 'area': no value, which no training row lacked; taken as the mean": 1,
        "column 'fee': values in €; the training rows have them in $: taken as they stand": 4,
        "column 'city': 'Rom' was never seen in training; taken as none of the categories": 1,
    }
    place = ours.feature_names.index("area")
    assert encoded.x[0, place] == 0.0


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ([{"Area": 1}], "input: no column 'area', which the model was trained on; did you mean 'Area'?"),
        (5, "input: a int; expected a frame"),
        (["no/such/file.csv"], "cannot be read"),
        ([], "input: a list; expected a frame"),
    ],
)
def test_input_of_another_kind_is_refused(houses, raw, text):
    ours = data.table(houses[1], target="price").prepare().preprocessing
    with pytest.raises(DataError) as caught:
        ours.encode(raw)
    assert text in str(caught.value)


def test_rows_are_counted_where_that_costs_nothing(houses):
    ours = data.table(houses[1], target="price").prepare().preprocessing
    assert ours.count(houses[0]) == 200
    assert ours.count(houses[1]) is None
    assert ours.count([houses[1]]) is None
    assert ours.count([{"area": 1}]) == 1


def test_a_preprocessing_file_is_plain_json(houses, tmp_path):
    ours = data.table(houses[1], target="price").prepare().preprocessing
    (tmp_path / "p.json").write_text(ours.to_json(), encoding="utf-8")
    assert load(tmp_path / "p.json") == ours


def test_a_model_of_house_prices_answers_in_euros(houses):
    from lepton_kit.models.lepton import LeptonModel

    frame, path = houses
    source = data.table(path, target="price", unit="€", features=["area"])
    prepared = source.prepare()
    model = LeptonModel(
        input_shape=(1,), num_classes=1, task="regression", hidden_size=16, num_layers=1, seed=0
    )
    model.train(source, epochs=30, learning_rate=0.01, verbose=0)
    answers = prepared.preprocessing.target.values(model.inference(prepared.preprocessing.encode(frame).x))[
        :, 0
    ]
    rest = ((answers - frame.price) ** 2).sum() / ((frame.price - frame.price.mean()) ** 2).sum()
    assert 1 - rest > 0.98


# Where a table comes from.


def test_several_files_by_pattern_list_and_folder(sheet, tmp_path):
    (tmp_path / "parts").mkdir()
    for name in ("one", "two"):
        sheet(name=f"parts/{name}.csv")
    folder = tmp_path / "parts"
    (folder / "notes.txt").write_text("no table")
    for path, options in (
        (f"{folder}/*.csv", {}),
        (f"{tmp_path}/p*/*.csv", {}),
        ([folder / "one.csv", str(folder / "two.csv")], {}),
        (folder, {"pattern": "*.csv"}),
        (folder, {"pattern": ["one.csv", "two.csv"]}),
    ):
        source = data.table(path, target="y", **options)
        assert len(source.prepare().train) == 96
        assert Dataset.from_spec(source.spec()) == source
    with pytest.raises(DataError, match=r"no file like '\*\.tsv' in this folder"):
        data.table(folder, target="y", pattern="*.tsv").prepare()


def test_a_query_is_answered_once_and_its_address_forgotten(tmp_path):
    with sqlite3.connect(tmp_path / "t.db") as base:
        pandas.DataFrame({"a": range(COUNT), "y": np.arange(COUNT) % 2}).to_sql("rows", base, index=False)
    base.close()
    address = f"sqlite:///{tmp_path / 't.db'}"
    by_address = data.table(address, query="select a, y from rows", target="y")
    assert len(by_address.prepare().train) == 48
    assert address not in json.dumps(by_address.store(tmp_path / "stored")) + by_address.settings
    by_file = data.table(tmp_path / "t.db", query="select a, y from rows", target="y")
    assert by_file.prepare().train.x.tolist() == by_address.prepare().train.x.tolist()
    import sqlalchemy

    engine = sqlalchemy.create_engine(address)
    assert len(data.table(engine, query="select a, y from rows", target="y").prepare().train) == 48
    engine.dispose()


def test_a_password_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        data.table("postgresql://me:secret@host/base", target="y")
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError) as caught_too:
        data.table("nosuchbase://me:secret@host/base", target="y", query="select 1")
    assert "secret" not in str(caught_too.value)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"target": []}, "data.target"),
        ({"target": 3.5}, "data.target"),
        ({"task": "guess"}, "data.task"),
        ({"unit": 3}, "data.unit"),
        ({"features": "a"}, "data.features"),
        ({"drop": "a"}, "data.drop"),
        ({"missing": "-"}, "data.missing"),
        ({"class_weight": "even"}, "data.class_weight"),
        ({"max_categories": 0}, "data.max_categories"),
        ({"separator": ";;;;"}, "data.separator"),
        ({"decimal": "x"}, "data.decimal"),
        ({"thousands": "x"}, "data.thousands"),
        ({"thousands": {"a": "x"}}, "data.thousands"),
        ({"header": 0}, "data.header"),
        ({"units": "kg"}, "data.units"),
        ({"sheet": 1.5}, "data.sheet"),
        ({"header": "no"}, "data.header"),
        ({"validation": 3}, "data.validation"),
        ({"split": "s", "time": "t"}, "data.time"),
        ({"validation_split": 2}, "data.validation_split"),
    ],
)
def test_a_wrong_option_is_named(options, field):
    with pytest.raises(ConfigError) as caught:
        data.table("t.csv", **{"target": "y", **options})
    assert str(caught.value).startswith(f"{field}: got ")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e200, -1e299, "1e200", 1e39])
def test_a_number_that_float32_cannot_hold_is_a_problem_of_its_row_without_a_warning(value):
    how = TablePreprocessing(columns=(Column(name="q", kind="number", mean=1.0, scale=0.5),))
    encoded = how.encode({"q": [1.0, value, 2.0]})
    assert list(encoded.problems) == [1]
    assert "column 'q': " in encoded.problems[1]
    assert "too far from the training rows (mean 1, deviation 0.5)" in encoded.problems[1]
    assert encoded.x.tolist() == [[0.0], [2.0]]
