"""What a driver says of its run to the others of a pool: each field by hand, from what the run does."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lepton_kit.models.footprint import WORKER_BYTES
from lepton_kit.rundir import Status
from lepton_kit.runtime.pool import share
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.share import RUN_BYTES, TURN_SECONDS, Share
from tests.configs import any_config
from tests.runtime.pool.lab import Lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path / "pool", monkeypatch, cores=4)


@pytest.mark.parametrize(
    ("workers", "batch", "expected"),
    [
        ({}, 64, {"least": 1, "most": 4, "cores": 4, "share": 1.0, "priority": 0}),
        ({"min_workers": 2, "max_workers": 3}, 64, {"least": 2, "most": 3}),
        ({"min_workers": 9, "max_workers": 12}, 64, {"least": 4, "most": 12}),
        ({"max_workers": 12}, 8, {"most": 8}),
        ({"standby": 2}, 64, {"most": 4}),
        ({"share": 3.0, "priority": -2}, 64, {"share": 3.0, "priority": -2}),
        ({"hosts": ["one:2", "two:3"]}, 64, {"machine": "one:2, two:3", "cores": 5, "most": 5}),
    ],
)
def test_what_it_asks_for_is_what_its_configuration_says(
    lab: Lab, workers: dict[str, Any], batch: int, expected: dict[str, Any]
):
    config = any_config(workers={"count": "auto", **workers}, training={"global_batch": batch})
    entry = Share(config, "a", lambda: PoolFolder(lab.folder)).entry
    assert {name: getattr(entry, name) for name in expected} == expected
    assert entry.run_bytes == RUN_BYTES + workers.get("standby", 0) * entry.worker_bytes
    assert entry.worker_bytes >= WORKER_BYTES
    assert (entry.since, entry.held, entry.state) == (entry.arrived, 0, "queued")


def test_when_it_may_lose_its_workers_is_the_end_of_its_turn_or_of_its_pause(lab: Lab):
    a = lab.run("a")
    lab.follow(a, settled=False)
    began = lab.now
    told = []
    for seconds in (50, TURN_SECONDS - 1, TURN_SECONDS, 10 * TURN_SECONDS):
        lab.now = began + seconds - share.FOLLOW_SECONDS
        lab.follow(a, settled=False)
        told.append((a.share.entry.keeps_seconds, a.share.entry.suspendable))
    assert told == [(TURN_SECONDS - 50, False), (1.0, False), (0.0, True), (0.0, True)]
    a.view.status = Status.PAUSED
    told, paused = [], lab.now
    for seconds in (1, TURN_SECONDS, TURN_SECONDS + 50):
        lab.now = paused + seconds - share.FOLLOW_SECONDS
        lab.follow(a, settled=False)
        told.append((a.share.entry.keeps_seconds, a.share.entry.suspendable))
    assert told == [(TURN_SECONDS - 1, False), (0.0, True), (0.0, True)]


@pytest.mark.parametrize(
    ("status", "cap", "keeps"),
    [(Status.RUNNING, None, True), (Status.PAUSED, 1, True), (Status.STARTING, 4, False), (Status.STOPPING, 4, False)],
)  # fmt: skip
def test_one_that_is_paused_needs_its_least_and_one_that_starts_takes_no_more(lab: Lab, status, cap, keeps):
    a = lab.run("a")
    a.view.status = status
    lab.follow(a, settled=False)
    assert (a.share.entry.cap, a.share.entry.state) == (cap, str(status))
    assert (a.share.entry.keeps_seconds is not None) == keeps


@pytest.mark.parametrize(("there", "wished", "held"), [(3, 4, 4), (5, 4, 4), (6, 4, 5), (2, 1, 1)])
def test_it_holds_what_it_has_or_has_begun_to_start_but_for_those_that_stand_by(
    lab: Lab, there: int, wished: int, held: int
):
    a = lab.run("a", standby=1, max_workers=8)
    a.wishes.workers = wished
    a.roster.members = dict(enumerate([SimpleNamespace(memory_bytes=7, place=None)] * there))
    a.view.status = Status.STARTING
    a.share.follow(lab.now + 1, a.wishes, a.view, a.roster)
    assert (a.share.entry.held, a.share.entry.used_bytes) == (held, 7 * there + RUN_BYTES)


def test_a_speed_is_blended_with_what_was_measured_before_and_not_taken_from_a_new_ring(lab: Lab):
    a = lab.run("a")

    def measured(
        rate: float | None, generations: list[dict[str, Any]], seconds: float = 1.0
    ) -> dict[int, float]:
        lab.now += seconds
        a.view.current_throughput, a.view.generations = rate, generations
        a.share.follow(lab.now, a.wishes, a.view, a.roster)
        return dict(a.share.entry.speeds)

    first = [{"seconds": 0.2}]
    assert measured(1.0, first) == {}
    assert measured(1.0, first) == {}
    assert measured(400.0, first) == {}, "two seconds after the ring was seen"
    assert measured(400.0, first) == {4: 400.0}
    assert measured(500.0, first) == {4: pytest.approx(430.0)}
    assert measured(None, first) == {4: pytest.approx(430.0)}
    assert a.share.entry.pause_seconds == 0.2
    assert measured(9.0, [*first, {"seconds": None}]) == {4: pytest.approx(430.0)}
    assert a.share.entry.pause_seconds == 0.2, "the pause is not over"
    a.view.status = Status.PAUSED
    assert measured(9.0, [*first, {"seconds": 3.0}], 5.0) == {4: pytest.approx(430.0)}


def test_what_is_left_is_in_samples_and_not_known_without_a_last_step(lab: Lab):
    a = lab.run("a")
    for total, step, left in ((100, 40, 60 * 64.0), (100, 100, 0.0), (100, 130, 0.0), (None, 5, None)):
        a.view.total_steps, a.view.step = total, step
        lab.follow(a, settled=False)
        assert a.share.entry.left == left


def test_seconds_are_those_of_its_processes_once_it_trains(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    own = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: own[0])
    a = lab.run("a")
    lab.follow(a, settled=False)
    before = a.share.entry.seconds
    own[0], a.roster.own_seconds = 2.0, 5.0
    lab.follow(a, settled=False)
    assert a.share.entry.seconds - before == pytest.approx(7.0)
    a.view.status = Status.STARTING
    lab.follow(a, settled=False)
    assert a.share.entry.seconds - before == pytest.approx(7.0 + 4 * share.FOLLOW_SECONDS)
    own[0] = 100.0
    lab.follow(a, settled=False)
    assert a.share.entry.seconds - before == pytest.approx(7.0 + 4 + 98.0), "whichever is more"


def test_it_looks_once_a_second(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    a = lab.run("a")
    looks = []
    monkeypatch.setattr(a.share, "look", lambda: looks.append(lab.now) or a.grant)
    for _ in range(30):
        lab.now += 0.25
        a.share.follow(lab.now, a.wishes, a.view, a.roster)
    assert [later - sooner for sooner, later in itertools.pairwise(looks)] == [1.0] * (len(looks) - 1)
    assert len(looks) == 8


def test_who_gives_its_workers_back_begins_anew_in_line(lab: Lab):
    a = lab.run("a")
    lab.follow(a)
    lab.now += 1000.0
    a.share.wait_again(paused=False)
    entry = a.share.entry
    assert (entry.held, entry.used_bytes, entry.cap, entry.places, entry.state) == (0, 0, None, {}, "queued")
    assert (entry.suspendable, entry.keeps_seconds, entry.since) == (False, None, lab.now)
    assert (a.share.again, a.share.paused, a.share.granted) == (True, False, None)
