"""Windows of recordings: layouts, what is held out, gaps and lengths, and new recordings at prediction."""

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)


def noise(rows=60, channels=3):
    return RANDOM.normal(3, 2, (rows, channels))


@pytest.fixture
def runs(tmp_path):
    def save(**changes):
        arrays = {f"train_0{i}": noise(50, 4) for i in range(2)}
        arrays |= {f"test_0{i}": noise(60, 4) for i in range(2)} | changes
        np.savez(tmp_path / "runs.npz", **{k: v for k, v in arrays.items() if v is not None})
        return tmp_path / "runs.npz"

    return save


@pytest.fixture
def several(tmp_path):
    """A file of recordings by name."""

    def save(**arrays):
        np.savez(tmp_path / "several.npz", **arrays)
        return tmp_path / "several.npz"

    return save


def test_windows(runs):
    path = runs(columns=np.array(list("abcd")))
    prepared = data.windows(path, length=10, validation_start=20, validation_stride=10, normal="00").prepare()
    assert prepared.sample_shape == (10, 4)
    assert prepared.class_names == ("00", "01")
    assert prepared.feature_names == tuple("abcd")
    assert np.bincount(prepared.train.y).tolist() == [9, 9]
    assert np.bincount(prepared.validation.y).tolist() == [6, 4]
    assert np.array_equal(prepared.train.x[0, 5:], prepared.train.x[1, :5])
    assert abs(prepared.train.x.mean()) < 0.1
    assert not prepared.notes


def test_defaults_count_every_held_out_row_of_every_class(runs):
    prepared = data.windows(runs()).prepare()
    assert np.bincount(prepared.validation.y).tolist() == [9, 9]


def test_a_number_at_the_end_counts_the_recordings_of_a_class(several):
    path = several(train_walk_1=noise(), train_walk_2=noise(), train_run_1=noise(), test_walk_1=noise())
    prepared = data.windows(path).prepare()
    assert prepared.class_names == ("run", "walk")
    assert "recordings of each class: run 1, walk 3" in prepared.notes
    assert "classes without a held-out recording: run" in prepared.notes
    faults = {f"{split}_fault_{i}": noise() for split in ("train", "test") for i in (1, 2)}
    assert data.windows(several(**faults)).prepare().class_names == ("fault_1", "fault_2")
    mixed = several(train_fault_1=noise(), train_fault_2=noise(), train_normal=noise())
    assert data.windows(mixed).prepare().class_names == ("fault", "normal")
    assert data.windows(mixed, numbered=False).prepare().class_names == ("fault_1", "fault_2", "normal")


def test_a_share_is_held_out_as_whole_recordings_or_as_the_last_rows(several):
    arrays = {f"{kind}_{i}": noise(40) for kind in ("walk", "run") for i in range(4)}
    prepared = data.windows(several(**arrays)).prepare()
    held = next(note for note in prepared.notes if note.startswith("held out as a whole"))
    assert held.count("walk_") == held.count("run_") == 1
    assert len(prepared.train) == 6 * 5
    again = data.windows(several(**arrays), seed=3).prepare()
    assert again.notes != prepared.notes
    alone = data.windows(
        several(walk=noise(100), run=noise(100), rest=noise(30)), length=10, stride=10
    ).prepare()
    assert np.bincount(alone.validation.y).tolist() == [1, 2, 2]
    assert len(alone.train) == 8 + 8 + 2
    assert (
        "held out: the last 20% of the rows of each recording, since not every class has two" in alone.notes
    )
    whole = data.windows(several(walk=noise(), run=noise()), validation_split=0).prepare()
    assert whole.validation is None


def test_names_to_hold_out_come_on_top_of_test_recordings(several):
    path = several(
        train_a_1=noise(20), train_a_2=noise(20), train_b=noise(20), test_a=noise(20), test_b=noise(20)
    )
    prepared = data.windows(path, held_out=["train_a_2"]).prepare()
    assert (len(prepared.train), len(prepared.validation)) == (2, 3)


def test_recordings_are_held_out_by_name(several):
    path = several(**{f"{kind}_{i}": noise(40) for kind in ("walk", "run") for i in range(2)})
    prepared = data.windows(path, held_out=["walk_1", "run_0"], length=40).prepare()
    assert (len(prepared.train), len(prepared.validation)) == (2, 2)
    with pytest.raises(DataError, match=r"held_out: no recording 'swim'; there are run_0, run_1"):
        data.windows(path, held_out=["swim"]).prepare()


