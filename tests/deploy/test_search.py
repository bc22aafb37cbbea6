"""The search of a goal as pure functions: what is tried, what is skipped, what wins."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.deploy.report.goal import Goal, relative_cost
from lepton_kit.deploy.report.job import search
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.deploy.report.search import (
    SHARES,
    Outcome,
    Trunk,
    choose,
    mildest,
    nearest,
    next_trunks,
    sections,
    shrink,
    trunks,
    why_skip,
)
from lepton_kit.errors import CompressionError

SOME = st.lists(st.sampled_from([0.25, 0.5, 0.75]), unique=True, max_size=3)
COSTS = st.sampled_from(["latency", "size", "balanced"])


def run(space, judge, bound, cost, refine=False, lanes=1):
    """All trunks that the search visits, with their outcomes."""
    seen, goal = [], Goal("lost", bound, cost)
    while batch := next_trunks(space, seen, goal, refine=refine, lanes=lanes):
        seen += [judge(trunk) for trunk in batch]
        assert len(seen) < 100
    return seen


def monotone(trunk):
    """A made-up model: it loses the more the more is removed, and costs the less."""
    lost = 0.04 * trunk.structured**2 + 0.02 * trunk.sparsity**3
    price = shrink(trunk, "balanced")
    return Outcome(trunk, {"float32": lost, "int8": lost + 0.001}, {"float32": price, "int8": 0.4 * price})


@given(SOME, SOME, st.floats(0, 0.1), COSTS, st.booleans(), st.integers(1, 4))
def test_the_search_ends_and_tries_nothing_twice(structured, sparsity, bound, cost, refine, lanes):
    seen = run(trunks(structured, sparsity), monotone, bound, cost, refine, lanes)
    visited = [outcome.trunk for outcome in seen]
    assert len(visited) == len(set(visited))
    assert visited[0] == Trunk()


@given(SOME, SOME, st.floats(0.001, 0.1), st.integers(1, 4))
def test_skipping_never_loses_the_winner_of_a_monotone_model(structured, sparsity, bound, lanes):
    space, goal = trunks(structured, sparsity), Goal("lost", bound)
    best = min(price for trunk in space for price in monotone(trunk).inside(goal).values())
    found = min(
        price
        for outcome in run(space, monotone, bound, "balanced", lanes=lanes)
        for price in outcome.inside(goal).values()
    )
    assert found == pytest.approx(best)


@given(SOME, SOME, st.floats(0, 0.02), COSTS)
def test_nothing_stronger_than_a_failure_is_tried(structured, sparsity, bound, cost):
    seen = run(trunks(structured, sparsity), monotone, bound, cost)
    for earlier, later in itertools.combinations(seen, 2):
        if not earlier.inside(Goal("lost", bound, cost)):
            assert not later.trunk.removes_as_much_as(earlier.trunk)


def test_zeros_are_not_tried_for_latency_which_they_cannot_lower():
    visited = [outcome.trunk for outcome in run(trunks([0.5], [0.8]), monotone, 0.5, "latency")]
    assert visited == [Trunk(), Trunk(0.5)]
    reason = why_skip(Trunk(0, 0.8), [monotone(Trunk())], Goal("lost", 0.5, "latency"))
    assert reason == "at best 0.40 of float's cost; 0.40 is already found"


def test_refining_halves_the_gap_between_the_last_success_and_the_first_failure():
    seen = run([Trunk()], monotone, 0.017, "balanced", refine=True)
    assert [outcome.trunk.structured for outcome in seen] == [0.0, 0.5, 0.75, 0.62, 0.69, 0.66]
    assert [bool(outcome.inside(Goal("lost", 0.017))) for outcome in seen] == [1, 1, 0, 1, 0, 0]


def test_lanes_cut_the_gap_into_more_parts_and_zeros_come_on_the_last_success():
    seen = run([Trunk(), Trunk(0, 0.5)], monotone, 0.017, "balanced", refine=True, lanes=2)
    tried = [(outcome.trunk.structured, outcome.trunk.sparsity) for outcome in seen]
    assert tried == [(0, 0), (0.33, 0), (0.67, 0), (0.44, 0), (0.56, 0), (0.6, 0), (0.63, 0), (0.63, 0.5)]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 6))
def test_sections_lie_in_the_gap_and_end_once_it_is_fine(low, high, count):
    found = sections(low, high, count)
    assert found == sorted(set(found))
    assert all(low < share < high for share in found)
    assert len(found) <= count
    assert bool(found) == (high - low >= 0.05)


# ---------------------------------------------------------------- a target
def sized(trunk):
    """The made-up model with sizes in bytes: 4,000 in float32, of which a thousand can't be removed."""
    made, left = monotone(trunk), 1000 + 3000 * (1 - trunk.structured) ** 2
    return Outcome(trunk, made.drops, {"float32": left, "int8": left / 4})


