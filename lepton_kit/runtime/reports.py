"""The driver's book: writes the event log and the status file, and knows what has been logged so far."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lepton_kit.config import RunConfig
from lepton_kit.data import sharding
from lepton_kit.data.frozen import open_frozen
from lepton_kit.errors import RunError
from lepton_kit.rundir import EventLog, EventReader, Request, RunPaths, RunView, Status, read_requests
from lepton_kit.rundir.held import named
from lepton_kit.rundir.paths import RESERVE_BYTES, write_atomically
from lepton_kit.runtime.executor import HostNews
from lepton_kit.training import sums
from lepton_kit.training.length import length_of

GIVEN_UP = ("predictions", "steps", "warning", "output", "compression", "epoch")
"""Kinds of events that are left out, in this order, where the disk has no room for all that a run has yet to say."""

MEMORY_NEWS_BYTES = 50_000_000
HOSTS_SECONDS = 1.0


@dataclass(frozen=True)
class Kept:
    """A state that outlives the workers: the step it was at, and how many epochs it has told of."""

    step: int
    logged_epochs: int


@dataclass(frozen=True)
class Checkpoint(Kept):
    """A state on disk."""

    path: Path

    @property
    def name(self) -> str:
        """Where it lies in the run's folder."""
        return f"{self.path.parent.name}/{self.path.name}"


