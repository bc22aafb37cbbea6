"""Plays a trace of jobs on many devices with a policy, and says how long they took, how busy the devices were, how fair it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.errors import ConfigError
from lepton_kit.planning.policies import Policy, State
from lepton_kit.planning.scaling import whole
from lepton_kit.planning.traces import Job

IDLE_SECONDS = 86_400.0
"""A policy may leave devices idle for a while; one that does so for longer, while jobs wait and none comes, would never end."""


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation. Times in seconds.

    ``finish`` has the time from arrival to end of each job, in the order of the trace. ``utilisation_waiting`` is the share
    of device time in use while any job waited; None if none ever did.
    """

    finish: tuple[float, ...]
    makespan: float
    utilisation: float
    utilisation_waiting: float | None
    changes: int

    @property
    def mean(self) -> float:
        """Mean time from arrival to end."""
        return sum(self.finish) / len(self.finish)

    def percentile(self, share: float) -> float:
        """The time within which this share of the jobs ended.

        >>> Outcome((1.0, 2.0, 3.0, 4.0), 4.0, 1.0, None, 0).percentile(0.5)
        2.0
        """
        return percentile(self.finish, share)

    def against(self, equal: Outcome) -> tuple[float, ...]:
        """How many times as long each job took as under ``equal``, the outcome of an equal share without pauses.

        This is finish-time fairness (Themis, Mahajan et al., NSDI 2020): nobody loses by sharing where all are 1 or less.
        """
        return tuple(mine / fair for mine, fair in zip(self.finish, equal.finish, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that this share of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has all (Jain, Chiu and Hawe 1984).

    >>> jain([1.0, 1.0]), jain([1.0, 0.0])
    (1.0, 0.5)
    """
    return sum(values) ** 2 / (len(values) * sum(one * one for one in values))


def simulate(
    jobs: Sequence[Job],
    devices: int,
    policy: Policy,
    *,
    pause: float = 30.0,
    step: float = 1.0,
    look: float = 60.0,
) -> Outcome:
    """Play the jobs of a trace to their end on so many devices.

    ``pause``: seconds without progress whenever a job gets another number of devices. A job that ends or arrives calls
    for a decision, but within ``step`` seconds only one is made; without news one is made after ``look`` seconds. Raises
    `ConfigError` for a job that asks for more devices than there are, and for a policy that gives what can't be given, or
    nothing to anybody for a day in which no job comes.

    >>> from lepton_kit.planning import policies, traces
    >>> jobs = [traces.Job("a", 0.0, 100.0, 1, (1.0, 2.0)), traces.Job("b", 0.0, 100.0, 1, (1.0, 2.0))]
    >>> simulate(jobs, 1, policies.fifo, pause=0.0).finish
    (100.0, 200.0)
    """
    whole("devices", devices)
    for name, seconds, least in (("pause", pause, 0.0), ("step", step, 0.0), ("look", look, 1e-3)):
        if not (isinstance(seconds, int | float) and least <= seconds < math.inf):
            raise ConfigError(name, given=seconds, rule=f"seconds, at least {least:g}")
    for job in jobs:
        if job.devices > devices:
            raise ConfigError(
                f"{job.name}: devices", given=job.devices, rule=f"at most the {devices} that there are"
            )
    play = _Play(sorted(jobs, key=lambda job: (job.arrival, job.name)), devices, policy, pause)
    while play.active or play.coming:
        play.decide()
        play.run_until_news(step, look)
    states = {one.job.name: one for one in play.over}
    finish = tuple((states[job.name].ended or 0.0) - job.arrival for job in jobs)
    return Outcome(
        finish,
        play.now,
        play.used / max(play.offered, 1e-9),
        play.used_waiting / play.offered_waiting if play.offered_waiting else None,
        play.changes,
    )


def _checked(found: Any, active: Sequence[State], devices: int) -> Mapping[str, int]:
    """What a policy gives. Raises `ConfigError` for what can't be given."""
    rule = f"whole numbers of devices by the names of jobs, {devices} in all at most"
    if not isinstance(found, Mapping):
        raise ConfigError("policy", given=found, rule=rule)
    names = {one.job.name for one in active}
    for name, count in found.items():
        if (
            name not in names
            or isinstance(count, bool)
            or not isinstance(count, int | np.integer)
            or count < 0
        ):
            raise ConfigError("policy", given={name: count}, rule=rule)
    if sum(found.values()) > devices:
        raise ConfigError("policy", given=f"{sum(found.values())} devices", rule=rule)
    return found


class _Play:
    """The state of a simulation."""

    def __init__(self, jobs: Sequence[Job], devices: int, policy: Policy, pause: float):
        self.coming = list(reversed(jobs))
        self._devices, self._policy, self._pause = devices, policy, pause
        self.active: list[State] = []
        self.over: list[State] = []
        self.now = jobs[0].arrival if jobs else 0.0
        self.used = self.offered = self.used_waiting = self.offered_waiting = 0.0
        self.changes = 0
        self._idle_since = self.now
        self._arrive()

    def decide(self) -> None:
        """Give the devices out anew."""
        found = _checked(self._policy(self.active, self._devices, self.now), self.active, self._devices)
        if any(found.values()) or self.coming or not self.active:
            self._idle_since = self.now
        elif self.now - self._idle_since > IDLE_SECONDS:
            raise ConfigError(
                "policy",
                given=found,
                rule=f"devices for one of {len(self.active)} jobs; none had any for a day",
            )
        for one in self.active:
            count = found.get(one.job.name, 0)
            if count == one.devices:
                continue
            if count and (
                one.devices or one.done
            ):  # the first start costs all the same, and is in the duration
                one.paused_until = self.now + self._pause
            one.devices, one.waited = count, 0.0
            self.changes += 1
            if count and one.started is None:
                one.started = self.now

    def run_until_news(self, step: float, look: float) -> None:
        """Go on until a job has ended or arrived, at least ``step`` and at most ``look`` seconds."""
        first = self.now + step
        until = self.now + look if self.active else self.coming[-1].arrival
        while self.now < until and (self.active or self.coming):
            ends = min((self._end_of(one) for one in self.active if one.devices), default=math.inf)
            news = min(ends, self.coming[-1].arrival if self.coming else math.inf)
            self._advance(min(news, until))
            if news <= self.now:
                until = min(until, max(self.now, first))

    def _end_of(self, one: State) -> float:
        return max(self.now, one.paused_until) + one.left / one.job.speed(one.devices)

    def _advance(self, until: float) -> None:
        seconds = until - self.now
        busy = sum(one.devices for one in self.active)
        waiting = any(not one.devices for one in self.active)
        if self.active:
            self.used += busy * seconds
            self.offered += self._devices * seconds
        if waiting:
            self.used_waiting += busy * seconds
            self.offered_waiting += self._devices * seconds
        for one in self.active:
            if one.devices:
                working = max(0.0, until - max(self.now, one.paused_until))
                speed = one.job.speed(one.devices)
                one.done += working * speed
                one.attained += one.devices * seconds
                if working > 0:
                    one.measured[one.devices] = speed
            else:
                one.waited += seconds
        self.now = until
        ended = [one for one in self.active if one.left <= 1e-6 * max(1.0, one.job.work)]
        for one in ended:
            one.ended, one.devices = until, 0
        self.over += ended
        if ended:
            self.active = [one for one in self.active if one.ended is None]
        self._arrive()

    def _arrive(self) -> None:
        while self.coming and self.coming[-1].arrival <= self.now:
            self.active.append(State(self.coming.pop()))
