"""A driver's part in a pool: what it tells the others, when it takes more and when it gives back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lepton_kit.errors import RunError
from lepton_kit.models.footprint import WORKER_BYTES
from lepton_kit.rundir import Status
from lepton_kit.runtime.pool import load, share
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.load import LOOK_SECONDS, ForeignLoad, busy_seconds
from lepton_kit.runtime.pool.members import entries
from lepton_kit.runtime.pool.share import Share
from lepton_kit.runtime.wishes import Wishes
from tests.configs import any_config
from tests.runtime.pool.lab import Lab


def seen(others: list[float], own: float = 1.0, cores: int = 4) -> list[int | None]:
    """What is free after each look; ``others`` are cores that other programs keep busy meanwhile."""
    made, now, busy, mine = ForeignLoad(cores), 0.0, 0.0, 0.0
    made.look(now, busy, {"me": mine})
    found = []
    for foreign in others:
        now, mine = now + LOOK_SECONDS, mine + own * LOOK_SECONDS
        busy += (own + foreign) * LOOK_SECONDS
        made.look(now, busy, {"me": mine})
        found.append(made.free)
    return found


def test_what_others_take_is_not_free_and_a_single_peak_is_passed_over():
    assert seen([0, 0, 2, 2, 2, 0, 0]) == [None, 4, 4, 2, 2, 2, 4]
    assert seen([0, 0, 3, 0, 0]) == [None, 4, 4, 4, 4]
    assert seen([9, 9])[-1] == 0


def test_a_look_too_early_sees_nothing():
    made = ForeignLoad(4)
    made.look(0.0, 0.0, {})
    for early in (0.1, 0.2, 0.9 * LOOK_SECONDS):
        made.look(early, 100.0, {})
    assert made.free is None


def test_the_other_runs_of_the_pool_are_no_foreign_load_also_when_they_come_and_go():
    made = ForeignLoad(8)
    made.look(0.0, 0.0, {"a": 50.0})
    made.look(4.0, 8.0, {"a": 54.0, "b": 4.0})
    made.look(8.0, 16.0, {"a": 58.0, "b": 8.0})
    assert made.free == 8
    made.look(12.0, 20.0, {"a": 62.0})
    made.look(16.0, 24.0, {"a": 66.0})
    assert made.free == 8


def test_waiting_for_the_disk_and_guests_that_count_twice_are_no_work(monkeypatch: pytest.MonkeyPatch):
    import psutil

    class Times(NamedTuple):
        user: float = 30.0
        system: float = 5.0
        idle: float = 100.0
        iowait: float = 7.0
        guest: float = 11.0

    monkeypatch.setattr(psutil, "cpu_times", Times)
    assert busy_seconds() == 35.0

    class Fewer(NamedTuple):
        user: float = 30.0
        system: float = 5.0
        idle: float = 100.0

    monkeypatch.setattr(psutil, "cpu_times", Fewer)
    assert busy_seconds() == 35.0


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path / "pool", monkeypatch, cores=4)


def test_one_run_has_all_and_gives_half_to_a_second_which_waits_until_it_has(lab: Lab):
    a = lab.run("a")
    assert a.wishes.workers == 4
    lab.follow(a)
    b = lab.run("b")
    assert (b.grant.workers, b.grant.why) == (0, "waits until others give back what they have too much")
    lab.follow(a, a)
    assert a.wishes.workers == 2
    grant = b.share.look()
    assert grant.workers == 2
    b.share.begin(b.wishes)
    lab.follow(b, a)
    assert (a.wishes.workers, b.wishes.workers) == (2, 2)
    b.share.leave()
    lab.follow(a)
    assert a.wishes.workers == 4


def test_the_share_and_the_priority_of_the_configuration_count(lab: Lab):
    a = lab.run("a", share=3.0)
    b = lab.run("b")
    lab.follow(a, a)
    assert b.share.look().workers == 1
    b.share.begin(b.wishes)
    lab.follow(b, a)
    assert (a.wishes.workers, b.wishes.workers) == (3, 1)


def test_a_run_that_has_just_changed_is_left_alone_for_a_while(lab: Lab):
    a = lab.run("a")
    b = lab.run("b")
    lab.follow(a, a)
    assert b.share.look().workers == 2
    b.share.begin(b.wishes)
    lab.follow(b)
    assert a.wishes.workers == 2
    b.share.leave()
    lab.now += 0.0
    a.share._changed = lab.now
    lab.follow(a, settled=False)
    assert a.wishes.workers == 2
    lab.follow(a)
    assert a.wishes.workers == 4


def test_what_it_tells_is_what_was_measured(lab: Lab):
    a = lab.run("a")
    lab.follow(a, a)
    (told,) = entries(lab.folder)
    assert told.speeds == {4: pytest.approx(400.0)}
    assert told.left == 64e9
    assert (told.pause_seconds, told.state, told.held) == (0.2, "running", 4)
    assert told.used_bytes == 4 * WORKER_BYTES + share.RUN_BYTES


def test_memory_for_one_run_keeps_a_second_in_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lab = Lab(tmp_path / "pool", monkeypatch, 4, free=share.RUN_BYTES + int(2.5 * WORKER_BYTES))
    a = lab.run("a")
    assert a.wishes.workers == 2
    b = lab.run("b")
    assert (b.grant.workers, b.grant.why, b.grant.before) == (0, "waits for memory", 0)


def test_a_paused_run_keeps_its_least_and_the_others_use_the_rest(lab: Lab):
    a, b = lab.run("a"), lab.run("b")
    a.view.status = Status.PAUSED
    lab.follow(a, a)
    assert a.wishes.workers == 1
    assert b.share.look().workers == 3


def test_a_number_leaves_the_pool_and_auto_joins_it_again(lab: Lab):
    a = lab.run("a")
    a.wishes.apply("scale", {"workers": 1}, None)
    lab.follow(a)
    assert entries(lab.folder) == []
    a.wishes.apply("scale", {"workers": "auto"}, None)
    lab.follow(a, a)
    assert [one.held for one in entries(lab.folder)] == [4]
    assert a.wishes.workers == 4


@pytest.mark.parametrize("workers", [{"count": 2, "hosts": ["a:2"]}, {"count": "auto", "hosts": ["slurm"]}])
def test_a_number_of_workers_and_hosts_of_a_scheduler_take_no_part(lab: Lab, workers: dict[str, Any]):
    config = any_config(workers=workers)
    made = Share(config, "far", lambda: pytest.fail("it looked for the pool"))
    wishes = Wishes(config, 4)
    before = wishes.workers
    made.begin(wishes)
    made.follow(lab.now, wishes, None, None)  # type: ignore[arg-type]  # neither is looked at
    assert wishes.workers == before


def test_a_pool_that_is_lost_changes_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    a = lab.run("a")

    def gone(*_: object) -> list:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(share, "survey", gone)
    lab.follow(a)
    assert a.wishes.workers == 4


def test_runs_whose_folder_is_cleared_find_each_other_again_and_nobody_takes_what_is_held(lab: Lab):
    a, b = lab.run("a", max_workers=3), lab.run("b", max_workers=1)
    lab.follow(a, b)
    waits = lab.run("c")
    assert waits.grant.workers == 0
    shutil.rmtree(lab.folder)
    grant = waits.share.look()  # first of all, and sees nobody
    assert grant.workers == 0
    assert "cleared" in grant.why
    lab.follow(a, b, settled=False)
    assert {one.run: one.held for one in entries(lab.folder)} == {"a": 3, "b": 1, "c": 0}
    for path in lab.folder.glob("a*"):
        path.unlink()
    lab.follow(a, settled=False)
    assert [one.run for one in entries(lab.folder)] == ["a", "b", "c"]
    lab.now += share.JOIN_SECONDS
    lab.follow(a)
    assert (waits.share.look().workers, a.wishes.workers) == (1, 2)


@pytest.mark.parametrize("spoilt", [True, False])
def test_nobody_takes_what_a_run_holds_whose_file_somebody_has_deleted_or_spoilt(lab: Lab, spoilt: bool):
    a, b = lab.run("a", max_workers=2), lab.run("b", max_workers=2)
    lab.follow(a, b)
    waits, file = lab.run("c"), lab.folder / "a.json"
    if spoilt:
        file.write_bytes(b"\xff" * 100)
    else:
        file.unlink()
    b.wishes._limit = b.share.entry.most = 4
    new = lab.run("d")
    assert [one.grant.workers for one in (waits, new)] == [0, 0]
    assert "the file of a was deleted or spoilt, and is to be written anew" in new.grant.why
    with pytest.raises(RunError, match="the file of a was deleted or spoilt"):
        waits.share.look()
    lab.follow(b, settled=False)
    assert b.wishes.workers == 2, "it takes no more"
    lab.follow(a, settled=False)
    assert {one.run: one.held for one in entries(lab.folder)} == {"a": 2, "b": 2, "c": 0, "d": 0}
    a.share.leave()
    assert waits.share.look().workers >= 1, "one that leaves is not waited for"


def test_one_that_never_comes_back_is_forgotten_and_one_that_was_killed_at_once(lab: Lab):
    a = lab.run("a", max_workers=4)
    (lab.folder / "a.json").unlink()
    waits = lab.run("b")
    assert waits.grant.workers == 0
    lab.now += share.JOIN_SECONDS + 1
    assert waits.share.look().workers == 4
    waits.share.begin(waits.wishes)
    os.close(waits.share._membership.descriptor)  # its driver is killed
    assert lab.run("c").grant.workers == 4
    a.share.leave()


def test_until_it_trains_a_run_is_taken_to_use_what_it_holds(lab: Lab):
    a = lab.run("a")
    a.view.status = Status.STARTING
    before = a.share.entry.seconds
    lab.follow(a)
    assert a.share.entry.seconds - before == pytest.approx(4 * (share.SETTLE_SECONDS + 1), rel=0.2)
    assert load.LOOK_SECONDS > share.FOLLOW_SECONDS


def test_a_long_run_lets_one_that_has_waited_go_first_and_stops_to_go_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lab = Lab(tmp_path / "pool", monkeypatch, cores=1)
    a, b = lab.run("a"), lab.run("b")
    a.view.total_steps = 10**6
    lab.follow(a, a)
    b.share.entry.since = lab.now - 10_000.0
    assert not b.share.look().workers
    a.share._trains = lab.now
    lab.follow(a)
    assert not a.wishes.suspending, "its turn has just begun"
    lab.now += share.TURN_SECONDS
    b.share.look()
    lab.follow(a)
    assert a.wishes.suspending
    assert a.wishes.wanted.stopping
    assert not b.share.look().workers, "its worker is not gone yet"
    a.share.wait_again(paused=False)
    assert a.share.look().before == 0
    assert b.share.look().workers == 1


def test_a_turn_begins_with_training_and_is_longer_than_the_start_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On a machine where a start takes minutes runs would do nothing but start."""
    lab = Lab(tmp_path / "pool", monkeypatch, cores=1)
    a, b = lab.run("a"), lab.run("b")
    b.share.entry.since = lab.now - 100_000.0
    a.view.status, seconds = Status.STARTING, 3 * share.TURN_SECONDS
    lab.now += seconds
    lab.follow(a)
    a.view.status = Status.RUNNING
    lab.follow(a)
    lab.now += share.TURN_SECONDS
    b.share.look()
    lab.follow(a)
    assert not a.wishes.suspending
    lab.now += share.STARTS * (seconds + 60.0)
    b.share.look()
    lab.follow(a)
    assert a.wishes.suspending


