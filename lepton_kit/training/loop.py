"""The loop of one worker: blocks of steps, and between two blocks a word with the other ranks on what comes next."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lepton_kit.config import RunConfig
from lepton_kit.data import sharding
from lepton_kit.errors import LeptonError
from lepton_kit.models.payload import copy_code
from lepton_kit.training import state
from lepton_kit.training.collective import Membership, is_collective_failure
from lepton_kit.training.job import Job
from lepton_kit.training.step import MAX_BLOCK_STEPS, proof_of, proof_values

TRAIN, REFORM, PAUSE, STOP = range(4)
BLOCK_SECONDS = 0.1
MEMORY_OF_LOSSES = 100_000
EVALUATION_BATCH = 256


class Channel(Protocol):
    """What a worker needs of its connection to the driver; messages are JSON-safe dictionaries."""

    def send(self, kind: str, **fields: Any) -> None: ...

    def take_commands(self) -> list[dict[str, Any]]:
        """Commands that came since the last call, without waiting."""

    def wait_for(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds; others before it are kept for `take_commands`."""


@dataclass
class _Plan:
    action: int
    steps: int
    learning_rate: float
    busy: np.ndarray


class DivergedError(LeptonError):
    """The loss is not a finite number."""


class Worker:
    """A rank (or a standby) with its compiled step; `run` serves one generation after another."""

    def __init__(self, job: Job, channel: Channel):
        self._job = job
        self._channel = channel
        self._step = job.step
        self._collective = job.collective
        self._variables = [
            *job.step.state_variables,
            *(v for hook in job.hooks for v in hook.state_variables),
        ]
        self._losses: deque[tuple[int, float, np.ndarray]] = deque(maxlen=MEMORY_OF_LOSSES)
        self._reported = self._durable = self._logged_epochs = 0
        self._busy = 0.0
        self._step_seconds = 0.0
        self._saver: threading.Thread | None = None
        self._saved = 0
        self._last_save = time.monotonic()
        self.holds_state = False
        self.trained_until: float | None = None
        self._desired: dict[str, Any] = {"action": TRAIN, "learning_rate": 0.0}

    def attach(self, config: RunConfig, folder: Path) -> None:
        """Serve this run; its configuration may differ from the job's in what does not change the job."""
        self._job.config = config
        self._folder = folder

    @property
    def slot_bytes(self) -> int:
        return self._step.reduced_bytes

    @property
    def parameters(self) -> int:
        return self._step.model.count_params()

    @property
    def is_root(self) -> bool:
        return self._rank == 0

    def run(self, join: dict[str, Any], segment: int | None) -> str:
        """Train as a member of one generation; returns why it ended: reform, stop, finished, or broken."""
        membership = Membership(**join["membership"])
        self._rank, self._size = membership.rank, membership.world_size
        self._generation = membership.generation
        self._weights = join["weights"]
        self._reported, self._logged_epochs = join["reported_step"], join["logged_epochs"]
        self._durable, self._log_seconds = join["durable_step"], join["log_seconds"]
        self._busy_of_ranks = np.zeros(self._size)
        action = PAUSE if join["paused"] else TRAIN
        self._desired = {"action": action, "learning_rate": join["learning_rate"] or 0.0}
        try:
            try:
                if self._rank == 0 and self._size > 1 and self.holds_state:
                    self._save()  # Horovod aborts this process if a peer dies while the ring forms
                self._collective.join(membership, segment)
                self._synchronise(join)
                return self._train()
            except Exception as failure:
                if not is_collective_failure(failure):
                    raise
                return "broken"
        finally:
            self._collective.leave()

    # ------------------------------------------------------------------ state

    @property
    def position(self) -> int:
        """Steps done since the start of the run."""
        return self._step.iterations

    def _synchronise(self, join: dict[str, Any]) -> None:
        if join["checkpoint"] and self._rank == 0:
            folder = Path(join["checkpoint"])
            _, arrays, _ = state.load_checkpoint(folder)
            state.restore(self._variables, arrays, str(folder))
            self._losses = deque(state.load_history(folder), self._losses.maxlen)
        self._reported = min(self._reported, self.position)
        if self._size > 1:
            mine = state.capture(self._variables)
            packed = state.pack(mine)
            received = self._collective.broadcast(packed)
            if self._rank != 0 and not np.array_equal(received, packed):
                state.restore(self._variables, state.unpack(received, mine), "the state of rank 0")
            self._share_history()
        if self.position == self._logged_epochs * self._job.steps_per_epoch:
            self._step.reset_metrics()
        self.holds_state = True
        self._last_report = self._epoch_start = time.monotonic()
        self._channel.send("formed", generation=self._generation, step=self.position)
        self._report(force=True)

    def _share_history(self) -> None:
        """What the log may yet lose, and the losses of this epoch: any rank may be the one that tells them."""
        since = min(self._reported, self._durable, self._logged_epochs * self._job.steps_per_epoch)
        mine = state.history_array([entry for entry in self._losses if entry[0] >= since])
        count = int(self._collective.agree(np.array([len(mine) * (self._rank == 0)], np.float32))[0])
        if count:
            like = mine if self._rank == 0 else np.zeros((count, state.HISTORY_COLUMNS))
            received = self._collective.broadcast(np.frombuffer(like.tobytes(), np.uint8))
            like = np.frombuffer(received.tobytes()).reshape(count, state.HISTORY_COLUMNS)
            self._losses = deque(state.history_entries(like), self._losses.maxlen)

    # ------------------------------------------------------------------ training

    def _train(self) -> str:
        self._update_hooks()
        self._finish_epoch_if_due()
        while self.position < self._job.total_steps:
            plan = self._agree()
            if plan.learning_rate > 0:
                self._job.set_learning_rate(plan.learning_rate)
            if plan.action == PAUSE:
                self._report(force=True)
                self._save()
                self._channel.send("paused", generation=self._generation, step=self.position)
                answer = self._channel.wait_for("resume", "reform", "stop")["kind"]
                if answer != "resume":
                    return answer
                self._desired["action"] = TRAIN
                continue
            if plan.action in (REFORM, STOP):
                self._report(force=True)
                if plan.action == STOP:
                    self._save()
                return "stop" if plan.action == STOP else "reform"
            self._run_block(plan.steps)
            self._update_hooks()
            self._finish_epoch_if_due()
            self._report()
            self._save_if_due()
        self._report(force=True)
        self._save()
        return "finished"

    def _agree(self) -> _Plan:
        """All ranks take rank 0's decision, and learn how long each was busy in the last block."""
        vector = np.zeros(3 + self._size, np.float32)
        if self._rank == 0:
            self._read_commands()
            vector[:3] = self._desired["action"], self._block_steps(), self._desired["learning_rate"]
            self._desired["learning_rate"] = 0.0
        vector[3 + self._rank] = self._busy
        agreed = self._collective.agree(vector)
        plan = _Plan(int(agreed[0]), int(agreed[1]), float(agreed[2]), agreed[3:])
        self._busy_of_ranks += plan.busy
        self._busy = 0.0
        return plan

    def _read_commands(self) -> None:
        for command in self._channel.take_commands():
            if command["kind"] == "reform":
                self._desired["action"] = REFORM
            elif command["kind"] == "stop":
                self._desired["action"] = STOP
            elif command["kind"] == "pause" and self._desired["action"] == TRAIN:
                self._desired["action"] = PAUSE
            elif command["kind"] == "resume" and self._desired["action"] == PAUSE:
                self._desired["action"] = TRAIN
            elif command["kind"] == "durable":
                self._durable = command["step"]
            elif command["kind"] == "set":
                self._log_seconds = command.get("log_seconds", self._log_seconds)
                self._desired["learning_rate"] = command.get("learning_rate", self._desired["learning_rate"])

    def _block_steps(self) -> int:
        """As many steps as fit in the target time, up to the next point where all ranks have to stop."""
        step, job = self.position, self._job
        wanted = int(BLOCK_SECONDS / self._step_seconds) if self._step_seconds else 1
        within = step % job.steps_per_epoch
        full_batches = job.samples // job.global_batch - within
        limits = [wanted, MAX_BLOCK_STEPS, job.total_steps - step, full_batches]
        boundaries = [hook.next_boundary(step + 1) for hook in job.hooks]
        limits += [boundary - step for boundary in boundaries if boundary is not None]
        return max(1, min(limits))

    def _run_block(self, steps: int) -> None:
        first, job = self.position, self._job
        parts = [
            sharding.shard(
                seed=job.seed,
                step=step,
                samples=job.samples,
                global_batch=job.global_batch,
                weights=self._weights,
            )[self._rank]
            for step in range(first, first + steps)
        ]
        indices = np.stack(parts)
        batch = sharding.batch_size(first, job.samples, job.global_batch)
        share = indices.shape[1]
        proofs = proof_of(indices)
        if share == 0:
            indices = np.zeros((steps, 1), np.int64)
        x, y = job.take(indices)
        start, waited = time.perf_counter(), self._collective.waited_seconds()
        try:
            self._step.train(x, y, proofs, scale=share / batch, rank=self._rank)
        finally:
            # A block that broke off has done some of its steps, and they count.
            losses, sums = self._step.recorded(self.position - first)
            self._losses.extend((first + k, float(loss), sums[k]) for k, loss in enumerate(losses))
        seconds = time.perf_counter() - start
        self.trained_until = time.monotonic()
        self._busy = seconds - (self._collective.waited_seconds() - waited)
        self._step_seconds = seconds / steps
        if not np.all(np.isfinite(losses)):
            bad = first + int(np.flatnonzero(~np.isfinite(losses))[0])
            self._report(force=True)
            raise DivergedError(
                f"the loss became {losses[bad - first]} at step {bad} (epoch {bad // job.steps_per_epoch}); "
                "a lower learning rate, or scaled inputs, often help"
            )

    def _update_hooks(self) -> None:
        for hook in self._job.hooks:
            if hook.next_boundary(self.position) == self.position:
                found = hook.update(self.position)
                if self._rank == 0:
                    self._channel.send("compression", step=self.position, **found)

    def _finish_epoch_if_due(self) -> None:
        completed = self._job.completed_epochs(self.position)
        if completed <= self._logged_epochs:
            return
        epoch, last = completed - 1, self.position >= self._job.total_steps
        metrics = self._epoch_metrics(epoch)
        validation = self._validate() if completed % self._job.validate_every_epochs == 0 or last else None
        self._report(force=True)
        if self._rank == 0:
            self._channel.send(
                "epoch",
                epoch=epoch,
                step=self.position,
                metrics=metrics,
                validation=validation,
                seconds=round(time.monotonic() - self._epoch_start, 4),
            )
        self._epoch_start = time.monotonic()
        self._logged_epochs = completed
        self._step.reset_metrics()

    def _epoch_metrics(self, epoch: int) -> dict[str, float]:
        first = epoch * self._job.steps_per_epoch
        entries = [entry for entry in self._losses if entry[0] >= first]
        sizes = [
            sharding.batch_size(entry[0], self._job.samples, self._job.global_batch) for entry in entries
        ]
        losses = [entry[1] for entry in entries]
        loss = {"loss": float(np.average(losses, weights=sizes))} if losses else {}
        return loss | self._step.metrics()

    def _validate(self) -> dict[str, float] | None:
        split = self._job.data.validation
        if split is None:
            return None
        edges = np.concatenate([[0], np.cumsum(sharding.cut(len(split), self._weights))])
        indices = np.arange(edges[self._rank], edges[self._rank + 1])
        x, y = split.take(indices)
        return self._step.evaluate(x, y, EVALUATION_BATCH, len(split))

    # ------------------------------------------------------------------ telling the driver

    def _report(self, force: bool = False) -> None:
        """Rank 0 sends what the driver has not logged yet; any rank could, since all know the global loss."""
        now = time.monotonic()
        if self._rank != 0 or (not force and now - self._last_report < self._log_seconds):
            return
        entries = [entry for entry in self._losses if entry[0] >= self._reported]
        if not entries:
            return
        first, last = entries[0][0], entries[-1][0] + 1
        checksums, counts = proof_values(np.stack([entry[2] for entry in entries]))
        sizes = [
            sharding.batch_size(entry[0], self._job.samples, self._job.global_batch) for entry in entries
        ]
        of_ranks = np.sum([sharding.cut(size, self._weights) for size in sizes], axis=0)
        self._channel.send(
            "steps",
            generation=self._generation,
            first=first,
            last=last,
            world_size=self._size,
            loss=[round(entry[1], 6) if np.isfinite(entry[1]) else None for entry in entries],
            metrics={name: _finite(value) for name, value in self._step.metrics().items()},
            seconds=round(now - self._last_report, 4),
            busy=[round(float(seconds), 4) for seconds in self._busy_of_ranks],
            samples=[int(count) for count in of_ranks],
            fed=counts,
            checksum=checksums,
            learning_rate=self._job.learning_rate(),
        )
        self._busy_of_ranks[:] = 0
        self._reported, self._last_report = last, now
        needed = min(last - self._job.steps_per_epoch - MAX_BLOCK_STEPS, self._durable)
        while len(self._losses) > 1 and self._losses[0][0] < needed:
            self._losses.popleft()

    def _save_if_due(self) -> None:
        if time.monotonic() - self._last_save >= self._job.checkpoint_seconds:
            self._save(background=True)

    def _save(self, background: bool = False) -> None:
        self._last_save = time.monotonic()
        if self._rank != 0 or self._saved == self.position > 0:
            return
        if self._saver is not None:
            if background and self._saver.is_alive():
                return
            self._saver.join()
        history = state.history_array(self._losses)
        arguments = (self.position, state.capture(self._variables), history, self._logged_epochs)
        if background:
            self._saver = threading.Thread(target=self._write_checkpoint, args=arguments, daemon=True)
            self._saver.start()
        else:
            self._write_checkpoint(*arguments)

    def _write_checkpoint(
        self, step: int, arrays: list[np.ndarray], history: np.ndarray, logged_epochs: int
    ) -> None:
        folder = self._folder / "checkpoints"
        try:
            path = state.save_checkpoint(folder, step, arrays, history, logged_epochs=logged_epochs)
        except OSError as failure:
            self._channel.send("warning", text=f"checkpoint at step {step} was not written: {failure}")
            return
        self._saved = step
        self._channel.send("checkpoint", step=step, path=f"checkpoints/{path.name}")

    def save_model(self) -> None:
        """Write the trained model to the run's folder; hooks take their marks off it first."""
        for hook in self._job.hooks:
            hook.finish()
        target = self._folder / "final" / "model.keras"
        target.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = target.with_name("writing.keras")
        self._step.model.save(temporary)
        stored = self._job.config.model.get("path")
        if stored is not None:
            copy_code(self._folder / stored, target)
        temporary.replace(target)


def _finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
