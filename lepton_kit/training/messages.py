"""What the processes of a run say to each other: one class a message, and how it becomes bytes and comes back.

Client, nursery, driver, zygote and workers send each other nothing else. An event that goes into the run's log as it
is told is a `Logged` message: its fields are those of the event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from lepton_kit.errors import RunError
from lepton_kit.training.collective import Kind, Membership, Sharing
from lepton_kit.training.logged import (
    Compressed,
    EpochDone,
    Predicted,
    Printed,
    Saved,
    Steps,
    Warned,
    Weighed,
)
from lepton_kit.training.logged import Message as Message


@dataclass(frozen=True, kw_only=True)
class Carrying(Message):
    """A message with which a file descriptor may ride; whoever receives it has to close it."""

    descriptor: int | None = None


@dataclass(frozen=True, kw_only=True)
class InGeneration(Message):
    """A message that counts in one generation alone."""

    generation: int


# ---------------------------------------------------------------------- client and nursery


@dataclass(frozen=True, kw_only=True)
class NurseryReady(Message):
    """The nursery, to its client: it can fork drivers."""

    pid: int


@dataclass(frozen=True, kw_only=True)
class ForkDriver(Carrying):
    """A client, to its nursery: fork a driver, with this socket as its standard input."""

    arguments: list[str]
    log: str
    cwd: str
    environment: dict[str, str]
    cores: list[int]


# ---------------------------------------------------------------------- driver and zygote


@dataclass(frozen=True, kw_only=True)
class Fork(Carrying):
    """The driver, to its zygote: fork a worker, which serves this end of a socket pair."""

    worker: int
    slot: int
    log: str
    threads: int
    device: str
    cores: list[int] = field(default_factory=list)
    gpu: int | None = None
    gpu_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class LogTo(Carrying):
    """The driver, to its zygote: go on printing into this file."""


@dataclass(frozen=True, kw_only=True)
class Warm(Message):
    """The zygote: the libraries are loaded."""

    pid: int


@dataclass(frozen=True, kw_only=True)
class StillThere(Message):
    """The zygote has nothing to do, and lives."""


@dataclass(frozen=True, kw_only=True)
class NotLoaded(Message):
    """The zygote's last word: why the libraries can't be loaded."""

    cause: str


@dataclass(frozen=True, kw_only=True)
class Exited(Message):
    """The zygote: a worker has ended, or could not be forked; ``said`` is why, if it is known."""

    worker: int
    code: int | None
    said: str | None = None


# ---------------------------------------------------------------------- driver to worker


@dataclass(frozen=True, kw_only=True)
class Prepare(Message):
    """Build the job of the run in this folder, and answer `Ready` with the same token.

    ``sharing`` is which ranks share memory, and so how they sum.
    """

    folder: str
    token: str
    search: list[str]
    sharing: Sharing


@dataclass(frozen=True, kw_only=True)
class Join(Carrying):
    """Train in a generation. The descriptor is that of a shared segment, the run's or the host's: the ring, then room for a state.

    Rank 0 takes the state from there if it was ``handed`` over, or from the ``checkpoint``, or has it.
    """

    membership: Membership
    weights: list[float]
    state_place: int
    handed: bool
    checkpoint: str | None
    reported_step: int
    logged_epochs: int
    durable_step: int
    log_seconds: float
    learning_rate: float | None
    paused: bool


@dataclass(frozen=True, kw_only=True)
class MakeRoom(Carrying):
    """Get the memory for joining a ring that trains meanwhile, and answer `RoomMade`.

    The descriptor is that of the run's segment, where there is one: a state of so many bytes will lie in it.
    """

    state_place: int
    state_bytes: int


@dataclass(frozen=True, kw_only=True)
class Exit(Message):
    """End."""


@dataclass(frozen=True, kw_only=True)
class Abort(InGeneration):
    """A member is lost: break off whatever waits for it."""


@dataclass(frozen=True, kw_only=True)
class Reform(InGeneration):
    """Leave the ring at the next commit."""


@dataclass(frozen=True, kw_only=True)
class Pause(InGeneration):
    """Hold at the next commit."""


@dataclass(frozen=True, kw_only=True)
class Resume(InGeneration):
    """Go on."""


@dataclass(frozen=True, kw_only=True)
class Stop(InGeneration):
    """End training at the next commit, with a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Durable(InGeneration):
    """All steps before this one are in the log on disk."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Set(InGeneration):
    """Change a setting; None leaves it as it is."""

    log_seconds: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Weigh(InGeneration):
    """Cut each batch by these speeds from the next commit on; ``gain`` is what is promised of that (0.4: 40 % more)."""

    weights: list[float]
    gain: float


@dataclass(frozen=True, kw_only=True)
class Slow(Message):
    """Be slow for real, for a lesson or a test: see `Slowness`. None leaves it as it is; it outlives generations."""

    factor: float | None = None
    data_seconds: float | None = None


# ---------------------------------------------------------------------- worker to driver


@dataclass(frozen=True, kw_only=True)
class Hello(Message):
    """The worker is there; the zygote that has forked it says so."""

    pid: int


@dataclass(frozen=True, kw_only=True)
class Alive(Message):
    """The heartbeat: memory of its own, CPU seconds since the worker's start, and what has kept it from computing.

    All from ``delayed_seconds`` on are running totals as `Pressure` has them.
    """

    memory_bytes: int
    cpu_seconds: float
    delayed_seconds: float | None = None
    faults: int = 0
    throttled_seconds: float | None = None
    short_seconds: float | None = None
    heats: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ready(Message):
    """The job is built: the answer to `Prepare`."""

    slot_bytes: int
    state_bytes: int
    parameters: int
    collective: Kind
    token: str


@dataclass(frozen=True, kw_only=True)
class RoomMade(Message):
    """This standby can join without looking for memory: the answer to `MakeRoom`."""


@dataclass(frozen=True, kw_only=True)
class Joining(InGeneration):
    """This rank waits for its peers in Horovod, which ends the process if one of them is lost before all are there."""


@dataclass(frozen=True, kw_only=True)
class Joined(InGeneration):
    """This rank has its peers; if one is lost from now on, it leaves the ring."""


@dataclass(frozen=True, kw_only=True)
class HandedOver(InGeneration):
    """The state of rank 0 lies whole in the shared segment."""

    step: int
    logged_epochs: int


@dataclass(frozen=True, kw_only=True)
class Formed(InGeneration):
    """The ring has formed and this rank has the state of that step; ``parts`` are seconds of this rank's way there."""

    step: int
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Paced(InGeneration):
    """What each rank had of a step and took for it, of late: samples, and seconds of reading and computing."""

    samples: list[int]
    seconds: list[float]