def test_one_that_its_user_has_just_paused_is_not_sent_back_into_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lab = Lab(tmp_path / "pool", monkeypatch, cores=1)
    a, b = lab.run("a"), lab.run("b")
    lab.follow(a)
    b.share.entry.since = lab.now - 10_000.0
    lab.now += share.TURN_SECONDS
    a.wishes.apply("pause", {}, None)
    b.share.look()
    lab.follow(a)
    assert not a.wishes.suspending
    a.wishes.apply("resume", {}, None)
    lab.follow(a)
    assert a.wishes.suspending


def test_one_that_was_paused_and_forgotten_gives_its_least_to_whoever_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """However important it is; and not before it was paused for a while."""
    lab = Lab(tmp_path / "pool", monkeypatch, cores=1)
    a = lab.run("a", priority=3)
    lab.now += 10 * share.TURN_SECONDS
    lab.follow(a)
    a.view.status = Status.PAUSED
    a.wishes.apply("pause", {}, None)
    lab.follow(a)
    b = lab.run("b")
    lab.follow(a)
    assert not a.wishes.suspending
    lab.now += share.TURN_SECONDS
    b.share.look()
    lab.follow(a)
    assert a.wishes.suspending
    a.share.wait_again(a.wishes.paused)
    assert a.share.first_look().why == "held back"
    assert a.share.entry.held == 0
    assert b.share.look().workers == 1


