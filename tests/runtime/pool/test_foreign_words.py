"""Whatever the files of other runs say, a driver that reads them counts it or passes it over, and goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lepton_kit.planning.allocation import Capacity
from lepton_kit.runtime.pool.load import ForeignLoad
from lepton_kit.runtime.pool.members import MOST_WORKERS, Entry, capacity, grants, reserved
from lepton_kit.runtime.pool.seating import Seated, Seats, held_cores
from lepton_kit.runtime.pool.spread import spread

NOW = 1e9
NUMBERS = st.sampled_from(
    [0, 1, 3, -1, 0.5, -0.5, 1e-300, 5e-324, 1e308, 10**9, 10**400, 1e999, -1e999, float("nan")]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=2) | st.sampled_from(["1", "inf", "nan", "paused"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["1", "2", "one", "9" * 400]), inner, max_size=2)
    ),
    max_leaves=4,
)  # fmt: skip
"""Anything that JSON can say, as Python reads it: infinite numbers, none, and whole ones that no float holds, too."""
ENTRY = asdict(
    Entry("other", "you", 5.0, machine="here", most=4, held=1, left=1e3, seen=NOW, speeds={1: 10.0, 2: 19.0})
)


def changed(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=3)


@settings(max_examples=300)
@given(changed(list(ENTRY)))
@example({"left": "soon"})
@example({"places": {"one": 1e999}})
@example({"speeds": {"1": 10**400}})
@example({"cores": 10**400})
@example({"most": 10**12})
@example({"left": float("nan")})
@example({"share": 5e-324, "priority": -9, "held": 0})
@example({"worker_bytes": "x"})
def test_what_another_member_says_stops_nobody(change: dict[str, Any]):
    other = Entry.read(json.dumps(ENTRY | change))
    if other is None:
        return
    mine = Entry("mine", "me", 1.0, machine="here", most=4, left=1e3, since=NOW - 50.0, speeds={1: 10.0})
    waits = Entry("waits", "me", 2.0, machine="here", least=2, most=2, since=NOW - 5.0)
    members = [mine, other, waits]
    for memory in (None, 10**9):
        shared = capacity(members, 4, memory)
        found = grants(members, Capacity(min(4, shared.workers), shared.memory_bytes), NOW)
        assert set(found) == {one.run for one in members}
        for one in members:
            grant = found[one.run]
            assert type(grant.workers) is int
            assert grant.wait_seconds is None or grant.wait_seconds >= 0
            assert type(reserved(one, members, shared, grant.workers)) is int
    assert sum(spread(2, {}, [other.places], {"one": 2, "two": 2}).values()) <= 2
    load = ForeignLoad(4)
    for second in (0.0, 4.0, 8.0):
        load.look(second, second, {"mine": second, "other": other.seconds})
    assert load.free in range(5)


@pytest.mark.parametrize("field", [one.name for one in fields(Entry)])
def test_a_field_of_another_type_makes_it_no_entry(field: str):
    assert Entry.read(json.dumps(ENTRY)) == Entry(**ENTRY)
    for wrong in (
        [],
        [1],
        {"one": "two"},
        "9" if field not in ("run", "user", "machine", "state") else 9,
        True,
    ):
        if (field, wrong) not in (("suspendable", True), ("speeds", []), ("places", [])):
            assert Entry.read(json.dumps(ENTRY | {field: wrong})) is None, wrong


@pytest.mark.parametrize(
    "field", [one.name for one in fields(Entry) if str(one.type).startswith(("int", "float"))]
)
def test_a_number_is_whole_where_it_counts_and_not_below_0_but_for_the_priority(field: str):
    whole = str(next(one.type for one in fields(Entry) if one.name == field)).startswith("int")
    assert (Entry.read(json.dumps(ENTRY | {field: 1.5})) is None) == whole
    assert (Entry.read(json.dumps(ENTRY | {field: -1})) is None) == (field != "priority")


def test_the_most_that_a_member_may_say_is_read():
    """One that a driver writes and others pass over would be missed by all."""
    full = {
        "least": MOST_WORKERS, "most": MOST_WORKERS, "held": MOST_WORKERS, "left": 1e30, "speeds": {"131072": 1e15, "1": 1e-12},
        "priority": -9, "share": 1e-6, "places": {"one": MOST_WORKERS}, "used_bytes": 10**18,
    }  # fmt: skip
    found = Entry.read(json.dumps(ENTRY | full))
    assert found is not None
    assert found.speeds == {MOST_WORKERS: 1e15, 1: 1e-12}
    for beyond in ({"most": MOST_WORKERS + 1}, {"held": MOST_WORKERS + 1}, {"left": 1.1e30}, {"cores": 0}):
        assert Entry.read(json.dumps(ENTRY | full | {"least": 1} | beyond)) is None, beyond
    for rate in (0.0, -1.0, 1e-13, 1e16, float("nan")):  # a speed that can't be was not measured
        told = Entry.read(json.dumps(ENTRY | {"speeds": {"1": rate, "2": 5.0, "0": 5.0}}))
        assert told is not None
        assert told.speeds == {2: 5.0}


SEATS = asdict(Seats("other", "you", 5.0, "here", (1,), (), (Seated(0, (1,), None, 41),)))


@settings(max_examples=200)
@given(
    changed([*SEATS])
    | st.fixed_dictionaries({"workers": st.lists(changed(list(asdict(Seated(0)))), max_size=2)})
)
@example({"held": [1e999]})
@example({"since": 10**400})
@example({"workers": [{"worker": 1e999, "cores": [], "gpu": None, "pid": None}]})
def test_what_another_run_says_of_its_seats_stops_nobody(change: dict[str, Any]):
    if isinstance(workers := change.get("workers"), list) and all(isinstance(one, dict) for one in workers):
        change = change | {"workers": [asdict(Seated(0)) | one for one in workers]}
    found = Seats.read(json.dumps(SEATS | change))
    if found is not None:
        assert all(type(core) is int and run == found.run for core, run in held_cores([found]).items())
        assert sorted([found, found], key=lambda one: (one.since, one.run)) == [found, found]
