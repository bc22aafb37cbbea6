"""What a driver asks of whatever starts and ends its workers: an executor knows hosts and processes, not runs or ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lepton_kit.runtime.places import Ability, Place
from lepton_kit.training.messages import Message


@dataclass(frozen=True)
class Ended:
    """A worker has ended. ``excused``: it went with its host, or with what starts workers there.

    ``told``: a `Loss` tells why.
    """

    worker: int
    exit_code: int | None
    cause: str | None = None
    excused: bool = False
    told: bool = False


@dataclass(frozen=True)
class Loss:
    """A host is gone, or what starts workers there; one incident for all its workers.

    ``final``: no worker can be started any more, for this cause; ``resumable``: until somebody resumes the run.
    """

    cause: str
    final: bool = False
    host: str | None = None
    resumable: bool = False


@dataclass(frozen=True)
class HostNews:
    """A host as it is now: connecting, ready, lost or refused, and in words what it does that a run waits for."""

    host: str
    slots: int
    state: str
    doing: str | None = None


class Executor(Protocol):
    """Starts and ends workers at places. No method waits, but `close`."""

    @property
    def ability(self) -> Ability:
        """What its places can do together."""

    log: str
    """The file into which workers print until they have a run."""

    def places(self) -> Sequence[Place]:
        """All places, taken or free, the preferred ones first."""

    @property
    def awaits_places(self) -> str | None:
        """Why there are fewer places than there will be, such as a host that is tried again; None if these are all."""

    def hosts(self) -> Sequence[HostNews]:
        """Its hosts as they are now; none where all workers are on this machine."""

    def start(self, worker: int, place: Place) -> None:
        """Start a process there under this number; hello is said for it when it is there, and it has to be heard of from then on."""

    def send(self, worker: int, message: Message) -> bool:
        """Tell a worker something; False if it is gone."""

    def kill(self, worker: int) -> None:
        """End a worker at once; `ended` tells when it has."""

    def filenos(self) -> list[int]:
        """Descriptors that become readable when `receive`, `ended` or `losses` have news."""

    def receive(self) -> list[tuple[int, Message]]:
        """What workers have said, in their order."""

    def ended(self) -> list[Ended]:
        """Workers that have ended since this was asked last; all that they said has been received by then."""

    def losses(self) -> list[Loss]:
        """Hosts that were lost since this was asked last; the executor has begun anew where it can."""

    def energy(self, now: float, fresh: bool = False) -> list[dict[str, Any]]:
        """What the run's part of its machines took since this was asked last: fields of ``energy`` events, when they are due.

        It is counted from the first time that this is asked. ``fresh``: at once, and up to this moment.
        """

    def tend(self, hang_seconds: float) -> None:
        """Look after what the executor itself runs; to be called often."""

    def close(self, grace_seconds: float = 2.0) -> None:
        """End everything, and wait until it is gone."""
