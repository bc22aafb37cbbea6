"""Waiting in line: a run that has no share of its machine yet has no workers, and says how long it may take."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import replace

from lepton_kit.config import RunConfig
from lepton_kit.errors import LeptonError
from lepton_kit.machine.devices import memory, usable_cores
from lepton_kit.planning.allocation import Grant
from lepton_kit.rundir import EventLog, HeldFolder, Request, RunPaths, Status, read_requests
from lepton_kit.runtime.pool.share import Share, unusable
from lepton_kit.runtime.reports import Ledger
from lepton_kit.runtime.wishes import Wishes

TICK_SECONDS = 0.2
LOOK_SECONDS = (1.0, 0.3, 10.0)
"""Between two looks: for the first in line, more for each place behind it, and at most."""
TELL_SECONDS = 10.0
"""An estimate that has changed by half is told anew after this time; a place at once."""
HELD = "held back, others go first; resume puts it back in line"


def wait_in_line(paths: RunPaths, config: RunConfig, share: Share, first: Grant) -> Status | None:
    """Wait until the run has its share, or train without one because a user said how many workers; None then.

    The final status of a run that was stopped or whose folder was deleted meanwhile. Obeys requests: ``scale`` to a number
    leaves the line, ``set`` is taken up when it trains, ``pause`` holds it back until ``resume``: meanwhile it is ``paused``,
    has no place in line, and its waiting does not count.
    """
    line = _Line(paths, config, share)
    before = signal.signal(signal.SIGTERM, lambda *_: line.interrupt())
    try:
        return line.wait(first)
    finally:
        signal.signal(signal.SIGTERM, before)
        line.close()


class _Line:
    """One run's time in line."""

    def __init__(self, paths: RunPaths, config: RunConfig, share: Share):
        self._share, self._held = share, HeldFolder(paths.root)
        self._here = config.workers.hosts is None
        inside = RunPaths(self._held.inside)
        first = config.training.initial_epoch
        self._ledger = Ledger(inside, EventLog(inside.events), first, config.workers.count)
        self._wishes = Wishes(config, usable_cores())
        asked = self._ledger.view
        self._wishes.recall(asked.moves.standing(asked.requests, config.workers.whereabouts))
        self._wishes.note_need(share.entry.worker_bytes)
        self._wishes.paused, share.paused = share.paused, False
        if self._wishes.auto:
            self._wishes.workers = 0  # it has none, and a number that is asked for needs memory for all
            self._ledger.status(Status.QUEUED)
            self._ledger.workers(0, [])
        self._ended = False
        self._held_since: float | None = None
        self._told: tuple[int, str] | None = None
        self._told_wait: float | None = None
        self._told_at = 0.0
        self._places: list[tuple[float, int]] = []

    def interrupt(self) -> None:
        """Leave the line, and end the run: its machine or its job ends."""
        self._wishes.interrupt()

    def wait(self, grant: Grant) -> Status | None:
        """Until it is this run's turn."""
        wishes = self._wishes
        while wishes.paused or (wishes.auto and not grant.workers):
            if not wishes.paused:
                self._tell(grant)
            nearest, each, most = LOOK_SECONDS
            next_look = time.monotonic() + min(most, nearest + each * (grant.before or 0))
            while wishes.paused or (wishes.auto and time.monotonic() < next_look):
                if (gone := self._gone()) is not None:
                    return self._end(Status.FAILED, gone)
                self._obey()
                if wishes.stopping_since is not None:
                    return self._end(*wishes.ended(Status.STOPPED, None))
                if self._hold_back(wishes.paused):
                    break
                time.sleep(TICK_SECONDS)
            if wishes.auto:
                grant = self._look(grant)
        if not wishes.auto:
            self._share.leave()
        return None

    def _hold_back(self, paused: bool) -> bool:
        """Leave the line for as long as the user wants it; whether it has just come back."""
        if paused and self._held_since is None:
            self._held_since = time.time()
            self._share.leave()
            self._ledger.status(Status.PAUSED, HELD)
        elif not paused and self._held_since is not None:
            self._share.come_back(time.time() - self._held_since)
            self._held_since, self._told, self._places = None, None, []
            self._ledger.status(Status.QUEUED)
            return True
        return False

    def _look(self, before: Grant) -> Grant:
        try:
            return self._share.look()
        except TimeoutError:
            return before  # somebody holds the pool: tried again
        except (
            OSError,
            LeptonError,
        ) as failure:  # a full disk, a folder that can't be made anew: tried again
            return replace(before, why=unusable(failure))

    def _tell(self, grant: Grant) -> None:
        now, place = time.monotonic(), (grant.before or 0, grant.why)
        if not self._places or self._places[-1][1] != place[0]:
            self._places.append((now, place[0]))
        wait = self._share.entry.wait_seconds = by_pace(self._places, now)
        wait = grant.wait_seconds if wait is None else wait
        known = self._told_wait
        other = (wait is None) != (known is None) or (
            wait is not None and known is not None and not known / 1.5 <= wait <= known * 1.5 + 5
        )
        if place != self._told or (other and now - self._told_at > TELL_SECONDS):
            self._told, self._told_wait, self._told_at = place, wait, now
            seconds = None if wait is None else round(wait, 1)
            self._ledger.append("queue", {"before": place[0], "wait_seconds": seconds, "why": place[1]})

    def _obey(self) -> None:
        self._ledger.flush()
        requests, refused = read_requests(self._ledger.paths)
        for reason in refused:
            self._ledger.append("warning", {"text": reason})
        for request in requests:
            self._ledger.answer(request, self._grant(request))

    def _grant(self, request: Request) -> str | None:
        """Note what is asked; returns why not, if it can't be done."""
        if request.verb == "slow":
            return "it waits in line and has no worker yet"
        if request.verb == "resume" and not self._wishes.paused:
            return "it waits in line, and goes on by itself at its turn; scale(n) takes it out of the line"
        asks = request.verb == "scale" and self._here
        return self._wishes.apply(request.verb, request.arguments, memory()[1] if asks else None)

    def _gone(self) -> str | None:
        if self._held.gone:
            return f"{self._held.path}: the run's folder was deleted"
        return f"{self._held.path / 'events.jsonl'}: was deleted" if self._ledger.lost else None

    def _end(self, status: Status, cause: str | None) -> Status:
        self._share.leave()
        self._ended = True
        self._ledger.end(status, cause)
        return status

    def close(self) -> None:
        """Let the log and the folder go; the driver opens them anew."""
        if not self._ended:
            self._ledger.close()
        self._held.close()


def by_pace(places: Sequence[tuple[float, int]], now: float) -> float | None:
    """Seconds until it is one's turn at the pace of the line so far; None until it has moved by two places.

    ``places``: when the run came to each place, as (seconds, how many are before it). What runs have left says less: it
    leaves out how long they take to start, and those that have not begun.

    >>> by_pace([(0.0, 4), (10.0, 3), (20.0, 2)], 25.0), by_pace([(0.0, 4), (10.0, 3)], 10.0)
    (25.0, None)
    """
    moved = places[0][1] - places[-1][1] if places else 0
    if moved < 2:
        return None
    each = (places[-1][0] - places[0][0]) / moved
    waited = now - places[-1][0]
    return max(each * (places[-1][1] + 1) - waited, each / 4)
