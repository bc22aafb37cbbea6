"""The loop of one worker: blocks of steps, and between two blocks a word with the other ranks on what comes next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.config import RunConfig
from lepton_kit.errors import LeptonError, RunError
from lepton_kit.training import logged, messages, room, state
from lepton_kit.training.agreement import EACH_STEP_SECONDS, Agreement, Blocks
from lepton_kit.training.booking import Booking
from lepton_kit.training.channel import Channel
from lepton_kit.training.clocks import Clock
from lepton_kit.training.collective import Kind, is_collective_failure
from lepton_kit.training.decisions import decisions_of
from lepton_kit.training.desired import PAUSE, REFORM, STOP, TRAIN, desired_at
from lepton_kit.training.gathering import Gathering
from lepton_kit.training.handover import Handed
from lepton_kit.training.history import History
from lepton_kit.training.job import Job
from lepton_kit.training.pacing import Pacing
from lepton_kit.training.reporting import Reports
from lepton_kit.training.saver import Saver, load, save_final
from lepton_kit.training.validation import Validation


class DivergedError(LeptonError):
    """The loss is not a finite number."""


class Worker:
    """A rank (or a standby) with its compiled step; `run` serves one generation after another."""

    def __init__(self, job: Job, channel: Channel):
        self._job = job
        self._channel = channel
        self._step = job.step
        self._collective = job.collective
        of_hooks = [v for hook in job.hooks for v in hook.state_variables]
        self._variables = [*job.step.state_variables, *of_hooks]
        self._history = History(job.batch_size)
        self._reports = Reports(job, self._history, channel)
        self._logged_epochs = 0
        self._saver = Saver(channel.send)
        self._validation = Validation(job)
        self._decisions = decisions_of(job, self._variables)
        self._last_logs: dict[str, Any] = {}
        self.holds_state = self._spoilt = False
        self._left: int | None = None
        """The generation that it has left by agreement, and so with the state of all others that did."""
        self.trained_until: float | None = None

    def attach(self, config: RunConfig, folder: Path) -> None:
        """Serve this run; its configuration may differ from the job's in what does not change the job."""
        self._job.config = config
        self._folder = folder

    @property
    def slot_bytes(self) -> int:
        """Most bytes that one sum may need."""
        return self._step.reduced_bytes

    @property
    def collective(self) -> Kind:
        """How the ranks sum."""
        return self._collective.kind

    @property
    def state_bytes(self) -> int:
        """Bytes of weights, optimizer and what else belongs to the state."""
        return sum(array.nbytes for array in state.capture(self._variables))

    @property
    def parameters(self) -> int:
        """Numbers in the model."""
        return int(self._step.model.count_params())

    def make_room(self, order: messages.MakeRoom) -> None:
        """Get the memory that joining takes, while others train."""
        room.make(self._step.model.trainable_variables, order)

    def run(self, join: messages.Join) -> str:
        """Train as a member of one generation; returns why it ended: reform, stop, finished, or broken."""
        membership = join.membership
        self._generation, self._rank = membership.generation, membership.rank
        self._size = membership.world_size
        self._weights, self._blocks = join.weights, Blocks()
        self._step.slowness = self._channel.slowness
        self._clock = Clock(self._collective.inside_seconds, self._channel.slowness)
        paced = self._rank == 0 and self._job.config.workers.weights == "auto"
        pacing = Pacing(self._channel, self._generation, self._job.global_batch) if paced else None
        self._books = Booking(self._clock, self._reports, pacing, self._rank, self._size)
        self._logged_epochs, self._desired = join.logged_epochs, desired_at(join)
        self._reports.begin(join)
        left, self._left = self._left, None
        gathering = Gathering(
            join, self._collective, self._channel, self._variables, self._told, self._take_up, left
        )
        try:
            try:
                gathering.come_together(self.holds_state)
                gathering.share(lambda: self._of_checkpoint(join.checkpoint))
                self._begin(gathering.parts)
                outcome = self._train()
                self._left = self._generation if outcome == "reform" else None
                return outcome
            except Exception as failure:
                if not is_collective_failure(failure):
                    raise
                self._collective.break_off(self._generation)
                return "broken"
        finally:
            gathering.close()
            self._spoilt = self._spoilt or gathering.spoils

    # ------------------------------------------------------------------ state

    @property
    def position(self) -> int:
        """Steps done since the start of the run."""
        return self._step.position

    @property
    def stopped_by(self) -> str | None:
        """Which callback has ended the run, in words."""
        return self._decisions.stop

    def _of_checkpoint(self, name: str | None) -> Handed | None:
        if name is None and self._spoilt and not self.holds_state:
            raise RunError("all who had the state of the run are lost, and no checkpoint can be used")
        return load(self._folder / name, self._variables) if name else None

    def _begin(self, parts: dict[str, float]) -> None:
        """What comes before the first step of a generation whose ranks hold one state."""
        if self._decisions.ends_epochs:
            self._decisions.share_anew()
            self._share(self._decisions.begin)
        if self.position == self._logged_epochs * self._job.length.steps_per_epoch:
            self._step.reset_metrics()
        self.holds_state = True
        self._epoch_start = time.monotonic()
        self._clock.skip()
        self._reports.formed(self.position)
        generation, step = self._generation, self.position
        self._channel.send(messages.Formed(generation=generation, step=step, parts=parts))
        self._report()

    def _told(self) -> Handed:
        return Handed(self.position, self._logged_epochs, self._history.array(), self._decisions.state())

    def _take_up(self, handed: Handed) -> None:
        self._history.replace(state.history_entries(handed.history))
        self._decisions.load(handed.callbacks)
        self.holds_state = True

    # ------------------------------------------------------------------ training

    def _train(self) -> str:
        self._update_hooks()
        self._finish_epoch_if_due()
        goes_on = False
        while self.position < self._job.length.total_steps and self.stopped_by is None:
            plan = self._agree()
            if plan.learning_rate > 0:
                self._set_learning_rate(plan.learning_rate)
            if plan.action == PAUSE:
                self._report()
                self._save()
                step, rests = self.position, self._collective.rest()
                self._channel.send(messages.Paused(generation=self._generation, step=step, rests=rests))
                answer = self._channel.wait_for(messages.Resume, messages.Reform, messages.Stop)
                self.trained_until = time.monotonic()  # that it was held is no loss of time
                if not isinstance(answer, messages.Resume):
                    return "stop" if isinstance(answer, messages.Stop) else "reform"
                self._books.restart()  # the first block after a rest says little
                self._desired.action = TRAIN
                continue
            if plan.action in (REFORM, STOP):
                self._report()
                if plan.action == STOP:
                    self._save()
                return "stop" if plan.action == STOP else "reform"
            # Not just before or after a change of members, when all would wait while the writer takes its part of a core.
            if goes_on and self._rank == 0 and self._saver.due(self._job.config.training.checkpoint_seconds):
                self._save(background=True)
            self._begin_epoch_if_due()
            self._run_steps(
                plan.steps if self.stopped_by is None else 1
            )  # as `fit`, which looks after a batch
            self._update_hooks()
            self._finish_epoch_if_due()
            goes_on = True
        self._settle()
        self._report()
        self._save()
        return "finished"

    def _agree(self) -> Agreement:
        """All ranks take rank 0's decision, and learn where the time of each went in the last block."""
        said, desired = self._books.said(), self._desired
        if self._rank == 0:
            for command in self._channel.take_commands():
                desired.obey(command)
            rate, weights = desired.learning_rate, desired.weights
            said.decide(action=desired.action, steps=self._block_steps(), learning_rate=rate, weights=weights)
            desired.learning_rate, desired.weights = 0.0, ()
        agreed = self._blocks.timed(lambda: said.by(self._collective))
        self.trained_until = time.monotonic()  # validation and callbacks are part of training
        self._books.book(agreed, self._weights)
        if agreed.speeds.any():
            self._weigh([float(speed) for speed in agreed.speeds])
        self._reports.tell(desired)
        return agreed

    def _weigh(self, weights: list[float]) -> None:
        """Cut by these speeds from here on; what was cut otherwise is told before."""
        self._report()
        self._weights = weights
        self._reports.weigh(weights)
        self._books.restart()
        if self._rank == 0:
            gain = self._desired.gain
            self._channel.send(logged.Weighed(step=self.position, weights=weights, gain=gain))

    def _set_learning_rate(self, value: float) -> None:
        if self._job.schedule is None:
            self._job.set_learning_rate(value)
        elif self._rank == 0:
            text = f"learning_rate {value:g} was not set: the optimizer has a schedule ({self._job.schedule})"
            self._channel.send(logged.Warned(text=text))

    def _block_steps(self) -> int:
        """As many steps as fit in the target time, up to the next point where all ranks have to stop."""
        step, job, length = self.position, self._job, self._job.length
        if self._decisions.each_step or self._desired.log_seconds < EACH_STEP_SECONDS:
            return 1
        each = self._clock.step_seconds
        wanted = int(self._blocks.seconds / each) if each else 1
        end_of_epoch = length.steps_per_epoch - step % length.steps_per_epoch
        limits = [
            wanted,
            self._step.max_steps,
            length.total_steps - step,
            job.full_batches(step),
            end_of_epoch,
        ]
        boundaries = [hook.next_boundary(step + 1) for hook in job.hooks]
        limits += [boundary - step for boundary in boundaries if boundary is not None]
        return max(1, min(limits))

    def _run_steps(self, steps: int) -> None:
        """A block, with the word to callbacks that want to hear of each step."""
        if not self._decisions.each_step:
            self._run_block(steps)
            return
        within = self.position % self._job.length.steps_per_epoch
        last = within + 1 == self._job.length.steps_per_epoch
        self._share(lambda: self._decisions.step(True, within, last, dict))
        self._run_block(1)
        self._share(lambda: self._decisions.step(False, within, last, self._logs))

    def _run_block(self, steps: int) -> None:
        first = self.position
        self._books.begin(steps, self._job.batch_size(first))
        with self._clock.reading(steps):
            block = self._job.block(first, steps, self._weights, self._rank)
        try:
            with self._clock.training():
                self._step.train(block)
        finally:
            # A block that broke off has done some of its steps, and they count.
            losses, proofs = self._step.recorded(self.position - first)
            self._history.extend(first, losses, proofs)
        self.trained_until = time.monotonic()
        if not np.all(np.isfinite(losses)) and not self._job.may_diverge:
            bad = first + int(np.flatnonzero(~np.isfinite(losses))[0])
            self._report()
            raise DivergedError(
                f"the loss became {losses[bad - first]} at step {bad} (epoch {bad // self._job.length.steps_per_epoch}); "
                "a lower learning rate, or scaled inputs, often help"
            )

    def _update_hooks(self) -> None:
        for hook in self._job.hooks:
            if hook.next_boundary(self.position) == self.position:
                found = hook.update(self.position)
                if self._rank == 0:
                    self._channel.send(logged.Compressed(step=self.position, **found))

    # ------------------------------------------------------------------ epochs

    def _share(self, act: Any) -> None:
        """Have rank 0's callbacks act and all ranks follow. A callback that fails leaves a checkpoint behind."""
        try:
            self._decisions.share(self._rank, self._size, act)
        except LeptonError as failure:
            if not is_collective_failure(failure):
                self._save()
            raise
        for text in self._decisions.messages():
            self._channel.send(logged.Warned(text=text))
        if text := self._decisions.output():
            self._channel.send(logged.Printed(text=text))

    def _begin_epoch_if_due(self) -> None:
        number, within = divmod(self.position, self._job.length.steps_per_epoch)
        if within == 0 and self._decisions.hears("on_epoch_begin"):
            epoch = self._job.length.first_epoch + number
            self._share(lambda: self._decisions.begin_epoch(number, epoch))

    def _finish_epoch_if_due(self) -> None:
        length = self._job.length
        completed = length.completed_epochs(self.position, self.stopped_by is not None)
        if completed <= self._logged_epochs:
            return
        self._settle()
        number, epoch = completed - 1, length.first_epoch + completed - 1
        metrics = self._logs()
        validation = self._validate(completed)
        logs = metrics | {f"val_{name}": value for name, value in (validation or {}).items()}
        self._last_logs = logs
        best = False

        def tell() -> None:
            nonlocal best
            best = self._decisions.end_epoch(number, epoch, logs)

        if self._decisions.ends_epochs:
            self._share(tell)
        if best:
            monitor = self._job.config.training.keep_best
            about = {"epoch": epoch, "quantity": monitor, "value": logs[str(monitor).partition(":")[0]]}
            self._saver.save_best(self._folder, self._variables, step=self.position, **about)
        self._books.skip()
        self._report()
        if self._rank == 0:
            figures: dict[str, Any] = {"metrics": metrics | self._decisions.added, "validation": validation}
            seconds = round(time.monotonic() - self._epoch_start, 4)
            self._channel.send(logged.EpochDone(epoch=epoch, step=self.position, seconds=seconds, **figures))
            if validation is not None:
                self._saver.tell_predictions(self._folder, self._validation, epoch, self.position)
        self._epoch_start = time.monotonic()
        self._logged_epochs = completed
        self._step.reset_metrics()

    def _logs(self) -> dict[str, float]:
        """Loss and metrics since the epoch began, as Keras names them."""
        each = self._job.length.steps_per_epoch
        loss = self._history.mean_loss(max(0, self.position - 1) // each * each)
        told = {} if loss is None or not self._step.tells_loss else {"loss": loss}
        return told | self._step.metrics()

    def _validate(self, completed: int) -> dict[str, float] | None:
        if not self._validation.due(completed):
            return None
        heard = self._decisions.hears("on_test_begin", "on_test_end")
        if heard:
            self._share(lambda: self._decisions.validation(None))
        found = self._validation.run(self._weights, self._rank)
        if heard:
            self._share(lambda: self._decisions.validation(found))
        return found

    # ------------------------------------------------------------------ telling the driver

    def _report(self) -> None:
        self._reports.tell(self._desired, force=True)

    def _settle(self) -> None:
        self._books.settle(self._collective, self._weights)

    def _save(self, background: bool = False) -> None:
        if self._rank == 0:
            self._saver.save(
                self._folder,
                self.position,
                self._variables,
                self._history.array(),
                self._decisions.state(),
                logged_epochs=self._logged_epochs,
                background=background,
            )

    def finish(self) -> None:
        """At the end, on rank 0: what Keras does when `fit` is over, then the final model into the run's folder."""
        if self._rank != 0:
            return
        self._step.finish()
        self._decisions.end(self._last_logs)
        for hook in self._job.hooks:
            hook.finish()
        final = (self._step.model, self._step.state_variables, self._decisions.state(), self._job.data)
        save_final(self._folder, *final)
