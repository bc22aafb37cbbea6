"""How long blocks of steps get: agreements stay cheap, and what is asked of a run does not wait long."""

from __future__ import annotations

import pytest

from lepton_kit.training.agreement import LONGEST_SECONDS, SHORTEST_SECONDS, Agreement, Blocks


@pytest.mark.parametrize(
    ("costs", "seconds"),
    [
        ([], SHORTEST_SECONDS),
        ([1e-4], SHORTEST_SECONDS),
        ([0.3, 0.006, 0.5], 0.24),
        ([0.006, *[0.01] * 8], 0.4),
        ([0.04], LONGEST_SECONDS),
    ],
)
def test_a_block_is_as_long_as_forty_of_the_quickest_recent_agreements(costs: list[float], seconds: float):
    blocks = Blocks()
    for cost in costs:
        blocks.note(cost)
    assert blocks.seconds == pytest.approx(seconds)


def test_the_time_of_an_agreement_is_noted_and_what_came_of_it_given():
    blocks, agreed = Blocks(), Agreement(2)
    assert blocks.timed(lambda: agreed) is agreed
    assert len(blocks._costs) == 1
