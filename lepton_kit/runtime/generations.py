"""What the driver does to the workers that train: it forms generations, breaks them off, and passes commands on."""

from __future__ import annotations

import mmap
import os
import time

from lepton_kit.config import RunConfig
from lepton_kit.runtime.coordinator import Phase
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.places import memberships
from lepton_kit.runtime.rendezvous import Rendezvous
from lepton_kit.runtime.reports import Checkpoint, Ledger
from lepton_kit.runtime.roster import Member
from lepton_kit.runtime.wishes import Wishes
from lepton_kit.training import messages
from lepton_kit.training.collective import segment_bytes

BREAK_SECONDS = 120.0
"""A member that has not left a broken ring after this time is killed: its model's own code does not return."""
JOINING_BREAK_SECONDS = 1.8
"""The same for one that still waits for a lost peer in Horovod: it would end anyway, but only after hang_seconds."""


class Generations:
    """The ring of the current generation, with its shared segment and its rendezvous."""

    def __init__(self, config: RunConfig, group: WorkerGroup, ledger: Ledger):
        self._config, self._ledger = config, ledger
        self._executor, self._roster = group.executor, group.roster
        self._rendezvous = Rendezvous()
        self._segment: mmap.mmap | None = None
        self._descriptor: int | None = None
        self._trained_until: float | None = None
        self.phase: Phase = "none"
        self.since = time.monotonic()
        self.number = 0
        self.formed_before = False
        self.asked: set[str] = set()
        self.cause = "start"

    @property
    def members(self) -> list[Member]:
        """Those who are in the ring now, in rank order."""
        return self._roster.ring()

    def form(self, members: list[Member], checkpoint: Checkpoint | None, wishes: Wishes) -> None:
        """Send these members into a new generation; the first is rank 0, and loads the checkpoint if there is one."""
        self.number += 1
        self.asked = {"pause"} if wishes.paused else set()
        slot_bytes = max(member.slot_bytes for member in members)
        self._roster.seat(members, self._executor.places())
        ranks = memberships(
            self.number,
            [member.place for member in members],
            self._rendezvous.address,
            slot_bytes=slot_bytes,
            timeout_seconds=max(5, int(self._config.workers.hang_seconds)),
        )
        self._rendezvous.begin(ranks)
        self._open_segment(len(members), slot_bytes)
        for member, membership in zip(members, ranks, strict=True):
            member.rank, member.state = membership.rank, "training"
            member.outcome, member.joining = None, False
        speeds = self._speeds()
        for member, membership in zip(members, ranks, strict=True):
            join = messages.Join(
                descriptor=self._descriptor,
                membership=membership,
                weights=speeds,
                checkpoint=checkpoint.name if checkpoint else None,
                reported_step=self._ledger.reported_step,
                logged_epochs=self._ledger.logged_epochs,
                durable_step=self._ledger.durable_step,
                log_seconds=wishes.log_seconds,
                learning_rate=wishes.learning_rate,
                paused=wishes.paused,
            )
            self._executor.send(member.worker, join)
        self.enter("forming")

    def formed(self, step: int) -> None:
        """Rank 0 has its peers and they have its state: training goes on."""
        ranks = self.members
        seconds = None if self._trained_until is None else round(time.monotonic() - self._trained_until, 4)
        for member in ranks:
            member.step = step
        workers = [member.worker for member in ranks]
        self._ledger.generation(self.number, workers, self._speeds(), step, self.cause, seconds)
        self.formed_before = True
        self._trained_until = None
        self.enter("training")

    def break_off(self, cause: str) -> None:
        """Have the members leave at their next commit."""
        self.cause = cause
        self.tell(messages.Reform(generation=self.number))
        self.enter("breaking")

    def abort(self) -> None:
        """Wake the members that wait for one who is lost; they leave with the last whole step."""
        self.wake()
        self.left(time.monotonic())
        self.tell(messages.Reform(generation=self.number))
        if self.phase == "forming":
            self._rendezvous.refuse()
        for member in list(self._roster.members.values()):
            if member.state == "lost":
                self._roster.remove(member)
        self.enter("breaking")

    def wake(self) -> None:
        """End whatever the members wait for of each other, in shared memory or in Horovod's ring."""
        if self._segment is not None:
            self._segment[0:4] = b"\x01\0\0\0"
        self.tell(messages.Abort(generation=self.number))

    def left(self, trained_until: float) -> None:
        """Note when training stood still, in seconds of the monotonic clock; the earliest time counts."""
        self._trained_until = min(self._trained_until or trained_until, trained_until)

    def tell(self, message: messages.InGeneration) -> None:
        """Send this to all members."""
        for member in self.members:
            self._executor.send(member.worker, message)

    def overdue(self) -> list[Member]:
        """Members that should have left a broken ring long ago."""
        if self.phase != "breaking":
            return []
        waited = time.monotonic() - self.since
        limits = {True: JOINING_BREAK_SECONDS, False: BREAK_SECONDS}
        return [member for member in self.members if waited > limits[member.joining]]

    def enter(self, phase: Phase) -> None:
        self.phase, self.since = phase, time.monotonic()

    def close(self) -> None:
        self._rendezvous.close()
        self._close_segment()

    def _speeds(self) -> list[float]:
        """Of the members' places, in rank order."""
        return [member.place.speed for member in self.members]

    def _open_segment(self, world_size: int, slot_bytes: int) -> None:
        self._close_segment()
        if not self._executor.ability.shared_memory or not self._executor.ability.descriptors:
            return
        size = segment_bytes(world_size, slot_bytes)
        self._descriptor = os.memfd_create("lepton-ring", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, size)
        self._segment = mmap.mmap(self._descriptor, size)

    def _close_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
