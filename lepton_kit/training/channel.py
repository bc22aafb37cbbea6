"""What a worker needs of its connection to the driver."""

from __future__ import annotations

from typing import Protocol, TypeVar

from lepton_kit.training.messages import Command, FromWorker, Message
from lepton_kit.training.slowness import Slowness

Answer = TypeVar("Answer", bound=Message)


class Channel(Protocol):
    """What a worker needs of its connection to the driver."""

    slowness: Slowness
    """How slow the driver wants this worker, as it said last."""

    def send(self, message: FromWorker) -> None:
        """Tell the driver something."""

    def take_commands(self) -> list[Command]:
        """Commands that came since the last call, without waiting."""

    def wait_for(self, *kinds: type[Answer]) -> Answer:
        """The next message of one of these kinds; others before it are kept for `take_commands`."""
