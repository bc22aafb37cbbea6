"""`read` finds the verb; every answer is compared with what that verb gives."""

import itertools

import numpy as np
import pandas as pd
import pytest

import lepton_kit as lk
from lepton_kit.data.describe.reading import plan
from lepton_kit.errors import ConfigError, DataError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("size,kind,label\n" + "".join(f"{k},{'ab'[k % 2]},{'uv'[k % 2]}\n" for k in range(40)))
    return path


def test_a_table_with_a_usual_target(table):
    assert lk.data.read(table) == lk.data.table(table, target="label")
    assert lk.data.read(str(table), target="kind") == lk.data.table(table, target="kind")


def test_a_table_without_one_asks(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("size,price\n1,2\n2,3\n")
    with pytest.raises(
        DataError, match=r"t\.csv: which column is to be predicted\? likely 'price': give target='price'"
    ):
        lk.data.read(path)


def test_texts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "said,intent,split\n"
        + "".join(f"please do the thing number {k},{'ab'[k % 2]},train\n" for k in range(9))
    )
    assert lk.data.read(path) == lk.data.text(path, text="said", label="intent", split="split")
    assert lk.data.read(path, kind="table", target="intent").kind == "table"


def test_images(two_classes):
    assert lk.data.read(two_classes, image_size=(4, 4)) == lk.data.image_folder(
        two_classes, image_size=(4, 4)
    )


def test_archives_of_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=np.arange(4) % 2)
    assert lk.data.read(tmp_path / "a.npz") == lk.data.npz(tmp_path / "a.npz")
    held = {
        "x_train": np.zeros((4, 2)),
        "y_train": np.arange(4),
        "x_test": np.zeros((2, 2)),
        "y_test": np.arange(2),
    }
    np.savez(tmp_path / "b.npz", **held)
    assert lk.data.read(tmp_path / "b.npz") == lk.data.npz(tmp_path / "b.npz")
    assert len(lk.data.read(tmp_path / "b.npz").prepare().validation) == 2
    np.savez(tmp_path / "c.npz", train_walk=np.zeros((40, 2)), train_run=np.zeros((40, 2)))
    assert lk.data.read(tmp_path / "c.npz").kind == "windows"
    np.savez(tmp_path / "d.npz", alpha=np.zeros(3), beta=np.zeros(3))
    with pytest.raises(DataError, match=r"which array is the samples\? It has 'alpha', 'beta'; give x="):
        lk.data.read(tmp_path / "d.npz")
    with pytest.raises(DataError, match=r"which array is the target\?"):
        lk.data.read(tmp_path / "d.npz", x="alpha")


def test_stored_data_and_one_array(tmp_path):
    lk.data.arrays(np.zeros((10, 2)), np.arange(10) % 2).store(tmp_path / "kept")
    assert len(lk.data.read(tmp_path / "kept").prepare().train) == 8
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match="one array alone; give its labels too"):
        lk.data.read(tmp_path / "x.npy")


def test_what_is_in_memory(two_classes):
    x, y = np.zeros((10, 2)), np.arange(10) % 2
    for given in ((x, y), lk.data.arrays(x, y, validation_split=0), lk.data.arrays(x, y).prepare()):
        assert lk.data.read(given).prepare().num_classes == 2
    assert lk.data.read(x, y=y).prepare().num_classes == 2
    same = lk.data.image_folder(two_classes)
    assert lk.data.read(same) is same


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        ("t.csv", {"colour": 1}, r"data\.colour: got 1; expected for table one of target"),
        ("t.csv", {"kind": "movie"}, r"data\.kind: got 'movie'; expected one of image_folder"),
        ((np.zeros(3), np.zeros(3)), {"colour": 1}, r"data\.colour: got 1; expected for of one of y"),
    ],
)
def test_unknown_options_are_named(table, given, options, told):
    given = table if given == "t.csv" else given
    with pytest.raises(ConfigError, match=told):
        lk.data.read(given, **options)


def test_a_frame_asks_for_its_target():
    with pytest.raises(DataError, match=r"the frame: which column is to be predicted\?"):
        lk.data.read(pd.DataFrame({"a": [1, 2], "b": [1, 2]}))


def test_files_of_a_split_are_kept_apart(tmp_path):
    rows = "size,label\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(20))
    for name in ("train.csv", "test.csv", "val.csv"):
        (tmp_path / name).write_text(rows)
    found = lk.data.read(tmp_path)
    assert found == lk.data.table(tmp_path, target="label")
    assert (len(found.prepare().train), len(found.prepare().validation)) == (20, 20)
    assert lk.data.read(tmp_path, pattern="t*.csv").path == tmp_path
    (tmp_path / "test.csv").write_text("size\n1\n2\n")
    (tmp_path / "val.csv").unlink()
    said = lk.data.describe(tmp_path, target="label")
    assert (said.failure, said.facts["rows"]) == (None, "20")