def test_a_long_table_with_labels_ids_and_times(tmp_path):
    frame = pd.DataFrame(noise(240, 2), columns=["ax", "ay"])
    frame["user"], frame["activity"] = np.repeat([1, 2, 3, 4], 60), np.tile(np.repeat(["walk", "run"], 30), 4)
    frame["timestamp"] = np.tile(np.arange(60) * 0.05, 4)
    frame["note"] = "free text"
    frame.to_csv(tmp_path / "long.csv", index=False)
    prepared = data.windows(tmp_path / "long.csv", length=10, stride=10).prepare()
    assert prepared.class_names == ("run", "walk")
    assert prepared.feature_names == ("ax", "ay")
    assert (len(prepared.train), len(prepared.validation)) == (18, 6)
    said = "labels are column 'activity', recordings column 'user', time column 'timestamp'; channels: ax, ay"
    assert said in prepared.notes
    assert any("columns of text are left out: note" in one for one in prepared.notes)
    kept = prepared.preprocessing
    assert (kept.time, kept.recording) == ("timestamp", "user")
    assert kept.step == pytest.approx(0.05)
    new = kept.encode(frame.drop(columns=["activity"]))
    assert new.names[0] == "1[0:10]"
    assert len(new.rows) == 24
    unsorted = frame.drop(columns=["user"])[::-1]
    unsorted.to_csv(tmp_path / "unsorted.csv", index=False)
    with pytest.raises(DataError, match=r"row 1 has an earlier time than the row before; sort the rows"):
        data.windows(tmp_path / "unsorted.csv", label="activity").prepare()


