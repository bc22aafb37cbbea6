"""What a driver and whoever holds its Spark application say to each other, on one machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from lepton_kit.training.messages import Message


@dataclass(frozen=True, kw_only=True)
class Open(Message):
    """Start an application of the run's own."""

    master: str
    settings: dict[str, str]
    archive: str | None


@dataclass(frozen=True, kw_only=True)
class Opened(Message):
    """There is an application: its name, and the address at which its executors reach this machine, where it knows."""

    application: str
    address: str | None


@dataclass(frozen=True, kw_only=True)
class Order(Message):
    """What the tasks of a job are told: where to dial, whom to trust, and the secret that their tokens are made of.

    ``python`` is the path that it has on the driver's machine.
    """

    job: int
    address: str
    port: int
    certificate: str
    secret: str
    python: str


@dataclass(frozen=True, kw_only=True)
class Submit(Message):
    """Run a job of one task for each of these places; with ``gang`` all tasks at once or none."""

    order: Order
    places: list[int]
    gang: bool


@dataclass(frozen=True, kw_only=True)
class Cancel(Message):
    """End a job."""

    job: int


@dataclass(frozen=True, kw_only=True)
class Active(Message):
    """So many tasks of a job run; None where the application does not tell."""

    job: int
    tasks: int | None


@dataclass(frozen=True, kw_only=True)
class Ended(Message):
    """A job is over; why, if it failed."""

    job: int
    cause: str | None


@dataclass(frozen=True, kw_only=True)
class Over(Message):
    """There is no application any more, or none could be started, and why."""

    cause: str


TO_APPLICATION = Open | Submit | Cancel
FROM_APPLICATION = Opened | Active | Ended | Over
KINDS: dict[str, type[Message]] = {
    one.__name__: one for union in (TO_APPLICATION, FROM_APPLICATION) for one in get_args(union)
}
"""All messages between a driver and its Spark application, by the names that they travel under."""