def test_an_address_needs_its_kind():
    with pytest.raises(ConfigError, match=r"data\.kind: got None; expected for an address one of"):
        lk.data.read("s3://bucket/rows")


def test_the_first_needed_option_is_asked_for(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"\x10\0\0\0")
    with pytest.raises(DataError, match=r"needs target=|which this version does not read"):
        lk.data.read(tmp_path / "a.tfrecord")


def test_a_bundled_sample_is_read_by_its_name():
    assert plan(lk.data.sample("digits"), {}).code == "lk.data.sample('digits')"
    assert plan(lk.data.sample("credit"), {}).code == "lk.data.sample('credit')"


ROWS = "a,label\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(20))


def put(folder, **files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def test_tables_in_folders_of_splits_are_no_recordings(tmp_path):
    tmp_path /= "set"  # the cache lies in the other
    put(tmp_path, **{"train/0.csv": ROWS, "train/1.csv": ROWS, "test/0.csv": ROWS, "val/0.csv": ROWS})
    found = lk.data.describe(tmp_path)
    assert (found.verb, found.failure, found.classes) == ("table", None, {"a": 20, "b": 20})
    assert found.held_out == {"a": 10, "b": 10}
    assert "test/0.csv (test): left alone, as val/0.csv is held out" in found.left_out
    put(tmp_path, **{"val/1.csv": ROWS})
    with pytest.raises(DataError, match=r"2 tables are held out, such as val/0\.csv; a table has one file"):
        lk.data.read(tmp_path)
    given = lk.data.read(tmp_path, validation=str(tmp_path / "val" / "1.csv"))
    assert given.options["validation"] == str(tmp_path / "val" / "1.csv")
    put(tmp_path / "b", **{"val/0.csv": ROWS, "val/1.csv": ROWS})
    with pytest.raises(DataError, match=r"no table to train on among val/0\.csv, val/1\.csv"):
        lk.data.read(tmp_path / "b")


def frames(folder, *names, **more):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        values = {"a": np.arange(20.0), "label": ["u", "v"] * 10} | more
        pd.DataFrame(values).to_parquet(folder / name, index=False)


def test_parquet_named_as_hugging_face_does(tmp_path):
    tmp_path /= "set"  # the cache lies in the other
    frames(tmp_path, "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")
    found = lk.data.describe(tmp_path)
    assert (found.verb, found.classes, found.failure) == ("table", {"u": 10, "v": 10}, None)
    frames(tmp_path, "data/test-00001-of-00001.parquet")
    found = lk.data.read(tmp_path)
    assert found == lk.data.parquet(tmp_path, target="label")
    assert len(found.prepare().validation) == 40


def test_partitions_are_refused_or_their_column_is_named(tmp_path):
    tmp_path /= "set"  # the cache lies in the other
    frames(tmp_path, "year=2023/0.parquet", "year=2024/0.parquet")
    for read in (lk.data.read, lk.data.describe):
        with pytest.raises(DataError, match=r"'year=2023' are the parts of one table, and its column 'year'"):
            read(tmp_path)
    with pytest.raises(DataError, match=r"the folder 'year=2023' is a part of a table, no class"):
        lk.data.windows(tmp_path).prepare()
    found = lk.data.read(tmp_path, kind="parquet", target="label").prepare()
    assert "year: in the names of the folders alone, not read" in found.notes
    with pytest.raises(DataError, match="the target 'year' stands in the names of the folders alone"):
        lk.data.parquet(tmp_path, target="year").prepare()


def test_a_list_of_paths_is_no_text(table):
    for given in ([table], [str(table), str(table)]):
        with pytest.raises(
            DataError, match=r"a list of \d paths, such as .*t\.csv': give one file or folder"
        ):
            lk.data.describe(given)


def test_what_never_ends_is_refused_at_once():
    for endless in (itertools.count(), itertools.cycle([1]), itertools.repeat(1)):
        found = lk.data.read
        with pytest.raises(DataError, match=r"this itertools\.\w+ has no end; give steps_per_epoch"):
            found(endless)


def test_texts_in_folders_of_splits_are_no_table(tmp_path):
    rows = "text,label\n" + "".join(f"a film that lasts {k} hours,{'ab'[k % 2]}\n" for k in range(20))
    put(tmp_path / "set", **{"train/0.csv": rows, "test/0.csv": rows})
    with pytest.raises(
        DataError, match=r"texts \(column 'text'\) in folders of splits; .* or give kind='table'"
    ):
        lk.data.read(tmp_path / "set")
    assert lk.data.read(tmp_path / "set", kind="table").kind == "table"


def test_an_empty_text_is_not_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="data: an empty text; expected a path"):
        lk.data.describe("")
