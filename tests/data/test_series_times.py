"""Folders around recordings, columns of time, and speeds that differ."""

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.errors import DataError

RANDOM = np.random.default_rng(0)


def noise(rows=60, channels=3):
    return RANDOM.normal(3, 2, (rows, channels))


def test_folders_around_class_folders_and_of_splits(tmp_path):
    rows = "\n".join(["a", *(str(float(k % 7)) for k in range(60))])
    for name in (
        "set/har/train/walk_1.csv",
        "set/har/train/run_1.csv",
        "set/har/test/walk_2.csv",
        "set/har/test/run_2.csv",
        "only/test/walk.csv",
        "only/test/run.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(rows)
    found = data.windows(tmp_path / "set").prepare()
    assert found.class_names == ("run", "walk")
    assert len(found.validation)
    with pytest.raises(DataError, match="no train folder; it has"):
        data.windows(tmp_path / "only").prepare()


def timed(name, rows=60, step=1.0):
    return pd.DataFrame({name: np.arange(rows) * step, "a": noise(rows, 1)[:, 0]})


def test_a_column_t_is_the_time_where_it_rises(tmp_path):
    folder = tmp_path / "set"
    for name in ("walk/1", "walk/2", "run/1", "run/2"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        timed("t").to_csv(folder / f"{name}.csv", index=False)
    found = data.windows(folder).prepare()
    assert (found.train.x.shape[1:], found.feature_names) == ((20, 1), ("a",))
    assert "column 't' is taken for the time, since it rises in every recording" in found.notes
    for name in ("walk/1", "walk/2", "run/1", "run/2"):
        timed("t").assign(t=noise(60, 1)[:, 0]).to_csv(folder / f"{name}.csv", index=False)
    found = data.windows(folder).prepare()
    assert found.feature_names == ("t", "a")
    assert "column 't' is a channel, since it does not always rise; time='t' makes it the time" in found.notes
    long = pd.concat([timed("T").assign(session=k, label="ab"[k % 2]) for k in range(4)])
    assert data.windows(long).prepare().feature_names == ("a",)


def test_two_speeds_are_counted_and_neither_is_the_mean(tmp_path):
    folder = tmp_path / "set"
    for name, step in (("walk/1", 10), ("walk/2", 20), ("run/1", 10), ("run/2", 20)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        timed("time", step=step).to_csv(folder / f"{name}.csv", index=False)
    with pytest.raises(
        DataError, match=r"'run/1' has a row every 10, 2 of 4 recordings every 20; give gaps="
    ):
        data.windows(folder).prepare()
    found = data.windows(folder, gaps="interpolate").prepare()
    assert any(note.startswith("brought to one row every 20: ") for note in found.notes)
