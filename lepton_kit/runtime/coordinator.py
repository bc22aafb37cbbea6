"""What a driver does next: a pure function from what is wanted and observed to a list of actions.

Nothing is fired and forgotten: the driver asks again after every change, until wanted and observed are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lepton_kit.rundir import Status

State = Literal["starting", "standby", "training", "detached", "leaving", "lost"]
Phase = Literal["none", "forming", "training", "paused", "breaking"]
Room = Literal["none", "asked", "made"]


@dataclass(frozen=True)
class Observed:
    """One worker as the driver knows it; ``step`` counts the steps that its state holds.

    One that is ``quiet`` has missed its last heartbeats: it may come back, or has to be ended. ``room`` is whether it has the
    memory for joining a ring that trains.
    """

    worker: int
    state: State
    rank: int | None = None
    step: int = 0
    quiet: bool = False
    room: Room = "none"


@dataclass(frozen=True)
class Wanted:
    """What the user wants of the run."""

    workers: int
    standby: int = 0
    paused: bool = False
    stopping: bool = False


@dataclass(frozen=True)
class Spawn:
    """Start processes, which become standbys."""

    count: int


@dataclass(frozen=True)
class Dismiss:
    """Send workers away that are not needed."""

    workers: tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """Form a generation of these workers, in rank order; rank 0 has the state (or loads the last checkpoint)."""

    workers: tuple[int, ...]
    fresh: bool = False


@dataclass(frozen=True)
class MakeRoom:
    """Have these standbys get the memory that they need to join; the ring goes on training meanwhile."""

    workers: tuple[int, ...]


@dataclass(frozen=True)
class Reform:
    """Have the members leave the ring at their next commit."""

    cause: str


@dataclass(frozen=True)
class Abort:
    """A member is lost: wake those who wait for it."""


@dataclass(frozen=True)
class Command:
    """Pass a command on to the ring."""

    kind: Literal["pause", "resume", "stop"]


@dataclass(frozen=True)
class End:
    """Nothing is left to do."""

    status: Status


Action = Spawn | Dismiss | Form | MakeRoom | Reform | Abort | Command | End


@dataclass(frozen=True)
class Situation:
    """Everything that the decision depends on. ``asked`` holds commands that were sent and not yet answered.

    ``aimed`` is how many workers were wanted when the last ring was sent to form. ``rests`` says that members of a paused
    ring have left it, so that it can't go on.
    """

    wanted: Wanted
    workers: Sequence[Observed]
    phase: Phase
    formed_before: bool = False
    asked: frozenset[str] = field(default_factory=frozenset)
    aimed: int | None = None
    rests: bool = False

    def in_state(self, *states: State) -> list[Observed]:
        """The workers in one of these states."""
        return [worker for worker in self.workers if worker.state in states]

    @property
    def ready(self) -> list[Observed]:
        """Standbys that can join now; a ring with one that hangs would wait for it, and then be lost altogether."""
        return [worker for worker in self.in_state("standby") if not worker.quiet]

    @property
    def coming(self) -> bool:
        """Whether more may be ready soon."""
        return bool(self.in_state("starting")) or len(self.ready) < len(self.in_state("standby"))


def decide(situation: Situation) -> list[Action]:
    """The actions that bring the observed nearer to the wanted, in order.

    >>> decide(Situation(Wanted(workers=2), [], "none"))
    [Spawn(count=2)]
    """
    return [*_processes(situation), *_ring(situation)]


def _processes(situation: Situation) -> list[Action]:
    wanted = situation.wanted
    if wanted.stopping:
        return []
    alive = situation.in_state("starting", "standby", "training", "detached")
    missing = wanted.workers + wanted.standby - len(alive)
    # A fork is cheap but what it prepares is not: first the survivors train again, then comes the replacement.
    reforming = situation.phase in ("breaking", "forming") and (
        situation.in_state("training", "detached") or situation.ready
    )
    if missing > 0:
        return [] if reforming and situation.formed_before else [Spawn(missing)]
    settled = (
        situation.phase in ("training", "paused") and len(situation.in_state("training")) == wanted.workers
    )
    spare = situation.in_state("standby")[wanted.standby :]
    if settled and spare and missing < 0:
        return [Dismiss(tuple(worker.worker for worker in spare[missing:]))]
    return []


def _ring(situation: Situation) -> list[Action]:
    if situation.phase in ("forming", "training", "paused") and situation.in_state("lost"):
        return [Abort()]
    if situation.phase in ("training", "paused"):
        return _steer(situation)
    if situation.phase == "breaking" and situation.in_state("training"):
        return []
    if situation.phase in ("breaking", "none"):
        return _form(situation)
    return []


def _steer(situation: Situation) -> list[Action]:
    wanted, asked = situation.wanted, situation.asked
    if wanted.stopping:
        return [] if "stop" in asked else [Command("stop")]
    members, ready = len(situation.in_state("training")), len(situation.ready)
    missing = wanted.workers - members
    if missing < 0:
        return [Reform(f"scale from {members} to {wanted.workers}")]
    if missing > 0 and ready and (ready >= missing or not situation.coming):
        joining = sorted(situation.ready, key=lambda one: one.worker)[:missing]
        if unasked := tuple(one.worker for one in joining if one.room == "none"):
            return [MakeRoom(unasked)]
        # Nobody asked for another number: one that was lost, or its host, has come back, or comes late.
        why = "rejoin" if situation.aimed == wanted.workers else "scale"
        if all(one.room == "made" for one in joining):
            return [Reform(f"{why} from {members} to {members + len(joining)}")]
    if wanted.paused and situation.phase == "training" and "pause" not in asked:
        return [Command("pause")]
    if not wanted.paused and situation.phase == "paused":
        return [Reform("resumed")] if situation.rests else [Command("resume")]
    return []


def _form(situation: Situation) -> list[Action]:
    wanted = situation.wanted
    survivors = sorted(
        situation.in_state("detached"), key=lambda w: (-w.step, w.rank is None, w.rank, w.worker)
    )
    ready = sorted(situation.ready, key=lambda w: w.worker)
    if wanted.stopping:  # who holds the state forms once more, to save it
        chosen = tuple(worker.worker for worker in survivors[: wanted.workers])
        return [Form(chosen)] if chosen else [End(Status.STOPPED)]
    candidates = [*survivors, *ready]
    # At the start all are waited for. A run that stands still waits for nobody who is not ready: they join later.
    enough = len(candidates) >= wanted.workers or situation.formed_before or not situation.coming
    if not candidates or not (survivors or enough):
        return []
    chosen = tuple(worker.worker for worker in candidates[: wanted.workers])
    surplus = tuple(worker.worker for worker in survivors[wanted.workers :])
    actions: list[Action] = [Dismiss(surplus)] if surplus else []
    return [*actions, Form(chosen, fresh=not survivors)]
