"""Who gets what of a shared machine: the rules hold for any requests, in any order."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.errors import ConfigError
from lepton_kit.planning import allocation
from lepton_kit.planning.allocation import Capacity, Grant, Request, allocate
from lepton_kit.planning.speedups import concave

LINEAR = {n: 100.0 * n for n in (1, 2, 4, 8, 16)}
FLAT = {1: 100.0, 2: 101.0, 4: 101.0}
CASES = settings(max_examples=60)


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[Request], Capacity, dict[str, dict[int, float]]]:
    """Runs that have begun, within the capacity, and runs that wait."""
    capacity = draw(st.integers(1, 24))
    memory = draw(st.none() | st.integers(0, 40))
    requests: list[Request] = []
    speeds: dict[str, dict[int, float]] = {}
    workers, used = capacity, memory
    for number in range(draw(st.integers(0, 8))):
        least = draw(st.integers(1, 4))
        held = draw(st.integers(0, 8))
        each = draw(st.integers(0, 4)) if memory is not None else 0
        extra = draw(st.integers(0, 2)) if memory is not None else 0
        if held and (held < least or held > workers or (used is not None and held * each + extra > used)):
            held = 0
        workers -= held
        used = None if used is None else used - held * each - (extra if held else 0)
        run = f"run-{number}"
        requests.append(
            Request(
                run,
                arrived=draw(st.floats(0, 100)),
                waited=draw(st.floats(0, 1000)),
                least=least,
                most=draw(st.integers(max(least, held), 20)),
                weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
                priority=draw(st.integers(-1, 2)),
                held=held,
                left=draw(st.none() | st.floats(0, 1e6)),
                pause_seconds=draw(st.none() | st.floats(0, 60)),
                worker_bytes=each,
                run_bytes=extra,
                suspendable=draw(st.booleans()),
            )
        )
        rates = draw(st.dictionaries(st.integers(1, 20), st.floats(1e-3, 1e6), max_size=3))
        if rates:
            speeds[run] = rates
    return requests, Capacity(capacity, memory), speeds


@CASES
@given(pools())
def test_capacity_and_memory_are_never_exceeded(pool):
    requests, capacity, speeds = pool
    found = allocate(requests, capacity, speeds)
    assert set(found) == {one.run for one in requests}
    assert sum(grant.workers for grant in found.values()) <= capacity.workers
    if capacity.memory_bytes is not None:
        used = sum(one.bytes_for(found[one.run].workers) for one in requests)
        assert used <= capacity.memory_bytes


@CASES
@given(pools())
def test_each_has_at_least_its_least_and_at_most_its_most_or_waits_in_a_line(pool):
    requests, capacity, speeds = pool
    found = allocate(requests, capacity, speeds)
    for one in requests:
        grant = found[one.run]
        if grant.workers:
            assert one.least <= grant.workers <= one.most
            assert grant.before is None
        else:
            assert one.held == 0 or one.suspendable
    places = sorted(grant.before for grant in found.values() if grant.before is not None)
    assert places == list(range(len(places)))
    waits = [grant.wait_seconds for grant in found.values() if grant.wait_seconds is not None]
    assert all(wait >= 0 for wait in waits)


@CASES
@given(pools(), st.randoms(use_true_random=False))
def test_the_order_of_the_requests_changes_nothing(pool, shuffle: random.Random):
    requests, capacity, speeds = pool
    other = list(requests)
    shuffle.shuffle(other)
    turned = dict(sorted(speeds.items(), reverse=True))
    assert allocate(other, capacity, turned) == allocate(requests, capacity, speeds)


@CASES
@given(pools())
def test_nobody_grows_while_one_that_waits_could_have_its_least(pool):
    requests, capacity, speeds = pool
    found = allocate(requests, capacity, speeds)
    first = next((one for one in requests if found[one.run].before == 0), None)
    if first is None:
        return
    leasts = sum(one.least for one in requests if found[one.run].workers)
    memory = sum(one.bytes_for(one.least) for one in requests if found[one.run].workers)
    no_worker = first.least > capacity.workers - leasts
    no_memory = (
        capacity.memory_bytes is not None and first.bytes_for(first.least) > capacity.memory_bytes - memory
    )
    assert no_worker or no_memory


@CASES
@given(pools())
def test_what_was_given_stays_given_while_nothing_changes(pool):
    requests, capacity, speeds = pool
    for _ in range(6):
        found = allocate(requests, capacity, speeds)
        now = [replace(one, held=found[one.run].workers) for one in requests]
        if now == requests:
            return
        requests = now
    pytest.fail(f"still changing: {found}")


def shares(*requests: Request, workers: int, speeds: dict | None = None) -> list[int]:
    found = allocate(requests, Capacity(workers), speeds or {one.run: LINEAR for one in requests})
    return [found[one.run].workers for one in requests]


def test_equals_share_equally_and_weights_and_priorities_count():
    a, b = Request("a", most=16), Request("b", most=16)
    assert shares(a, b, workers=8) == [4, 4]
    assert shares(a, Request("b", most=16, weight=3.0), workers=8) == [2, 6]
    assert shares(a, Request("b", most=16, priority=1), workers=10) == [2, 8]


def test_a_run_that_does_not_scale_gives_its_workers_to_one_that_does():
    a, b = Request("a", most=8, held=4), Request("b", most=8, held=4)
    assert shares(a, b, workers=8, speeds={"a": FLAT, "b": LINEAR}) == [1, 7]
    assert shares(a, workers=8, speeds={"a": FLAT}) == [4], (
        "nobody needs them, and giving them back costs a pause"
    )
    assert shares(Request("a", most=8), workers=8, speeds={"a": FLAT}) == [1], "what helps nobody stays free"


def test_a_run_with_little_left_gets_more():
    a, b = Request("a", most=16, left=1e6), Request("b", most=16, left=1e5)
    first, second = shares(a, b, workers=12)
    assert second > first > 1


@pytest.mark.parametrize(("pause", "expected"), [(0.1, [4, 4]), (400.0, [5, 3])])
def test_a_change_has_to_win_more_than_its_pause(pause: float, expected: list[int]):
    a = Request("a", most=8, held=5, pause_seconds=pause, left=1e9)
    b = Request("b", most=8, held=3, pause_seconds=pause, left=1e9)
    assert shares(a, b, workers=8) == expected


def test_a_run_that_is_nearly_over_is_left_alone():
    short = Request("a", most=8, held=2, left=100.0, pause_seconds=1.0)
    assert shares(short, workers=8) == [2]
    assert shares(Request("a", most=8, held=2, left=1e6, pause_seconds=1.0), workers=8) == [8]


def test_those_who_wait_hear_how_many_are_before_them_and_about_how_long_it_takes():
    running = [Request("a", held=1, left=6000.0), Request("b", held=1, left=12000.0)]
    waiting = [Request(f"w{k}", arrived=float(k)) for k in range(3)]
    speeds = {"a": {1: 100.0}, "b": {1: 100.0}}
    found = allocate([*running, *waiting], Capacity(2), speeds)
    typical = 90.0  # the median of 60 and 120 s
    assert [found[f"w{k}"].before for k in range(3)] == [0, 1, 2]
    waits = [found[f"w{k}"].wait_seconds for k in range(3)]
    assert waits == pytest.approx([60.0, 120.0, 60.0 + typical])


def test_who_waits_for_a_run_that_can_be_suspended_waits_for_its_turn_at_most():
    long = Request("long", held=1, left=1e7, suspendable=True)
    found = allocate([long, Request("new", waited=100.0)], Capacity(1), {"long": {1: 100.0}})
    assert found["new"].wait_seconds == pytest.approx(allocation.TYPICAL_SECONDS - 100.0)


@pytest.mark.parametrize("priority", [0, allocation.LEAST_PRIORITY])
def test_who_waits_behind_an_endless_run_waits_until_that_may_be_suspended_and_for_its_turn(priority: int):
    """Not until the other ends: that one was paused, or has just begun."""
    for kept in (0.0, 50.0, 5000.0):
        long = Request("long", held=1, left=1e12, keeps_seconds=kept, priority=priority)
        found = allocate([long, Request("new", waited=100.0)], Capacity(1), {"long": {1: 100.0}})
        by_turn = 0.0 if priority else allocation.TYPICAL_SECONDS - 100.0
        assert found["new"].wait_seconds == pytest.approx(max(kept, by_turn))
        now = replace(long, suspendable=True)
        later = Request("new", waited=100.0 + max(kept, by_turn) + 1.0)
        assert allocate([now, later], Capacity(1), {"long": {1: 100.0}})["new"].workers == 1


def test_the_wait_is_unknown_until_a_run_was_measured():
    found = allocate([Request("a", held=1), Request("b")], Capacity(1), {})
    assert found["b"] == Grant("b", 0, 0, None, "waits in line")


def test_nobody_overtakes_a_run_whose_least_is_not_free_yet_but_its_workers_are_lent():
    big = Request("big", arrived=0.0, least=4, most=4)
    small = Request("small", arrived=1.0)
    running = Request("a", held=2, least=2, most=8)
    found = allocate([big, small, running], Capacity(5), {"a": LINEAR})
    assert (found["big"].before, found["small"].before, found["a"].workers) == (0, 1, 5)


def test_memory_is_a_reason_to_wait_and_is_told():
    a, b = Request("a", held=1, worker_bytes=6), Request("b", worker_bytes=6)
    found = allocate([a, b], Capacity(4, 10), {})
    assert (found["b"].before, found["b"].why) == (0, "waits for memory")


def test_who_has_begun_keeps_its_least_when_the_machine_gets_busy():
    found = allocate([Request("a", held=3, most=4), Request("b", held=3, most=4)], Capacity(1), {})
    assert [found["a"].workers, found["b"].workers] == [1, 1]


def test_one_that_may_be_suspended_makes_room_for_the_much_more_urgent():
    long = Request("long", held=1, left=1e6, suspendable=True)
    short = Request("short", waited=100.0, left=1e3)
    speeds = {"long": {1: 100.0}, "short": {1: 100.0}}
    found = allocate([long, short], Capacity(1), speeds)
    assert (found["long"].workers, found["short"].workers) == (0, 1)


@pytest.mark.parametrize("least", [1, 2])
def test_nobody_starves_while_short_and_important_ones_keep_coming(least: int):
    """A long run of lower priority beside a stream of short ones that always fills both places."""
    long = Request("long", least=least, most=2, left=1e5)
    running: list[Request] = []
    for number in range(4000):
        new = Request(f"s{number}", arrived=5.0 * number, priority=1, left=1e3)
        requests = [long, *running, *([new] if len(running) < 3 else [])]
        found = allocate(requests, Capacity(2), {one.run: {1: 100.0} for one in requests})
        if found["long"].workers:
            return
        turned = [replace(one, held=found[one.run].workers) for one in requests]
        long, *running = [
            replace(
                one, left=(one.left or 0) - 500.0 * one.held, waited=one.waited + (0.0 if one.held else 5.0)
            )
            for one in turned
        ]
        running = [one for one in running if (one.left or 0) > 0]
    pytest.fail("it never had a worker")


def test_endless_runs_take_turns():
    """Three that never end on one core: each is suspended in time, and none waits for ever."""
    runs = [Request(name, suspendable=True) for name in "abc"]
    had = dict.fromkeys("abc", 0)
    for _ in range(2000):
        found = allocate(runs, Capacity(1), {})
        runs = [replace(one, held=found[one.run].workers) for one in runs]
        runs = [replace(one, waited=0.0 if one.held else one.waited + 5.0) for one in runs]
        for one in runs:
            had[one.run] += one.held
    assert min(had.values()) > 500, had


def test_one_that_was_never_measured_may_be_short_and_goes_before_a_long_one():
    long = Request("long", held=1, left=1e7, suspendable=True)
    new = Request("new", waited=2 * 300.0)
    assert allocate([long, new], Capacity(1), {"long": {1: 100.0}})["new"].workers == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"least": 0}, "least"),
        ({"least": 3, "most": 2}, "most"),
        ({"weight": 0.0}, "weight"),
        ({"priority": 99}, "priority"),
        ({"held": -1}, "held"),
    ],
)
def test_a_request_that_cannot_be_names_run_and_field(wrong: dict, field: str):
    with pytest.raises(ConfigError, match=f"a: {field}: got"):
        Request("a", **wrong)


def test_a_run_that_asks_twice_is_refused():
    with pytest.raises(ConfigError, match="each run once"):
        allocate([Request("a"), Request("a")], Capacity(2), {})


def some(name: str, **more) -> Request:
    return Request(name, most=8, **more)


@pytest.mark.parametrize(
    ("requests", "workers", "speed", "reasons"),
    [
        (
            [Request("a", most=2), some("b")],
            12,
            LINEAR,
            ["has all that it may use", "has all that it may use"],
        ),
        ([some("a")], 4, FLAT, ["more workers would not make it faster"]),
        ([some("a", held=2), some("b", held=2)], 4, LINEAR, ["keeps what it has"] * 2),
        ([some("a"), some("b")], 4, LINEAR, ["its share"] * 2),
        ([some("a"), some("b", priority=4)], 4, LINEAR, ["its least; others need the rest", "its share"]),
        ([some("a", held=1), some("b")], 1, LINEAR, ["keeps what it has", "waits in line"]),
    ],
)
def test_the_reasons_say_what_holds(requests, workers: int, speed: dict, reasons: list[str]):
    found = allocate(requests, Capacity(workers), {one.run: speed for one in requests})
    assert [found[one.run].why for one in requests] == reasons
    assert allocation.LEAST_GAIN < 1


def test_what_is_short_counts_for_more_up_to_a_bound_and_what_is_long_for_less():
    """Beside one with 10,000 s left one with 10 s is 500 times as short as is typical: 4 beside √½, of 20 workers 17."""
    long = Request("long", most=32, left=1e6)
    for left in (1e3, 1e2, 1.0):
        assert shares(long, Request("short", most=32, left=left), workers=20) == [3, 17]
    several = [Request(name, most=32, left=1e3) for name in "abc"]
    for left in (1e5, 1e9):  # a quarter beside each of three
        assert shares(Request("long", most=32, left=left), *several, workers=13) == [1, 4, 4, 4]


def test_how_long_a_run_has_left_is_by_its_least_measured_number_of_workers_and_none_without_a_speed():
    waits = Request("new", least=4, most=4)
    for speeds, seconds in (({1: 100.0, 2: 90.0}, 60.0), ({4: 0.0, 1: 100.0}, 60.0), ({4: 0.0}, None)):
        found = allocate([Request("a", held=1, left=6000.0), waits], Capacity(4), {"a": speeds})
        assert found["new"].wait_seconds == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("workers", "memory", "why"),
    [(2, 11, "waits for memory"), (1, 11, "waits in line"), (1, 12, "waits in line"), (2, 12, None)],
)
def test_memory_is_the_reason_only_where_a_worker_is_free(workers: int, memory: int, why: str | None):
    a, b = Request("a", held=1, worker_bytes=6), Request("b", worker_bytes=6)
    found = allocate([a, b, Request("c", arrived=1.0)], Capacity(workers, memory), {})
    assert (found["b"].why if found["b"].before is not None else None) == why
    assert found["c"].why == "waits in line"


@CASES
@given(
    st.lists(st.floats(0, 2), min_size=1, max_size=8), st.integers(0, 8), st.floats(0, 5), st.integers(1, 4)
)
def test_offers_are_the_slopes_of_the_least_concave_values_where_leaving_what_is_held_costs(
    gains: list[float], place: int, cost: float, least: int
):
    gains = sorted(gains, reverse=True)
    place = min(place, len(gains))
    curve = np.concatenate([[0.0], np.cumsum(gains)])
    one = Request("a", least=least, most=least + len(gains), held=least + place)
    values = curve - cost
    values[place] += cost
    found = allocation._slopes(one, np.array(gains), curve, cost)
    assert found == pytest.approx(np.diff(concave(list(values))), abs=1e-9)
    absent = replace(one, held=least - 1)
    assert allocation._slopes(absent, np.array(gains), curve, cost) == pytest.approx(gains)