def aim(limit, spoilt=0.0, shares=None):
    """(outcomes of what a search for that size trains, shares that it has looked at before)."""
    seen, looked, goal = [], [], Goal("file_bytes", limit)

    def probe(share):
        looked.append(share)
        return {name: cost * (1 - spoilt) for name, cost in sized(Trunk(share)).costs.items()}

    space = trunks(shares or (), ())
    while batch := next_trunks(space, seen, goal, refine=shares is None, lanes=2, probe=probe):
        seen += [sized(trunk) for trunk in batch]
        assert len(seen) < 20
    return seen, looked


@given(st.floats(200, 5000))
def test_a_target_trains_the_mildest_share_that_meets_it_and_no_other(limit):
    goal, (seen, _) = Goal("file_bytes", limit), aim(limit)
    best = min(
        (value for share in (0, *SHARES) for value in sized(Trunk(share)).inside(goal).values()), default=None
    )
    found = [value for outcome in seen for value in outcome.inside(goal).values()]
    if best is None:
        assert not found
        assert len(seen) == 1
    else:
        assert min(found) <= best + 0.002
        assert len(seen) <= 2


def test_a_target_that_the_untouched_model_meets_needs_no_training_and_no_look():
    assert [outcome.trunk for outcome in aim(1000)[0]] == [Trunk()]
    assert aim(1000)[1] == []


def test_a_miss_after_training_is_followed_by_a_stronger_share():
    seen, _ = aim(500, spoilt=0.07)
    goal = Goal("file_bytes", 500)
    assert [bool(outcome.inside(goal)) for outcome in seen] == [False, False, True]
    assert [outcome.trunk.structured for outcome in seen] == [0, 0.39, 0.45]


def test_a_target_chooses_among_the_shares_that_are_given():
    assert [outcome.trunk.structured for outcome in aim(500, shares=(0.25, 0.5, 0.9))[0]] == [0, 0.5]
    assert [outcome.trunk.structured for outcome in aim(500, shares=(0.25,))[0]] == [0]


@given(st.lists(st.floats(0, 1), unique=True), st.floats(0, 1))
def test_the_mildest_share_is_found_by_halving(shares, least):
    shares.sort()
    found = next((share for share in shares if share >= least), None)
    assert mildest(shares, lambda share: share >= least) == found


# ---------------------------------------------------------------- the winner
def row(name, latency, gzip, lost, **more):
    figures = {
        "latency_1_one": Figure(latency, "measured"),
        "gzip_bytes": Figure(gzip, "measured"),
        "lost": Figure(lost, "measured"),
    }
    return Row(name, "LiteRT", figures=figures, **more)


def test_the_cheapest_row_inside_the_bound_wins():
    rows = [
        row("float32", 1.0, 100, 0.0, role="float"),
        row("int8", 0.5, 30, 0.004),
        row("tiny", 0.1, 5, 0.02),
        row("control", 0.01, 1, -0.01, role="control"),
        Row("failed", "LiteRT", error="no"),
    ]
    assert choose(rows, Goal("lost", 0.005)) == "int8"
    assert choose(rows, Goal("lost", 0.03)) == "tiny"
    assert choose(rows, Goal("lost", 0.0)) == "float32"
    assert choose(rows[1:], Goal("lost", 0.005)) is None


def test_the_best_score_that_meets_a_target_wins_and_a_miss_names_the_nearest():
    rows = [
        row("float32", 1.0, 100, 0.0, role="float"),
        row("int8", 0.5, 30, 0.004),
        row("tiny", 0.1, 5, 0.02),
        row("control", 0.01, 1, -0.01, role="control"),
    ]
    assert choose(rows, Goal("latency_1_one", 0.5)) == "int8"
    assert choose(rows, Goal("latency_1_one", 0.2)) == "tiny"
    assert choose(rows, Goal("latency_1_one", 0.05)) is None
    assert nearest(rows, Goal("latency_1_one", 0.05)) == ("tiny", 0.1)
    assert nearest(rows[1:3], Goal("lost", 0.001)) is None  # nothing to compare with
    assert choose(rows, Goal("file_bytes", 1e9)) is None  # a figure that no row has


def test_relative_costs():
    mine, reference = row("a", 0.5, 50, 0.0), row("b", 1.0, 200, 0.0)
    assert relative_cost(mine, reference, "latency") == 0.5
    assert relative_cost(mine, reference, "size") == 0.25
    assert relative_cost(mine, reference, "balanced") == pytest.approx(0.125**0.5)
    assert relative_cost(Row("c", "LiteRT"), reference, "size") is None


