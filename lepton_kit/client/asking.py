"""What one asks of a run that is under way: a request in its folder, and the word of its driver."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Self

from lepton_kit.client.standing import StandingRun
from lepton_kit.errors import RunError
from lepton_kit.rundir import send_request

POLL_SECONDS = 0.05
HEARD_SECONDS = 2.0
"""A driver that was just killed may hold its lock for a moment yet; one that lives takes a request within a tick."""


class AskedRun(StandingRun):
    """A handle that steers."""

    def stop(self) -> Self:
        """End the run at the next commit, with a checkpoint.

        Raises `RunError`, as `pause`, `scale` and `set` do, if it is not under way, or its driver died before it heard.
        """
        return self._ask("stop")

    def pause(self) -> Self:
        """Hold training at the next commit; the workers stay."""
        return self._ask("pause")

    def scale(self, workers: int | str) -> Self:
        """Train on with this many workers, or ``"auto"``.

        Raises `ConfigError` for what is no number of workers, and `RunError` with the driver's cause where it refuses: more
        than ``max_workers``, than the slots of the hosts, than samples of a batch, or than memory allows.
        """
        return self._ask_answered("scale", workers=workers)

    def set(self, **changes: float) -> Self:
        """Change ``learning_rate`` or ``log_seconds`` at the next commit. A schedule's rate can't be changed."""
        self.config.check_rate(changes.get("learning_rate"))
        return self._ask("set", **changes)

    def slow_down(self, rank: int, factor: float) -> Self:
        """Make the worker of a rank compute ``factor`` times as slowly, 1 to 20, for a lesson or a test; 1 undoes it.

        It rests before each sum for (``factor`` - 1) times what it has computed. The worker stays slow when
        ranks change, until it ends. Raises `RunError` for a rank that does not train.
        """
        return self._ask_answered("slow", rank=rank, factor=factor)

    def slow_data(self, rank: int, seconds: float) -> Self:
        """Make the worker of a rank wait so many seconds, 0 to 5, for the samples of each step; 0 undoes it. See `slow_down`."""
        return self._ask_answered("slow", rank=rank, data_seconds=seconds)

    def _ask_answered(self, verb: str, **arguments: Any) -> Self:
        """Ask, and wait for the driver's word. Raises `RunError` with its cause where it refuses.

        A driver that is busy, or has only begun, hears it later: what it refuses then is in the log.
        """
        answered = len(self.view().requests)
        self._ask(verb, **arguments)
        deadline = time.monotonic() + HEARD_SECONDS
        while time.monotonic() < deadline:
            for one in self.view().requests[answered:]:
                if one["verb"] != verb:
                    continue
                if one.get("accepted") is False:
                    raise RunError(f"{self.id}: {verb}: {one['cause']}")
                return self
            time.sleep(POLL_SECONDS)
        return self

    def _ask(self, verb: str, **arguments: Any) -> Self:
        if not self.alive:
            raise RunError(f"{self.id} is {self.status}; {verb} needs a run that is under way")
        if self._heard(verb, **arguments) or (verb == "stop" and self.status.is_final):
            return self
        raise RunError(f"{self.id}: its driver ended before it heard of {verb}; the run is {self.status}")

    def _heard(self, verb: str, **arguments: Any) -> bool:
        """Leave a request; False if the driver ended without taking it. One that has only begun hears it later."""
        request = send_request(self.paths, verb, **arguments)
        waiting, deadline = self.paths.control / f"{request.id}.json", time.monotonic() + HEARD_SECONDS
        begun = self.view().first_time is not None
        while begun and self.alive and os.path.lexists(waiting) and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.alive:
            return True
        with contextlib.suppress(FileNotFoundError):
            waiting.unlink()
            return False
        answers = [one["accepted"] for one in self.view().requests if one.get("id") == request.id]
        return answers != [False]  # taken by one that was about to end, and said so
