"""Tells somebody what goes wrong with a run: a thread of this process watches its folder and calls, or runs a command."""

from __future__ import annotations

import atexit
import math
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
TELL_SECONDS = 60.0
"""A command that takes longer is ended, and a function is not waited for any more: the next alert waits for them."""
STOP_SECONDS = 5.0
"""So long `Alerts.stop`, and the end of this process, wait for what is being told."""
POLL_SECONDS = 0.05
Notify = Callable[[Alert], object] | str


class Command:
    """A shell command in a session of its own, which ends with all that it has started."""

    def __init__(self, command: str, environment: Mapping[str, str]):
        self._command = command
        self._process = subprocess.Popen(
            command, shell=True, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def ended(self) -> bool:
        """Whether it has ended. Raises `CalledProcessError` if it has failed."""
        if self._process.poll():
            raise subprocess.CalledProcessError(self._process.returncode, self._command)
        return self._process.returncode is not None

    def give_up(self) -> str:
        """End it; returns what became of it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return "the command had not ended and was killed"


class Call:
    """A call of a user's function in a thread of its own, which nothing can end."""

    def __init__(self, notify: Callable[[Alert], object], alert: Alert):
        self._failure: Exception | None = None

        def call() -> None:
            try:
                notify(alert)
            except Exception as failure:
                self._failure = failure

        self.thread = threading.Thread(target=call, daemon=True, name="lepton-alert")
        self.thread.start()

    def ended(self) -> bool:
        """Whether it has returned. Raises what it has raised."""
        over = not self.thread.is_alive()
        if self._failure is not None:
            raise self._failure
        return over

    def give_up(self) -> str:
        """Wait for it no more; returns what became of it."""
        return "the function has not returned, and is called no more until it has"


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
        self._over, self._until = threading.Event(), math.inf
        self._telling: Command | Call | None = None
        """What is being told, or was given up: a function may return yet."""
        self.told: list[Alert] = []
        """What it has told so far, oldest first."""
        self._thread = threading.Thread(target=self._look, daemon=True, name="lepton-alerts")
        self._thread.start()
        atexit.register(self.stop)

    def __repr__(self) -> str:
        return f"<Alerts of {self._run.id}: {len(self.told)} told{'' if self.watching else ', over'}>"

    @property
    def watching(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Watch no more. What is being told gets 5 s: then a command is killed, a function that does not return is left alone, and a warning says so."""
        self._until = time.monotonic() + STOP_SECONDS
        self._over.set()
        if not (isinstance(self._telling, Call) and self._telling.thread is threading.current_thread()):
            self._thread.join(2 * STOP_SECONDS)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the run has ended and all is told, or given up after 60 s each."""
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
        atexit.unregister(self.stop)

    def _under_way(self) -> bool:
        self._view.refresh()
        return self._run.alive or not (self._view.done or self._view.driver_pid)

    def _tell(self, alert: Alert) -> None:
        try:
            wrong = self._told_in_time(alert)
        except Exception as failure:
            wrong = str(failure)
        if wrong is not None:
            warnings.warn(f"alert {alert.kind} of {alert.run} could not be told: {wrong}", stacklevel=1)

    def _told_in_time(self, alert: Alert) -> str | None:
        """Tell it; returns why that was given up. Raises what the function, or starting the command, raises."""
        if isinstance(self._telling, Call) and self._telling.thread.is_alive():
            return "the function has not returned from an earlier alert"
        if isinstance(self._notify, str):
            said = {"LEPTON_RUN": alert.run, "LEPTON_ALERT": alert.kind, "LEPTON_TEXT": alert.text}
            self._telling = Command(self._notify, os.environ | said)
        else:
            self._telling = Call(self._notify, alert)
        deadline = time.monotonic() + TELL_SECONDS
        while not self._telling.ended():
            if time.monotonic() > min(deadline, self._until):
                return self._telling.give_up()
            time.sleep(POLL_SECONDS)
        self._telling = None
        return None
