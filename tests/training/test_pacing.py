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
    paced.note(figures((9.0, 9.0), (9.0, 9.0)), 0, 90, [2.0, 1.0])  # no block was trained
    assert channel.sent == []
    clock[0] += pacing.EVERY_SECONDS
    paced.note(figures((0.1, 0.4), (0.0, 1.0)), 5, 90, [2.0, 1.0])
    (told,) = channel.sent
    assert told == messages.Paced(generation=4, samples=[60, 30], seconds=[0.1, 0.2])


def test_a_smaller_batch_is_told_of_by_itself_and_not_too_often(clock: list[float]):
    channel = Channel()
    paced = pacing.Pacing(channel, 4, 90)
    for _ in range(3):
        paced.note(figures((0.1, 0.4), (0.0, 1.0)), 5, 90, [2.0, 1.0])
        paced.note(figures((0.5, 1.5), (1.0, 3.0)), 2, 30, [2.0, 1.0])
    aside = messages.Paced(generation=4, samples=[20, 10], seconds=[1.0, 2.0])
    assert channel.sent == [aside]
    clock[0] += pacing.EVERY_SECONDS
    paced.note(figures((0.5, 1.5), (1.0, 3.0)), 2, 30, [2.0, 1.0])
    assert channel.sent == [aside, aside]
    paced.note(figures((0.1, 0.4), (0.0, 1.0)), 5, 90, [2.0, 1.0])
    assert channel.sent[2:] == [messages.Paced(generation=4, samples=[60, 30], seconds=[0.1, 0.2])]


def test_what_belongs_to_another_cut_is_not_mixed_in(clock: list[float]):
    channel = Channel()
    paced = pacing.Pacing(channel, 4, 90)
    paced.note(figures((0.0, 9.0), (0.0, 9.0)), 3, 90, [1.0, 1.0])
    paced.restart()
    clock[0] += pacing.EVERY_SECONDS
    paced.note(figures((0.0, 0.5), (0.0, 0.5)), 5, 90, [2.0, 1.0])
    (told,) = channel.sent
    assert told.seconds == [0.1, 0.1]
