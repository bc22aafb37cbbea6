"""What the shell reads and writes: arrays, lines and paths; CSV, Parquet and JSON lines."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lepton_kit.deploy.answering import check_output, is_export, name_column, read_input, write
from lepton_kit.errors import ConfigError, DataError

TABLE = pd.DataFrame(
    {
        "class": ["a", None],
        "n": pd.array([1, None], "Int64"),
        "p": [0.5, np.nan],
        "map": [np.arange(2), None],
    },
    index=["x.png", "y.png"],
)


def test_arrays_lines_and_paths_become_raw_input(tmp_path: Path):
    np.save(tmp_path / "one.npy", np.arange(3))
    np.savez(tmp_path / "two.npz", a=np.arange(2), b=np.arange(4))
    np.savez(tmp_path / "single.npz", a=np.arange(2))
    assert read_input([str(tmp_path / "one.npy")], []).tolist() == [0, 1, 2]
    assert set(read_input([str(tmp_path / "two.npz")], [])) == {"a", "b"}
    assert read_input([str(tmp_path / "single.npz")], []).tolist() == [0, 1]
    assert read_input(["-"], ["a line\n", "\n", "another"]) == ["a line", "another"]
    assert read_input([str(tmp_path)], []) == tmp_path
    assert read_input([str(tmp_path), str(tmp_path)], []) == [tmp_path, tmp_path]


def test_what_is_missing_or_would_be_unpickled_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        read_input([str(tmp_path / "gone.csv")], [])
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects\.npy: not a readable file of arrays"):
        read_input([str(tmp_path / "objects.npy")], [])
    for name, content in (("empty.npy", b""), ("torn.npz", b"PK\x03\x04torn")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not a readable file of arrays"):
            read_input([str(tmp_path / name)], [])


def test_an_output_is_checked_before_anything_is_predicted(tmp_path: Path, monkeypatch):
    with pytest.raises(ConfigError, match=r"output: got .*; expected a file that ends in \.csv"):
        check_output(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="a file in a folder that exists"):
        check_output(tmp_path / "no" / "a.csv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        check_output(tmp_path / "a.parquet")


def test_every_row_is_written_with_its_name(tmp_path: Path):
    found = pd.read_csv(write(TABLE, tmp_path / "a.csv"))
    assert found["name"].tolist() == ["x.png", "y.png"]
    assert json.loads(found["map"][0]) == [0, 1]
    lines = write(TABLE, tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"name": "x.png", "class": "a", "n": 1, "p": 0.5, "map": [0, 1]}
    assert json.loads(lines[1]) == {"name": "y.png", "class": None, "n": None, "p": None, "map": None}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.jsonl"]


def test_a_target_named_name_does_not_take_the_place_of_the_inputs_names(tmp_path: Path):
    table = pd.DataFrame({"name": [1.5, 2.5]}, index=["a", "b"])
    assert name_column(table) == "name_of_input"
    lines = write(table, tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"name_of_input": "a", "name": 1.5}
    assert pd.read_csv(write(table, tmp_path / "a.csv"))["name_of_input"].tolist() == ["a", "b"]


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="Parquet needs pyarrow")
def test_parquet_holds_the_same(tmp_path: Path):
    found = pd.read_parquet(write(TABLE, tmp_path / "a.parquet"))
    assert found["name"].tolist() == ["x.png", "y.png"]
    assert found["p"][0] == 0.5


def test_a_runs_folder_is_no_export(tmp_path: Path):
    assert not is_export("some-run-id")
    assert not is_export(str(tmp_path))
    (tmp_path / "model.tflite").write_bytes(b"")
    assert is_export(str(tmp_path))
    assert is_export(str(tmp_path / "model.tflite"))
    (tmp_path / "config.yaml").write_text("")
    assert not is_export(str(tmp_path))
