"""What a driver and the agent of a host say to each other, beside what they pass on between driver and workers."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, get_args

from lepton_kit.training.messages import Message, encode


@dataclass(frozen=True, kw_only=True)
class Here(Message):
    """The agent's first word: what it is, and what its host has; ``native`` is whether workers can share memory there."""

    pid: int
    versions: dict[str, str]
    cores: int
    memory_bytes: int
    free_bytes: int
    gpus: list[str]
    disk_bytes: int
    clock: float
    native: bool


@dataclass(frozen=True, kw_only=True)
class Begin(Message):
    """Serve this run as this host. ``folder`` is where it lies, for an agent on the driver's own machine; else it gets a mirror.

    An agent that hears nothing for ``hang_seconds`` ends its workers.
    """

    run: str
    host: str
    folder: str | None
    hang_seconds: float


@dataclass(frozen=True, kw_only=True)
class WhichWay(Message):
    """By which interface does this host reach these addresses?"""

    addresses: list[str]


@dataclass(frozen=True, kw_only=True)
class Ways(Message):
    """For each address the interface and the source address there; None of one that has no route."""

    ways: dict[str, tuple[str, str] | None]


@dataclass(frozen=True, kw_only=True)
class Start(Message):
    """Fork a worker."""

    worker: int
    slot: int
    threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Kill(Message):
    """End a worker at once."""

    worker: int


@dataclass(frozen=True, kw_only=True)
class Passed(Message):
    """What driver and worker tell each other; ``text`` is an encoded message, without its descriptor."""

    worker: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Gone(Message):
    """A worker has ended."""

    worker: int
    exit_code: int | None
    cause: str | None
    excused: bool


@dataclass(frozen=True, kw_only=True)
class Lost(Message):
    """What starts the workers of the host has died; ``final``: it can't be started again."""

    cause: str
    final: bool


@dataclass(frozen=True, kw_only=True)
class Ping(Message):
    """The sender is there; both sides send it. ``loaded``: an agent whose workers can start has TensorFlow in memory."""

    loaded: bool = False


@dataclass(frozen=True, kw_only=True)
class Took(Message):
    """What the run's part of the host took: the fields of an ``energy`` event."""

    fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Printed(Message):
    """What a worker has printed, as it stands in its log."""

    worker: int
    text: str


# ---------------------------------------------------------------------- the rendezvous, relayed


@dataclass(frozen=True, kw_only=True)
class Opened(Message):
    """A worker has connected to the relay of its host: a stream of bytes begins."""

    stream: int


@dataclass(frozen=True, kw_only=True)
class Streamed(Message):
    """Bytes of a stream, in base64; none ends this direction of it."""

    stream: int
    data: str


# ---------------------------------------------------------------------- files


@dataclass(frozen=True, kw_only=True)
class Offer(Message):
    """The files of a run: name -> bytes and SHA-256. The agent answers which contents it lacks."""

    files: dict[str, tuple[int, str]]


@dataclass(frozen=True, kw_only=True)
class Lacks(Message):
    """SHA-256 of contents that are wanted -> how many of their bytes are there already."""

    contents: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Piece(Message):
    """Bytes from ``offset`` on, in base64, of the contents with this SHA-256."""

    digest: str
    offset: int
    data: str


@dataclass(frozen=True, kw_only=True)
class Arrived(Message):
    """All files that were offered stand in the mirror of the run."""

    count: int


@dataclass(frozen=True, kw_only=True)
class NoRoom(Message):
    """A file could not be written on the host, and why."""

    cause: str


@dataclass(frozen=True, kw_only=True)
class Returned(Message):
    """Bytes of a file that a worker wrote into the mirror, for the run's own folder.

    ``last`` ends the file; ``folder`` names the folder that is whole once its last file has ended, in ``whole``.
    """

    name: str
    offset: int
    data: str
    last: bool
    whole: str | None = None


# ---------------------------------------------------------------------- what is measured before a run


@dataclass(frozen=True, kw_only=True)
class Question(Message):
    """The agent is to find something out, and to answer under the same number."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Answer(Message):
    """What it has found out."""

    number: int


@dataclass(frozen=True, kw_only=True)
class AskTime(Question):
    """What time is it?"""


@dataclass(frozen=True, kw_only=True)
class Time(Answer):
    """Unix seconds."""

    clock: float


@dataclass(frozen=True, kw_only=True)
class AskState(Question):
    """What has this host, and are these files there? Of each its path, bytes and mark (time of its last change)."""

    files: list[tuple[str, int, str]]


@dataclass(frozen=True, kw_only=True)
class State(Answer):
    """``native``: why there is no native library; None if there is. ``missing``: path -> what is wrong with a file."""

    native: str | None
    cache: str
    disk_bytes: int
    cache_problem: str | None
    ports: tuple[int, int]
    missing: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Listen(Question):
    """Listen on this interface for other hosts of the check, which know the ``nonce``, for at most so long."""

    interface: str
    nonce: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Listening(Answer):
    """Where it listens; or why it can't."""

    address: str = ""
    port: int = 0
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dial(Question):
    """Connect to another host of the check, and send at most so many bytes, for at most so long."""

    address: str
    port: int
    nonce: str
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Dialed(Answer):
    """Seconds of a round trip (the best of several) and bytes a second, as far as measured; or why it got through to nobody."""

    latency: float | None = None
    rate: float | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class AskClean(Question):
    """Remove what no run needs."""


@dataclass(frozen=True, kw_only=True)
class Cleaned(Answer):
    """Bytes that are free again, and how many runs are served there now, whose files stay."""

    bytes: int
    runs: int


ToAgent = (
    Begin | WhichWay | Start | Kill | Passed | Ping | Streamed | Offer | Piece
    | AskTime | AskState | Listen | Dial | AskClean
)  # fmt: skip
FromAgent = (
    Here
    | Time
    | State
    | Listening
    | Dialed
    | Cleaned
    | Ways
    | Gone
    | Lost
    | Passed
    | Ping
    | Took
    | Printed
    | Opened
    | Streamed
    | Lacks
    | Arrived
    | NoRoom
    | Returned
)
KINDS: dict[str, type[Message]] = {
    one.__name__: one for union in (ToAgent, FromAgent) for one in get_args(union)
}
"""All messages between driver and agent, by the names that they travel under."""


def packed(data: bytes) -> str:
    """Bytes as text of a message.

    >>> unpacked(packed(b"ab"))
    b'ab'
    """
    return base64.b64encode(data).decode("ascii")


def unpacked(text: str) -> bytes:
    """The bytes again."""
    return base64.b64decode(text)


def passed(worker: int, message: Message) -> Passed:
    """A message between driver and worker, on its way through the agent."""
    return Passed(worker=worker, text=encode(message).decode())
