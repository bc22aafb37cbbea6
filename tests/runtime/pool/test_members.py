"""The files of a pool: the living count, the dead and the damaged do not, and nobody takes what another still holds."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.planning.allocation import LEAST_PRIORITY, Capacity
from lepton_kit.runtime.pool.files import LEAST_BYTES
from lepton_kit.runtime.pool.folder import JOIN_SECONDS, PoolFolder, roll
from lepton_kit.runtime.pool.members import (
    Entry,
    Membership,
    capacity,
    entries,
    grants,
    reserved,
    survey,
    this_machine,
)


def entry(run: str, arrived: float = 0.0, **fields: object) -> Entry:
    return Entry(run, "me", arrived, machine=this_machine(), **fields)  # type: ignore[arg-type]  # of many types


@pytest.fixture
def pool(tmp_path: Path) -> PoolFolder:
    return PoolFolder(tmp_path / "pool")


def test_what_a_member_writes_is_read_and_goes_with_it(pool: PoolFolder):
    with pool.locked():
        first, second = Membership(pool, "a"), Membership(pool, "b")
        first.tell(entry("a", 2.0, held=2, speeds={1: 10.0, 2: 19.0}, left=5.0))
        second.tell(entry("b", 1.0))
        found = entries(pool.path)
        assert [one.run for one in found] == ["b", "a"]
        assert found[1].speeds == {1: 10.0, 2: 19.0}
        second.tell(entry("b", 1.0, state="x" * 500))
        second.tell(entry("b", 1.0))  # shorter than before
        assert len(entries(pool.path)) == 2
    first.leave()
    assert [one.run for one in entries(pool.path)] == ["b"]
    second.leave()
    assert sorted(one.name for one in pool.path.iterdir()) == ["lock"]


def test_a_member_that_was_killed_is_ignored_by_its_lock_and_swept(pool: PoolFolder):
    code = f"""
import os, signal
from pathlib import Path
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.members import Entry, Membership, this_machine
made = Membership(PoolFolder(Path({str(pool.path)!r})), "dead")
made.tell(Entry("dead", "me", 1.0, machine=this_machine(), held=2))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (pool.path / "dead.json").exists()
    assert entries(pool.path) == []
    assert not (pool.path / "dead.json").exists()


def test_a_member_is_found_by_its_name_where_the_list_of_the_folder_is_old(
    pool: PoolFolder, monkeypatch: pytest.MonkeyPatch
):
    with pool.locked():
        first, second = Membership(pool, "a"), Membership(pool, "b")
        first.tell(entry("a", 1.0))
        second.tell(entry("b", 2.0, places={"one": 2}))
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))  # as a network file system may have it for 30 s
    assert [(one.run, one.places) for one in entries(pool.path)] == [("a", {}), ("b", {"one": 2})]
    with pool.locked():
        pool.dismiss("a")
    first.leave()
    with pool.locked():
        third = Membership(pool, "c")
        third.tell(entry("c", 3.0))
    assert roll(pool.path) == {"b": None, "c": None}
    assert [one.run for one in entries(pool.path)] == ["b", "c"]
    for one in (second, third):
        one.leave()


def test_a_member_that_is_not_heard_is_missed_for_a_while_unless_it_has_left_or_died(pool: PoolFolder):
    with pool.locked():
        for name in ("heard", "dead", "lost"):
            pool.enroll(name)
        assert pool.call_roll(["heard", "far"], ["dead"], 100.0) == ["lost"]
        assert roll(pool.path) == {"heard": None, "lost": 100.0}
        assert pool.call_roll(["heard"], [], 100.0 + JOIN_SECONDS) == ["lost"]
        assert pool.call_roll(["heard", "lost"], [], 101.0) == []
        assert pool.call_roll(["heard"], [], 110.0) == ["lost"]
        assert pool.call_roll(["heard"], [], 111.0 + JOIN_SECONDS) == []
        pool.enroll("lost")
        assert pool.call_roll(["heard"], [], 5000.0) == ["lost"]
        assert pool.call_roll(["heard"], [], 1400.0) == ["lost"], "the clock was set back by an hour"
        assert pool.call_roll(["heard"], [], 1401.0 + JOIN_SECONDS) == []
    assert roll(pool.path) == {"heard": None}


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"../../etc/passwd\n.hidden\n\n", b"a" * 10_000, b"b soon\nc 1e9\n"]
)
def test_names_that_are_none_are_passed_over(pool: PoolFolder, text: bytes):
    (pool.path / "lock").write_bytes(text)
    made = Membership(pool, "a")
    made.tell(entry("a"))
    assert [one.run for one in entries(pool.path)] == ["a"]
    made.leave()


