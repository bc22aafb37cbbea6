"""Recordings in memory, and new ones at prediction: they become the windows that they would have become in training."""

import json

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.data import preprocessing
from lepton_kit.data.series.preprocessing import WindowsPreprocessing
from lepton_kit.errors import DataError

RANDOM = np.random.default_rng(0)


@pytest.fixture
def learned(tmp_path):
    walk, run = RANDOM.normal(3, 2, (2, 60, 3))
    path = tmp_path / "several.npz"
    np.savez(path, train_walk=walk, train_run=run, columns=np.array(["x", "y", "z"]))
    return data.windows(path, validation_split=0).prepare(), walk, path


def test_new_recordings_become_what_they_would_have_become(learned, tmp_path):
    prepared, walk, path = learned
    kept = preprocessing.parse(json.loads(prepared.preprocessing.to_json()), "here")
    assert kept == prepared.preprocessing
    own = prepared.train.x[prepared.train.y == 1]
    frame = pd.DataFrame(walk, columns=["x", "y", "z"])
    frame.assign(extra=1)[["z", "extra", "y", "x"]].to_csv(tmp_path / "new.csv", index=False)
    np.save(tmp_path / "new.npy", walk)
    for raw in (
        walk,
        walk.tolist(),
        walk.astype(np.float32),
        [walk],
        {"walk": walk},
        frame,
        walk[None],
        tmp_path / "new.npy",
    ):
        assert np.array_equal(kept.encode(raw).x, own)
    assert np.allclose(kept.encode(str(tmp_path / "new.csv")).x, own, atol=1e-6)
    assert kept.encode(str(tmp_path / "new.csv")).notes == {
        "columns that no training recording has are left out": 9
    }
    both = kept.encode(path)
    assert both.names[0] == "train_walk[0:20]"
    assert both.names[-1] == "train_run[40:60]"
    assert np.array_equal(both.x, np.concatenate([own, prepared.train.x[prepared.train.y == 0]]))
    assert kept.count(walk) == len(own) == 9
    assert kept.count([walk]) is None
    assert [kept.count(walk[:rows]) for rows in (5, 20, 24, 25)] == [1, 1, 1, 2]
    assert kept.encode(walk[:20]).names == ("input[0:20]",)
    small = list(kept.pieces(walk, rows=4))
    assert [len(piece.names) for piece in small] == [4, 4, 1]
    assert np.array_equal(np.concatenate([piece.x for piece in small]), own)


def test_windows_that_cannot_be_read_are_named_and_kept(learned):
    prepared, walk, _ = learned
    broken = walk.copy()
    broken[22, 1] = np.nan
    found = prepared.preprocessing.encode([broken, walk[:5]])
    assert found.names[-1] == "1[0:5]"
    assert found.problems[9] == "5 rows; a window needs 20"
    touched = [place for place in range(9) if place * 5 <= 22 < place * 5 + 20]
    assert sorted(found.problems) == [*touched, 9]
    assert found.problems[touched[0]] == "row 22 has a value that is missing or infinite"
    good = [place for place in range(9) if place not in touched]
    assert np.array_equal(found.x, prepared.train.x[prepared.train.y == 1][good])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (np.zeros((30, 2)), "input: 2 channels; the training recordings have 3 (x, y, z)"),
        (pd.DataFrame(np.zeros((30, 2)), columns=["x", "y"]), "no column 'z'; it has x, y"),
        (np.zeros((2, 3, 4, 5)), "input has shape (2, 3, 4, 5)"),
        (np.array(["a"]), "type <U1"),
        ("nowhere.csv", "no such file"),
    ],
)
def test_input_of_another_kind_is_refused(learned, raw, said):
    with pytest.raises(DataError) as caught:
        learned[0].preprocessing.encode(raw)
    assert said in str(caught.value)


def test_an_empty_folder_has_no_recordings(learned, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no recordings"):
        learned[0].preprocessing.encode(tmp_path / "empty")


def test_recordings_in_memory_are_those_of_a_file(learned, tmp_path):
    prepared, _, path = learned
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "columns"}
    source = data.windows(arrays, validation_split=0)
    found = source.prepare()
    assert np.array_equal(found.train.x, prepared.train.x)
    assert found.preprocessing.mean == prepared.preprocessing.mean
    assert (
        data.Dataset.from_spec(source.store(tmp_path / "stored"), tmp_path).prepare().preprocessing.length
        == 20
    )
    frame = pd.DataFrame(np.concatenate(list(arrays.values())), columns=["x", "y", "z"])
    frame["label"] = np.repeat(["walk", "run"], 60)
    frame["time"] = pd.date_range("2024-01-01", periods=120, freq="s")
    long = data.windows(frame, validation_split=0).prepare()
    assert np.allclose(long.train.x, prepared.train.x, atol=1e-6)
    assert long.preprocessing.step == 1
    with pytest.raises(DataError, match="'a' has type <U1"):
        data.windows({"a": np.array(["b"])})
    with pytest.raises(DataError, match="expected a frame, or a dictionary of arrays"):
        data.windows({})


