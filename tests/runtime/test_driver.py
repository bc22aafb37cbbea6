"""What a driver decides, on an executor without processes: whom it starts, joins, wakes, kills, and what it writes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import pytest

from lepton_kit.rundir import RunView, send_request
from lepton_kit.runtime import roster
from lepton_kit.runtime.executor import Ended, Loss
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.places import Ability, Place
from lepton_kit.training import messages
from tests.runtime.fakes import FakeExecutor
from tests.runtime.staged import PLACES, Stage, trained


def test_workers_start_at_the_first_places_and_join_once_all_are_ready(begin: Any):
    stage = begin(FakeExecutor(PLACES), count=2)
    stage.turn()
    assert stage.executor.at == {0: PLACES[0], 1: PLACES[1]}
    assert stage.told(messages.Prepare) == [0, 1]
    stage.ready(0)
    assert not stage.joins()
    stage.ready(1)
    stage.train(1)
    assert sorted(stage.joins()) == [0, 1]
    assert stage.view().status == "running"


def test_ranks_of_a_host_stand_together_and_each_has_the_speed_of_its_place(begin: Any):
    stage = trained(begin, 4)
    found = {worker: one.membership for worker, one in stage.joins().items()}
    assert [found[worker].rank for worker in range(4)] == [0, 2, 1, 3]
    seats = [one.seat for one in found.values() if one.seat is not None]
    assert [(one.local_rank, one.local_size, one.cross_size) for one in seats] == [
        (0, 2, 2), (0, 2, 2), (1, 2, 2), (1, 2, 2),
    ]  # fmt: skip
    assert {one.interface for one in found.values()} == {"eth0"}
    assert all(one.weights == [1.0, 1.0, 3.0, 3.0] for one in stage.joins().values())
    (generation,) = stage.view().generations
    assert generation["ranks"] == [0, 2, 1, 3]
    assert generation["cut"] == [10, 10, 30, 30]


def test_the_survivors_of_a_worker_are_woken_and_its_place_is_given_again(begin: Any):
    stage = trained(begin, 3)
    stage.executor.over.append(Ended(1, -9))
    stage.turn()
    assert stage.told(messages.Abort) == [0, 2]
    stage.leave(1, 0, 2, outcome="broken")
    assert [one.membership.generation for one in stage.joins().values()] == [2, 1, 2]
    stage.train(2)
    assert stage.executor.at[3] == PLACES[1], "the slot that is free again, with its speed"
    view = stage.view()
    assert [one["what"] for one in view.incidents] == ["killed by signal 9 (SIGKILL)"]
    assert view.generations[-1]["cut"] == [40, 40]


def test_a_host_that_is_lost_is_one_failure_for_all_its_workers(begin: Any):
    stage = trained(begin, 4, max_failures=1)
    stage.executor.lost.append(Loss("host b is gone"))
    stage.executor.over += [Ended(worker, None, "went with host b", excused=True) for worker in (1, 3)]
    assert stage.turn() is None
    stage.leave(1, 0, 2, outcome="broken")
    stage.train(2)
    view = stage.view()
    assert [one["what"] for one in view.incidents] == ["went with host b"] * 2
    assert view.generations[-1]["cause"] == "host b is gone"


def test_failures_without_progress_end_the_run(begin: Any):
    stage = trained(begin, 2, max_failures=0)
    stage.executor.over.append(Ended(1, 1))
    status, cause = stage.turn()
    assert status == "failed"
    assert "worker 1 lost: exited with code 1" in cause


def test_where_nothing_can_be_started_the_run_fails_with_the_cause(
    begin: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lepton_kit.runtime.driver.VERDICT_SECONDS", 0.0)
    stage = begin(FakeExecutor(PLACES), count=1)
    stage.executor.lost.append(Loss("TensorFlow can't be loaded", final=True))
    stage.turn()
    assert stage.turn() == ("failed", "TensorFlow can't be loaded")


def test_whoever_says_nothing_for_too_long_is_killed_and_named(begin: Any, monkeypatch: pytest.MonkeyPatch):
    stage = trained(begin, 2, hang_seconds=30.0)
    late = time.monotonic() + 1.0
    for seconds, said in ((0.0, (0, 1)), (1.5, (0,)), (29.0, (0,)), (31.0, (0,))):
        # In steps, since a driver that was held up itself forgives the silence of that time.
        monkeypatch.setattr(time, "monotonic", lambda now=late + seconds: now)
        stage.driver._last_tick = late + seconds - 0.1
        stage.turn(*((worker, messages.Alive(memory_bytes=1, cpu_seconds=0.0)) for worker in said))
    assert stage.executor.killed == [1]
    stage.executor.over.append(Ended(1, -9))
    stage.turn()
    assert stage.view().incidents[0]["what"] == "hung: nothing heard for 31 s; killed"
    assert stage.driver._failures == 1  # unlike one that is ended for another's sake


def test_a_standby_that_hangs_is_ended_before_any_ring_waits_for_it(
    begin: Any, monkeypatch: pytest.MonkeyPatch
):
    stage = trained(begin, 2, standby=1, hang_seconds=30.0)
    monkeypatch.setattr(roster, "QUIET_SECONDS", 2.0)
    stage.ready(2)
    late = time.monotonic() + 1.0
    for seconds in (0.0, 1.5, 3.0):
        monkeypatch.setattr(time, "monotonic", lambda now=late + seconds: now)
        stage.driver._last_tick = late + seconds - 0.1
        stage.turn(*((worker, messages.Alive(memory_bytes=1, cpu_seconds=0.0)) for worker in (0, 1)))
    stage.executor.over.append(Ended(1, -9))
    stage.turn()
    stage.leave(1, 0, outcome="broken")
    assert [w for w, join in stage.joins().items() if join.membership.generation == 2] == [0]


@pytest.mark.parametrize(
    ("sharing", "collective", "sizes", "seats"),
    [
        ("host", "hierarchical", [2, 2, 2, 2], 2),
        ("host", "horovod", [1, 1, 1, 1], 4),
        ("none", "horovod", [1, 1, 1, 1], 4),
    ],
)
def test_hosts_make_their_own_shared_memory_which_only_sums_by_hosts_use(
    begin: Any, sharing: Any, collective: str, sizes: list[int], seats: int
):
    executor = FakeExecutor(PLACES, Ability(sharing, "fetched"))
    stage = begin(executor, count=4)
    stage.collective = collective
    stage.turn()
    stage.ready(0, 1, 2, 3)
    assert {one.sharing for _, one in executor.sent if isinstance(one, messages.Prepare)} == {sharing}
    found = list(stage.joins().values())
    assert [one.descriptor for one in found] == [None] * 4
    assert [one.membership.shared_size for one in found] == sizes
    assert [one.membership.seat is not None for one in found].count(True) == seats
    stage.train(1)
    assert [one["collective"] for one in stage.view().generations] == [collective]


def test_warm_workers_at_places_that_the_run_does_not_have_are_dismissed(begin: Any):
    executor = FakeExecutor(PLACES)
    group = WorkerGroup(executor)
    group.spawn(), group.spawn()
    executor.offered = [Place("a", 0, "cpu", threads=2), PLACES[1]]
    stage = begin(executor, group, count=2)
    stage.turn()
    assert stage.told(messages.Exit) == [0]
    assert executor.at[2] == executor.offered[0]


def test_what_no_worker_says_is_an_error_that_names_it(begin: Any):
    stage = begin(FakeExecutor(PLACES), count=1)
    stage.turn()
    with pytest.raises(Exception, match=r"worker 0 said what no worker says: Exit\(\)"):
        stage.turn((0, messages.Exit()))


def test_notes_of_a_model_become_warnings_once(begin: Any, stages: list[Stage]):
    notes = ["batch statistics differ", "random layers differ"]
    stage = begin(FakeExecutor(PLACES), count=1)
    assert [warning["text"] for warning in stage.view().warnings] == notes
    stages.remove(stage)
    stage.close()
    stages.append(Stage(stage.paths, FakeExecutor(PLACES)))  # the same run, resumed
    assert [warning["text"] for warning in stage.view().warnings] == notes


def test_a_worker_is_made_slow_and_the_log_tells_which(begin: Any):
    stage = begin(FakeExecutor(PLACES), count=2)
    stage.turn()
    send_request(stage.paths, "slow", rank=0, factor=3.0)
    assert stage.turn() is None
    assert stage.view().requests[-1]["cause"] == "rank: got 0; expected a rank, and none trains now"
    stage.ready(0, 1)
    stage.train(1)
    for rank, how in ((1, {"factor": 3.0}), (1, {"data_seconds": 0.5}), (0, {"factor": 1.0})):
        send_request(stage.paths, "slow", rank=rank, **how)
    send_request(stage.paths, "slow", rank=2, factor=3.0)
    stage.turn()
    assert [
        (worker, one.content) for worker, one in stage.executor.sent if isinstance(one, messages.Slow)
    ] == [
        (1, {"factor": 3.0, "data_seconds": None}),
        (1, {"factor": None, "data_seconds": 0.5}),
        (0, {"factor": 1.0, "data_seconds": None}),
    ]
    assert [one["slowed"] for one in stage.view().workers] == [{}, {"factor": 3.0, "data_seconds": 0.5}]
    assert stage.view().requests[-1]["cause"] == "rank: got 2; expected a rank from 0 to 1"


def break_while_forming(begin: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, *said: Any) -> Stage:
    """Three workers that join; the last one dies, and so much time goes by."""
    stage = begin(FakeExecutor(PLACES), count=3)
    stage.turn()
    stage.ready(0, 1, 2)
    stage.turn(*said)
    stage.executor.over.append(Ended(2, -9))
    stage.turn()
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start + seconds)
    stage.turn()
    return stage


@pytest.mark.parametrize(("seconds", "killed"), [(1.0, []), (2.0, [1])])
def test_whoever_waits_in_horovod_for_a_lost_peer_is_ended_and_no_other(
    begin: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, killed: list[int]
):
    """At the first start too, when no checkpoint is there and no step is done."""
    joining, joined = messages.Joining(generation=1), messages.Joined(generation=1)
    stage = break_while_forming(begin, monkeypatch, seconds, (0, joining), (1, joining), (0, joined))
    assert stage.executor.killed == killed
    assert stage.told(messages.Abort) == [0, 1]


def test_whoever_still_saves_the_state_is_left_alone(begin: Any, monkeypatch: pytest.MonkeyPatch):
    stage = break_while_forming(begin, monkeypatch, 60.0)
    assert stage.executor.killed == []


def test_one_that_was_ended_so_is_no_failure_of_its_own(begin: Any, monkeypatch: pytest.MonkeyPatch):
    stage = break_while_forming(begin, monkeypatch, 2.0, (0, messages.Joining(generation=1)))
    stage.executor.over.append(Ended(0, -9))
    stage.turn()
    assert stage.driver._failures == 1
    assert stage.view().incidents[-1]["what"] == "did not leave its broken ring; killed"


def test_a_host_whose_workers_share_no_memory_is_named_once(begin: Any):
    places = [replace(place, shares=place.host == "a") for place in PLACES]
    executor = FakeExecutor(places, Ability("host", "fetched"))
    stage = begin(executor, count=4)
    stage.collective = "hierarchical"
    stage.turn()
    stage.ready(0, 1, 2, 3)
    stage.train(1)
    assert [one.membership.shared_size for one in stage.joins().values()] == [2, 1, 2, 1]
    told = [one["text"] for one in stage.view().warnings]
    assert (
        sum(one.startswith("b: the library for sums in shared memory is not built there") for one in told)
        == 1
    )


class Impatient:
    """A share that has others go first at once."""

    def begin(self, wishes: Any) -> None: ...

    def follow(self, now: float, wishes: Any, *rest: Any) -> None:
        wishes.suspend()

    def wait_again(self, paused: bool) -> None:
        self.waits_paused = paused


def test_a_run_that_others_go_before_ends_its_workers_and_waits_without_a_last_word(
    begin: Any, stages: list[Stage]
):
    stage = begin(FakeExecutor(PLACES), count="auto")
    stage.driver._share = Impatient()
    stage.driver._last_check = 0.0
    assert stage.driver.run() == "queued"
    assert stage.driver._share.waits_paused is False
    view = stage.view()
    assert (view.status, view.cause, view.workers) == ("queued", None, [])
    assert stage.paths.read_status()["status"] == "queued"
    stages.remove(stage)  # what else it held is closed
    os.close(stage.driver._lock)


def test_what_its_machines_took_is_written(begin: Any):
    stage = trained(begin, 2)
    took = {"joules": 5.0, "low": 4.0, "high": 6.0, "idle": 1.0, "origin": "estimated", "seconds": 5.0, "of": ["processors"], "why": "no counter"}  # fmt: skip
    stage.executor.took = [{**took, "host": "a"}, {**took, "host": "b"}]
    stage.driver._last_check = 0.0
    stage.turn()
    view = RunView(stage.paths.events)
    view.refresh()
    assert (view.energy.joules, list(view.energy.hosts), view.energy.origin) == (
        10.0,
        ["a", "b"],
        "estimated",
    )
    stage.executor.took = [took]
    stage.driver._note_energy(fresh=True)  # as its end does
    view.refresh()
    assert view.energy.joules == 15.0
    assert stage.executor.asked_fresh == 1
