"""A driver's part in a pool: it says what its run needs and has measured, and takes what it gets."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_kit.config import RunConfig
from lepton_kit.errors import LeptonError, RunError
from lepton_kit.machine.devices import memory, usable_cores
from lepton_kit.models import footprint
from lepton_kit.planning.allocation import HORIZON_SECONDS, Grant
from lepton_kit.rundir import Status
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.pool.folder import JOIN_SECONDS, PoolFolder
from lepton_kit.runtime.pool.load import ForeignLoad, busy_seconds
from lepton_kit.runtime.pool.members import (
    Entry,
    Membership,
    capacity,
    grants,
    reserved,
    survey,
    this_machine,
)
from lepton_kit.runtime.pool.spread import group_of, spread, unit, units_of

if TYPE_CHECKING:
    from lepton_kit.rundir.view import RunView
    from lepton_kit.runtime.roster import Roster
    from lepton_kit.runtime.wishes import Wishes

FOLLOW_SECONDS = 1.0
SETTLE_SECONDS = 15.0
"""A run that has just changed is left alone for so long: its speed is not known yet."""
STEADY_SECONDS = 2.0
"""A generation's first reports hold what happens once; later ones count as measured."""
BLEND = 0.3
"""Weight of a new measurement of a speed beside the older ones."""
TURN_SECONDS = 120.0
"""A run that trains, again or for the first time, or is paused, is not sent back into the line before this time."""
STARTS = 4.0
"""It also trains so many times as long as its start took: on a slow machine runs would do nothing but start."""
RUN_BYTES = 290_000_000
"""Memory of a run beside its workers: 42 MB of its driver, and 244 MB of the process with TensorFlow loaded that forks them
(proportional set sizes with one worker, Linux, TensorFlow 2.21, 2026-11)."""


