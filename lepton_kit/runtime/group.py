"""A roster of workers with the executor that runs them: what a driver, or a warm one without a run, does to workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lepton_kit.errors import RunError
from lepton_kit.runtime.executor import Executor
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.roster import Member, Roster
from lepton_kit.training import messages


class WorkerGroup:
    """Starts, prepares and dismisses workers, and notes it."""

    def __init__(self, executor: Executor, search: Sequence[str] = ()):
        self.executor = executor
        self.roster = Roster()
        self.search = search
        """Where workers also look for modules: what the client's `sys.path` had."""
        self.allows: Callable[[Sequence[Place], Sequence[Place]], Sequence[Place]] = lambda places, taken: (
            places
        )
        """Of places those that the run may use beside the ones taken, where it shares them with others."""

    def spawn(self) -> Member | None:
        """Start a worker at the first free place; None if there is none yet, but may come.

        Raises `RunError` if there will be none.
        """
        places = self.executor.places()
        allowed = self.allows(places, self.roster.held)
        place = self.roster.free(allowed)
        if place is None and (self.executor.awaits_places or len(allowed) < len(places)):
            return None
        if place is None:
            raise RunError(f"workers: all {len(places)} places are taken")
        member = self.roster.add(place)
        self.executor.start(member.worker, place)
        return member

    def settle(self) -> None:
        """Dismiss workers that stand where the executor has no place any more."""
        for member in self.roster.settle(self.executor.places()):
            self.dismiss(member)

    def prepare(self, member: Member, folder: Path, token: str) -> None:
        """Have a worker build the job of a run; it answers ready."""
        member.state = "starting"
        order = messages.Prepare(
            folder=str(folder),
            token=token,
            search=[os.getcwd(), *self.search],
            sharing=self.executor.ability.sharing,
        )
        self.executor.send(member.worker, order)

    def dismiss(self, member: Member) -> None:
        """Ask a worker to go; its place is free at once."""
        member.state, member.rank = "leaving", None
        self.executor.send(member.worker, messages.Exit())

    def end(self, member: Member, cause: str, *, excused: bool = False) -> None:
        """Kill a worker for a cause, which is told when it has ended."""
        member.cause, member.excused = cause, excused
        self.executor.kill(member.worker)

    def end_silent(self, now: float, hang_seconds: float) -> None:
        """Kill whoever has said nothing for too long."""
        for member in self.roster.silent(now, hang_seconds):
            self.end(member, f"hung: nothing heard for {now - member.last_heard:.0f} s; killed")
