"""The register of who sits where: claims that exclude each other, of runs that live."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lepton_kit.errors import DeviceError
from lepton_kit.machine.topology import affinity
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.seating import Register, Seated, Seats, held_cores, seats
from lepton_kit.runtime.seating import claimed
from tests.configs import any_config


@pytest.fixture
def pool(tmp_path: Path) -> PoolFolder:
    return PoolFolder(tmp_path / "pool")


def place(*cores: int, shared: bool = False) -> Place:
    return Place("localhost", 0, "cpu", 1, cores=cores, shared=shared)


def test_what_one_has_claimed_others_know_when_they_choose(pool: PoolFolder):
    first, second = Register("a", lambda: pool), Register("b", lambda: pool)
    assert first.claim(lambda held: [place(0, 1), place(2, shared=True)] if not held else [])[0].cores == (
        0,
        1,
    )
    known: dict[int, str] = {}
    second.claim(lambda held: known.update(held) or [place(3)])
    assert known == {0: "a", 1: "a"}
    assert [(one.run, one.held, one.shared) for one in seats(pool.path)] == [
        ("a", (0, 1, 2), (2,)),
        ("b", (3,), ()),
    ]
    first.claim(lambda held: known.update(held) or [place(7)])
    assert 3 in known
    first.leave()
    first.leave()
    assert held_cores(seats(pool.path)) == {3: "b"}
    second.leave()


def test_a_refused_choice_holds_nothing(pool: PoolFolder):
    register = Register("a", lambda: pool)

    def refuse(held: dict[int, str]) -> list[Place]:
        raise DeviceError("no core")

    with pytest.raises(DeviceError, match="no core"):
        register.claim(refuse)
    assert seats(pool.path) == []
    register.leave()


def test_workers_are_told_as_they_come_and_go(pool: PoolFolder):
    register = Register("a", lambda: pool)
    register.tell([])
    assert seats(pool.path) == []
    register.tell([Seated(0, (1,), None, 41), Seated(1, (), 0, 42)])
    assert seats(pool.path)[0].workers == (Seated(0, (1,), None, 41), Seated(1, (), 0, 42))
    with pool.locked():
        register.tell([])  # it is told the next time, and nobody waits
    assert len(seats(pool.path)[0].workers) == 2
    register.tell([])
    assert seats(pool.path)[0].workers == ()
    register.leave()


def test_what_is_held_is_said_again_where_the_folder_was_cleared(pool: PoolFolder):
    register = Register("a", lambda: pool)
    register.claim(lambda held: [place(0, 1)])
    register.tell([Seated(0, (0, 1), None, 41)])
    shutil.rmtree(pool.path)
    assert held_cores(seats(pool.path)) == {}
    register.tell([Seated(0, (0, 1), None, 41)])
    assert held_cores(seats(pool.path)) == {0: "a", 1: "a"}
    register.leave()
    assert seats(pool.path) == []


def test_a_dead_run_holds_nothing(pool: PoolFolder):
    code = f"""
from pathlib import Path
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.seating import Register
made = Register("dead", lambda: PoolFolder(Path({str(pool.path)!r})))
made.claim(lambda held: [Place("localhost", 0, "cpu", 1, cores=(0,))])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (pool.path / "dead.seats").exists()
    assert seats(pool.path) == []
    assert not (pool.path / "dead.seats").exists()


def test_without_a_pool_nobody_knows_of_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    register = Register("a", lambda: None)
    assert register.claim(lambda held: [place(0)] if held == {} else [])[0].cores == (0,)
    register.tell([Seated(0)])
    register.leave()
    monkeypatch.setenv("LEPTON_POOL", "off")
    assert seats() == []


def test_a_pool_that_another_keeps_locked_is_named(pool: PoolFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PoolFolder.locked, "__defaults__", (0.01,))
    register = Register("a", lambda: pool)
    with pool.locked(), pytest.raises(DeviceError, match="places: which cores other runs hold can't be read"):
        register.claim(lambda held: [])


def test_a_run_that_chooses_no_place_starts_whatever_the_pool_is_like(
    pool: PoolFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(PoolFolder.locked, "__defaults__", (0.01,))
    register = Register("a", lambda: pool)
    with pool.locked():
        assert claimed(any_config(workers={"count": 1}), 2, register)[0].cores == ()
    core = affinity()[0]
    chosen = any_config(workers={"count": 1, "places": [str(core)]})
    assert claimed(chosen, 2, register)[0].cores == (core,)
    with pytest.raises(DeviceError, match=f"places.0: core {core}: held by the run a"):
        claimed(chosen, 2, Register("b", lambda: pool))
    register.leave()


@pytest.mark.parametrize("change", [{"held": "x"}, {"workers": [{}]}, {"since": None}, {"run": ...}])
def test_what_is_no_word_of_a_run_is_passed_over(change: dict[str, object]):
    told = {"run": "a", "user": "me", "since": 1.0, "machine": "m", "held": [1], "shared": [], "workers": []}
    assert Seats.read(json.dumps(told)) == Seats("a", "me", 1.0, "m", (1,))
    spoilt = {name: value for name, value in {**told, **change}.items() if value is not ...}
    assert Seats.read(json.dumps(spoilt)) is None
