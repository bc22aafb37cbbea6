"""Where the time of ranks goes, and who holds the others up: a table of situations, each with its own cause."""

from __future__ import annotations

from typing import Any

import pytest

from lepton_kit.rundir import RunView
from lepton_kit.rundir.ranks import Ranks, Straggler


def steps(first: int, seconds: float, busy: list[float], **more: Any) -> dict[str, Any]:
    """A report of ten steps in which nobody but the slowest waits for nobody."""
    data = more.pop("data", [0.0] * len(busy))
    ends = [a + b for a, b in zip(busy, data, strict=True)]
    return {
        "kind": "steps", "time": 100.0 + first, "first": first, "last": first + 10, "seconds": seconds, "world_size": len(busy),
        "loss": [0.1] * 10, "samples": more.pop("samples", [100] * len(busy)), "busy": busy, "data": data,
        "waited": [max(ends) - end for end in ends], "communicated": 0.1, "metrics": {}, **more,
    }  # fmt: skip


def fed(*reports: dict[str, Any], load: dict[str, Any] | None = None) -> Ranks:
    ranks = Ranks()
    ranks.begin(7)
    for report in reports:
        ranks.report(report)
    if load is not None:
        ranks.load({"ranks": {"1": load}})
    return ranks


def many(start: int, count: int, *arguments: Any, **more: Any) -> list[dict[str, Any]]:
    return [steps(start + 10 * k, *arguments, **more) for k in range(count)]


def test_the_parts_of_the_time_add_up():
    rows = fed(steps(0, 2.0, [1.0, 0.5], data=[0.2, 0.1])).times()
    assert [row.rank for row in rows] == [0, 1]
    for row in rows:
        parts = (row.data, row.computing, row.communicating, row.waiting, row.other)
        assert sum(parts) == pytest.approx(1.0)
        assert min(parts) >= 0
    assert (rows[0].data, rows[0].computing, rows[0].waiting) == pytest.approx((0.1, 0.5, 0.0))
    assert rows[1].waiting == pytest.approx(0.3)
    assert rows[0].samples_per_second == pytest.approx(100)
    assert rows[0].seconds == pytest.approx(0.12)


def test_only_the_last_seconds_count():
    ranks = fed(*many(0, 20, 1.0, [0.9, 0.1]), *many(200, 6, 1.0, [0.5, 0.5]))
    assert ranks.times()[0].computing == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("report", "load", "cause", "words"),
    [
        ({"busy": [0.3, 0.9, 0.3]}, None, "device", "a slower device"),
        ({"busy": [0.3, 0.9, 0.3]}, {"stolen": 0.68}, "stolen", "68 % of its core is taken by other processes"),
        ({"busy": [0.3, 0.9, 0.3]}, {"stolen": 0.1, "throttled": 0.3}, "throttled", "quota"),
        ({"busy": [0.3, 0.9, 0.3]}, {"stolen": None, "throttled": None, "faults": 400.0}, "memory", "memory is short"),
        ({"busy": [0.3, 0.9, 0.3]}, {"faults": 1.0, "short": 0.4}, "memory", "memory is short"),
        ({"busy": [0.3, 0.9, 0.3]}, {"stolen": 0.1, "short": None, "heats": 2.0}, "heat", "slows itself down for heat"),
        ({"busy": [0.3, 0.3, 0.3], "data": [0.0, 0.7, 0.0]}, {"stolen": 0.6}, "data", "waits for its data"),
        ({"busy": [0.3, 0.9, 0.3], "samples": [75, 0, 75]}, {"stolen": 0.6}, "empty", "scale it away"),
        ({"busy": [0.3, 0.9, 0.3], "samples": [50, 150, 50]}, None, "larger part", "its part of each batch"),
    ],
)  # fmt: skip
def test_who_holds_the_others_up_and_why(report, load, cause, words):
    found = fed(*many(10, 6, 1.0, **report), load=load).straggler()
    assert found is not None
    assert (found.rank, found.cause, found.since, found.became) == (1, cause, 7, False)
    assert found.factor == pytest.approx(sum([0.9, 0.1][:1]) / 0.3 if cause != "data" else 1.0 / 0.3)
    assert words in str(found)
    assert "since this ring formed" in str(found)
    assert found.gain > 0.5


def test_a_rank_that_became_slow_is_judged_by_its_own_past():
    ranks = fed(*many(0, 10, 0.5, [0.3, 0.3]), *many(100, 10, 1.1, [0.3, 0.9]))
    found = ranks.straggler()
    assert found is not None
    assert (found.rank, found.since, found.became) == (1, 100, True)
    assert "it computes more slowly than before" in str(found)
    for report in many(200, 12, 0.5, [0.3, 0.3]):
        ranks.report(report)
    assert ranks.straggler() is None


def test_what_hinders_all_ranks_makes_none_of_them_the_slowest():
    ranks = fed(*many(10, 6, 1.0, [0.3, 0.9, 0.3]))
    everywhere = {"stolen": 0.7, "throttled": 0.5, "faults": 900.0}
    ranks.load({"ranks": {str(rank): everywhere for rank in range(3)}})
    found = ranks.straggler()
    assert found is not None
    assert found.cause == "device"
    ranks.load({"ranks": {"1": {"stolen": 0.95}}})
    assert ranks.straggler().cause == "stolen"


