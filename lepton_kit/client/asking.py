"""What one asks of a run that is under way: a request in its folder, and the word of its driver."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any, Self

from lepton_kit.client.standing import StandingRun
from lepton_kit.errors import RunError
from lepton_kit.rundir import Status, send_request
from lepton_kit.rundir.control import ENDED

POLL_SECONDS = 0.02
HEARD_SECONDS = 2.0
"""A driver that was just killed may hold its lock for a moment yet; one that lives takes a request within a tick."""


class AskedRun(StandingRun):
    """A handle that steers."""

    def stop(self) -> Self:
        """End the run at the next commit, with a checkpoint; one that waits in line ends there.

        Raises `RunError`, as all that is asked of a run does, if it is not under way, or its driver died before it heard.
        """
        return self._ask("stop")

    def pause(self) -> Self:
        """Hold training at the next commit; the workers stay. One that waits in line is held back: others go first until `resume`."""
        return self._ask("pause")

    def scale(self, workers: int | str) -> Self:
        """Train on with this many workers, or ``"auto"``; a number takes a run that waits in line out of it at once.

        Raises `ConfigError` for what is no number of workers, and `RunError` with the driver's cause where it refuses: more
        than ``max_workers``, than the slots of the hosts, than samples of a batch, or than memory allows.
        """
        return self._ask("scale", patient=True, workers=workers)

    def set(self, **changes: float) -> Self:
        """Change ``learning_rate`` or ``log_seconds`` at the next commit. A schedule's rate can't be changed."""
        self.config.check_rate(changes.get("learning_rate"))
        return self._ask("set", False, **changes)

    def slow_down(self, rank: int, factor: float) -> Self:
        """Make the worker of a rank compute ``factor`` times as slowly, 1 to 20, for a lesson or a test; 1 undoes it.

        It rests before each sum for (``factor`` - 1) times what it has computed. The worker stays slow when
        ranks change, until it ends. Raises `RunError` for a rank that does not train.
        """
        return self._ask("slow", patient=True, rank=rank, factor=factor)

    def slow_data(self, rank: int, seconds: float) -> Self:
        """Make the worker of a rank wait so many seconds, 0 to 5, for the samples of each step; 0 undoes it. See `slow_down`."""
        return self._ask("slow", patient=True, rank=rank, data_seconds=seconds)

    def _ask(self, verb: str, patient: bool = False, **arguments: Any) -> Self:
        if not self.alive:
            waits = f" ({self.cause})" if self.status is Status.QUEUED else ""
            raise RunError(f"{self.id} is {self.status}{waits}; {verb} needs a run that is under way")
        if self._heard(verb, arguments, patient) or (verb == "stop" and self.status.is_final):
            return self
        raise RunError(f"{self.id}: its driver ended before it heard of {verb}; the run is {self.status}")

    def _heard(self, verb: str, arguments: Mapping[str, Any], patient: bool = False) -> bool:
        """Leave a request, and wait for the driver's word; False if the driver ended without granting it.

        Raises `RunError` with its cause where it refuses. A driver that is busy hears it later, as one that has only begun, for
        which only the ``patient`` wait: what it refuses then is in the log.
        """
        request = send_request(self.paths, verb, **arguments)
        waiting, deadline = self.paths.control / f"{request.id}.json", time.monotonic() + HEARD_SECONDS
        waits = patient or self.view().first_time is not None
        answer = None
        while waits and self.alive and answer is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            answer = self._answer_to(request.id)
        if answer is None and self.alive:
            return True
        if answer is None:
            with contextlib.suppress(FileNotFoundError):
                waiting.unlink()
                return False
            answer = self._answer_to(request.id)
        if answer is None or answer["accepted"]:
            return True
        if answer["cause"] != ENDED:
            raise RunError(f"{self.id}: {verb}: {answer['cause']}")
        while self.alive and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return False

    def _answer_to(self, request: str) -> dict[str, Any] | None:
        """The driver's word on a request, once it is in the log."""
        return next((one for one in reversed(self.view().requests) if one.get("id") == request), None)
