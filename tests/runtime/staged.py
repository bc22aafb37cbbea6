"""A driver on an executor without processes, and what the workers would say to it."""

from __future__ import annotations

import os
from typing import Any

from lepton_kit.rundir import RunPaths, RunView
from lepton_kit.runtime.driver import Driver
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.places import Place
from lepton_kit.training import messages
from tests.runtime.fakes import FakeExecutor

PLACES = [Place(host, slot, "cpu", 1, speed, "eth0") for host, slot, speed in
          (("a", 0, 1.0), ("b", 0, 3.0), ("a", 1, 1.0), ("b", 1, 3.0))]  # fmt: skip


class Stage:
    """A driver, its executor, and what the workers would say."""

    collective = "shared_memory"

    def __init__(self, paths: RunPaths, executor: FakeExecutor, group: WorkerGroup | None = None):
        self.paths, self.executor = paths, executor
        group = group or WorkerGroup(executor)
        self.driver = Driver(paths, lambda config: group)
        self.pids = iter(range(1000, 2000))

    def turn(self, *said: tuple[int, messages.Message]) -> Any:
        self.executor.said += said
        return self.driver.turn()

    def ready(self, *workers: int) -> None:
        said: list[tuple[int, messages.Message]] = []
        for worker in workers:
            said.append((worker, messages.Hello(pid=next(self.pids))))
            about = {"slot_bytes": 64, "state_bytes": 64, "parameters": 9, "collective": self.collective}
            said.append((worker, messages.Ready(**about, token=self.paths.id)))
        assert self.turn(*said) is None

    def joins(self) -> dict[int, messages.Join]:
        """The last order to join that each worker got."""
        return {worker: one for worker, one in self.executor.sent if isinstance(one, messages.Join)}

    def train(self, generation: int) -> None:
        """All members of a generation say that it has formed."""
        members = [w for w, join in self.joins().items() if join.membership.generation == generation]
        assert self.turn(*((w, messages.Formed(generation=generation, step=0)) for w in members)) is None

    def leave(self, generation: int, *workers: int, outcome: str = "reform") -> Any:
        def left(worker: int) -> messages.Detached:
            return messages.Detached(
                generation=generation,
                step=4,
                outcome=outcome,
                whole=True,
                stopped_by=None,
                trained_until=None,
            )

        return self.turn(*((worker, left(worker)) for worker in workers))

    def told(self, kind: type[messages.Message]) -> list[int]:
        return [worker for worker, one in self.executor.sent if isinstance(one, kind)]

    def view(self) -> RunView:
        view = RunView(self.paths.events)
        view.refresh()
        return view

    def close(self) -> None:
        self.driver._ring.close()
        self.driver._ledger._log.close()
        os.close(self.driver._lock)


def trained(begin: Any, count: int, **options: Any) -> Stage:
    """A run of so many workers at the first places, whose first generation trains."""
    stage = begin(FakeExecutor(PLACES), count=count, **options)
    stage.turn()
    stage.ready(*range(count))
    stage.train(1)
    return stage
