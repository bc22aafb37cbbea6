"""The driver: one process per run that owns its workers, writes its event log and obeys its control folder."""

from __future__ import annotations

import select
import shutil
import signal
import time
from collections.abc import Callable

from lepton_kit.config import RunConfig
from lepton_kit.errors import LeptonError, RunError
from lepton_kit.machine.devices import usable_cores
from lepton_kit.models.footprint import worker_bytes
from lepton_kit.rundir import EventLog, HeldFolder, RunPaths, Status, lock
from lepton_kit.rundir.control import ENDED
from lepton_kit.runtime import coordinator as decisions
from lepton_kit.runtime.balance import Balance
from lepton_kit.runtime.deaths import describe, memory_kills
from lepton_kit.runtime.executor import Ended, Loss
from lepton_kit.runtime.generations import Generations
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.hosts import slurm
from lepton_kit.runtime.pool.share import Share
from lepton_kit.runtime.reports import Ledger
from lepton_kit.runtime.requests import Requests
from lepton_kit.runtime.resources import Resources
from lepton_kit.runtime.roster import Member
from lepton_kit.runtime.wishes import Wishes
from lepton_kit.training import logged, messages

TICK_SECONDS = 0.05
CHECK_SECONDS = 0.5
NOBODY_SECONDS = 600.0
"""Longest time without a worker that trains or could: large data may take minutes to prepare."""
STOP_SECONDS = 60.0
CLOSE_SECONDS = 2.0
DELETED_SECONDS = 1.0
PLACES_SECONDS = 15.0
"""Hosts that are still on their way after this time are worth a word."""
COMMANDS = {"pause": messages.Pause, "resume": messages.Resume, "stop": messages.Stop}
Hire = Callable[[RunConfig], WorkerGroup]
VERDICT_SECONDS = 0.5
"""After a worker's error the others get this long to say what they know."""