def test_a_run_that_goes_on_takes_its_own_file_anew(pool: PoolFolder):
    first = Membership(pool, "a")
    first.tell(entry("a"))
    second = Membership(pool, "a")
    second.tell(entry("a", held=3))
    assert [one.held for one in entries(pool.path)] == [3]
    os.close(first.descriptor)
    second.leave()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"a"', json.dumps({"run": "x"}),
        json.dumps({"run": "x", "user": "me", "arrived": "soon"}),
        json.dumps({"run": "x", "user": "me", "arrived": 1.0, "least": 0}),
        json.dumps({"run": "x", "user": "me", "arrived": 1.0, "speeds": {"one": 1}}),
        json.dumps({"run": "x", "user": "me", "arrived": 1.0, "cores": 0}),
        json.dumps({"run": "x", "user": 3, "arrived": 1.0}),
        '{"run": "x", "user": "me", "arrived": NaN}', "[" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_entry_counts_for_nothing(text: str):
    assert Entry.read(text) is None


def test_strange_files_harm_nobody(pool: PoolFolder):
    made = Membership(pool, "fine")
    made.tell(entry("fine"))
    os.mkfifo(pool.path / "pipe.json")
    (pool.path / "folder.json").mkdir()
    (pool.path / "link.json").symlink_to("/etc/passwd")
    (pool.path / "other.json").write_text(json.dumps({"run": "fine"}))
    stolen = Membership(pool, "stolen")
    stolen.tell(entry("fine"))  # under another's name
    far = Membership(pool, "far")
    far.tell(Entry("far", "me", 0.0, machine="another"))
    assert [one.run for one in entries(pool.path)] == ["fine"]
    for one in (made, stolen, far):
        one.leave()


def test_the_first_member_that_has_looked_says_what_is_free():
    first, second = entry("a", 1.0, cores=8, held=1), entry("b", 2.0, cores=8, held=1, free=3)
    assert capacity([first, second], 8, None) == Capacity(3)
    assert capacity([entry("a", cores=8)], 2, 10) == Capacity(8, 10)
    assert capacity([entry("a", cores=8, held=1, free=0)], 2, 10).workers == 1


def test_who_holds_no_worker_does_not_say_what_is_free():
    """It sees others' workers as foreign, or has looked long ago."""
    waits, trains = entry("a", 1.0, cores=4, free=1), entry("b", 2.0, cores=4, held=1, free=3)
    assert capacity([waits, trains], 4, None) == Capacity(3)
    assert capacity([waits], 4, None) == Capacity(4)


@pytest.mark.parametrize(("away", "silent"), [(59.0, False), (60.0, False), (61.0, True)])
def test_a_minute_without_a_word_is_silence_on_both_sides_of_now(away: float, silent: bool):
    for seen in (1000.0 - away, 1000.0 + away):
        assert entry("a", seen=seen).silent(1000.0) is silent


