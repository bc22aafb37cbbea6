"""What a follower and the keeper of a run say to each other, where the run's driver is on another host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from lepton_kit.runtime.hosts import talk
from lepton_kit.training.messages import Message


@dataclass(frozen=True, kw_only=True)
class Follow(Message):
    """Tell of this run, from what is known of it on: bytes of files that grow, and folders that are whole.

    ``drive``: its driver shall start if it has none.
    """

    run: str
    grown: dict[str, int]
    folders: list[str]
    drive: bool


@dataclass(frozen=True, kw_only=True)
class Asked(Message):
    """A request of a client, as the file with this name holds it."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Absent(Message):
    """The keeper has no such run; runs that it has."""

    runs: list[str]


@dataclass(frozen=True, kw_only=True)
class Grown(Message):
    """Bytes, in base64, from ``offset`` on of a file that only grows."""

    name: str
    offset: int
    data: str


@dataclass(frozen=True, kw_only=True)
class Replaced(Message):
    """The whole text of a small file."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Folders(Message):
    """Folders of the run that are whole now. Others are no more."""

    names: list[str]


@dataclass(frozen=True, kw_only=True)
class Standing(Message):
    """All before this has been told. ``driven``: whether the run has a driver."""

    driven: bool


@dataclass(frozen=True, kw_only=True)
class Refused(Message):
    """The driver can't be started there, and why."""

    cause: str


ToKeeper = Follow | Asked | talk.Offer | talk.Piece
FromKeeper = (
    talk.Here
    | talk.Ping
    | Absent
    | talk.Lacks
    | talk.Arrived
    | talk.NoRoom
    | Grown
    | Replaced
    | Folders
    | talk.Returned
    | Standing
    | Refused
)
KINDS: dict[str, type[Message]] = {
    one.__name__: one for union in (ToKeeper, FromKeeper) for one in get_args(union)
}
"""All messages between follower and keeper, by the names that they travel under."""