@dataclass(frozen=True, kw_only=True)
class Paused(InGeneration):
    """This rank holds; ``rests`` is whether it has left its ring for that, so that a new one has to form."""

    step: int
    rests: bool


@dataclass(frozen=True, kw_only=True)
class Detached(InGeneration):
    """This rank has left its ring; ``whole`` is whether it holds the state, ``trained_until`` monotonic seconds."""

    step: int
    outcome: str
    whole: bool
    stopped_by: str | None
    trained_until: float | None


@dataclass(frozen=True, kw_only=True)
class Failed(Message):
    """The worker ends; ``what`` is "error", which ends the run, or "out of memory", which does not."""

    what: str
    cause: str


Command = Reform | Pause | Resume | Stop | Durable | Set | Weigh
ToWorker = Prepare | MakeRoom | Join | Exit | Abort | Slow | Command
FromWorker = (
    Hello
    | Alive
    | Ready
    | RoomMade
    | Joining
    | Joined
    | HandedOver
    | Formed
    | Paced
    | Paused
    | Detached
    | Failed
    | Steps
    | Weighed
    | EpochDone
    | Predicted
    | Compressed
    | Saved
    | Warned
    | Printed
)
OfZygote = Fork | LogTo | Warm | StillThere | NotLoaded | Exited
OfNursery = NurseryReady | ForkDriver
KINDS: dict[str, type[Message]] = {
    one.__name__: one for union in (ToWorker, FromWorker, OfZygote, OfNursery) for one in get_args(union)
}
"""All messages, by the names that they travel under."""


def encode(message: Message) -> bytes:
    """A message as bytes; its descriptor is not in them.

    >>> encode(Hello(pid=7))
    b'{"kind":"Hello","content":{"pid":7}}'
    """
    told = {"kind": type(message).__name__, "content": message.content}
    return json.dumps(told, separators=(",", ":"), default=asdict).encode()


def decode(
    data: bytes | bytearray, descriptor: int | None = None, kinds: Mapping[str, type[Message]] = KINDS
) -> Message:
    """The message in these bytes, one of these kinds. Raises `RunError` that names one, or a field, that is not known.

    >>> decode(b'{"kind":"Hello","content":{"pid":7}}')
    Hello(pid=7)
    """
    told = json.loads(data)
    kind, content = told["kind"], told["content"]
    if kind not in kinds:
        raise RunError(f"message {kind!r}: unknown; expected one of {', '.join(kinds)}")
    if descriptor is not None:
        content["descriptor"] = descriptor
    try:
        message: Message = _reader(kinds[kind]).validate_python(content)
    except ValidationError as failure:
        first = failure.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RunError(f"message {kind}: {field}: {first['msg']}; got {first['input']!r:.80}") from None
    return message


def _reader(kind: type[Message]) -> TypeAdapter[Any]:
    """Made once for each kind."""
    if kind not in _READERS:
        _READERS[kind] = TypeAdapter(kind)
    return _READERS[kind]


_READERS: dict[type[Message], TypeAdapter[Any]] = {}
