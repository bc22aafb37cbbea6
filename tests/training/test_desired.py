"""The driver's commands add up to what rank 0 wants."""

from __future__ import annotations

import pytest

from lepton_kit.training import messages
from lepton_kit.training.desired import PAUSE, REFORM, STOP, TRAIN, Desired


def after(action: int, *commands: messages.Command) -> Desired:
    desired = Desired(action, learning_rate=0.0, durable_step=3, log_seconds=1.0)
    for command in commands:
        desired.obey(command)
    return desired


@pytest.mark.parametrize(
    ("before", "command", "action"),
    [
        (TRAIN, messages.Pause, PAUSE),
        (PAUSE, messages.Resume, TRAIN),
        (TRAIN, messages.Resume, TRAIN),
        (REFORM, messages.Pause, REFORM),
        (STOP, messages.Pause, STOP),
        (STOP, messages.Resume, STOP),
        (REFORM, messages.Resume, REFORM),
        (PAUSE, messages.Reform, REFORM),
        (PAUSE, messages.Stop, STOP),
    ],
)
def test_a_pause_never_outdoes_the_end(before: int, command: type[messages.Pause], action: int):
    assert after(before, command(generation=1)).action == action


def test_what_a_command_does_not_set_stays():
    desired = after(
        TRAIN,
        messages.Set(generation=1, log_seconds=0.5),
        messages.Durable(generation=1, step=9),
        messages.Set(generation=1, learning_rate=0.25),
    )
    assert desired == Desired(TRAIN, learning_rate=0.25, durable_step=9, log_seconds=0.5)