OLD = 0.0
"""When one has written last that is silent by now."""
ASKED = [
    ({"since": 950.0}, {"waited": 50.0}),
    ({"since": 950.0, "held": 1}, {"waited": 0.0}),
    ({"since": None}, {"waited": 0.0}),
    ({"since": 1050.0}, {"waited": 0.0}),  # the clock was set back
    ({"most": 4, "cap": 2}, {"most": 2}),
    ({"most": 4, "cap": 9}, {"most": 4}),
    ({"most": 4, "least": 2, "cap": 0}, {"most": 2}),
    ({"most": 4, "cap": 3, "held": 2, "seen": OLD}, {"most": 2}),
    ({"most": 4, "cap": 3, "seen": OLD}, {"most": 3}),
    ({"suspendable": True, "keeps_seconds": 0.0}, {"suspendable": True, "keeps_seconds": 0.0}),
    ({"suspendable": True, "keeps_seconds": 5.0, "seen": OLD}, {"suspendable": False, "keeps_seconds": None}),
    ({"priority": 3, "share": 2.0}, {"priority": 3, "weight": 2.0}),
    ({"priority": 3, "state": "paused"}, {"priority": LEAST_PRIORITY}),
]


@pytest.mark.parametrize(("fields", "expected"), ASKED)
def test_what_a_member_asks_for(fields: dict, expected: dict):
    asked = entry("a", **fields).request(1000.0)
    assert {name: getattr(asked, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "memory", "granted", "expected"),
    [
        ({"worker_bytes": 0}, 10, 3, 3),  # what it needs is not known
        ({"worker_bytes": 3}, None, 3, 3),
        ({"worker_bytes": 3}, 16, 4, 3),  # the other one takes 5, and has 2 of the 6
        ({"worker_bytes": 3, "run_bytes": 3}, 16, 4, 2),
        ({"worker_bytes": 3, "least": 3}, 12, 4, 0),
        ({"worker_bytes": 3, "least": 2}, 11, 4, 2),
        ({"worker_bytes": 3, "held": 2}, 5, 4, 2),  # there is less than it holds
        ({"worker_bytes": 3, "held": 3}, 50, 1, 1),
        ({}, None, 9, 4),
    ],
)
def test_what_a_member_may_have_at_once(fields: dict, memory: int | None, granted: int, expected: int):
    other = entry("b", held=2, worker_bytes=2, run_bytes=1)
    waits = entry("c", worker_bytes=100, run_bytes=100)
    one = entry("a", **{"most": 9, **fields})
    assert reserved(one, [one, other, waits], Capacity(6, memory), granted) == expected


LIMITS = settings(max_examples=60)


@LIMITS
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(3, 60))
def test_cores_and_memory_are_never_overcommitted_whatever_the_order_of_events(
    seed: int, cores: int, memory: int
):
    """Members join, grow, give back late and leave, in any order; each looks alone, as under the pool's lock."""
    draw = random.Random(seed)
    members: list[Entry] = []
    wanted: dict[str, int] = {}
    shared = Capacity(cores, memory)
    for step in range(60):
        deed = draw.random()
        if deed < 0.15 and len(members) < 8:
            least = draw.randint(1, min(2, cores))
            new = entry(f"r{step}", float(step), least=least, most=draw.randint(least, cores + 2))
            new.worker_bytes, new.run_bytes = draw.randint(1, 6), draw.randint(0, 3)
            new.left, new.speeds = draw.uniform(1, 1e5), {1: 10.0, 2: draw.uniform(9, 20)}
            members.append(new)
            continue
        if not members:
            continue
        one = draw.choice(members)
        if deed < 0.2:
            members.remove(one)
        elif deed < 0.4:
            one.held = min(one.held, wanted.get(one.run, one.held))  # its workers are gone by now
        else:
            granted = grants(members, shared, 100.0)[one.run].workers
            wanted[one.run] = reserved(one, members, shared, granted)
            one.held = max(one.held, wanted[one.run])
        assert sum(each.held for each in members) <= cores
        used = sum(each.held * each.worker_bytes + (each.run_bytes if each.held else 0) for each in members)
        assert used <= memory


