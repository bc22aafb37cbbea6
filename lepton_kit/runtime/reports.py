"""The driver's book: writes the event log and the status file, and knows what has been logged so far."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.data import Dataset, sharding
from lepton_kit.runs import EventLog, EventReader, RunPaths, RunView
from lepton_kit.runs.paths import FINAL_STATES, write_atomically


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int
    logged_epochs: int


class Ledger:
    """One writer for everything that a run tells the world; a resumed run goes on in the same book."""

    def __init__(self, paths: RunPaths, log: EventLog):
        self.paths = paths
        self.view = RunView()
        for event in EventReader(paths.events).poll():
            self.view.feed(event)
        self._log = log
        self._last_workers: Any = None
        self._planned = False
        self._break_seen: float | None = None

    @property
    def reported_step(self) -> int:
        return self.view.step

    @property
    def logged_epochs(self) -> int:
        return len(self.view.epochs)

    def append(self, kind: str, fields: dict[str, Any]) -> None:
        self._log.append(kind, **fields)
        self.view.feed({"time": 0.0, "kind": kind, **fields})

    def status(self, status: str, cause: str | None = None) -> None:
        if self.view.status == status and status not in FINAL_STATES:
            return
        self.append("status", {"status": status, "cause": cause, "driver_pid": os.getpid()})
        state = {"status": status, "cause": cause, "driver_pid": os.getpid(), "step": self.view.step}
        try:
            write_atomically(self.paths.status, json.dumps(state))
        except OSError:
            pass  # a full disk; the event log keeps it in memory and readers look there first

    def plan(self, config: RunConfig, parameters: int | None) -> None:
        """Write down the size of the work once, when the first worker knows the model."""
        if self._planned:
            return
        self._planned = True
        data = Dataset.from_spec(config.data, self.paths.root).prepare()
        samples, batch = len(data.train), config.training.global_batch
        per_epoch = sharding.steps_per_epoch(samples, batch)
        total = config.training.epochs * per_epoch
        self.append(
            "plan",
            {
                "samples": samples,
                "validation_samples": len(data.validation) if data.validation is not None else 0,
                "global_batch": batch,
                "steps_per_epoch": per_epoch,
                "epochs": config.training.epochs,
                "total_steps": min(total, config.training.max_steps or total),
                "parameters": parameters,
            },
        )

    def workers(self, wanted: int, rows: list[dict[str, Any]]) -> None:
        """Log the workers when a state, a rank or the wanted number has changed; memory alone is no news."""
        key = (wanted, [(row["worker"], row["state"], row["rank"]) for row in rows])
        if key != self._last_workers:
            self._last_workers = key
            self.append("workers", {"wanted": wanted, "workers": rows})

    def generation(self, generation: int, workers: list[int], weights: list[float], step: int, cause: str) -> None:
        batch = self.view.plan.get("global_batch", 0)
        fields = {
            "generation": generation,
            "world_size": len(workers),
            "ranks": workers,
            "cut": list(sharding.cut(batch, weights)),
            "step": step,
            "cause": cause,
        }
        self.append("generation", fields)

    def last_checkpoint(self) -> Checkpoint | None:
        folders = sorted(self.paths.checkpoints.glob("step-*/meta.json"))
        if not folders:
            return None
        meta = json.loads(folders[-1].read_text(encoding="utf-8"))
        return Checkpoint(folders[-1].parent, meta["step"], meta["logged_epochs"])

    def rewind(self, step: int, logged_epochs: int) -> None:
        """Training goes on from an earlier step: what was logged after it will come again."""
        self.view.step = step
        del self.view.epochs[logged_epochs:]

    def flush(self) -> None:
        self._log.flush()

    def end(self, status: str, cause: str | None) -> None:
        self.workers(0, [])
        self.status(status, cause)
        self._log.close()
