"""Parquet and Arrow read by row group: the same samples as a decoded copy, and clean errors for what files do."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from lepton_kit import data
from lepton_kit.data.large import reading
from lepton_kit.errors import ConfigError, DataError


def rows_of(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    g = np.random.default_rng(seed)
    a, c = g.normal(50, 3, count), g.choice(["red", "green", "blue"], count)
    return {"a": a, "b": g.integers(0, 9, count), "c": c, "y": np.where(a + (c == "red") > 50, "yes", "no")}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "measured"
    root.mkdir()
    for number in range(3):
        table = pa.table(rows_of(500 + 30 * number, number))
        pq.write_table(table, root / f"part-{number}.parquet", row_group_size=100)
    return root


def write(path: Path, columns, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def everything(split):
    return split.rows(np.arange(len(split)))


def test_the_samples_are_those_of_a_decoded_copy(folder):
    by_index = data.parquet(folder, target="y").prepare()
    copied = data.parquet(folder, target="y", cache=True).prepare()
    assert isinstance(copied.train.x, np.ndarray)
    assert by_index.train.source is not None
    for one, two in ((by_index.train, copied.train), (by_index.validation, copied.validation)):
        assert len(one) == len(two)
        assert all(
            np.array_equal(a, b) for a, b in zip(everything(one)[:2], everything(two)[:2], strict=True)
        )
    places = np.random.default_rng(0).permutation(len(by_index.train))[:300].reshape(3, 100)
    found, expected = by_index.train.rows(places), copied.train.rows(places)
    assert found[0].shape == (3, 100, 5)
    assert all(np.array_equal(a, b) for a, b in zip(found[:2], expected[:2], strict=True))
    for name in ("class_names", "feature_names", "task", "num_classes", "sample_shape", "sample_dtype"):
        assert getattr(by_index, name) == getattr(copied, name)


def test_no_sample_is_in_both_splits_and_none_is_lost(tmp_path):
    count = 1003
    path = write(
        tmp_path / "a.parquet", {"a": np.arange(count) * 1.0, "y": np.arange(count) % 2}, row_group_size=77
    )
    prepared = data.parquet(path, target="y").prepare()
    values = [everything(split)[0][:, 0] for split in (prepared.train, prepared.validation)]
    everyone = np.concatenate(values)
    assert len(np.unique(everyone)) == count
    assert abs(len(values[1]) - 0.2 * count) < 15


def test_numbers_are_standardised_by_the_training_rows_alone(tmp_path):
    g = np.random.default_rng(3)
    train = g.normal(1e6, 20, 5000)
    write(tmp_path / "d/train-0.parquet", {"a": train, "y": np.arange(5000) % 2}, row_group_size=600)
    write(tmp_path / "d/test-0.parquet", {"a": np.full(50, 0.0), "y": np.arange(50) % 2})
    prepared = data.parquet(tmp_path / "d", target="y").prepare()
    x = everything(prepared.train)[0][:, 0]
    assert np.array_equal(x, ((train - train.mean()) / train.std()).astype(np.float32)) or np.allclose(
        x, (train - train.mean()) / train.std(), atol=1e-4
    )
    assert (len(prepared.train), len(prepared.validation)) == (5000, 50)


def test_missing_values_are_flagged_and_categories_have_a_column_each(tmp_path):
    columns = {"a": pa.array([1.0, None, 3.0, 5.0]), "c": pa.array(["u", "v", None, "u"]), "y": [0, 1, 0, 1]}
    path = write(tmp_path / "a.parquet", columns)
    prepared = data.parquet(path, target="y", validation_split=0).prepare()
    assert prepared.feature_names == ("a", "a is missing", "c=u", "c=v", "c is missing")
    x = everything(prepared.train)[0]
    assert x[:, 1].tolist() == [0, 1, 0, 0]
    assert x[:, 2:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert x[1, 0] == 0
    assert x[:, 0].sum() == pytest.approx(0, abs=1e-6)


def test_new_rows_become_what_the_training_rows_became(tmp_path):
    g = np.random.default_rng(0)
    frame = pd.DataFrame(rows_of(400) | {"when": pd.date_range("2026-01-01", periods=400, freq="7h")})
    frame.loc[g.choice(400, 40, replace=False), "a"] = np.nan
    frame["code"] = [f"k{k}" for k in g.integers(0, 150, 400)]
    frame["same"] = 1
    path = tmp_path / "a.parquet"
    frame.to_parquet(path, row_group_size=90)
    prepared = data.parquet(path, target="y", validation_split=0).prepare()
    assert any("'same' is left out" in note for note in prepared.notes)
    order = g.permutation(400)
    encoded = prepared.preprocessing.encode(frame.iloc[order].drop(columns="y"))
    assert np.array_equal(encoded.x, prepared.train.rows(order)[0])
    assert prepared.preprocessing.target.class_names == ("no", "yes")
    table = data.table(path, target="y", validation_split=0).prepare()
    assert table.feature_names == prepared.feature_names
    assert np.allclose(table.train.x, everything(prepared.train)[0], atol=1e-6)


def test_a_vector_is_checked_for_its_form_and_a_regression_keeps_its_unit(tmp_path):
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(120.0)), 4)
    path = write(tmp_path / "a.parquet", {"v": wide, "y": np.arange(30) * 10.0})
    prepared = data.parquet(path, target="y", task="regression", validation_split=0).prepare()
    assert prepared.preprocessing.encode(np.zeros((2, 4))).x.shape == (2, 4)
    back = prepared.preprocessing.target.values(everything(prepared.train)[1][:, None])
    assert np.allclose(back[:, 0], np.arange(30) * 10.0, atol=1e-4)


def test_a_regression_is_standardised_and_a_task_can_be_said(tmp_path):
    path = write(tmp_path / "a.parquet", {"a": np.arange(40.0), "y": np.arange(40) % 5})
    assert data.parquet(path, target="y").prepare().class_names == ("0", "1", "2", "3", "4")
    prepared = data.parquet(path, target="y", task="regression", validation_split=0).prepare()
    assert prepared.task == "regression"
    assert everything(prepared.train)[1].std() == pytest.approx(1, abs=1e-5)


def test_a_column_of_lists_alone_keeps_its_type_and_order(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (60, 12), dtype=np.uint8)
    columns = {
        "pixels": pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), 12),
        "y": np.arange(60) % 3,
    }
    prepared = data.parquet(write(tmp_path / "a.parquet", columns), target="y", validation_split=0).prepare()
    assert np.array_equal(everything(prepared.train)[0], images)
    assert prepared.sample_dtype == "uint8"
    assert prepared.value_range == (0.0, 255.0)


@pytest.mark.parametrize("form", ["file", "stream", "feather"])
def test_arrow_files_are_read_by_record_batch(tmp_path, form):
    table = pa.table(rows_of(300))
    path = tmp_path / f"a.{'feather' if form == 'feather' else 'arrow'}"
    if form == "feather":
        pyarrow.feather.write_feather(table, path, chunksize=50)
    else:
        make = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
        with make(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=50)
    prepared = data.parquet(path, target="y", validation_split=0).prepare()
    same = data.parquet(write(tmp_path / "b.parquet", rows_of(300)), target="y", validation_split=0).prepare()
    assert prepared.train.order.blocks == 50
    assert np.array_equal(everything(prepared.train)[0], everything(same.train)[0])


def test_other_processes_find_the_same_hashes_of_contents(folder):
    prepared = data.parquet(folder, target="y").prepare()
    hashes = prepared.train.source.hashes(np.arange(len(prepared.train)))
    again = data.parquet(folder, target="y").prepare().train.source.hashes(np.arange(5))
    assert np.array_equal(hashes[:5], again)
    assert len(np.unique(hashes)) == len(hashes)


def test_prefetched_blocks_are_not_read_twice_and_memory_is_bounded(folder, monkeypatch):
    prepared = data.parquet(folder, target="y").prepare()
    store = prepared.train.source._store
    read = []
    block = store._reader.block
    monkeypatch.setattr(store._reader, "block", lambda number: (read.append(number), block(number))[1])
    prepared.train.prefetch(np.arange(160))
    prepared.train.rows(np.arange(160))
    assert sorted(read) == [0, 1]
    monkeypatch.setattr(store, "_budget", 5 * 4 * 100 * 3)
    prepared.train.rows(np.arange(len(prepared.train)))
    assert len(store._kept) <= 4


def test_an_error_in_the_background_comes_with_the_samples_and_a_retry_reads_again(folder, monkeypatch):
    prepared = data.parquet(folder, target="y").prepare()
    reader = prepared.train.source._store._reader
    block, broken = reader.block, [True]

    def fail(number):
        if broken:
            raise DataError(f"row group {number} is gone")
        return block(number)

    monkeypatch.setattr(reader, "block", fail)
    prepared.train.prefetch(np.arange(10))
    with pytest.raises(DataError, match="row group 0 is gone"):
        prepared.train.rows(np.arange(10))
    broken.clear()
    assert prepared.train.rows(np.arange(10))[0].shape == (10, 5)


def test_a_file_that_is_written_again_is_found_when_it_is_read(folder):
    prepared = data.parquet(folder, target="y").prepare()
    write(folder / "part-1.parquet", rows_of(530, 9), row_group_size=100)
    with pytest.raises(DataError, match=r"part-1.parquet: has changed since its index was made"):
        everything(prepared.train)


def test_other_contents_of_the_same_size_and_time_are_found_by_their_checksum(tmp_path):
    import os

    columns = {"a": np.arange(100.0), "y": np.arange(100) % 2}
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    path = write(tmp_path / "a.parquet", columns, **plain)
    prepared = data.parquet(path, target="y").prepare()
    stat = path.stat()
    write(path, {**columns, "a": np.arange(100.0) + 1}, **plain)
    assert path.stat().st_size == stat.st_size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match="row group 0: its contents have changed"):
        everything(prepared.train)


def test_a_file_that_vanishes_ends_in_a_clean_error(folder):
    prepared = data.parquet(folder, target="y").prepare()
    (folder / "part-2.parquet").unlink()
    with pytest.raises(DataError, match=r"part-2.parquet: cannot be read \(No such file"):
        everything(prepared.train)


def test_the_index_holds_no_samples(tmp_path):
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.random.default_rng(0).normal(size=400_000)), 400)
    path = write(tmp_path / "a.parquet", {"v": wide, "y": np.arange(1000) % 2}, row_group_size=100)
    prepared = data.parquet(path, target="y").prepare()
    index = tmp_path / "cache" / "lepton_kit" / "data" / prepared.fingerprint
    assert sum(file.stat().st_size for file in index.iterdir()) < 40_000
    assert path.stat().st_size > 1_000_000


def test_samples_that_do_not_fit_are_not_read_at_once(folder, monkeypatch):
    prepared = data.parquet(folder, target="y").prepare()
    assert np.asarray(prepared.train.x).shape == prepared.train.x.shape
    assert prepared.train.x[3].shape == (5,)
    assert prepared.train.x[2:4].shape == (2, 5)
    monkeypatch.setattr("lepton_kit.machine.devices.memory", lambda: (1, 1))
    with pytest.raises(DataError, match="do not fit into memory"):
        np.asarray(prepared.train.x)
    assert reading.READ_AT_ONCE > 0


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"a": [1.0, 2.0], "y": [0, 1]}, {"target": "z"}, r"a.parquet: no column 'z'; it has a, y"),
        ({"a": [1.0, 2.0], "y": [0, 1]}, {"target": "y", "features": ["q"]}, "no column 'q'"),
        ({"a": [1.0, 2.0], "y": [0, 1]}, {"target": "y", "features": ["y"]}, "is among the features"),
        ({"y": [0, 1]}, {"target": "y"}, "no feature columns beside the target"),
        (
            {"a": [1.0, 2.0], "y": pa.array([0, None])},
            {"target": "y"},
            "row group 0, row 1: no value in the target",
        ),
        ({"a": [1.0, np.inf], "y": [0, 1]}, {"target": "y"}, "row group 0, row 1: column 'a': inf"),
        (
            {"a": pa.array([None, None], pa.float64()), "y": [0, 1]},
            {"target": "y"},
            "left out: no training row has a value",
        ),
        ({"a": [[1, 2], [3]], "y": [0, 1]}, {"target": "y"}, "row 1: 1 numbers; expected 2"),
        ({"a": [[1, 2], None], "y": [0, 1]}, {"target": "y"}, "row 1: no value; expected 2"),
        ({"a": [[1, 2], [3, None]], "y": [0, 1]}, {"target": "y"}, "a missing number inside a list"),
        ({"a": [1.0, 2.0], "y": [[1], [2]]}, {"target": "y"}, "expected numbers or text"),
        (
            {"a": [{"u": 1}, {"u": 2}], "y": [0, 1]},
            {"target": "y", "features": ["a"]},
            "column 'a' is of type struct",
        ),
        (
            {"a": [1.0, 2.0], "y": ["u", "v"]},
            {"target": "y", "task": "regression"},
            "text can't be a regression's",
        ),
        (
            {"a": [1.0, 2.0], "y": [0.5, 1]},
            {"target": "y", "task": "classification"},
            "too many different numbers",
        ),
        ({"a": [1.0, 2.0], "y": [1, 1]}, {"target": "y"}, "one class only"),
        ({"a": [1.0], "y": [1]}, {"target": "y"}, "1 rows; expected at least 2"),
    ],
)
def test_what_cannot_be_trained_on_is_named(tmp_path, columns, options, words):
    path = write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=words):
        data.parquet(path, **{"validation_split": 0, **options}).prepare()


def test_files_that_do_not_fit_together_are_named(tmp_path):
    write(tmp_path / "d/a.parquet", {"a": [1.0, 2.0], "y": [0, 1]})
    write(tmp_path / "d/b.parquet", {"a": ["u", "v"], "y": [0, 1]})
    with pytest.raises(DataError, match=r"b.parquet: column 'a' is string, but double in a.parquet"):
        data.parquet(tmp_path / "d", target="y").prepare()
    write(tmp_path / "d/b.parquet", {"q": [1.0, 2.0], "y": [0, 1]})
    with pytest.raises(DataError, match=r"b.parquet: no column 'a', which a.parquet has"):
        data.parquet(tmp_path / "d", target="y").prepare()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.parquet", b"no parquet at all", "a.parquet: not a readable Parquet or Arrow file"),
        ("a.parquet", b"", "a.parquet: an empty file"),
        ("a.txt", b"x", "no file that ends in .parquet"),
    ],
)
def test_what_is_no_parquet_is_named(tmp_path, name, content, words):
    root = tmp_path / "d"
    root.mkdir()
    (root / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        data.parquet(root, target="y").prepare()


def test_files_named_for_a_split_are_that_split_and_others_beside_them_are_asked_about(tmp_path):
    columns = {"a": [1.0, 2.0], "y": [0, 1]}
    for name in ("train-0", "valid-0", "test-0"):
        write(tmp_path / "d" / f"{name}.parquet", columns)
    prepared = data.parquet(tmp_path / "d", target="y").prepare()
    assert (len(prepared.train), len(prepared.validation)) == (2, 2)
    assert any("(test): left alone" in note for note in prepared.notes)
    write(tmp_path / "d" / "extra.parquet", columns)
    with pytest.raises(DataError, match=r"extra.parquet: neither a file to train on nor one held out"):
        data.parquet(tmp_path / "d", target="y").prepare()


def test_the_extra_is_named_where_it_is_missing(folder, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"part-0.parquet: needs pyarrow: pip install lepton-kit\[large\]"):
        data.parquet(folder, target="y").prepare()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"features": "a"}, "features"),
        ({"task": "cluster"}, "task"),
        ({"validation_split": 2}, "validation_split"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_read(options, field):
    with pytest.raises(ConfigError, match=f"data.{field}|{field}"):
        data.parquet("nowhere", target="y", **options)