@pytest.mark.parametrize(("rows", "padded"), [(1, True), (2, True), (3, False), (4, False)])
def test_what_pads_a_short_recording_is_marked_and_said(rows, padded):
    how = WindowsPreprocessing(length=3, stride=1, mean=(1.0,), deviation=(2.0,), mask=True)
    found = how.encode(np.arange(rows)[:, None] * 2.0 + 3)
    whole = [[1.0 + k, 1.0] for k in range(rows)] + [[0.0, 0.0]] * (3 - rows)
    assert found.x.tolist() == [whole[start : start + 3] for start in range(max(1, rows - 2))]
    assert found.names == tuple(f"input[{k}:{min(k + 3, rows)}]" for k in range(max(1, rows - 2)))
    said = "shorter than a window, so padded; the last channel says where"
    assert found.notes == ({said: 1} if padded else {})


def sessions(steps, gap):
    """Recordings of rows at these speeds, each with one longer step in its midst; (frame, {name: its rows})."""
    parts = []
    for k, step in enumerate(steps):
        time = np.arange(60) * step
        time[30:] += gap
        part = pd.DataFrame(RANDOM.normal(3, 2, (60, 2)), columns=["x", "y"])
        parts.append(part.assign(time=time, session=f"s{k}", label="ab"[k % 2]))
    return pd.concat(parts), {f"s{k}": part for k, part in enumerate(parts)}


@pytest.mark.parametrize("gap", [0.0, 3.0])
def test_recordings_of_training_become_what_they_were_whatever_their_own_speed(gap):
    frame, each = sessions([1.0, 1.0, 1.06, 0.95, 1.3], gap)
    prepared = data.windows(frame, gaps="interpolate", validation_split=0).prepare()
    for number, label in enumerate(prepared.class_names):
        own = [part.drop(columns="label") for part in each.values() if part.label.iloc[0] == label]
        again = np.concatenate([prepared.preprocessing.encode(part).x for part in own])
        assert np.array_equal(again, prepared.train.x[prepared.train.y == number])


@pytest.mark.parametrize(("gap", "told"), [(0.43, False), (0.47, True)])
def test_a_gap_is_one_by_the_speed_of_training(gap, told):
    """A step of 1.06 + 0.43 is no gap by a usual step of 1, and one of 1.06 + 0.47 is; by 1.06 neither would be."""
    prepared = data.windows(sessions([1.0, 1.0], 0.0)[0], gaps="split", validation_split=0).prepare()
    found = prepared.preprocessing.encode(sessions([1.06], gap)[0].drop(columns="label"))
    # Windows of 20 rows, each 5 rows on: that which begins at the jump, in row 30, has none inside.
    assert [5 * place for place in found.problems] == ([15, 20, 25] if told else [])
    assert set(found.problems.values()) <= {"no passage of time like in training before row 30"}
    assert not found.notes


@pytest.mark.parametrize(("step", "told"), [(1.1, False), (0.9, False), (1.2, True), (0.8, True)])
def test_another_speed_is_told_as_training_tells_it(step, told):
    prepared = data.windows(sessions([1.0, 1.0], 0.0)[0], gaps="split", validation_split=0).prepare()
    found = prepared.preprocessing.encode(sessions([step], 0.0)[0].drop(columns="label"))
    said = f"one row comes every {step:g}, in training every 1: another speed"
    assert list(found.notes) == ([said] if told else [])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [3e38, 1e200])
def test_a_number_that_float32_cannot_hold_is_a_problem_of_its_windows_without_a_warning(learned, value):
    prepared, walk, _ = learned
    how = prepared.preprocessing.model_copy(update={"deviation": (0.1, 0.1, 0.1)})
    recording = walk.copy()
    recording[2, 1] = value
    encoded = how.encode(recording)
    assert encoded.problems.keys() == {0}
    assert "row 2 has a value" in encoded.problems[0]
    assert np.isfinite(encoded.x).all()
