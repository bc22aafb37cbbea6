"""The clockwork of a report card: every model in turns, and what other processes take does not count."""

import numpy as np
import pytest

from lepton_kit.deploy.report import measure


def test_timing_visits_every_model_in_every_repetition_and_rotates():
    order, now = [], iter(range(10_000))
    runners = {name: lambda name=name: order.append(name) for name in "abc"}
    times = measure.interleave(runners, 4, clock=lambda: float(next(now)))
    assert {name: len(found) for name, found in times.items()} == {"a": 4, "b": 4, "c": 4}
    assert [order[-12:][start] for start in (0, 3, 6, 9)] == ["a", "b", "c", "a"]


@pytest.mark.parametrize("call", [2e-6, 5e-5, 4e-4])
def test_a_core_that_others_take_for_a_while_does_not_make_a_model_slower(call):
    state = {"now": 0.0, "calls": 0, "next": 0.0}

    def run():
        state["now"] += call
        state["calls"] += 1
        if state["now"] > state["next"]:  # a turn of 3 ms, then the others' turns
            state["now"] += 0.04
            state["next"] = state["now"] + 0.003

    found = measure.interleave({"model": run}, 20, clock=lambda: state["now"])
    assert np.quantile(found["model"], 0.75) == pytest.approx(call, rel=0.01)
    assert state["calls"] * call >= 20 * measure.SLICE_SECONDS * 0.8
