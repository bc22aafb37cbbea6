"""Writes run directories that no training made: the events of docs/architecture.md, for tests of their readers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.client.script import with_changes
from lepton_kit.data.sharding import cut
from lepton_kit.rundir import EventLog, RunPaths, RunView
from tests.configs import any_config


class SyntheticRun:
    """A run whose driver is the test: `advance` appends what a driver would."""

    def __init__(
        self,
        folder: Path,
        *,
        ranks: int = 2,
        steps_per_epoch: int = 12,
        epochs: int = 5,
        sparsity: bool = False,
    ):
        self.paths = RunPaths(folder)
        self.paths.create()
        self.id, self.directory = self.paths.id, folder
        self.config = any_config(name="demo", workers={"count": ranks}, training={"epochs": epochs})
        self.paths.config.write_text(self.config.to_yaml())
        self.log = EventLog(self.paths.events)
        self.step, self.ranks, self.per_epoch, self.epochs = 0, ranks, steps_per_epoch, epochs
        self.sparse = sparsity
        self.generation = -1
        self.alive = True
        self.busy = 0.8
        self.slow_rank: int | None = None
        self.tells_times = True
        self.asked: list[tuple[str, Any]] = []
        self.clock = time.time()
        self.random = np.random.default_rng(0)

    def hold(self) -> None:
        """Its folder stays."""

    @property
    def total(self) -> int:
        return self.per_epoch * self.epochs

    def write(self, kind: str, **fields: Any) -> None:
        self.log.append(kind, **fields)

    def begin(self) -> SyntheticRun:
        self.write("status", status="starting", cause=None, driver_pid=1)
        self.write(
            "plan", samples=self.per_epoch * 128, validation_samples=360, global_batch=128,
            steps_per_epoch=self.per_epoch, epochs=self.epochs, total_steps=self.total, parameters=12_345,
        )  # fmt: skip
        self.reform(self.ranks, "start")
        self.write("status", status="running", cause=None)
        return self

    def reform(self, ranks: int, cause: str, wanted: int | None = None) -> None:
        self.ranks = ranks
        self.generation += 1
        workers = [
            {
                "worker": rank,
                "pid": 4000 + rank,
                "state": "training",
                "rank": rank,
                "memory_bytes": 412_000_000 + rank,
            }
            for rank in range(ranks)
        ]
        wanted = wanted or ranks
        workers += [
            {"worker": rank, "pid": 4000 + rank, "state": "starting", "rank": None, "memory_bytes": None}
            for rank in range(ranks, wanted)
        ]
        self.write("workers", wanted=wanted, workers=workers)
        self.write(
            "generation", generation=self.generation, world_size=ranks, ranks=list(range(ranks)),
            cut=cut(128, [1] * ranks), step=self.step, cause=cause, seconds=0.31, collective="shared_memory",
        )  # fmt: skip

    def advance(self, steps: int, seconds: float = 0.25) -> None:
        """One report of some steps; an epoch's end is told where it falls."""
        first, last = self.step, min(self.step + steps, self.total)
        busy = [seconds * self.busy * (1 + rank / 50) for rank in range(self.ranks)]
        if self.slow_rank is not None and self.ranks > 1:
            busy = [one / (1 if rank == self.slow_rank else 4) for rank, one in enumerate(busy)]
        rest = {
            "data": [0.02 * seconds] * self.ranks,
            "waited": [max(busy) - one for one in busy],
            "communicated": 0.05 * seconds,
        }
        progress = np.arange(first, last) / self.total
        loss = 2.3 * np.exp(-4 * progress) + 0.08 * self.random.standard_normal(last - first) ** 2
        accuracy = float(1 - 0.9 * np.exp(-5 * last / self.total))
        self.write(
            "steps", generation=self.generation, first=first, last=last, world_size=self.ranks,
            loss=[float(value) for value in loss], metrics={"loss": float(loss.mean()), "accuracy": accuracy},
            seconds=seconds * (1 + 0.1 * self.random.random()), busy=busy, **(rest if self.tells_times else {}),
            samples=[part * (last - first) for part in cut(128, [1] * self.ranks)],
            checksum=[0] * self.ranks, learning_rate=0.001,
        )  # fmt: skip
        self.step = last
        if self.sparse:
            share = 0.8 * (1 - (1 - last / self.total) ** 3)
            self.write("compression", step=last, sparsity={"dense": share}, total=share)
        for epoch in range(first // self.per_epoch, last // self.per_epoch):
            held_out = float(1 - 0.85 * np.exp(-0.9 * (epoch + 1)))
            self.write(
                "epoch", epoch=epoch, step=(epoch + 1) * self.per_epoch, seconds=1.0,
                metrics={"loss": float(loss[-1]), "accuracy": accuracy},
                validation={"loss": 2.2 * float(np.exp(-0.7 * (epoch + 1))), "accuracy": held_out},
            )  # fmt: skip

    def end(self, status: str = "finished", cause: str | None = None) -> None:
        self.write("workers", wanted=0, workers=[])
        self.write("status", status=status, cause=cause)

    # What a panel asks of a Run.
    @property
    def status(self) -> str:
        return self.view().status

    def view(self) -> RunView:
        view = RunView(self.paths.events)
        view.refresh()
        return view

    def scale(self, workers: int) -> None:
        self.asked.append(("scale", workers))

    def pause(self) -> None:
        self.asked.append(("pause", None))

    def resume(self) -> None:
        self.asked.append(("resume", None))

    def stop(self) -> None:
        self.asked.append(("stop", None))

    def slow_down(self, rank: int, factor: float) -> None:
        self.asked.append(("slow", (rank, factor)))

    def set(self, **changes: Any) -> None:
        self.asked.append(("set", changes))

    def to_config(self) -> str:
        return self.config.to_yaml()

    def data(self) -> Any:
        return lk.data.sample("digits")

    def code(self) -> str:
        return with_changes("import lepton_kit as lk\n", self.view().requests)


@pytest.fixture
def synthetic(tmp_path: Path) -> Callable[..., SyntheticRun]:
    """Makes synthetic runs under ``tmp_path / "runs"``."""

    def make(name: str = "demo-1", **options: Any) -> SyntheticRun:
        return SyntheticRun(tmp_path / "runs" / name, **options)

    return make