def test_tables_as_loggers_write_them(tmp_path):
    rows = [f"33,{'jog' if i < 60 else 'walk'},{491059 + i * 50},{i / 7:.2f},{i % 5};" for i in range(120)]
    (tmp_path / "raw.txt").write_text("\n".join(rows))
    prepared = data.windows(
        tmp_path / "raw.txt", header=False, recording="column_1", label="column_2", time="column_3"
    ).prepare()
    assert prepared.preprocessing.channels == ("column_4", "column_5")
    raw = prepared.preprocessing.encode(tmp_path / "raw.txt")
    assert len(raw.names) == 21
    rows = ["time;ax;label", *(f"{i};{i / 7:.2f};{'ab'[i > 59]}".replace(".", ",") for i in range(120))]
    (tmp_path / "comma.csv").write_text("\n".join(rows))
    prepared = data.windows(tmp_path / "comma.csv", validation_split=0).prepare()
    assert prepared.preprocessing.mean == pytest.approx((119 / 14,), abs=1e-3)
    assert "comma.csv: commas are decimal points in ax" in prepared.notes
    rows = ["ax,label", *(f'"1,{i:03d}",{"ab"[i > 59]}' for i in range(120))]
    (tmp_path / "thousands.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match="row 1 is '1,000' in column 'ax'; expected a number"):
        data.windows(tmp_path / "thousands.csv").prepare()


def test_class_folders_of_tables(tmp_path):
    for split, count in (("train", 3), ("test", 1)):
        for kind in ("walk", "run"):
            (tmp_path / "d" / split / kind).mkdir(parents=True)
            for i in range(count):
                pd.DataFrame(noise(30, 2), columns=["a", "b"]).to_csv(
                    tmp_path / "d" / split / kind / f"{i}.csv", index=False
                )
    (tmp_path / "d/train/walk/._0.csv").write_bytes(b"\0")
    prepared = data.windows(tmp_path / "d").prepare()
    assert (len(prepared.train), len(prepared.validation)) == (6 * 3, 2 * 3)
    assert prepared.class_names == ("run", "walk")
    assert prepared.preprocessing.encode(tmp_path / "d/test").x.shape == (6, 20, 2)
    plain = data.windows(tmp_path / "d/train").prepare()
    assert plain.class_names == ("run", "walk")
    (tmp_path / "d/train/loose.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="loose lies beside class folders"):
        data.windows(tmp_path / "d").prepare()


def test_tables_and_arrays_named_by_class_without_a_header(tmp_path):
    folder = tmp_path / "named"
    folder.mkdir()
    for name in ("walk_1", "walk_2", "run_1", "run_2"):
        np.savetxt(folder / f"{name}.csv", noise(25, 2), delimiter=",")
    prepared = data.windows(folder).prepare()
    assert prepared.class_names == ("run", "walk")
    assert prepared.preprocessing.channels == ("column_1", "column_2")
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    for name in ("walk_1", "run_1"):
        np.save(arrays / f"{name}.npy", noise(80)[:, 0])
    prepared = data.windows(arrays).prepare()
    assert prepared.sample_shape == (20, 1)


@pytest.mark.parametrize("rule", ["refuse", "split", "interpolate"])
def test_missing_values(several, rule):
    walk = noise(100)
    walk[30:32, 1] = np.nan
    walk[90:] = np.nan  # as archives of series of different lengths fill them up
    source = data.windows(several(train_walk=walk, train_run=noise(100)), gaps=rule, validation_split=0)
    if rule == "refuse":
        with pytest.raises(DataError, match=r"'train_walk': row 30, channel 1 is nan; .*gaps='split'"):
            source.prepare()
        return
    prepared = source.prepare()
    assert np.isfinite(prepared.train.x).all()
    assert "12 gaps in time or values" in "\n".join(prepared.notes)
    rows = {"split": (30 - 20) // 5 + 1 + (58 - 20) // 5 + 1, "interpolate": 17}[rule]
    assert np.bincount(prepared.train.y).tolist() == [17, rows]


def table(path, time, label="walk", **more):
    count = len(time)
    return pd.DataFrame({"time": time, "a": np.arange(count) * 1.0, "label": label, **more}).to_csv(
        path, index=False
    )


def long_table(path, time):
    both = pd.concat(
        pd.DataFrame({"time": time, "a": np.linspace(0, 1, len(time)), "label": kind, "id": kind})
        for kind in "xy"
    )
    both.to_csv(path, index=False)
    return path


def test_gaps_in_time(tmp_path):
    time = np.concatenate([np.arange(50), np.arange(60, 100)])
    path = long_table(tmp_path / "a.csv", time)
    options = {"length": 10, "stride": 1, "validation_split": 0}
    with pytest.raises(DataError, match="'x': row 50 comes 11 after the row before; the usual step is 1"):
        data.windows(path, **options).prepare()
    cut_there = data.windows(path, gaps="split", **options).prepare()
    assert len(cut_there.train) == 2 * (41 + 31)
    filled = data.windows(path, gaps="interpolate", **options).prepare()
    assert len(filled.train) == 2 * 91
    found = filled.preprocessing.encode(pd.DataFrame({"time": time, "a": np.linspace(0, 1, 90)}))
    assert np.array_equal(found.x, filled.train.x[:91])
    assert found.notes == {"rows that are missing are filled along straight lines": 91}
    new = cut_there.preprocessing.encode(pd.DataFrame({"time": time, "a": np.linspace(0, 1, 90)}))
    assert len(new.names) == 81
    assert new.names[40] == "input[40:50]"
    assert sorted(new.problems) == list(range(41, 50))
    assert np.array_equal(new.x, cut_there.train.x[:72])


def test_times_as_dates_and_times_that_are_none(tmp_path):
    dates = pd.date_range("2024-03-01", periods=40, freq="10s")
    path = long_table(tmp_path / "a.csv", dates)
    assert data.windows(path).prepare().preprocessing.step == 10
    for times, said in (
        (["1.3.2024"] * 40, "column 'time' holds neither numbers nor ISO dates"),
        ([0.0, 1.0, *[1.0] * 38], "row 2 has the same time as the row before"),
        ([0.0, np.nan, *range(2, 40)], "row 1 has no time"),
    ):
        with pytest.raises(DataError) as caught:
            data.windows(long_table(tmp_path / "b.csv", times)).prepare()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_recordings_of_another_speed_are_refused_or_brought_to_one(tmp_path):
    parts = [
        pd.DataFrame({"time": np.arange(60) * step, "a": np.arange(60) * step, "label": kind, "id": name})
        for name, kind, step in (("p", "x", 1.0), ("q", "y", 1.0), ("r", "x", 0.5))
    ]
    pd.concat(parts).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"'r' has a row every 0\.5, 2 of 3 recordings every 1"):
        data.windows(tmp_path / "a.csv", validation_split=0).prepare()
    prepared = data.windows(
        tmp_path / "a.csv", validation_split=0, gaps="interpolate", length=30, stride=1
    ).prepare()
    assert len(prepared.train) == 31 + 31 + 1
    assert "brought to one row every 1: r" in prepared.notes
    slow = data.windows(tmp_path / "a.csv", validation_split=0, held_out=["r"], gaps="interpolate").prepare()
    strict = slow.preprocessing.model_copy(update={"gaps": "refuse"})
    notes = strict.encode(pd.DataFrame({"time": np.arange(40) * 3.0, "a": np.arange(40)})).notes
    assert any("one row comes every 3, in training every 1: another speed" in note for note in notes)


def test_short_recordings(several):
    arrays = {"train_a": noise(50), "train_b": noise(50), "train_a_2": noise(8)}
    with pytest.raises(DataError, match=r"'train_a_2' \(class 'a'\) has 8 rows; a window needs 20"):
        data.windows(several(**arrays)).prepare()
    skipped = data.windows(several(**arrays), short="skip", validation_split=0).prepare()
    assert np.bincount(skipped.train.y).tolist() == [7, 7]
    assert (
        "left out, since shorter than a window: 1 recordings with 8 rows, such as train_a_2" in skipped.notes
    )
    padded = data.windows(several(**arrays), short="pad", validation_split=0).prepare()
    assert padded.sample_shape == (20, 4)
    window = padded.train.x[7]
    assert window[:, 3].tolist() == [1] * 8 + [0] * 12
    assert not window[8:].any()
    assert "padded with 0, and the last channel says where" in "\n".join(padded.notes)
    new = padded.preprocessing.encode(arrays["train_a_2"])
    assert np.array_equal(new.x[0], window)
    assert new.names == ("input[0:8]",)
    assert list(new.notes) == ["shorter than a window, so padded; the last channel says where"]


def test_a_channel_that_never_changes_is_said_and_one_without_values_refused(several):
    still = noise(60)
    still[:, 1] = 4
    prepared = data.windows(several(train_a=still, train_b=still)).prepare()
    assert "channels that never change: 1" in prepared.notes
    assert not prepared.train.x[:, :, 1].any()
    still[:, 1] = np.nan
    with pytest.raises(DataError, match="'train_a' has a channel without any value"):
        data.windows(several(train_a=still, train_b=noise(60)), gaps="interpolate").prepare()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_00": None, "train_01": None}, "no array named train_CLASS"),
        ({"train_00": None, "test_00": None}, "one class only"),
        ({"train_00": None}, "has no train_00"),
        ({"train_00": np.zeros((2, 3, 4))}, "'train_00' has shape (2, 3, 4)"),
        ({"train_00": np.zeros((50, 3))}, "[3, 4] channels ('train_00' has 3, 'train_01' has 4)"),
        ({"train_00": np.zeros((5, 4))}, "has 5 rows; a window needs 20"),
        ({"train_00": np.full((50, 4), np.nan)}, "'train_00': row 0"),
        ({"train_00": np.full((50, 4), 1e300)}, "'train_00': row 0, channel 0 is inf"),
        ({"test_07": np.zeros((60, 4))}, "test_07 has no train_07"),
        ({"columns": np.array(list("abc"))}, "3 names of channels in 'columns', but recordings have 4"),
        ({"train_00": np.array(["a"] * 50)}, "'train_00' has type <U1; expected numbers"),
        ({"train_00": np.array(3)}, "single value"),
    ],
)
def test_errors_name_the_recording(runs, changes, said):
    with pytest.raises(DataError) as caught:
        data.windows(runs(**changes)).prepare()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("a,b\n1,2\n", {}, "which column holds the labels? It has a, b; give label="),
        ("a,label\n1,x\nzwei,y\n3,x\n", {}, "row 2 is 'zwei' in column 'a'; expected a number"),
        ("a,label\nu,x\nv,y\n", {}, "no column of numbers"),
        ("a,label\n1,x\n", {"label": "kind"}, "no column 'kind'; it has a, label"),
        ("a,label\n1,x\n", {"time": "clock"}, "no column 'clock'"),
    ],
)
def test_table_errors(tmp_path, content, options, said):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        data.windows(tmp_path / "a.csv", **options).prepare()
    assert said in str(caught.value)


def test_an_empty_folder_and_a_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match="no recordings"):
        data.windows(tmp_path).prepare()
    np.savez(tmp_path / "a.npz", fault_onset=np.array(3))
    with pytest.raises(DataError, match="no array named train_CLASS or CLASS_NUMBER; it has fault_onset"):
        data.windows(tmp_path / "a.npz").prepare()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"stride": 0}, "data.stride"),
        ({"length": 0}, "data.length"),
        ({"validation_stride": 0}, "data.validation_stride"),
        ({"validation_start": -1}, "data.validation_start"),
        ({"gaps": "fill"}, "data.gaps"),
        ({"short": "drop"}, "data.short"),
        ({"held_out": "walk"}, "data.held_out"),
        ({"label": ""}, "data.label"),
        ({"validation_split": 1}, "data.validation_split"),
    ],
)
def test_setting_errors(options, field):
    with pytest.raises(ConfigError) as caught:
        data.windows("x.npz", **options)
    assert caught.value.field == field
