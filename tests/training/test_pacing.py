"""What rank 0 tells of what ranks take: steps of whole batches under one cut, not too often."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_kit.training import messages, pacing
from tests.training.harness import Channel


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: now[0])
    return now


def figures(*rows: tuple[float, float]) -> np.ndarray:
    return np.array([[data, computed, 0.5] for data, computed in rows], np.float32)


def test_seconds_of_reading_and_computing_a_step(clock: list[float]):
    channel = Channel()
    paced = pacing.Pacing(channel, 4, 90)
    paced.note(figures((0.1, 0.4), (0.0, 1.0)), 5, 90, [2.0, 1.0])
    paced.note(
        figures((9.0, 9.0), (9.0, 9.0)), 1, 30, [2.0, 1.0]
    )  # the last batch of an epoch is a smaller one
    paced.note(figures((9.0, 9.0), (9.0, 9.0)), 0, 90, [2.0, 1.0])  # no block was trained
    assert channel.sent == []
    clock[0] += pacing.EVERY_SECONDS
    paced.note(figures((0.1, 0.4), (0.0, 1.0)), 5, 90, [2.0, 1.0])
    (told,) = channel.sent
    assert told == messages.Paced(generation=4, samples=[60, 30], seconds=[0.1, 0.2])


def test_what_belongs_to_another_cut_is_not_mixed_in(clock: list[float]):
    channel = Channel()
    paced = pacing.Pacing(channel, 4, 90)
    paced.note(figures((0.0, 9.0), (0.0, 9.0)), 3, 90, [1.0, 1.0])
    paced.restart()
    clock[0] += pacing.EVERY_SECONDS
    paced.note(figures((0.0, 0.5), (0.0, 0.5)), 5, 90, [2.0, 1.0])
    (told,) = channel.sent
    assert told.seconds == [0.1, 0.1]