class Share:
    """What a run gets of its machine or its hosts. ``find`` opens the pool when it is needed; without one the run is the only one there."""

    def __init__(
        self,
        config: RunConfig,
        run: str,
        find: Callable[[], PoolFolder | None] = lambda: None,
        base: Path | None = None,
    ):
        workers = config.workers
        hosts = workers.hosts or ()
        self._units = units_of(hosts)
        """Slots of the hosts that it shares; none where it shares its machine."""
        self._cores = cores = sum(self._units.values()) or usable_cores()
        self._find = find
        self._membership: Membership | None = None
        self._load = ForeignLoad(cores)
        self._next, self._changed, self._cleared = 0.0, -SETTLE_SECONDS, -math.inf
        self._began = self._paused = time.monotonic()
        self._trains: float | None = None
        self._turn = TURN_SECONDS
        self._generation: tuple[int, float] = (0, 0.0)
        self._heard: float | None = None
        self._last = time.monotonic()
        spec = config.model.model_dump(mode="json")
        self.entry = Entry(
            run,
            user_name(),
            time.time(),
            machine=group_of(hosts) if hosts else this_machine(),
            least=min(workers.min_workers, max(1, cores)),
            most=max(1, min(workers.max_workers or cores, config.training.global_batch)),
            share=workers.share,
            priority=workers.priority,
            worker_bytes=footprint.estimated(spec, base),
            cores=cores,
        )
        self._standby = workers.standby
        self.entry.most = max(self.entry.most, self.entry.least)
        self.entry.run_bytes = RUN_BYTES + self._standby * self.entry.worker_bytes
        self._batch = config.training.global_batch
        self.entry.since = self.entry.arrived
        self._applies = workers.divided
        self.granted: int | None = None
        """Workers to begin with; None: as many as are free."""
        self.paused = False
        """Whether its user holds it back, so that it is not to wait for its turn yet."""
        self.again = False
        """Whether it has given its workers back, to go on at its next turn."""

    @functools.cached_property
    def _folder(self) -> PoolFolder | None:
        return self._find()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a fork has to close, so that the place in the pool ends with this process."""
        return () if self._membership is None else (self._membership.descriptor,)

    def look(self) -> Grant:
        """Say what is true now, and see what the run gets. Reserves what is free of it at once. May raise `OSError`.

        While a member can't be heard that has neither left nor died, nobody gets more: a `RunError`.
        """
        entry = self.entry
        if (folder := self._folder) is None:
            return self._decide([entry])
        with folder.locked():
            if self._membership is not None and not self._membership.there:
                self._membership.leave()
                self._membership, self._cleared = None, time.monotonic()
            if self._membership is None:
                self._membership = Membership(folder, entry.run)
            self._membership.tell(entry)
            if not entry.held and time.monotonic() - self._cleared < JOIN_SECONDS:
                return Grant(
                    entry.run, 0, 0, None, "waits: the folder that runs share was cleared; all join anew"
                )
            members, lost = survey(folder, self._membership, entry.machine)
            if lost:
                said = f"the file of {lost[0]} was deleted or spoilt, and is to be written anew"
                raise RunError(said)
            grant = self._decide(members)
            self._membership.tell(entry)
        return grant

    def first_look(self) -> Grant:
        """The same when a run begins: where the pool can't be read or written now, the run waits in line and says why."""
        if self.paused:
            return Grant(self.entry.run, 0, 0, None, "held back")
        try:
            return self.look()
        except (OSError, RunError) as failure:
            return Grant(self.entry.run, 0, 0, None, unusable(failure))

    def _decide(self, members: list[Entry]) -> Grant:
        entry = self.entry
        if not any(one.run == entry.run for one in members):  # somebody took the file away
            members = [*members, entry]
        members = [entry if one.run == entry.run else one for one in members]
        if entry.held and not self._units:
            own = {one.run: one.seconds for one in members}
            self._load.look(time.monotonic(), busy_seconds(), own)
            entry.free = self._load.free
        shared = capacity(members, self._cores, None if self._units else memory()[1])
        grant = grants(members, shared, time.time())[entry.run]
        workers = reserved(entry, members, shared, grant.workers)
        if workers > entry.held:
            entry.held = workers
        if self._units:
            others = [one.places for one in members if one.run != entry.run]
            entry.places = spread(entry.held, entry.places, others, self._units)
        if workers == 0 and grant.workers:
            grant = Grant(
                entry.run, 0, 0, grant.wait_seconds, "waits until others give back what they have too much"
            )
        self.granted = workers or None
        return Grant(entry.run, workers, grant.before, grant.wait_seconds, grant.why)

    # ------------------------------------------------------------------ while it trains

    def begin(self, wishes: Wishes) -> None:
        """The run starts with what it was given."""
        if self._applies and wishes.auto:
            wishes.take(self.granted or self.entry.most)
            self.entry.state, self.entry.wait_seconds, self.entry.since = "starting", None, None
            self._changed, self._began, self._trains = -SETTLE_SECONDS, time.monotonic(), None
            self.entry.held = max(self.entry.held, wishes.workers)

    def follow(self, now: float, wishes: Wishes, view: RunView, roster: Roster) -> None:
        """Called often: tell the others how it goes, and wish for what the run gets."""
        if not self._applies or now < self._next:
            return
        self._next = now + FOLLOW_SECONDS
        if not wishes.auto:
            self.leave()
            return
        entry, status = self.entry, view.status
        training = view.world_size if status is Status.RUNNING else 0
        entry.held = max(len(roster.members) - self._standby, wishes.workers)
        if self._units:
            stands = Counter(unit(one.place) for one in roster.members.values())
            entry.places = spread(wishes.workers, stands, [], entry.places)
        if status is not Status.PAUSED:
            self._paused = now
        # One that is paused holds on to its least, for a while; one that starts or ends stays as it is.
        entry.cap = {Status.RUNNING: None, Status.PAUSED: entry.least}.get(status, entry.held)
        trains = status is Status.RUNNING and not wishes.paused
        if trains and self._trains is None:
            self._trains, self._turn = now, max(TURN_SECONDS, STARTS * (now - self._began))
        entry.keeps_seconds = None
        if status is Status.PAUSED:
            entry.keeps_seconds = max(0.0, TURN_SECONDS - (now - self._paused))
        elif trains and self._trains is not None:
            entry.keeps_seconds = max(0.0, self._turn - (now - self._trains))
        entry.suspendable = entry.keeps_seconds == 0.0
        entry.state = str(status)
        entry.worker_bytes = max(entry.worker_bytes, wishes.worker_bytes)
        entry.run_bytes = RUN_BYTES + self._standby * entry.worker_bytes
        entry.used_bytes = sum(one.memory_bytes or 0 for one in roster.members.values()) + RUN_BYTES
        self._count_seconds(now, roster.own_seconds + time.process_time(), bool(training))
        self._measure(now, view, training)
        grant = self._try_to_look()
        if grant is None or status not in (Status.RUNNING, Status.PAUSED):
            return
        if grant.workers == 0 and entry.suspendable:
            wishes.suspend()
        elif grant.workers not in (0, wishes.workers):
            wishes.take(grant.workers)
            self._changed = now

    def allows(self, places: Sequence[Place], taken: Sequence[Place]) -> list[Place]:
        """Of the places of its hosts those where it may start a worker beside the ones ``taken``; of a machine all."""
        if not (self._units and self._membership):
            return list(places)
        left = Counter(self.entry.places) - Counter(map(unit, taken))
        return [place for place in places if left[unit(place)] > 0]

    def come_back(self, away: float) -> None:
        """The run was held back for so many seconds, which it did not wait."""
        if self.entry.since is not None:
            self.entry.since += away

    def wait_again(self, paused: bool) -> None:
        """The run has given all its workers back, and waits in line; unless its user has paused it meanwhile."""
        entry, self.paused, self.again = self.entry, paused, True
        entry.held, entry.used_bytes, entry.cap, entry.places = 0, 0, None, {}
        entry.suspendable, entry.keeps_seconds = False, None
        entry.state, entry.since, self.granted = "queued", time.time(), None
        if paused:
            self.leave()

    def _count_seconds(self, now: float, own: float, training: bool) -> None:
        """Until it trains nobody tells what its processes do (they import and build): they may use what the run holds."""
        before, self._heard = self._heard if self._heard is not None else own, own
        self.entry.seconds += max(own - before, 0.0 if training else self.entry.held * (now - self._last))
        self._last = now

    def _measure(self, now: float, view: RunView, training: int) -> None:
        entry, number = self.entry, len(view.generations)
        if number != self._generation[0]:
            self._generation = (number, now)
            pause = view.generations[-1]["seconds"] if number else None
            entry.pause_seconds = pause if pause is not None else entry.pause_seconds
        entry.left = (
            None if view.total_steps is None else float(max(0, view.total_steps - view.step) * self._batch)
        )
        rate = view.current_throughput
        if training and rate is not None and now - self._generation[1] > STEADY_SECONDS:
            before = entry.speeds.get(training, rate)
            entry.speeds[training] = before + BLEND * (rate - before)

    def _try_to_look(self) -> Grant | None:
        entry = self.entry
        pause, settling = entry.pause_seconds, time.monotonic() - self._changed < SETTLE_SECONDS
        if settling:
            entry.pause_seconds = HORIZON_SECONDS
        try:
            return self.look()
        except (OSError, LeptonError):
            return None  # a full disk, a folder or a file that was deleted: it goes on with what it has
        finally:
            entry.pause_seconds = pause

    def leave(self) -> None:
        """Take part no more; a later `look` joins again."""
        if self._membership is not None:
            membership, self._membership = self._membership, None
            assert self._folder is not None
            with contextlib.suppress(OSError, LeptonError), self._folder.locked():
                self._folder.dismiss(self.entry.run)
            with contextlib.suppress(OSError):
                membership.leave()
            self.entry.held, self._heard, self.entry.places = 0, None, {}
            self._load.forget()


def unusable(failure: OSError | LeptonError) -> str:
    """Why a run waits that can't read or write its pool now."""
    said = getattr(failure, "strerror", None) or failure
    return f"waits: the folder that runs share can't be used now ({said})"


def user_name() -> str:
    """The name by which others of the pool know this user."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
