"""What the driver does to the workers that train: it forms generations, breaks them off, and passes commands on."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from statistics import fmean

from lepton_kit.config import RunConfig
from lepton_kit.runtime.coordinator import Phase
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.places import memberships
from lepton_kit.runtime.rendezvous import Rendezvous
from lepton_kit.runtime.reports import Kept, Ledger
from lepton_kit.runtime.roster import Member
from lepton_kit.runtime.wishes import Wishes
from lepton_kit.training import messages
from lepton_kit.training.collective import HEADER_BYTES, Sharing, segment_bytes

BREAK_SECONDS = 120.0
"""A member that has not left a broken ring after this time is killed: its model's own code does not return."""
JOINING_BREAK_SECONDS = 1.8
"""The same for one that still waits for a lost peer in Horovod: it would leave, but only after hang_seconds."""

STATE_EXTRA_BYTES = 1 << 24
"""Room in the segment beside the variables: history and callbacks. More is taken where it is needed."""


class Generations:
    """The ring of the current generation, with its shared segment and its rendezvous."""

    def __init__(self, config: RunConfig, group: WorkerGroup, ledger: Ledger):
        self._config, self._ledger = config, ledger
        self._executor, self._roster = group.executor, group.roster
        self._rendezvous = Rendezvous()
        self._sharing = group.executor.ability.sharing
        self._without_memory: set[str] = set()
        shared = self._sharing == "all"
        self._descriptor = os.memfd_create("lepton-ring", os.MFD_CLOEXEC) if shared else None
        self._header: mmap.mmap | None = None
        self._state_place = 0
        self._handed: Kept | None = None
        self._trained_until: float | None = None
        self.phase: Phase = "none"
        self.since = time.monotonic()
        self.number = 0
        self.formed_before = False
        self.asked: set[str] = set()
        self.rests = False
        """Whether members have left it while the run is held."""
        self.aimed: int | None = None
        """Workers that were wanted when the last ring was sent to form."""
        self.learned: dict[int, float] = {}
        """Worker -> how fast it turned out to be, relative to the others; empty: as fast as its place says."""
        self.cause = "start"

    @property
    def members(self) -> list[Member]:
        """Those who are in the ring now, in rank order."""
        return self._roster.ring()

    def form(self, members: list[Member], fresh: bool, wishes: Wishes) -> None:
        """Send these members into a new generation; the first is rank 0.

        If none of them holds the state (``fresh``) rank 0 takes it from where it was handed over in a generation that
        did not form, else from the last checkpoint, else it begins.
        """
        checkpoint = None
        if not fresh:
            self._handed = None  # rank 0 will write over it
        if (handed := self._handed) is not None:
            self._ledger.return_to(handed)
        elif fresh:
            checkpoint = self._ledger.return_to_checkpoint()
            if checkpoint is not None and self.cause == "start":
                self.cause = f"resumed from the checkpoint at step {checkpoint.step}"
        self.number += 1
        self.aimed = wishes.workers
        self.asked, self.rests = {"pause"} if wishes.paused else set(), False
        slot_bytes = max(member.slot_bytes for member in members)
        self._roster.seat(members, self._executor.places())
        self._say_who_shares_nothing(members)
        ranks = memberships(
            self.number,
            [member.place for member in members],
            self._rendezvous.address,
            slot_bytes=slot_bytes,
            timeout_seconds=max(5, int(self._config.workers.hang_seconds)),
            sharing=self._sharing_of(members),
        )
        self._rendezvous.begin(ranks)
        self._ready_segment(slot_bytes, max(member.state_bytes for member in members), wishes.most)
        for member, membership in zip(members, ranks, strict=True):
            member.rank, member.state = membership.rank, "training"
            member.outcome, member.joining, member.room = None, False, "none"
        speeds = self._speeds()
        for member, membership in zip(members, ranks, strict=True):
            join = messages.Join(
                descriptor=self._descriptor,
                membership=membership,
                weights=speeds,
                state_place=self._state_place,
                handed=handed is not None,
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

    def formed(self, step: int, parts: dict[str, float]) -> None:
        """Rank 0 has its peers and they have its state: training goes on. ``parts`` is where its time went, in seconds."""
        ranks = self.members
        seconds = None if self._trained_until is None else round(time.monotonic() - self._trained_until, 4)
        for member in ranks:
            member.step = step
        workers = [member.worker for member in ranks]
        kind = ranks[0].collective
        self._ledger.generation(self.number, workers, self._speeds(), step, self.cause, seconds, kind, parts)
        self.formed_before = True
        self._trained_until = None
        self._forget_handed()
        self.enter("training")

    def handed(self, told: messages.HandedOver) -> None:
        """Rank 0's state lies in the segment, and no worker's death can lose it until all have it."""
        if self._descriptor is not None:
            self._handed = Kept(told.step, told.logged_epochs)

    def make_room(self, joining: list[Member]) -> None:
        """Have standbys get the memory that they need to join, and that of the state, while the members train."""
        for member in joining:
            member.room = "asked"
            order = messages.MakeRoom(
                descriptor=self._descriptor, state_place=self._state_place, state_bytes=member.state_bytes
            )
            self._executor.send(member.worker, order)

    def give_room_back(self, wanted: int) -> None:
        """Let go of what standbys have got in the segment for a ring of a size that is ``wanted`` no more."""
        waiting = [
            one for one in self._roster.members.values() if one.state == "standby" and one.room == "made"
        ]
        if waiting and self.phase in ("training", "paused") and len(self.members) >= wanted:
            for member in waiting:
                member.room = "none"
            self._forget_handed()

    def break_off(self, cause: str) -> None:
        """Have the members leave at their next commit."""
        self.cause = cause
        self._hold_room()
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
        if self._header is not None:
            self._header[0:4] = b"\x01\0\0\0"
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
        """Note a new phase and when it began."""
        self.phase, self.since = phase, time.monotonic()

    def close(self) -> None:
        """End the rendezvous and give the shared memory back."""
        self._rendezvous.close()
        if self._header is not None:
            self._header.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _sharing_of(self, members: list[Member]) -> Sharing:
        """Who shares memory with whom. Where it is a host's alone, it serves none but sums that go that way."""
        if self._sharing == "host" and any(member.collective != "hierarchical" for member in members):
            return "none"
        return self._sharing

    def _say_who_shares_nothing(self, members: list[Member]) -> None:
        """A word, once, on each host whose workers could sum in shared memory and don't."""
        for place in (member.place for member in members if member.collective == "hierarchical"):
            if place.shares or place.device != "cpu" or place.host in self._without_memory:
                continue
            self._without_memory.add(place.host)
            text = (
                f"{place.host}: the library for sums in shared memory is not built there (`make setup` builds it); "
                "each worker there sums over the network"
            )
            self._ledger.append("warning", {"text": text})

    def _speeds(self) -> list[float]:
        """Of the members, in rank order: as learned, of one who is new as of others on its host, or else of all."""
        if not self.learned:
            return [member.place.speed for member in self.members]
        hosts = {one.worker: one.place.host for one in self._roster.members.values()}
        found = []
        for member in self.members:
            beside = [v for worker, v in self.learned.items() if hosts.get(worker) == member.place.host]
            usual = fmean(beside or self.learned.values())
            found.append(self.learned.get(member.worker, usual))
        return found if any(found) else [1.0] * len(found)

    def _ready_segment(self, slot_bytes: int, state_bytes: int, most_ranks: int) -> None:
        """Make the one segment of the run ready for a ring. Nobody is in the ring before, so nobody sees it change.

        It has places for the largest ring and for a state from the start; what nobody has written to takes no memory.
        """
        if self._descriptor is None:
            return
        if self._header is None:
            self._state_place = segment_bytes(most_ranks, slot_bytes)
            os.ftruncate(self._descriptor, self._state_place + state_bytes + STATE_EXTRA_BYTES)
            self._header = mmap.mmap(self._descriptor, HEADER_BYTES)
        self._header[:] = bytes(HEADER_BYTES)

    def _hold_room(self) -> None:
        """Get what memory for the state is not there yet, while the members still train: they stand still while it is filled."""
        if self._descriptor is None:
            return
        state_bytes = max((member.state_bytes for member in self.members), default=0)
        with contextlib.suppress(OSError):  # then it comes page by page
            os.posix_fallocate(self._descriptor, self._state_place, state_bytes)

    def _forget_handed(self) -> None:
        """Give the memory of the state back."""
        self._handed = None
        if self._header is None or self._descriptor is None:
            return
        length = os.fstat(self._descriptor).st_size - self._state_place
        with mmap.mmap(self._descriptor, length, offset=self._state_place) as memory:
            memory.madvise(mmap.MADV_REMOVE)
