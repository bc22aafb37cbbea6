"""How a run stands: its status and why it has it, from its log, its small files and whether a driver holds it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.client.kept import KeptRun
from lepton_kit.config import RunConfig
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.planning import noise
from lepton_kit.planning.noise import NoiseScale
from lepton_kit.rundir import RunPaths, RunView, Status, lock
from lepton_kit.rundir.paths import runs_folder
from lepton_kit.runtime.failing import last_words

if TYPE_CHECKING:
    from lepton_kit.client.energy import RunCost, RunEnergy


class StandingRun(KeptRun):
    """The part of a `Run` that says how it stands; it only reads."""

    def __init__(self, paths: RunPaths):
        super().__init__(paths)
        self._view: RunView | None = None  # a list of runs needs none of those that have ended

    @functools.cached_property
    def config(self) -> RunConfig:
        """What it was asked to do. Raises `ConfigError` naming a file that can't be read."""
        return RunConfig.load(self.paths.config)

    def forget_config(self) -> None:
        """Read the configuration again when it is asked for: the run goes on with another one."""
        self.__dict__.pop("config", None)

    def _lie_at(self, paths: RunPaths) -> None:
        super()._lie_at(paths)
        self._view = None

    def view(self) -> RunView:
        """The run as its events tell it so far; the same object every time, refreshed."""
        if self._view is None:
            if self.alive:
                self.hold()
            self._view = RunView(self.paths.events)
        self._view.refresh()
        return self._view

    def noise_scale(self) -> NoiseScale | None:
        """The gradient noise scale in samples, with an interval: how large batches may be before they cost more epochs.

        Estimated from how the gradients of the ranks differ, of the last minutes or so; ``str`` says it, and
        `lepton_kit.planning.noise.epochs` what another batch would cost. None before eight measurements, and where
        one worker alone trained: it has nothing to compare with. See docs/noise.md.
        """
        return noise.of_view(self.view())

    @property
    def status(self) -> Status:
        """starting, running, paused, stopping, finished, stopped, failed; queued as a job; interrupted if it may go on."""
        found = self._look()
        self.view().abandoned = found is Status.INTERRUPTED
        return found

    def _look(self) -> Status:
        for _ in range(2):  # the second look finds what the driver wrote between our reading and its end
            view = self.view()
            status, alive = view.status, self.alive
            if status is Status.CREATED:
                status = Status(self.paths.read_status()["status"])
            elif (status.is_over or not alive) and (told := self._told_since) is not None:
                status = told
            if alive or status.is_over or (status is Status.QUEUED and self._is_job):
                return status
        if (last := self._last_state) is not None:
            return Status(last["status"])
        if status is Status.CREATED and not self.paths.lock.exists():
            return status
        return Status.INTERRUPTED if self._driver is None else Status.AWAY

    @property
    def _driver(self) -> str | None:
        """The host that its driver is on; None if that is this machine."""
        try:
            return self.config.workers.driver
        except ConfigError:
            return None

    @property
    def _told_since(self) -> Status | None:
        """What was told since its driver's last word in the log: that it waits as a job, or that another driver starts."""
        try:
            state = self.paths.read_status()
        except RunError:  # spoilt; the log alone tells
            return None
        status = Status(state["status"])
        if status is Status.QUEUED and state.get("job") is not None:
            return status
        return (
            status if status is Status.STARTING and state.get("driver_pid") is None and self.alive else None
        )

    @property
    def _is_job(self) -> bool:
        """Whether it waits in a scheduler's queue; else a driver of its own waits in line."""
        return self._told_since is Status.QUEUED

    @property
    def _last_state(self) -> dict[str, Any] | None:
        """What the last driver has said of its end where only its status file had room for it."""
        try:
            state = self.paths.read_status()
        except RunError:  # spoilt; the log alone tells
            return None
        same = state.get("driver_pid") == self.view().driver_pid is not None
        return state if same and Status(state["status"]).is_final else None

    @property
    def cause(self) -> str | None:
        """Why the run ended, if it did not simply finish; of a finished one, what ended it early."""
        if self.status is Status.QUEUED:
            return self.view().in_line or str(self.paths.read_status()["cause"])
        if self.status is Status.AWAY:
            said = last_words(self.paths.logs / "follower.log")
            follows = f"lk.attach('{self._driver}:{self.id}') follows it"
            return f"its driver is on {self._driver}, and nothing is heard of it; {follows}{said and f' ({said})'}"
        if self.status is Status.INTERRUPTED:
            folder = self.directory.parent
            where = "" if folder == runs_folder() else f"--runs-dir {folder} "
            goes_on = f"`lepton {where}resume {self.id}` continues from the last checkpoint, if there is one"
            if self.view().status is Status.INTERRUPTED:  # its driver's own word
                return f"{self.view().cause}; {goes_on}"
            if not self.paths.config.exists():
                return f"{self.directory}: the run's folder was deleted or moved"
            said = last_words(self.paths.driver_log)
            if self.view().first_time is None:
                return f"the driver could not start: {said or 'it left no word'} ({self.paths.driver_log})"
            return f"the driver died; {goes_on}"
        last = self._last_state if self.view().driver_pid is not None else self.paths.read_status()
        return self.view().cause or (last or {}).get("cause")

    @property
    def stopped_by(self) -> str | None:
        """What ended a finished run before its last epoch, such as a callback, in words."""
        return self.cause if self.status is Status.FINISHED else None

    @property
    def warnings(self) -> list[str]:
        """What the run's log warns of, in order; first what is not exact in this model on several workers."""
        return [str(warning["text"]) for warning in self.view().warnings]

    @property
    def alive(self) -> bool:
        """True while a driver holds the run."""
        return lock.held(self.paths)

    def energy(self) -> RunEnergy:
        """What it took so far: joules of the run, of training, a sample and each epoch, with an interval, tagged.

        Measured where this machine's counters can be read, else estimated from a dated table; docs/energy.md says how.
        Raises `RunError` where nothing is known.
        """
        from lepton_kit.client.energy import energy_of

        return energy_of(self.view(), self.id)

    def cost(
        self,
        prices: str | Path | None = None,
        *,
        instance: str | None = None,
        grams_per_kwh: float | None = None,
    ) -> RunCost:
        """What that costs by a YAML file of prices; without one by the shipped file.

        It is electricity and, where the file prices a machine, the time of each host; with ``instance`` the hours of a cloud
        instance of the file. ``grams_per_kwh`` is the intensity of the electricity, for CO2; none is guessed. Raises
        `ConfigError` naming file and field, `RunError` where the run's energy is not known.
        """
        from lepton_kit.client.energy import cost_of

        return cost_of(self.energy(), prices, instance, grams_per_kwh)