class Driver:
    """Reconciles one run's processes with what is wanted until it ends."""

    def __init__(self, paths: RunPaths, hire: Hire, held_lock: int | None = None, share: Share | None = None):
        written = RunConfig.load(paths.config)
        self.config, places = slurm.settled(written), written.workers.whereabouts
        self._lock = lock.take(paths) if held_lock is None else held_lock
        self._token, self._held = paths.id, HeldFolder(paths.root)
        inside = RunPaths(self._held.inside)
        shutil.rmtree(
            inside.final_model.parent, ignore_errors=True
        )  # of a run that was stopped and now goes on
        first = self.config.training.initial_epoch
        self._ledger = Ledger(inside, EventLog(inside.events), first, self.config.workers.count, places)
        self._wishes = Wishes(self.config, usable_cores())
        asked = self._ledger.view
        self._wishes.recall(asked.moves.standing(asked.requests, places))
        self._share = share or Share(self.config, paths.id)
        self._share.begin(self._wishes)
        self._ledger.begin(self.config.model)
        self._group = hire(self.config)
        self._group.allows = self._share.allows
        self._executor, self._roster = self._group.executor, self._group.roster
        self._executor.log = str(RunPaths(self._held.shared).driver_log)
        self._ring = Generations(self.config, self._group, self._ledger)
        self._balance = Balance(self.config, self._ring, self._ledger)
        self._requests = Requests(self.config, self._wishes, self._ring, self._executor, self._ledger)
        self._failures, self._failed_at = 0, 0
        self._fatal: tuple[float, str] | None = None
        self._verdict = Status.FAILED
        self._last_check = self._last_tick = self._last_able = time.monotonic()
        self._memory_kills = memory_kills()
        self._resources = Resources()
        self._missing: tuple[str, float] | None = None
        self._executor.energy(time.monotonic())  # it counts from here
        self._group.settle()
        for member in self._roster.members.values():
            if member.state != "leaving":
                self._prepare(member)

    def run(self) -> Status:
        """Drive the run to its end; returns its final status, or queued if others of its pool go first."""
        status = Status.FAILED
        cause: str | None = "the driver ended unexpectedly"
        signal.signal(signal.SIGTERM, lambda *_: self._wishes.interrupt())
        try:
            while (ended := self.turn()) is None:
                select.select(self._executor.filenos(), [], [], TICK_SECONDS)
            status, cause = self._wishes.ended(*ended)
        except LeptonError as failure:
            cause = str(failure)
        except Exception as failure:
            cause = f"the driver failed: {type(failure).__name__}: {failure}"
            raise
        finally:
            self._note_energy(True)
            self._executor.close(0.0 if self._deleted() else CLOSE_SECONDS)
            self._ring.close()
            status = self._last_word(status, cause)
        return status

    def _last_word(self, status: Status, cause: str | None) -> Status:
        if self._wishes.suspending and status is Status.STOPPED and self._deleted() is None:
            status = self._ledger.suspend()
            self._held.close()
            self._share.wait_again(self._wishes.paused)
            return status
        self._ledger.refuse_requests(ENDED)
        if self._ledger.lost and not self._held.gone:
            time.sleep(DELETED_SECONDS)  # whoever deletes the folder piece by piece is let finish
        self._ledger.end(status, self._with_checkpoint(status, cause))
        return status

    def turn(self) -> tuple[Status, str | None] | None:
        """Take in what is new and do what follows from it; the final status and its cause, once the run is over."""
        self._receive()
        self._requests.read()
        self._look_after()
        if (moved := self._held.moved()) is not None:
            self._ledger.append("warning", {"text": moved})
        if (ended := self._ending()) is not None:
            return ended
        for action in decisions.decide(self._situation()) if self._fatal is None else []:
            if isinstance(action, decisions.End):
                return action.status, None
            self._do(action)
        self._ring.give_room_back(self._wishes.workers)
        rows = [member.row() for member in self._roster.members.values()]
        self._ledger.workers(self._wishes.workers, rows)
        self._ledger.hosts(self._executor.hosts())
        return None

    def _situation(self) -> decisions.Situation:
        workers = [member.observed() for member in self._roster.members.values()]
        ring = self._ring
        return decisions.Situation(
            self._wishes.wanted, workers, ring.phase, ring.formed_before, frozenset(ring.asked), ring.aimed,
            ring.rests,
        )  # fmt: skip

    def _ending(self) -> tuple[Status, str | None] | None:
        if (deleted := self._deleted()) is not None:
            return Status.FAILED, deleted
        now, states = time.monotonic(), {member.state for member in self._roster.members.values()}
        root = next((m for m in self._roster.members.values() if m.rank == 0 and m.state == "detached"), None)
        if root is not None and root.outcome in ("finished", "stop"):
            return (Status.FINISHED if root.outcome == "finished" else Status.STOPPED), root.stopped_by
        if self._fatal is not None:
            return (self._verdict, self._fatal[1]) if now - self._fatal[0] > VERDICT_SECONDS else None
        if self._failures > self.config.workers.max_failures:
            return (
                Status.FAILED,
                f"{self._failures} worker failures without progress; the last: {self._ring.cause}",
            )
        if states & {"standby", "training", "detached"}:
            self._last_able = now
        if now - self._last_able > NOBODY_SECONDS:
            return Status.FAILED, f"no worker was ready for {NOBODY_SECONDS:.0f} s"
        asked_to_stop = self._wishes.stopping_since
        if asked_to_stop is not None and now - asked_to_stop > STOP_SECONDS:
            return Status.STOPPED, f"the workers did not stop within {STOP_SECONDS:.0f} s and were killed"
        return None

    def _with_checkpoint(self, status: Status, cause: str | None) -> str | None:
        if status not in (Status.FAILED, Status.INTERRUPTED):
            return cause
        last = self._ledger.last_checkpoint()
        name = last.name if last else "none yet"
        return f"{cause} (last checkpoint: {name}; logs: {RunPaths(self._held.path).logs})"

    def _do(self, action: decisions.Action) -> None:
        match action:
            case decisions.Spawn(count):
                for _ in range(count):
                    if (member := self._group.spawn()) is None:
                        self._note_missing_places()
                        break
                    self._prepare(member)
            case decisions.Dismiss(workers):
                for worker in workers:
                    self._group.dismiss(self._roster.members[worker])
            case decisions.Form(workers, fresh):
                self._ring.form([self._roster.members[worker] for worker in workers], fresh, self._wishes)
            case decisions.MakeRoom(workers):
                self._ring.make_room([self._roster.members[worker] for worker in workers])
            case decisions.Reform(cause):
                self._ring.break_off(cause)
            case decisions.Abort():
                self._ring.abort()
            case decisions.Command(kind):
                self._ring.asked.add(kind)
                self._ring.tell(COMMANDS[kind](generation=self._ring.number))
                if kind == "resume":
                    self._ring.asked.discard("pause")
                    self._ring.enter("training")
                    self._ledger.status(Status.RUNNING)
                elif kind == "stop":
                    self._ledger.status(Status.STOPPING)

    def _note_missing_places(self) -> None:
        """Say, once a moment has passed, how many workers wait for a place, and for whom."""
        needed = self._wishes.workers + self.config.workers.standby
        there, why = len(self._executor.places()), self._executor.awaits_places
        text = f"{needed} workers need as many places, {there} are there: {why}"
        now = time.monotonic()
        if self._missing is None or self._missing[0] != text:
            self._missing = (text, now)
        elif now - self._missing[1] > PLACES_SECONDS:
            self._missing = (text, float("inf"))
            self._ledger.append("warning", {"text": text})

    def _prepare(self, member: Member) -> None:
        self._group.prepare(member, self._held.shared, self._token)

    # ------------------------------------------------------------------ what comes in

    def _receive(self) -> None:
        for worker, message in self._executor.receive():
            member = self._roster.members[worker]
            member.last_heard = time.monotonic()
            self._hear(member, message)
        for loss in self._executor.losses():
            self._on_loss(loss)
        for ended in self._executor.ended():
            self._on_ended(self._roster.members[ended.worker], ended)

    def _hear(self, member: Member, message: messages.Message) -> None:
        match message:
            case messages.Alive():
                self._roster.hear(member, message)
                if member.state == "training":
                    self._wishes.note_use(message.memory_bytes)
            case messages.Hello(pid=pid):
                member.pid = pid
            case messages.Ready():
                self._on_ready(member, message)
            case messages.Joining(generation=generation) | messages.Joined(generation=generation):
                if generation == self._ring.number:
                    member.joining = isinstance(message, messages.Joining)
            case messages.RoomMade():
                member.room = "made"
            case messages.HandedOver(generation=generation):
                if generation == self._ring.number:
                    self._ring.handed(message)
            case messages.Formed():
                self._on_formed(member, message)
            case messages.Paced():
                self._balance.hear(message)
            case messages.Paused():
                self._on_paused(member, message)
            case messages.Detached():
                self._on_detached(member, message)
            case messages.Failed():
                self._on_failed(member, message)
            case logged.Logged():
                self._on_logged(member, message)
            case _:
                raise RunError(f"worker {member.worker} said what no worker says: {message}")

    def _on_ready(self, member: Member, message: messages.Ready) -> None:
        if message.token == self._token:
            member.state = "standby"
            member.slot_bytes, member.parameters = message.slot_bytes, message.parameters
            member.state_bytes, member.collective = message.state_bytes, message.collective
            self._wishes.note_need(worker_bytes(message.state_bytes, 4 * message.parameters))
            self._ledger.plan(self.config, member.parameters)

    def _on_formed(self, member: Member, message: messages.Formed) -> None:
        if message.generation == self._ring.number and member.rank == 0 and self._ring.phase == "forming":
            self._ring.formed(message.step, message.parts)
            self._ledger.status(Status.RUNNING)
            self._note_pause()

    def _on_logged(self, member: Member, message: logged.Logged) -> None:
        if isinstance(message, logged.Steps):
            all_there = min(self._wishes.workers, len(self._executor.places()))
            if message.last > self._failed_at and message.world_size >= all_there:
                self._failures = 0
            member.step = message.last
        self._ledger.append(message.event, message.content)
        if isinstance(message, logged.Saved):
            self._ledger.sync()
            self._tell_durable()

    def _tell_durable(self) -> None:
        step = self._ledger.durable_step
        self._ring.tell(messages.Durable(generation=self._ring.number, step=step))

    def _on_paused(self, member: Member, message: messages.Paused) -> None:
        if message.generation == self._ring.number:
            member.outcome = "paused"
            self._ring.rests |= message.rests
            self._note_pause()

    def _note_pause(self) -> None:
        """All ranks hold; rank 0's word that the ring has formed may come later than another's that it holds."""
        if self._ring.phase == "training" and all(one.outcome == "paused" for one in self._ring.members):
            for one in self._ring.members:
                one.outcome = None
            self._ring.enter("paused")
            self._ledger.status(Status.PAUSED)

    def _on_detached(self, member: Member, message: messages.Detached) -> None:
        if message.generation != self._ring.number:
            return
        member.step, member.outcome = message.step, message.outcome
        member.stopped_by = message.stopped_by
        # One who left before it had the state of the others is as good as new.
        member.state = "detached" if message.whole else "standby"
        if message.trained_until is not None:
            self._ring.left(message.trained_until)
        if member.outcome == "broken" and self._ring.phase in ("forming", "training", "paused"):
            self._fail(f"worker {member.worker} (rank {member.rank}) lost its ring")
            self._ring.abort()

    def _on_failed(self, member: Member, message: messages.Failed) -> None:
        member.cause = message.cause if message.what == "error" else message.what
        if message.what == "error" and self._fatal is None:
            self._fatal = (time.monotonic(), f"worker {member.worker}: {message.cause}")

    def _on_loss(self, loss: Loss) -> None:
        if loss.host is not None:
            about = {"worker": None, "rank": None, "host": loss.host}
            self._ledger.append("incident", {**about, "what": loss.cause})
        if loss.final:
            self._fatal = (time.monotonic(), loss.cause)
            self._verdict = Status.INTERRUPTED if loss.resumable else Status.FAILED
        else:
            self._fail(loss.cause)

    def _on_ended(self, member: Member, ended: Ended) -> None:
        if member.state == "leaving":
            self._roster.remove(member)
            return
        excused = member.excused or (ended.excused and member.cause is None)
        short = memory_kills() > self._memory_kills
        what = describe(ended.exit_code, member.cause or ended.cause, short)
        if not ended.told:
            self._ledger.append("incident", {"worker": member.worker, "rank": member.rank, "what": what})
        if not excused:
            self._fail(f"worker {member.worker} lost: {what}")
        if member.state == "training" and self._ring.phase in ("forming", "training", "paused"):
            member.state = "lost"
            return
        self._roster.remove(member)
        if member.state == "training":  # in a ring that is breaking up already
            self._ring.wake()

    def _fail(self, cause: str) -> None:
        self._ring.cause = cause
        self._failures, self._failed_at = self._failures + 1, self._ledger.reported_step

    # ------------------------------------------------------------------ what time brings

    def _deleted(self) -> str | None:
        """What of the folder was deleted, so that the run has no place any more, in words."""
        if self._held.gone:
            return f"{self._held.path}: the run's folder was deleted"
        return f"{self._held.path / 'events.jsonl'}: was deleted" if self._ledger.lost else None

    def _look_after(self) -> None:
        """Silent workers, log lines that wait, the load of the machine."""
        now = time.monotonic()
        if now - self._last_tick > 2.0:  # this process itself was held up: the others' silence proves nothing
            self._roster.forgive(now, now - self._last_tick)
        self._last_tick = now
        self._executor.tend(self.config.workers.hang_seconds)
        if now - self._last_check < CHECK_SECONDS:
            return
        self._last_check = now
        self._ledger.flush()
        self._group.end_silent(now, self.config.workers.hang_seconds)
        for member in self._ring.overdue():
            if member.cause is None:
                self._group.end(member, "did not leave its broken ring; killed", excused=True)
        if self._failures == 0:
            self._memory_kills = memory_kills()
        self._measure(now)
        self._share.follow(now, self._wishes, self._ledger.view, self._roster)

    def _note_energy(self, fresh: bool = False) -> None:
        for took in self._executor.energy(time.monotonic(), fresh):
            self._ledger.note("energy", took)

    def _measure(self, now: float) -> None:
        """Log what the workers take of the machine while they train."""
        self._note_energy()
        training = self._ring.phase == "training"
        if training:
            members = list(self._roster.members.values())
            self._ledger.note("resources", self._resources.measure(now, self._roster.own_seconds, members))
        else:
            self._resources.rest()