class Ledger:
    """One writer for everything that a run tells the world; a resumed run goes on in the same book."""

    def __init__(
        self,
        paths: RunPaths,
        log: EventLog,
        first_epoch: int = 0,
        workers: int | str | None = None,
        places: dict[str, Any] | None = None,
    ):
        self.paths = paths
        self._first_epoch, self._workers, self._places = first_epoch, workers, places
        self.view = RunView()
        for event in EventReader(paths.events).poll():
            self.view.feed(event)
        self._log = log
        self._last_workers: Any = None
        self._last_memory: list[int] = []
        told = [(one["host"], one["state"]) for one in self.view.hosts]
        self._last_hosts: tuple[list[tuple[str, str]], list[str | None]] = (told, [])
        self._told_hosts = 0.0
        self._planned = False
        self._epochs_before = 0
        self.last_saved_step = -1
        self.durable_step = 0
        """All steps before it are in the log on disk."""
        self.sync()
        self._remove_unfinished()
        with contextlib.suppress(OSError):
            paths.reserve.write_bytes(bytes(RESERVE_BYTES))

    @property
    def reported_step(self) -> int:
        """Steps of which the log tells."""
        return self.view.step

    @property
    def logged_epochs(self) -> int:
        """Epochs of which the log tells."""
        told = [epoch["epoch"] + 1 - self._first_epoch for epoch in self.view.epochs[-1:]]
        return int(max([self._epochs_before, *told]))

    def begin(self, model: Any) -> None:
        """Workers start; the first time what is to be known of the run's model is told."""
        fresh = not self.view.plan and self.view.status in (Status.CREATED, Status.QUEUED)
        self.status(Status.STARTING, places=self._places)
        for note in [*model.get("notes", []), *model.get("remarks", [])] if fresh else []:
            self.append("warning", {"text": note})

    def answer(self, request: Request, cause: str | None) -> None:
        """Write what became of a request; ``cause`` is why it was refused."""
        told = {"id": request.id, "accepted": cause is None, "cause": cause}
        self.append("request", {"verb": request.verb, **request.arguments, **told})

    def refuse_requests(self, cause: str) -> None:
        """Answer all that wait."""
        for request in read_requests(self.paths)[0]:
            self.answer(request, cause)

    def note(self, kind: str, measured: dict[str, Any] | None) -> None:
        """Write an event with what was measured at the step that the log has reached, if something was."""
        if measured is not None:
            self.append(kind, {"step": self.view.step, **measured})

    def append(self, kind: str, fields: dict[str, Any]) -> None:
        """Write an event, and see what follows from it."""
        event = self._log.append(kind, **fields)
        self.view.feed(event)
        if kind == "checkpoint":
            self.last_saved_step = max(self.last_saved_step, fields["step"])

    def status(self, status: Status, cause: str | None = None, **about: Any) -> None:
        """Note a status unless it is the one that is known, with what else there is to say ``about`` it."""
        told = (self.view.status, self.view.driver_pid) == (status, os.getpid())
        if told and not status.is_over:
            return
        self.append("status", {"status": status, "cause": cause, "driver_pid": os.getpid(), **about})
        self._write_status(status, cause)

    def _write_status(self, status: Status, cause: str | None) -> None:
        state: dict[str, Any] = {
            "status": status,
            "cause": cause,
            "driver_pid": os.getpid(),
            "step": self.view.step,
        }
        if status.is_over:
            state["summary"] = {"workers": self._workers, **self.view.summary(), "log_bytes": self._log.size}
        with contextlib.suppress(OSError):  # a full disk; readers look into the event log first
            write_atomically(self.paths.status, json.dumps(state))

    def plan(self, config: RunConfig, parameters: int | None) -> None:
        """Write down the size of the work once, when the first worker knows the model."""
        if self._planned:
            return
        self._planned = True
        samples, held = _sizes(config, self.paths.root.resolve())
        length = length_of(config, samples)
        about = {"data": config.frozen.model_dump()} if config.frozen is not None else {}
        self.append(
            "plan",
            {
                "samples": length.samples,
                "validation_samples": held,
                "global_batch": config.training.global_batch,
                "steps_per_epoch": length.steps_per_epoch,
                "epochs": config.training.epochs,
                "first_epoch": length.first_epoch,
                "total_steps": length.total_steps,
                "parameters": parameters,
                **about,
            },
        )

    def workers(self, wanted: int, rows: list[dict[str, Any]]) -> None:
        """Log the workers when what is told of one or the wanted number has changed, or the memory of one by a quarter."""
        key = (wanted, [{**row, "memory_bytes": None, "pid": None} for row in rows])
        memory = [row["memory_bytes"] or 0 for row in rows]
        if key != self._last_workers or any(map(_is_news, self._last_memory, memory)):
            self._last_workers, self._last_memory = key, memory
            self.append("workers", {"wanted": wanted, "workers": rows})

    def hosts(self, hosts: Sequence[HostNews]) -> None:
        """Log the hosts when one comes or goes, and what they do at most once a second."""
        states, doing = [(one.host, one.state) for one in hosts], [one.doing for one in hosts]
        if (states, doing) == self._last_hosts:
            return
        now = time.monotonic()
        if states != self._last_hosts[0] or now - self._told_hosts > HOSTS_SECONDS:
            self._last_hosts, self._told_hosts = (states, doing), now
            self.append("hosts", {"hosts": [asdict(one) for one in hosts]})

    def generation(
        self,
        generation: int,
        workers: list[int],
        weights: list[float],
        step: int,
        cause: str,
        seconds: float | None,
        collective: str,
        parts: dict[str, float] | None = None,
    ) -> None:
        """A generation has formed; ``seconds`` is how long training stood still for it, None at a start.

        ``parts`` is where rank 0's time went meanwhile: until its peers came, to write its state, until they had it.
        """
        batch = self.view.plan.get("global_batch", 0)
        fields = {
            "generation": generation,
            "world_size": len(workers),
            "ranks": workers,
            "cut": list(sharding.cut(batch, weights)),
            "step": step,
            "cause": cause,
            "seconds": seconds,
            "parts": parts or {},
            "collective": collective,
        }
        self.append("generation", fields)

    def last_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint whose files are as they were written; a spoilt one is passed over with a warning."""
        for folder in sorted(self.paths.checkpoints.glob("step-*"), reverse=True):
            try:
                meta = sums.verified(folder)
                return Checkpoint(int(meta["step"]), int(meta["logged_epochs"]), folder)
            except (RunError, ValueError, KeyError, TypeError) as failure:
                self.append(
                    "warning", {"text": named(f"checkpoints/{folder.name} cannot be used: {failure}")}
                )
        return None

    def return_to_checkpoint(self) -> Checkpoint | None:
        """Nobody holds the state any more: go back to the last checkpoint, or to the start."""
        checkpoint = self.last_checkpoint()
        self.return_to(checkpoint or Kept(0, 0))
        return checkpoint

    def return_to(self, kept: Kept) -> None:
        """Go back to a state.

        What was logged after it will come again. What was not logged before it comes from what lies with the state.
        """
        self.view.step = min(self.view.step, kept.step)
        self.view.epochs = [
            epoch for epoch in self.view.epochs if epoch["epoch"] - self._first_epoch < kept.logged_epochs
        ]
        self._epochs_before = kept.logged_epochs

    def _remove_unfinished(self) -> None:
        for folder in (*self.paths.checkpoints.glob(".step-*"), self.paths.root / ".final"):
            shutil.rmtree(folder, ignore_errors=True)

    def sync(self) -> None:
        """Have the log survive a crash of the machine as the checkpoint does.

        While the disk takes no more of it, ``durable_step`` stays: the checkpoints then hold what it lacks.
        """
        if self._log.sync():
            self.durable_step = self.view.step

    def flush(self) -> None:
        """Write what waits."""
        self._log.flush()

    def suspend(self) -> Status:
        """The run waits in line again; let the log go, without a last word."""
        self.workers(0, [])
        self.status(Status.QUEUED)
        self.close()
        return Status.QUEUED

    def close(self) -> None:
        """Let the log go, without a last word."""
        self._log.close()

    @property
    def lost(self) -> bool:
        """True if the log was deleted or replaced."""
        return self._log.lost

    def end(self, status: Status, cause: str | None) -> None:
        """Write the last lines. On a full disk the reserved space is given up for them.

        If they are too many even so, first the reports of steps are left out, which the last checkpoint has too.
        """
        self._remove_unfinished()
        self.workers(0, [])
        if self._log.blocked:
            for kind in GIVEN_UP:
                self._log.shed(kind, RESERVE_BYTES // 2)
            self.paths.reserve.unlink(missing_ok=True)
        self.status(status, cause)
        self.paths.reserve.unlink(missing_ok=True)
        self._log.close()


def _is_news(before: int, now: int) -> bool:
    """Whether a worker's memory has changed so much that readers should hear of it."""
    return abs(now - before) > max(MEMORY_NEWS_BYTES, before // 4)


def _sizes(config: RunConfig, folder: Path) -> tuple[int, int]:
    """How many samples train, and how many are held out."""
    if config.frozen is not None:
        return config.frozen.samples, config.frozen.validation_samples
    data = open_frozen(config, folder)
    return len(data.train), len(data.validation) if data.validation is not None else 0
