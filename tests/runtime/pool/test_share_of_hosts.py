"""A driver's part in a pool of hosts: their slots are shared, and none is held twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.runtime.places import Place
from lepton_kit.runtime.pool.share import Share
from tests.configs import any_config
from tests.runtime.pool.lab import Lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path / "pool", monkeypatch, cores=4)


def slots_used(*runs: Any) -> dict[str, int]:
    return dict(sum((Counter(run.share.entry.places) for run in runs), Counter()))


def test_runs_on_the_same_hosts_share_their_slots_and_no_slot_is_held_twice(lab: Lab):
    a = lab.run("a", hosts=["one:2", "two:4"])
    assert (a.wishes.workers, slots_used(a)) == (6, {"one": 2, "two": 4})
    lab.follow(a)
    b = lab.run("b", hosts=["two:4", "one:2"])
    assert (b.grant.workers, slots_used(b)) == (0, {})
    lab.follow(a)
    assert a.wishes.workers == 3
    lab.follow(a, settled=False)  # three of its workers are gone by now
    grant = b.share.look()
    assert grant.workers == 3
    assert slots_used(a, b) == {"one": 2, "two": 4}
    b.share.begin(b.wishes)
    lab.follow(b, a)
    assert (a.wishes.workers, b.wishes.workers) == (3, 3)
    a.share.leave()
    lab.follow(b)
    assert (b.wishes.workers, slots_used(b)) == (6, {"one": 2, "two": 4})


def test_other_hosts_and_this_machine_are_other_pools(lab: Lab):
    assert [lab.run("a").wishes.workers, lab.run("b", hosts=["one:2"]).wishes.workers] == [4, 2]
    assert lab.run("c", hosts=["one:2", "two:2"]).wishes.workers == 4


def test_with_the_pool_switched_off_a_run_has_all_slots(lab: Lab):
    config = any_config(workers={"count": "auto", "hosts": ["one:2"]}, training={"global_batch": 64})
    made = Share(config, "alone")
    assert made.look().workers == 2
    places = [Place("one", 0, "cpu", 1), Place("one", 1, "cpu", 1)]
    assert made.allows(places, []) == places


def test_a_worker_that_died_is_replaced_where_its_slot_is_kept(lab: Lab):
    a = lab.run("a", hosts=["one:1", "two:1"])
    lab.follow(a, a)
    del a.roster.members[0]
    a.share.follow(lab.now + 2, a.wishes, a.view, a.roster)
    assert slots_used(a) == {"one": 1, "two": 1}
