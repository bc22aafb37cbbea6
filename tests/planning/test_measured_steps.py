"""Measured steps out of a run's log: which reports count, and what becomes of them."""

import math
from typing import Any

import numpy as np
import pytest

from lepton_kit.planning.measured_steps import read
from lepton_kit.planning.scaling import Link

PLAN = {"kind": "plan", "samples": 640, "validation_samples": 0, "global_batch": 64, "steps_per_epoch": 10, "epochs": 3,
        "total_steps": 30, "parameters": 100}  # fmt: skip


def ring(workers: int, host: str = "localhost", apart: bool = False) -> list[dict[str, Any]]:
    """A ring of workers 0, 1, … on one host, or each on one of its own."""
    told = [{"worker": k, "host": f"{host}/{k}" if apart else host} for k in range(workers)]
    return [
        {"kind": "workers", "workers": told},
        {"kind": "generation", "ranks": list(range(workers)), "world_size": workers},
    ]


def steps(seconds: float, workers: int, count: int = 10, **changes: Any) -> dict[str, Any]:
    """A report of so many steps of so many seconds each."""
    each = [0.5 * seconds * count] * workers
    return {
        "kind": "steps", "first": 0, "last": count, "world_size": workers, "seconds": seconds * count, "busy": each,
        "data": [0.0] * workers, "waited": [0.0] * workers, "communicated": 0.2 * seconds * count,
        "samples": [64 * count // workers] * workers,
    } | changes  # fmt: skip


def test_each_number_of_workers_has_a_row_with_its_median_step():
    events = [
        PLAN,
        *ring(1),
        steps(9.0, 1),
        *(steps(s, 1) for s in (0.10, 0.12, 0.11)),
        *ring(2),
        steps(9.0, 2),
        steps(0.06, 2),
    ]
    one, two = read(events, places=4).rows
    assert (one.setting.workers, one.setting.batch, one.setting.places) == (1, 64, 4)
    assert one.seconds == pytest.approx(0.11)
    assert one.parts["compute"] == pytest.approx(0.055)
    assert one.parts["communicate"] == pytest.approx(0.022)
    assert one.scatter > 0
    assert two.seconds == pytest.approx(0.06)
    assert one.setting.longest_block == 10


@pytest.mark.parametrize(
    ("collective", "workers", "flat"),
    [("horovod", 2, True), ("horovod", 1, False), ("shared_memory", 2, False), ("hierarchical", 2, False)],
)
def test_the_law_is_that_of_the_path_by_which_the_ring_has_added_up(collective, workers, flat):
    told, formed = ring(workers)
    events = [PLAN, told, formed | {"collective": collective}, steps(9.0, workers), steps(0.1, workers)]
    (row,) = read(events, places=2).rows
    assert row.setting.flat is flat


def test_a_ring_that_comes_back_counts_with_its_first_time():
    events = [
        PLAN,
        *ring(1),
        steps(9.0, 1),
        steps(0.1, 1),
        *ring(2),
        steps(9.0, 2),
        steps(0.06, 2),
        *ring(1),
        steps(9.0, 1),
        steps(0.3, 1, 30),
    ]
    rows = {row.setting.workers: row for row in read(events, places=2).rows}
    assert rows[1].seconds == pytest.approx(0.3)
    assert len(rows) == 2


def test_what_follows_a_pause_and_unequal_parts_are_passed_over():
    events = [
        PLAN, *ring(2), steps(9.0, 2), steps(0.1, 2), {"kind": "status", "status": "paused"}, steps(7.0, 2, 100),
        steps(5.0, 2, 100, samples=[4000, 2400]),
    ]  # fmt: skip
    (row,) = read(events, places=2).rows
    assert row.seconds == pytest.approx(0.1)


def test_reports_with_a_validation_count_only_where_there_are_no_others():
    checked = {"kind": "epoch", "validation": {"loss": 1.0}, "seconds": 3.0}
    mixed = [PLAN, *ring(1), steps(9.0, 1), steps(0.1, 1), steps(0.3, 1, 30), checked]
    assert read(mixed, places=1).rows[0].seconds == pytest.approx(0.1)
    only = [PLAN, *ring(1), steps(9.0, 1), steps(0.3, 1), checked]
    assert read(only, places=1).rows[0].seconds == pytest.approx(0.3)


def test_reports_with_a_smaller_last_batch_count_only_where_there_are_too_few_others():
    """20 steps of 64 samples, of which the last had 40; what makes a graph for it takes long."""
    cut = steps(0.5, 1, 20, samples=[19 * 64 + 40])
    whole = [steps(one, 1) for one in (0.10, 0.11, 0.12)]
    (row,) = read([PLAN, *ring(1), steps(9.0, 1), *whole, cut, cut, cut], places=1).rows
    assert row.seconds == pytest.approx(0.11)
    assert row.parts["compute"] == pytest.approx(0.055)
    (row,) = read([PLAN, *ring(1), steps(9.0, 1), *whole[:2], cut, cut], places=1).rows
    assert row.seconds == pytest.approx(0.5)


def test_the_seconds_of_an_epoch_beside_its_steps_are_those_of_whole_epochs():
    end = {"kind": "epoch", "validation": None}
    events = [
        PLAN,
        *ring(1),
        steps(9.0, 1),
        steps(0.1, 1),
        end | {"seconds": 99.0},
        steps(0.1, 1),
        end | {"seconds": 1.4},
    ]
    assert read(events, places=1).beside == pytest.approx(0.4)
    assert read(events[:4], places=1).beside is None


def test_an_epoch_in_which_the_ring_changed_or_that_was_paused_is_none_of_its_seconds():
    end = {"kind": "epoch", "validation": None}
    begin = [PLAN, *ring(1), steps(9.0, 1), steps(0.1, 1), end | {"seconds": 50.0}]
    whole = [steps(0.1, 1), end | {"seconds": 1.5}]
    paused = [{"kind": "status", "status": "paused"}, end | {"seconds": 60.0}]
    changed = [*ring(2), steps(9.0, 2), steps(0.1, 2), end | {"seconds": 70.0}]
    assert read([*begin, *paused, *whole], places=2).beside == pytest.approx(0.5)
    assert read([*begin, *whole, *changed], places=2).beside == pytest.approx(0.5)
    assert read([*begin, *paused], places=2).beside is None
    assert read([*begin, {"kind": "status", "status": "running"}, *whole], places=2).beside == pytest.approx(
        0.5
    )
    several = [end | {"seconds": seconds} for seconds in (1.1, 1.3, 9.0)]
    assert read([*begin, *several], places=2).beside == pytest.approx(0.3)
    assert read([*begin, end | {"seconds": 0.2}], places=2).beside == 0.0  # steps of before were longer


def test_parts_that_differ_as_whole_numbers_must_are_equal():
    for samples, count in [([3, 2], 1), ([111, 89], 1), ([112, 88], 0), ([39, 30, 36], 1), ([40, 10, 25], 0)]:
        workers = len(samples)
        events = [PLAN, *ring(workers), steps(9.0, workers), steps(0.1, workers, samples=samples)]
        assert len(read(events, places=2).rows) == count, samples


def test_long_reports_count_as_many_steps_and_parts_by_all_of_the_time():
    short, long = steps(0.1, 2, 10), steps(0.3, 2, 25, busy=[1.5, 3.0], data=[0.5, 1.0], waited=[2.0, 1.0])
    (row,) = read([PLAN, *ring(2), short, short, short, long], places=2).rows  # the first is passed over
    assert row.seconds == pytest.approx(0.3)
    whole = 1.0 + 1.0 + 7.5
    assert row.parts["compute"] == pytest.approx(0.3 * (0.5 + 0.5 + 2.25) / whole)
    assert row.parts["data"] == pytest.approx(0.3 * 0.75 / whole)
    assert row.parts["wait"] == pytest.approx(0.3 * 1.5 / whole)
    assert row.parts["communicate"] == pytest.approx(0.3 * 0.2)


def test_the_scatter_is_how_far_such_a_median_is_off():
    draw = np.random.default_rng(2)
    found = []
    for _ in range(300):
        events = [PLAN, *ring(1), steps(9.0, 1), *(steps(one, 1) for one in draw.normal(0.1, 0.01, 25))]
        found += read(events, places=1).rows
    deviation = np.std([row.seconds for row in found]) / 0.1
    assert np.mean([row.scatter for row in found]) == pytest.approx(deviation, rel=0.15)
    (same,) = read([PLAN, *ring(1), steps(9.0, 1), steps(0.1, 1), steps(0.1, 1)], places=1).rows
    assert same.scatter == 0.0


def test_blocks_are_as_long_as_an_epoch_and_not_longer_than_they_may_be():
    for epoch, longest in [(1, 1), (63, 63), (64, 64), (1000, 64)]:
        events = [PLAN | {"steps_per_epoch": epoch}, *ring(1), steps(9.0, 1), steps(0.1, 1)]
        assert read(events, places=1).rows[0].setting.longest_block == longest


def test_without_a_plan_or_before_a_ring_there_are_no_rows():
    assert read([*ring(1), steps(9.0, 1), steps(0.1, 1)], places=1).rows == ()
    end = {"kind": "epoch", "validation": {"loss": 1.0}, "seconds": 3.0}
    assert read([PLAN, steps(9.0, 1), end, *ring(1), end, steps(9.0, 1)], places=1).rows == ()


def test_a_link_is_that_between_hosts_alone():
    link = Link(1e9, 1e-3)
    (alone,) = read([PLAN, *ring(2), steps(9.0, 2), steps(0.1, 2)], places=2, link=link).rows
    assert alone.setting.link.bits == math.inf
    (agents,) = read([PLAN, *ring(2, apart=True), steps(9.0, 2), steps(0.1, 2)], places=2, link=link).rows
    assert (agents.setting.link, agents.setting.together) == (link, True)
    mixed = [
        PLAN,
        {"kind": "workers", "workers": [{"worker": 0}, {"worker": 1, "host": "box"}]},
        *ring(2)[1:],
    ]
    (row,) = read([*mixed, steps(9.0, 2), steps(0.1, 2)], places=2, link=link).rows
    assert (row.setting.hosts, row.setting.together) == (2, False)


def test_agents_on_this_machine_share_it_and_other_machines_need_their_link():
    here = [PLAN, *ring(2, apart=True), steps(9.0, 2), steps(0.1, 2)]
    (row,) = read(here, places=2).rows
    assert (row.setting.hosts, row.setting.together) == (2, True)
    away = [PLAN, *ring(2, "box", apart=True), steps(9.0, 2), steps(0.1, 2)]
    assert read(away, places=2).rows == ()
    (row,) = read(away, places=2, link=Link(1e9, 1e-3)).rows
    assert (row.setting.hosts, row.setting.together, row.setting.link.bits) == (2, False, 1e9)


def test_steps_are_those_of_the_wire_that_the_run_had():
    for wire, size in (("float32", 4), ("float16", 2)):
        (row,) = read([PLAN, *ring(1), steps(9.0, 1), steps(0.1, 1)], places=1, wire=wire).rows
        assert row.setting.wire_bytes == size


def test_a_log_of_an_earlier_version_has_steps_without_parts():
    old = {
        name: value for name, value in steps(0.1, 1).items() if name not in ("data", "waited", "communicated")
    }
    for later in (old, steps(0.1, 1)):  # a newer version may have gone on with the run
        (row,) = read([PLAN, *ring(1), old, old, later], places=1).rows
        assert row.parts == {}
    assert read([PLAN, *ring(1), steps(0.1, 1), steps(0.1, 1), old], places=1).rows[0].parts == {}


def test_an_empty_log_tells_nothing():
    told = read([], places=1)
    assert (told.rows, told.beside, dict(told.facts)) == ((), None, {})
