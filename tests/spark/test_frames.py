"""A Spark DataFrame as data: each row once, by index; what can't be read is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

import lepton_kit as lk
from lepton_kit.errors import ConfigError, DataError

ROWS = 300


@pytest.fixture(scope="module")
def frame(spark: Any) -> Any:
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql.functions import array, col, struct

    rows = spark.range(0, ROWS, 1, 2)
    named = rows.select(
        col("id"),
        (col("id") * 0.5).cast("float").alias("half"),
        array((col("id") % 7).cast("float"), (col("id") % 3).cast("float")).alias("pair"),
        (col("id") * 2.0).alias("label"),
        struct("id").alias("nested"),
    )
    return named.withColumn("vector", array_to_vector(named["pair"].cast("array<double>")))


def test_each_row_is_there_once_with_arrays_and_vectors_as_they_are(frame: Any, tmp_path: Path):
    folder = tmp_path / "rows"
    data = lk.data.from_spark(frame, target="label", features=["half", "pair", "vector"], folder=folder)
    prepared = data.prepare()
    assert len(prepared.train) + len(prepared.validation) == ROWS
    assert prepared.train.rows(np.arange(20))[0].shape == (20, 5)
    table = pq.read_table(folder)
    assert table.column_names == ["label", "half", "pair", "vector"]
    assert sorted(table["label"].to_pylist()) == [2.0 * n for n in range(ROWS)]
    assert table["pair"].to_pylist() == table["vector"].to_pylist()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"target": "lable"}, "frame: no column 'lable'; it has id, half"),
        ({"target": "label"}, "frame: column 'nested' is of type struct<id:bigint>; expected numbers"),
        ({"target": "pair", "features": ["id"]}, "the target 'pair' is of type array<float>"),
        ({"target": "label", "features": "half"}, "data.features: got 'half'"),
    ],
)
def test_what_is_no_column_of_samples_is_named(frame: Any, tmp_path: Path, options: Any, text: str):
    with pytest.raises((DataError, ConfigError)) as caught:
        lk.data.from_spark(frame, folder=tmp_path / "rows", **options)
    assert text in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(frame: Any, tmp_path: Path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConfigError, match="a new or empty folder"):
        lk.data.from_spark(frame, target="label", features=["half"], folder=tmp_path)


def test_a_folder_that_is_not_shared_is_found_out(
    frame: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lepton_kit.data.large.spark_frames._rows_at", lambda place: 120)
    with pytest.raises(DataError, match=f"has written {ROWS} rows, 120 are seen here"):
        lk.data.from_spark(frame, target="label", features=["half"], folder=tmp_path / "rows")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "with target='the name of a column'"),
        ({"target": "label", "class_weight": {0: 1.0}}, "class_weight: does not go with a Spark DataFrame"),
    ],
)
def test_a_launch_says_what_a_frame_needs(frame: Any, tmp_path: Path, options: Any, text: str):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(DataError, match=text):
        lk.launch(model, frame, runs_dir=tmp_path, **options)


def test_a_target_is_for_frames_alone(tmp_path: Path):
    x = np.zeros((8, 1), np.float32)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(DataError, match="target: got 'label'"):
        lk.launch(model, (x, x), target="label", runs_dir=tmp_path)