@LIMITS
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_all_come_to_their_turn_and_those_who_run_settle(seed: int, cores: int):
    """Members that look in turn and end one after another: everybody has had workers at the end."""
    draw = random.Random(seed)
    members = [entry(f"r{k}", float(k), most=draw.randint(1, cores)) for k in range(6)]
    had = set()
    shared = Capacity(cores)
    for round_ in range(40):
        for one in list(members):
            granted = grants(members, shared, 100.0)[one.run].workers
            one.held = reserved(one, members, shared, granted)
            had |= {one.run} if one.held else set()
        running = [one for one in members if one.held]
        assert running or not members
        if round_ % 2 and running:
            members.remove(draw.choice(running))
    assert len(had) == 6


def test_those_who_wait_alike_stay_in_their_order_whoever_looks_and_when():
    first = [entry(f"r{k}", float(k), since=float(k)) for k in range(5)]
    for now in (5.0, 7.3, 400.0):
        found = grants([entry("a", held=1), *first], Capacity(1), now)
        assert [found[f"r{k}"].before for k in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("away", [-300, 3600])  # written long ago, or before the system's clock was set back
def test_who_is_held_up_is_overtaken_keeps_what_it_has_and_is_no_longer_asked_for_it(away: float):
    now = 1000.0
    stopped = entry("a", 1.0, seen=now + away, since=1.0)
    fine = entry("b", 2.0, seen=now - 5, since=2.0)
    found = grants([stopped, fine], Capacity(1), now)
    assert (found["b"].workers, found["a"].workers) == (1, 0)
    assert "held up" in found["a"].why
    stopped.held, stopped.most, stopped.suspendable = 1, 4, True
    found = grants([stopped, fine], Capacity(1), now)
    assert (found["a"].workers, found["b"].workers) == (1, 0)
    assert grants([stopped, fine], Capacity(4), now)["a"].workers == 1, "it can't grow"
    stopped.seen = now
    assert grants([stopped, fine], Capacity(4), now)["a"].workers > 1


@pytest.mark.parametrize("reader", [0.0, -900.0, 300.0])
@pytest.mark.parametrize("writer", [0.0, -120.0, 4000.0])
def test_machines_whose_clocks_differ_agree_who_came_first_and_who_is_held_up(
    writer: float, reader: float, pool: PoolFolder, monkeypatch: pytest.MonkeyPatch
):
    clock = time.time

    def set_to(ahead: float) -> None:
        monkeypatch.setattr(time, "time", lambda: clock() + ahead)

    with pool.locked():
        made = {}
        for name, ahead, waits in (("far", writer, 20.0), ("near", reader, 10.0)):
            set_to(ahead)
            made[name] = Membership(pool, name)
            made[name].tell(entry(name, time.time() - waits, since=time.time() - waits))
        found, _ = survey(pool, made["near"], this_machine())
        assert [one.run for one in found] == ["far", "near"]
        assert [one.silent(time.time()) for one in found] == [False, False]
        far, near = (one.request(time.time()).waited for one in found)
        assert 9 < near < far < 100, "what it says by one clock is no age by another"
        assert grants(found, Capacity(1), time.time())["near"].before == 0
        set_to(writer)
        assert [one.run for one in survey(pool, made["far"], this_machine())[0]] == ["far", "near"]
    for one in made.values():
        one.leave()


def test_a_full_disk_spoils_no_file_and_keeps_no_half_made_member(
    pool: PoolFolder, monkeypatch: pytest.MonkeyPatch
):
    made = Membership(pool, "a")
    made.tell(entry("a", speeds={n: 12345.678 * n for n in range(1, 60)}))
    assert (pool.path / "a.json").stat().st_size == LEAST_BYTES
    made.tell(entry("a", held=1))
    assert (pool.path / "a.json").stat().st_size == LEAST_BYTES
    assert entries(pool.path)[0].held == 1

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        Membership(pool, "b")
    assert not (pool.path / "b.json").exists()
    assert len(os.listdir("/proc/self/fd")) <= len(before)
    monkeypatch.undo()
    made.leave()
