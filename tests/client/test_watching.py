"""The table of workers, and the trace of ranks: read back by what the format says of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lepton_kit.client.tensorboard import write_scalars
from lepton_kit.client.watching import trace, workers_table
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import RunView, Status

WORKERS = [
    {"worker": 3, "pid": 9, "state": "standby", "rank": None, "memory_bytes": None, "host": "b"},
    {"worker": 2, "pid": 8, "state": "training", "rank": 1, "memory_bytes": 2_000_000, "host": "b", "slowed": {"factor": 3.0}},
    {"worker": 0, "pid": 7, "state": "training", "rank": 0, "memory_bytes": 1_000_000, "host": "a", "slowed": {}},
]  # fmt: skip


def steps(first: int, time: float, generation: int = 1, **more: Any) -> dict[str, Any]:
    told = {
        "kind": "steps", "time": time, "generation": generation, "first": first, "last": first + 10, "seconds": 1.0, "world_size": 2,
        "loss": [0.5] * 10, "metrics": {}, "samples": [300, 300], "busy": [0.2, 0.6], "data": [0.1, 0.1],
        "waited": [0.4, 0.0], "communicated": 0.1,
    }  # fmt: skip
    return {**told, **more}


def generation(step: int) -> dict[str, Any]:
    return {
        "kind": "generation",
        "time": 0.5,
        "generation": 2,
        "world_size": 2,
        "ranks": [0, 2],
        "step": step,
    }


def events() -> list[dict[str, Any]]:
    workers = {"kind": "workers", "time": 0.4, "wanted": 2, "workers": WORKERS}
    load = {"cores": 0.9, "stolen": 0.25, "throttled": None, "faults": 0.0}
    resources = {
        "kind": "resources",
        "time": 1.6,
        "step": 10,
        "cores": 1.0,
        "memory_bytes": 5,
        "ranks": {"1": load},
    }
    return [workers, generation(0), steps(0, 1.5), resources, steps(10, 2.5)]


def test_a_row_for_each_worker_ranks_first():
    view = RunView()
    for event in events():
        view.feed(event)
    found = workers_table(view)
    assert found["worker"].tolist() == [0, 2, 3]
    assert found["host"].tolist() == ["a", "b", "b"]
    assert found["rank"].tolist() == [0, 1, pd.NA]
    row = found.iloc[1]
    assert (row["state"], row["slowed"], row["memory_mb"]) == ("training", "factor 3", 2.0)
    assert row["samples_per_second"] == pytest.approx(500)
    assert (row["cores"], row["stolen_percent"]) == (0.9, 25.0)
    parts = [name for name in found.columns if name.endswith("_percent") and name != "stolen_percent"]
    assert found[parts].iloc[:2].sum(axis=1).tolist() == pytest.approx([100, 100])
    assert found["waiting_percent"].iloc[0] == pytest.approx(40)
    assert found.iloc[2][parts].isna().all()


def test_of_a_run_that_has_ended_the_last_table_stays():
    view = RunView()
    told = {"kind": "workers", "time": 3.0, "wanted": 0}
    ended = {"kind": "status", "time": 3.1, "status": "finished", "cause": None, "driver_pid": 1}
    leaving = [{**one, "state": "leaving"} for one in WORKERS]
    for event in [*events(), {**told, "workers": leaving}, {**told, "workers": []}, ended]:
        view.feed(event)
    found = workers_table(view)
    assert found["state"].tolist() == ["ended"] * 3
    assert found["rank"].tolist() == [0, 1, pd.NA]
    assert found["samples_per_second"].iloc[1] == pytest.approx(500)


def test_a_driver_that_was_killed_leaves_workers_that_have_ended():
    """It has written no last word: the log still says that they train."""
    view = RunView()
    for event in events():
        view.feed(event)
    assert workers_table(view, Status.INTERRUPTED)["state"].tolist() == ["ended"] * 3
    assert workers_table(view, Status.RUNNING)["state"].iloc[0] == "training"


def test_workers_of_a_paused_run_do_not_train():
    view = RunView()
    for event in [
        *events(),
        {"kind": "status", "time": 3.1, "status": "paused", "cause": None, "driver_pid": 1},
    ]:
        view.feed(event)
    found = workers_table(view)
    assert found["state"].tolist() == ["paused", "paused", "standby"]
    assert found["rank"].tolist() == [0, 1, pd.NA]


def test_a_trace_that_can_not_be_written_is_refused_with_its_path(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^path: got '.*nothere/trace\.json'; .*No such file"):
        trace(events(), tmp_path / "nothere" / "trace.json", 1000)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^folder: .*Not a directory"):
        write_scalars(events(), tmp_path / "file" / "board")


def test_a_run_without_workers_has_an_empty_table():
    assert list(workers_table(RunView()).columns)[:3] == ["rank", "worker", "host"]


def read(path: Path) -> dict[int, list[dict[str, Any]]]:
    """The spans of each process of a trace, checked against the format."""
    told = json.loads(path.read_text())
    assert told["displayTimeUnit"] in ("ms", "ns")
    spans: dict[int, list[dict[str, Any]]] = {}
    for one in told["traceEvents"]:
        assert isinstance(one["name"], str)
        assert isinstance(one["pid"], int)
        if one["ph"] == "X":
            assert one["ts"] >= 0
            assert one["dur"] >= 0
            spans.setdefault(one["pid"], []).append(one)
        elif one["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in one["args"].values())
        else:
            assert one["ph"] == "M"
            assert one["name"] in ("process_name", "process_sort_index")
    for rank in spans.values():
        for before, after in pairwise(rank):  # those of one thread may not overlap by halves
            assert after["ts"] >= before["ts"] + before["dur"] - 0.2
    return spans


def test_ranks_of_a_trace_end_together_where_their_sums_do(tmp_path: Path):
    spans = read(trace(events(), tmp_path / "trace.json", 1000))
    assert sorted(spans) == [0, 1]
    for rank, seconds in ((0, [0.1, 0.2, 0.4, 0.1]), (1, [0.1, 0.6, 0.0, 0.1])):
        assert [one["name"] for one in spans[rank]] == ["data", "compute", "wait", "communicate"] * 2
        assert [one["dur"] / 1e6 for one in spans[rank][:4]] == pytest.approx(seconds)
    ends = [
        [one["ts"] + one["dur"] for one in spans[rank] if one["name"] == "communicate"] for rank in (0, 1)
    ]
    assert ends[0] == pytest.approx(ends[1])
    assert ends[0][1] - ends[0][0] == pytest.approx(1e6)
    assert spans[0][4]["args"] == {"generation": 1, "first": 10, "last": 20, "samples": 300}


def test_reports_that_came_late_do_not_overlap(tmp_path: Path):
    late = [steps(0, 3.0), steps(10, 3.1), steps(20, 3.2)]
    spans = read(trace(late, tmp_path / "trace.json", 1000))
    assert len(spans[0]) == 12


def test_only_the_last_steps_and_those_alone_that_count(tmp_path: Path):
    told = [steps(0, 1.0), steps(10, 2.0), generation(10), steps(10, 4.0, 2), steps(20, 5.0, 2)]
    spans = read(trace(told, tmp_path / "trace.json", 1000))
    assert [(one["args"]["generation"], one["args"]["first"]) for one in spans[0][::4]] == [
        (1, 0),
        (2, 10),
        (2, 20),
    ]
    spans = read(trace(told, tmp_path / "trace.json", 12))
    assert [one["args"]["first"] for one in spans[0][::4]] == [10, 20]


def test_scalars_of_each_rank_read_back_as_tensorboard_does(tmp_path: Path):
    for _ in range(2):  # written again, nothing is there twice
        written = write_scalars(events(), tmp_path)
    assert [path.parent.name for path in written] == ["rank-0", "rank-1"]
    import tensorflow as tf

    found = [one for one in tf.compat.v1.train.summary_iterator(str(written[1])) if one.summary.value]
    assert [one.step for one in found] == [10, 20]
    assert [one.wall_time for one in found] == [1.5, 2.5]
    values = {one.tag: one.simple_value for one in found[0].summary.value}
    assert values == pytest.approx(
        {
            "workers/samples per second": 500.0,
            "workers/data (part of the time)": 0.1,
            "workers/compute (part of the time)": 0.6,
            "workers/wait (part of the time)": 0.0,
            "workers/communicate (part of the time)": 0.1,
        }
    )
    assert len(list(written[1].parent.iterdir())) == 1
    with pytest.raises(RunError, match="no report tells"):
        write_scalars(events()[:2], tmp_path)


def test_what_makes_no_trace_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="steps: got 0; expected a whole number of at least 1"):
        trace(events(), tmp_path / "trace.json", 0)
    with pytest.raises(ConfigError, match=r"path: got .*trace.txt.*\.json"):
        trace(events(), tmp_path / "trace.txt", 10)
    with pytest.raises(RunError, match="no report tells"):
        trace(events()[:2], tmp_path / "trace.json", 10)
    assert not list(tmp_path.iterdir())
