"""The driver's commands add up to what rank 0 wants."""

from __future__ import annotations

from typing import Any

import pytest

from lepton_kit.runtime.places import on_this_machine
from lepton_kit.training import messages
from lepton_kit.training.desired import PAUSE, REFORM, STOP, TRAIN, Desired, desired_at


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


def joining(**options: Any) -> messages.Join:
    (membership,) = on_this_machine(1, ("127.0.0.1", 1), slot_bytes=64, timeout_seconds=10)
    fields = {"descriptor": None, "membership": membership, "weights": [1.0], "state_place": 0, "handed": False,
              "checkpoint": None, "reported_step": 0, "logged_epochs": 0, "durable_step": 3, "log_seconds": 0.5,
              "learning_rate": None, "paused": False}  # fmt: skip
    return messages.Join(**{**fields, **options})


def test_a_generation_begins_as_the_driver_says():
    assert desired_at(joining()) == Desired(TRAIN, learning_rate=0.0, durable_step=3, log_seconds=0.5)
    assert desired_at(joining(paused=True, learning_rate=0.25)) == Desired(PAUSE, 0.25, 3, 0.5)
