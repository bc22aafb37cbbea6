"""Tells somebody what goes wrong with a run: a thread of this process watches its folder and calls, or runs a command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from lepton_kit.errors import ConfigError
from lepton_kit.rundir import RunView
from lepton_kit.rundir.alerts import STALL_SECONDS, Alert, Watch

if TYPE_CHECKING:
    from lepton_kit.client.standing import StandingRun

LOOK_SECONDS = 1.0
COMMAND_SECONDS = 60.0
"""A command that takes longer is ended: the next alert waits for it."""
Notify = Callable[[Alert], object] | str


def run_command(command: str, environment: Mapping[str, str]) -> None:
    """Run a shell command to its end; one that takes longer is ended with all that it has started. Raises what it fails with."""
    with subprocess.Popen(
        command, shell=True, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            failed = process.wait(COMMAND_SECONDS)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if failed:
        raise subprocess.CalledProcessError(failed, command)


class Alerts:
    """Watches a run from the moment it is made until the run has ended, `stop`, or this process ends.

    It reads the run's log with a view of its own, so nothing else in this process waits for it.
    """

    def __init__(self, run: StandingRun, notify: Notify, stall_seconds: float = STALL_SECONDS):
        if not callable(notify) and not (isinstance(notify, str) and notify.strip()):
            raise ConfigError("alert", given=notify, rule="a function of one alert, or a shell command")
        if (
            isinstance(stall_seconds, bool)
            or not isinstance(stall_seconds, (int, float))
            or not stall_seconds > 0
        ):
            raise ConfigError("stall_seconds", given=stall_seconds, rule="a number of seconds above 0")
        self._run, self._notify = run, notify
        self._view, self._watch = RunView(run.paths.events), Watch(run.id, stall_seconds)
        self._over = threading.Event()
        self.told: list[Alert] = []
        """What it has told so far, oldest first."""
        self._thread = threading.Thread(target=self._look, daemon=True, name="lepton-alerts")
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Alerts of {self._run.id}: {len(self.told)} told{'' if self.watching else ', over'}>"

    @property
    def watching(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Watch no more; returns when a command that is under way has ended."""
        self._over.set()
        self._thread.join()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the run has ended and all is told."""
        self._thread.join(timeout)

    def _look(self) -> None:
        last = False
        while not last:
            last = self._over.wait(LOOK_SECONDS) or not self._run.paths.root.exists() or not self._under_way()
            self._view.refresh()
            free = None
            with suppress(OSError):
                free = shutil.disk_usage(self._run.paths.root).free
            for alert in self._watch.look(self._view, time.monotonic(), free):
                self.told.append(alert)
                self._tell(alert)

    def _under_way(self) -> bool:
        self._view.refresh()
        return self._run.alive or not (self._view.done or self._view.driver_pid)

    def _tell(self, alert: Alert) -> None:
        try:
            if not isinstance(self._notify, str):
                self._notify(alert)
                return
            said = {"LEPTON_RUN": alert.run, "LEPTON_ALERT": alert.kind, "LEPTON_TEXT": alert.text}
            run_command(self._notify, os.environ | said)
        except Exception as failure:
            warnings.warn(f"alert {alert.kind} of {alert.run} could not be told: {failure}", stacklevel=1)
