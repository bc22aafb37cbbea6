import json

import numpy as np
import pandas as pd
import pytest

from lepton_kit.data.describe.frames import head, look_of
from lepton_kit.errors import DataError


def test_a_german_table_is_read_as_numbers_and_dates(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("größe;preis;tag\n1,5;1.200,50;05.01.2024\n2,5;-;25.01.2024\n", encoding="cp1252")
    frame = head(path, {})
    assert frame["größe"].tolist() == [1.5, 2.5]
    assert frame["preis"].isna().tolist() == [False, True]
    assert frame["tag"].dt.day.tolist() == [5, 25]
    assert look_of(frame).kinds == {"größe": "number", "preis": "number", "tag": "date"}


def test_whole_numbers_stay_whole_and_at_most_so_many_rows_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{k},{'yes' if k % 2 else ''}\n" for k in range(5000)))
    frame = head(path, {}, rows=1500)
    assert len(frame) == 1500
    assert frame["a"].dtype == np.int64
    assert frame["b"].isna().sum() == 750


def test_options_of_the_table_count(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("1|2\n3|4\n")
    assert list(head(path, {"separator": "|", "header": False}).columns) == ["column_1", "column_2"]


def test_several_files_frames_and_lists_in_json(tmp_path):
    for k in range(2):
        pd.DataFrame({"a": [k, k]}).to_csv(tmp_path / f"{k}.csv", index=False)
    assert head(tmp_path, {})["a"].tolist() == [0, 0, 1, 1]
    assert head(pd.DataFrame({"a": ["x", None]}), {})["a"].isna().tolist() == [False, True]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"text": "hi", "label": ["a", "b"]}) for _ in range(3)))
    assert head(path, {})["label"].tolist() == ["a, b"] * 3


def test_no_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="no rows"):
        head(path, {})


def test_kinds_are_not_copied_for_every_column():
    frame = head(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), {})
    assert look_of(frame["a"]) is look_of(frame)