def test_what_was_held_back_did_not_wait_meanwhile(lab: Lab):
    a = lab.run("a")
    a.share.wait_again(paused=True)
    since = a.share.entry.since
    a.share.come_back(100.0)
    assert (a.share.paused, a.share.entry.since) == (True, since + 100.0)


def test_a_run_that_began_with_a_number_shares_once_it_is_asked_to(lab: Lab):
    a = lab.run("a", count=1)
    a.share.leave()
    lab.follow(a)
    assert (a.wishes.workers, a.share.descriptors) == (1, ())
    a.wishes.apply("scale", {"workers": "auto"}, None)
    lab.follow(a, a)
    assert a.wishes.workers == 4
    b = lab.run("b")
    lab.follow(a, b, a, b)
    assert (a.wishes.workers, b.wishes.workers) == (2, 2)


def test_a_stop_by_its_user_counts_for_more_than_others_turns():
    made = Wishes(any_config(workers={"count": "auto"}), 2)
    made.suspend()
    assert made.suspending
    made.stop()
    assert (made.suspending, made.wanted.stopping) == (False, True)
    made.suspend()
    assert not made.suspending


def test_a_run_that_begins_while_the_folder_has_no_room_waits_in_line_and_says_why(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    made = Share(any_config(workers={"count": "auto"}), "a", lambda: PoolFolder(lab.folder))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        grant = made.first_look()
    assert (grant.workers, grant.before) == (0, 0)
    assert "can't be used now (No space left on device)" in grant.why
    assert made.look().workers == 4