class FakeBench:
    """Trains nothing: the scores and costs of every variant follow from what was removed."""

    lanes = 1

    def __init__(self, **changes):
        values = {
            "structured": (0.5, 0.75),
            "sparsity": (0.8,),
            "quantize": ("int8",),
            "refine": False,
        }
        self.job = SimpleNamespace(**{**values, **changes})
        self.rows, self.done = [], []

    def train(self, trunks, precisions):
        self.done += [trunk.name for trunk in trunks]

    def variants(self, trunk, precisions):
        outcome, bytes_of = monotone(trunk), sized(trunk).costs
        for precision in ("float32", *precisions):
            price = outcome.costs[precision]
            made = row(trunk.variant(precision), price, 100 * price, outcome.drops[precision])
            made = replace(
                made, figures={**made.figures, "file_bytes": Figure(bytes_of[precision], "measured")}
            )
            self.rows.append(
                replace(made, precision=precision, structured=trunk.structured, sparsity=trunk.sparsity)
            )

    def probe(self, share, precisions, key):
        assert key == "file_bytes"
        return sized(Trunk(share)).costs

    def quick(self, rows):
        return rows

    def control(self):
        self.done.append("control")

    def time(self):
        self.done.append("time")


def test_the_search_trains_what_it_needs_then_a_control_and_names_the_winner():
    bench = FakeBench()
    best, trail = search(bench, Goal("lost", 0.012))
    assert best == "structured-50+int8"
    assert bench.done == ["", "structured-50", "structured-75", "structured-50+sparse-80", "control", "time"]
    assert trail[1]["trunk"] == "structured-50"
    assert trail[1]["drops"] == pytest.approx({"float32": 0.01, "int8": 0.011})
    assert trail[1]["inside"] == ["float32", "int8"]
    skipped = {one["trunk"]: one["skipped"] for one in trail if "skipped" in one}
    assert set(skipped) == {"sparse-80", "structured-75+sparse-80"}
    assert "is already found" in skipped["sparse-80"]
    assert "removes at least as much as structured-75" in skipped["structured-75+sparse-80"]
    ended = "structured-50+int8 is the cheapest variant that loses at most 0.012"
    assert trail[-1] == {"best": best, "ended": ended}


def test_a_target_is_searched_the_same_way_and_the_trail_tells_what_was_looked_at():
    bench = FakeBench(structured=(), sparsity=(), refine=True)
    best, trail = search(bench, Goal("file_bytes", 500))
    assert best == "structured-45+int8"
    assert bench.done == ["", "structured-45", "control", "time"]
    looked = [one for one in trail if "probe" in one]
    assert all((one["inside"] == ["int8"]) == (one["costs"]["int8"] <= 500) for one in looked)
    assert [one["trunk"] for one in trail if "trunk" in one] == ["as it came", "structured-45"]
    assert trail[-1]["ended"] == "structured-45+int8 is the best score with size <= 0.5 kB"


def test_a_target_that_nothing_meets_is_told_with_the_nearest_and_why():
    bench = FakeBench(structured=(), sparsity=(), refine=True)
    best, trail = search(bench, Goal("file_bytes", 200))
    assert best is None
    assert bench.done == ["", "control", "time"]
    assert trail[-1]["ended"] == (
        "no variant has size <= 0.2 kB; the nearest is int8: size 1 kB; "
        "before training, structured-96+int8 would still have size 0.2512 kB"
    )


def test_a_model_whose_channels_stay_is_told_with_the_reason():
    bench = FakeBench(structured=(), sparsity=(), refine=True)

    def probe(*_):
        raise CompressionError("layer 'own' can't be rewired")

    bench.probe = probe
    best, trail = search(bench, Goal("file_bytes", 200))
    assert best is None
    assert trail[-1]["ended"].endswith(
        "size 1 kB; no channels could be removed: layer 'own' can't be rewired"
    )


def test_a_bound_that_nothing_meets_names_the_one_that_loses_least():
    bench = FakeBench(structured=(), sparsity=())
    bench.variants = lambda trunk, precisions: bench.rows.extend(
        row(name, 1.0, 100, 0.5) for name in ("float32", "int8")
    )
    best, trail = search(bench, Goal("lost", 0.1))
    assert best is None
    assert trail[-1]["ended"] == "no variant loses at most 0.1; the nearest is float32: loses 0.5"


def test_a_search_over_formats_alone_trains_nothing():
    bench = FakeBench(structured=(), sparsity=())
    assert search(bench, Goal("lost", 0.012))[0] == "int8"
    assert bench.done == ["", "control", "time"]
