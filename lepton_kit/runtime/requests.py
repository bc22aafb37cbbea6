"""What clients ask of a run while it is under way: granted or refused, passed on to the workers, and logged with the answer."""

from __future__ import annotations

from lepton_kit.config import RunConfig
from lepton_kit.machine.devices import memory
from lepton_kit.rundir import Request, read_requests
from lepton_kit.runtime.executor import Executor
from lepton_kit.runtime.generations import Generations
from lepton_kit.runtime.reports import Ledger
from lepton_kit.runtime.wishes import Wishes
from lepton_kit.training import messages


class Requests:
    """Reads a run's control folder."""

    def __init__(
        self, config: RunConfig, wishes: Wishes, ring: Generations, executor: Executor, ledger: Ledger
    ):
        self._config, self._wishes, self._ring = config, wishes, ring
        self._executor, self._ledger = executor, ledger

    def read(self) -> None:
        """Take all that wait."""
        requests, refused = read_requests(self._ledger.paths)
        for reason in refused:
            self._ledger.append("warning", {"text": reason})
        for request in requests:
            self._ledger.answer(request, self._grant(request))

    def _grant(self, request: Request) -> str | None:
        """Do what is asked; returns why not, if it can't be done."""
        if request.verb == "slow":
            return self._slow(**request.arguments)
        asks = request.verb == "scale" and self._config.workers.hosts is None
        cause = self._wishes.apply(request.verb, request.arguments, memory()[1] if asks else None)
        if request.verb == "set" and cause is None:
            self._ring.tell(messages.Set(generation=self._ring.number, **request.arguments))
        return cause

    def _slow(self, rank: int, **how: float) -> str | None:
        """Make the worker slow that has this rank now; it stays so when ranks change, until it is undone or it ends."""
        members = self._ring.members
        member = next((one for one in members if one.rank == rank), None)
        if member is None:
            there = f"a rank from 0 to {len(members) - 1}" if members else "a rank, and none trains now"
            return f"rank: got {rank}; expected {there}"
        self._executor.send(member.worker, messages.Slow(**how))
        member.slowed = member.slowed | how
        return None
