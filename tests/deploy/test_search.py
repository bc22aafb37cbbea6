"""The accuracy-bounded search as pure functions: what is tried, what is skipped, what wins."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.deploy.report.job import search
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.deploy.report.search import (
    Outcome,
    Trunk,
    choose,
    next_trunk,
    relative_cost,
    shrink,
    trunks,
    why_skip,
)

SHARES = st.lists(st.sampled_from([0.25, 0.5, 0.75]), unique=True, max_size=3)
COSTS = st.sampled_from(["latency", "size", "balanced"])


def run(space, judge, bound, cost, refine=False):
    """All trunks that the search visits, with their outcomes."""
    seen = []
    while (trunk := next_trunk(space, seen, bound, cost, refine=refine)) is not None:
        seen.append(judge(trunk))
        assert len(seen) < 100
    return seen


def monotone(trunk):
    """A made-up model: it loses the more the more is removed, and costs the less."""
    lost = 0.04 * trunk.structured**2 + 0.02 * trunk.sparsity**3
    price = shrink(trunk, "balanced")
    return Outcome(trunk, {"float32": lost, "int8": lost + 0.001}, {"float32": price, "int8": 0.4 * price})


@given(SHARES, SHARES, st.floats(0, 0.1), COSTS, st.booleans())
def test_the_search_ends_and_tries_nothing_twice(structured, sparsity, bound, cost, refine):
    seen = run(trunks(structured, sparsity), monotone, bound, cost, refine)
    visited = [outcome.trunk for outcome in seen]
    assert len(visited) == len(set(visited))
    assert visited[0] == Trunk()


@given(SHARES, SHARES, st.floats(0.001, 0.1))
def test_skipping_never_loses_the_winner_of_a_monotone_model(structured, sparsity, bound):
    space = trunks(structured, sparsity)
    best = min(price for trunk in space for price in monotone(trunk).inside(bound).values())
    found = min(
        price
        for outcome in run(space, monotone, bound, "balanced")
        for price in outcome.inside(bound).values()
    )
    assert found == pytest.approx(best)


@given(SHARES, SHARES, st.floats(0, 0.02), COSTS)
def test_nothing_stronger_than_a_failure_is_tried(structured, sparsity, bound, cost):
    seen = run(trunks(structured, sparsity), monotone, bound, cost)
    for earlier, later in itertools.combinations(seen, 2):
        if not earlier.inside(bound):
            assert not later.trunk.removes_as_much_as(earlier.trunk)


def test_zeros_are_not_tried_for_latency_which_they_cannot_lower():
    visited = [outcome.trunk for outcome in run(trunks([0.5], [0.8]), monotone, 0.5, "latency")]
    assert visited == [Trunk(), Trunk(0.5)]
    reason = why_skip(Trunk(0, 0.8), [monotone(Trunk())], 0.5, "latency")
    assert reason == "at best 0.40 of float's cost; 0.40 is already found"


def test_refining_bisects_between_the_last_success_and_the_first_failure():
    seen = run(trunks([0.5, 0.75], []), monotone, 0.017, "balanced", refine=True)
    assert [outcome.trunk.structured for outcome in seen] == [0.0, 0.5, 0.75, 0.625, 0.6875]
    assert seen[3].inside(0.017)
    assert not seen[4].inside(0.017)


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
    assert choose(rows, "balanced", 0.005) == "int8"
    assert choose(rows, "balanced", 0.03) == "tiny"
    assert choose(rows, "balanced", 0.0) == "float32"
    assert choose(rows[1:], "balanced", 0.005) is None


def test_relative_costs():
    mine, reference = row("a", 0.5, 50, 0.0), row("b", 1.0, 200, 0.0)
    assert relative_cost(mine, reference, "latency") == 0.5
    assert relative_cost(mine, reference, "size") == 0.25
    assert relative_cost(mine, reference, "balanced") == pytest.approx(0.125**0.5)
    assert relative_cost(Row("c", "LiteRT"), reference, "size") is None


class FakeBench:
    """Trains nothing: the scores and costs of every variant follow from what was removed."""

    def __init__(self, **changes):
        values = {
            "structured": (0.5, 0.75),
            "sparsity": (0.8,),
            "quantize": ("int8",),
            "max_drop": 0.012,
            "cost": "balanced",
            "refine": False,
        }
        self.job = SimpleNamespace(**{**values, **changes})
        self.rows, self.done = [], []

    def train(self, trunk):
        self.done.append(trunk.name)

    def variants(self, trunk, precisions):
        outcome = monotone(trunk)
        for precision in ("float32", *precisions):
            price = outcome.costs[precision]
            made = row(trunk.variant(precision), price, 100 * price, outcome.drops[precision])
            self.rows.append(
                replace(made, precision=precision, structured=trunk.structured, sparsity=trunk.sparsity)
            )

    def quick(self, rows):
        return rows

    def control(self):
        self.done.append("control")

    def time(self):
        self.done.append("time")


def test_the_search_trains_what_it_needs_then_a_control_and_names_the_winner():
    bench = FakeBench()
    best, trail = search(bench, bench.job.max_drop)
    assert best == "structured-50+int8"
    assert bench.done == ["", "structured-50", "structured-75", "structured-50+sparse-80", "control", "time"]
    assert trail[1]["trunk"] == "structured-50"
    assert trail[1]["drops"] == pytest.approx({"float32": 0.01, "int8": 0.011})
    assert trail[1]["inside"] == ["float32", "int8"]
    skipped = {one["trunk"]: one["skipped"] for one in trail if "skipped" in one}
    assert set(skipped) == {"sparse-80", "structured-75+sparse-80"}
    assert "is already found" in skipped["sparse-80"]
    assert "removes at least as much as structured-75" in skipped["structured-75+sparse-80"]


def test_a_search_over_formats_alone_trains_no_control():
    bench = FakeBench(structured=(), sparsity=())
    assert search(bench, bench.job.max_drop)[0] == "int8"
    assert bench.done == ["", "time"]
