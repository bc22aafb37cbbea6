"""The view: what readers see of a run, however often it was resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.rundir import EventLog, RunView
from lepton_kit.rundir.series import Series
from lepton_kit.rundir.told import describe

PLAN = {"kind": "plan", "steps_per_epoch": 4, "total_steps": 100, "global_batch": 8}


def feed(view: RunView, *events: dict[str, Any]) -> RunView:
    for event in events:
        view.feed({"time": float(len(view.steps)), **event})
    return view


def steps(first: int, last: int, world_size: int = 2, **more: Any) -> dict[str, Any]:
    count = last - first
    return {
        "kind": "steps", "generation": 1, "first": first, "last": last, "world_size": world_size,
        "loss": [float(step) for step in range(first, last)], "metrics": {"accuracy": 0.5}, "seconds": 2.0,
        "busy": [1.0] * world_size, "data": [0.0] * world_size, "waited": [0.0] * world_size, "samples": [4 * count] * world_size, "learning_rate": 0.1,
    } | more  # fmt: skip


def generation(step: int, size: int = 2) -> dict[str, Any]:
    return {
        "kind": "generation",
        "generation": 1,
        "ranks": list(range(size)),
        "step": step,
        "world_size": size,
    }


def status(name: str, cause: str | None = None) -> dict[str, Any]:
    return {"kind": "status", "status": name, "cause": cause, "driver_pid": 7}


def test_a_run_that_told_nothing_yet():
    view = RunView()
    assert (view.status, view.step, view.progress, view.total_steps) == ("created", 0, 0.0, None)
    assert view.current_throughput is None
    assert view.eta_seconds is None
    assert describe(view) == "created"


def test_a_run_under_way():
    view = feed(RunView(), PLAN, status("running"), generation(0), steps(0, 10), steps(10, 20))
    assert view.step == 20
    assert view.loss.tolist() == list(range(20))
    assert view.step_series["epoch"].array.tolist() == [step // 4 for step in range(20)]
    assert view.throughput.tolist() == [40.0, 40.0]
    assert view.per_rank_throughput == {0: 40.0, 1: 40.0}
    feed(view, steps(20, 30, busy=[1.0, 4.0]))
    assert view.per_rank_throughput == {0: 40.0, 1: pytest.approx(120 / 6)}, (
        "over the last seconds, as bars are"
    )
    view = feed(RunView(), PLAN, status("running"), generation(0), steps(0, 10), steps(10, 20))
    assert view.eta_seconds == pytest.approx(80 / 5)
    assert view.progress == 0.2
    assert "step 20/100" in describe(view)
    assert "on 2 workers" in describe(view)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 8)), min_size=1, max_size=20))
def test_after_any_number_of_resumes_each_step_is_there_once(story: list[tuple[int, int]]):
    view = feed(RunView(), PLAN)
    for count, back in story:
        start = max(0, view.step - back)
        feed(view, generation(start), steps(start, start + count))
        assert view.steps.tolist() == list(range(start + count))
        assert view.loss.tolist() == view.steps.tolist()
        assert len(view.report_steps) == len(view.throughput) == len(view.metrics["accuracy"])
        assert np.all(np.diff(view.report_steps.array) > 0)


def test_epochs_after_a_resume_are_told_anew():
    view = feed(RunView(), PLAN, generation(0), steps(0, 8))
    for epoch in (0, 1):
        feed(
            view,
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": 4 * epoch + 4,
                "seconds": 1.0,
                "metrics": {"loss": 1.0},
            },
        )
    feed(view, generation(4))
    assert [row["epoch"] for row in view.epochs] == [0]


def test_a_loss_that_is_no_number_is_nan_and_a_late_metric_is_filled_up():
    view = feed(
        RunView(), PLAN, steps(0, 1, loss=[None]), steps(1, 2, metrics={"accuracy": None, "top": 0.25})
    )
    assert np.isnan(view.loss[0])
    assert np.isnan(view.metrics["top"][0])
    assert view.metrics["top"][1] == 0.25
    assert np.isnan(view.metrics["accuracy"][1])


def test_workers_are_counted_by_state():
    rows = [
        {"worker": k, "state": state}
        for k, state in enumerate(["training", "standby", "starting", "leaving"])
    ]
    view = feed(RunView(), {"kind": "workers", "wanted": 2, "workers": rows})
    assert view.counts() == {"wanted": 2, "starting": 1, "standby": 1, "training": 1}


def test_what_happened_is_kept():
    view = feed(
        RunView(),
        {"kind": "incident", "worker": 1, "rank": 0, "what": "killed"},
        {"kind": "warning", "text": "w"},
        {"kind": "request", "verb": "scale", "accepted": False, "cause": "c"},
        {"kind": "checkpoint", "step": 3, "path": "p"},
        {"kind": "compression", "step": 5, "sparsity": {"a": 0.5}, "total": 0.25},
        {"kind": "something new"},
    )
    assert [len(part) for part in (view.incidents, view.warnings, view.requests, view.checkpoints)] == [1] * 4
    assert (view.sparsity, view.total_sparsity) == ({"a": 0.5}, 0.25)


def test_an_ended_run_has_no_world_and_tells_its_cause():
    view = feed(RunView(), PLAN, generation(0), steps(0, 4), status("failed", "the reason"))
    assert view.done
    assert (view.world_size, view.eta_seconds) == (0, None)
    assert view.per_rank_throughput  # the last speeds stay to be looked at
    assert describe(view).endswith("the reason")


@pytest.mark.parametrize("held_back", [False, True])
def test_a_run_that_has_given_its_workers_back_trains_on_none_until_its_next_turn(held_back: bool):
    waits = {"kind": "status", "status": "queued", "cause": None}
    view = feed(RunView(), PLAN, generation(0), steps(0, 4), waits)
    if held_back:
        feed(view, waits | {"status": "paused", "cause": "held back"})
    assert (view.world_size, view.current_throughput) == (0, None)
    assert "workers" not in describe(view)
    feed(view, waits | {"status": "running"}, generation(4), steps(4, 8))
    assert view.world_size == 2


def test_a_series_grows_and_is_cut():
    series = Series(np.int64)
    series.extend(range(5000))
    assert series.array.tolist() == list(range(5000))
    series.truncate(10)
    series.truncate(20)
    assert len(series) == 10


def test_a_resume_just_behind_a_report_keeps_that_report():
    view = feed(RunView(), PLAN, generation(0), steps(0, 10), generation(10))
    assert view.report_steps.array.tolist() == [10]
    assert all(len(values) == 1 for values in view.metrics.values())


def test_the_rate_is_that_of_the_last_seconds_and_of_the_last_report_alone_if_it_is_the_only_one():
    view = feed(RunView(), PLAN, {**steps(0, 10), "time": 10.0}, {**steps(10, 20), "time": 12.0})
    assert view.current_throughput == 40.0
    view.feed({**steps(20, 30, seconds=1.0), "time": 19.0})  # the first report is 9 s old
    assert view.current_throughput == 160 / 3
    view.feed({**steps(30, 40, seconds=4.0), "time": 60.0})
    assert view.current_throughput == 20.0


def test_a_metric_that_begins_late_has_nothing_to_say_of_reports_before():
    view = feed(RunView(), PLAN, steps(0, 10), steps(10, 20, metrics={"late": 1.0, "accuracy": None}))
    assert np.array_equal(view.metrics["late"], [np.nan, 1.0], equal_nan=True)
    assert np.array_equal(view.metrics["accuracy"], [0.5, np.nan], equal_nan=True)


def test_a_reader_hears_whether_anything_was_new(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    view = RunView(tmp_path / "events.jsonl")
    assert not view.refresh()
    log.append("status", status="running", cause=None, driver_pid=7)
    assert view.refresh()
    assert not view.refresh()
    assert view.misfits == 0
    log.append("status", status=5)
    assert view.refresh()
    assert view.misfits == 1


def test_norms_of_steps_that_are_repeated_are_dropped():
    rows = [[step, 8, 2, 1, 2.0, 1.0] for step in (1, 3)]
    view = feed(RunView(), PLAN, generation(0), steps(0, 4, norms=rows, accumulated=2))
    assert (list(view.norms), view.accumulated) == (rows, 2)
    feed(view, generation(2))
    assert list(view.norms) == rows[:1]


@pytest.mark.parametrize("more", [{"norms": [[1, 2]]}, {"norms": [["a"] * 6]}, {"accumulated": "two"}])
def test_norms_that_are_none_do_not_count(more: dict[str, Any]):
    with pytest.raises(TypeError, match=r"steps\.(norms|accumulated)"):
        feed(RunView(), PLAN, steps(0, 4, **more))


def test_a_driver_that_finds_the_clock_set_back_makes_no_negative_time_and_no_old_rate():
    view = feed(RunView(), PLAN, status("running"), generation(0))
    for place in range(4):
        feed(view, steps(place * 4, place * 4 + 4, time=10_000.0 + 2 * place))
    assert view.seconds == 10_006.0
    feed(view, {**status("running"), "time": 6_400.0})  # resumed after an hour was taken from the clock
    fast = {"seconds": 0.5, "samples": [64, 64]}
    for place in range(4, 8):
        feed(view, steps(place * 4, place * 4 + 4, time=6_400.0 + 0.5 * (place - 3), **fast))
    assert view.seconds == 10_008.0
    assert view.current_throughput == pytest.approx(256)