def test_sums_between_hosts_that_take_longer_than_they_did_are_a_slow_link():
    ranks = fed(*many(0, 12, 1.0, [0.5, 0.5], communicated=0.1))
    for over_network in (False, True):
        ranks.begin(0, over_network=over_network)
        for report in many(0, 12, 1.0, [0.5, 0.5], communicated=0.1):
            ranks.report(report)
        assert (ranks.slow_link(), ranks.told()) == (None, None)
        for report in many(120, 20, 1.4, [0.5, 0.5], communicated=0.5):
            ranks.report(report)
        assert (ranks.slow_link() is not None) == over_network, "memory is no link"
    found = ranks.slow_link()
    assert found is not None
    assert found.factor == pytest.approx(5.0, rel=0.05)
    assert 120 <= found.since <= 160
    assert found.gain == pytest.approx(0.4, rel=0.1)
    assert "adding up between the hosts takes" in ranks.told()
    assert "(a slow link)" in ranks.told()


def test_sums_between_hosts_that_take_half_of_the_time_from_the_start_are_too_slow_a_link():
    for over_network, communicated, named in ((True, 0.6, True), (True, 0.45, False), (False, 0.6, False)):
        ranks = fed()
        ranks.begin(0, over_network=over_network)
        for report in many(0, 2, 1.0, [0.3, 0.3], communicated=communicated):
            ranks.report(report)
        assert ranks.slow_link() is None, "the first reports hold what only the start takes"
        for report in many(20, 9, 1.0, [0.3, 0.3], communicated=communicated):
            ranks.report(report)
        assert (ranks.slow_link() is not None) == named
    ranks.begin(110, over_network=True)
    for report in many(110, 9, 1.0, [0.3, 0.3], communicated=0.6):
        ranks.report(report)
    found = ranks.slow_link()
    assert (found.became, found.since, found.part) == (False, 110, pytest.approx(0.6))
    assert found.gain == pytest.approx(1.5)
    assert ranks.told() == str(found)
    for report in many(200, 9, 1.0, [0.1, 0.3], communicated=0.6):
        ranks.report(report)
    assert ranks.told().startswith("rank 1 takes"), "a rank that holds the others up is told first"


def test_a_link_is_slow_since_it_costs_something():
    ranks = fed()
    ranks.begin(0, over_network=True)
    times = [
        (0, 12, 0.02),
        (120, 12, 0.05),
        (240, 12, 0.6),
    ]  # seconds of each report; twice next to nothing costs nothing
    for start, count, communicated in times:
        for report in many(start, count, 0.5 + communicated, [0.5, 0.5], communicated=communicated):
            ranks.report(report)
    assert 240 <= ranks.slow_link().since <= 260


@pytest.mark.parametrize(
    ("seconds", "busy", "told"), [(1.5, [0.3, 0.5], "adding up"), (2.2, [0.3, 1.2], "rank 1 takes")]
)
def test_of_a_slow_link_and_a_slow_rank_the_one_that_costs_more_is_told(seconds, busy, told):
    ranks = fed()
    ranks.begin(0, over_network=True)
    for report in [*many(0, 12, 1.0, [0.3, 0.3]), *many(120, 20, seconds, busy, communicated=0.5)]:
        ranks.report(report)
    assert ranks.straggler() is not None
    assert ranks.slow_link() is not None
    assert ranks.told().startswith(told)


def test_the_past_is_kept_in_pieces_of_some_seconds():
    ranks = fed(*many(0, 12, 1.0, [0.3, 0.9]))
    assert [one.seconds for one in ranks.moments] == [5.0, 5.0, 2.0]
    assert ranks.moments[0].worked == pytest.approx([1.5, 4.5])
    assert ranks.moments[0].waited == pytest.approx([3.0, 0.0])
    ranks.begin(120)
    ranks.report(steps(120, 1.0, [0.3, 0.3, 0.3]))
    assert [len(one.worked) for one in ranks.moments] == [2, 2, 2, 3]


@pytest.mark.parametrize(
    "reports",
    [
        [],
        many(0, 5, 1.0, [0.9]),
        many(0, 5, 1.0, [0.5, 0.55, 0.5]),
        many(0, 5, 60.0, [0.3, 0.9]),  # it costs next to nothing: almost all of the time goes elsewhere
    ],
)
def test_nobody_is_named_without_a_reason(reports):
    assert fed(*reports).straggler() is None


def test_a_ring_that_forms_anew_begins_anew():
    ranks = fed(*many(10, 6, 1.0, [0.3, 0.9]), load={"stolen": 0.5})
    ranks.begin(70)
    assert (ranks.times(), ranks.straggler(), ranks.loads()) == ([], None, {})


def test_a_log_of_an_earlier_version_tells_nothing_of_it():
    view, event = RunView(), steps(0, 1.0, [0.5, 0.5])
    for name in ("data", "waited", "communicated"):
        del event[name]
    view.feed(event)
    assert view.step == 10
    assert view.ranks.times() == []


@pytest.mark.parametrize(
    "wrong", [{"data": [0.1]}, {"waited": ["x", "y"]}, {"communicated": "long"}, {"data": 3}]
)
def test_foreign_times_are_passed_over_whole(wrong):
    view = RunView()
    with pytest.raises((TypeError, ValueError, KeyError)):
        view.feed(steps(0, 1.0, [0.5, 0.5]) | wrong)
    assert view.step == 0


def test_loads_of_a_foreign_kind_are_passed_over():
    view = RunView()
    event = {"kind": "resources", "time": 1.0, "step": 1, "cores": 1.0, "memory_bytes": 1}
    view.feed(event | {"ranks": {"0": {"stolen": 0.5}, "x": {}}})
    assert view.ranks.loads() == {0: {"stolen": 0.5}}
    for wrong in ({"0": 3}, [1], {"0": {"stolen": "much"}}):
        with pytest.raises((TypeError, AttributeError)):
            view.feed(event | {"ranks": wrong})


def test_the_gain_is_that_of_being_like_the_others():
    found = fed(*many(0, 6, 1.0, [0.4, 0.8])).straggler()
    assert found is not None
    assert found.gain == pytest.approx(1.0 / 0.6 - 1.0)
    assert isinstance(found, Straggler)
