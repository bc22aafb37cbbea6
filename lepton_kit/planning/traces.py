"""Jobs to schedule in a simulation: read from a CSV, or drawn with the published figures of a real cluster."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lepton_kit.errors import DataError

PHILLY_SHARES = ((1, 0.9317), (2, 0.0221), (4, 0.0227), (8, 0.0200), (16, 0.0024), (32, 0.0011))
"""Shares of jobs by number of GPUs, of the Philly trace (Jeon et al., USENIX ATC 2019; msr-fiddle/philly-traces, CC BY 4.0):
93 % use one, and those with several take 82 % of the GPU time."""
PHILLY_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
PHILLY_SECONDS = {
    1: (1, 62, 122, 1117, 2716, 8512, 19137, 135399, 865709, 3256045),
    2: (2, 15, 21, 367, 45388, 166120, 233082, 747317, 2171244, 2750674),
    8: (1, 199, 1270, 23649, 166231, 340514, 510990, 1062173, 2655442, 4628226),
}
"""Quantiles of their durations with one, two to seven, and eight GPUs or more (the same; of the 82,247 jobs that Pollux's artifact
took of it). All together have a median of 1,144 s and a 90th percentile of 11,266 s. Between two quantiles the logarithm is
taken as straight."""


@dataclass(frozen=True)
class Job:
    """A job of a trace: it came at ``arrival`` (s) and ran for ``duration`` (s) on ``devices``.

    ``curve`` is its speed with 1, 2, … devices relative to one.
    """

    name: str
    arrival: float
    duration: float
    devices: int
    curve: tuple[float, ...]

    @property
    def work(self) -> float:
        """Seconds on one device."""
        return self.duration * self.speed(self.devices)

    def speed(self, devices: int) -> float:
        """Relative to one device; more than the curve knows of add nothing."""
        return self.curve[min(devices, len(self.curve)) - 1] if devices else 0.0


def amdahl(share: float, per_device: float = 0.0, most: int = 64) -> tuple[float, ...]:
    """Speed with 1, 2, … devices where ``share`` of a step is divided among them and each further one costs ``per_device``.

    >>> [round(one, 2) for one in amdahl(0.9, most=3)]
    [1.0, 1.82, 2.5]
    """
    return tuple(1 / (1 - share + share / n + per_device * (n - 1)) for n in range(1, most + 1))


CURVES: Mapping[str, tuple[float, ...]] = {
    "scales": amdahl(0.995, 0.0002),
    "usual": amdahl(0.97, 0.0005),
    "hardly": amdahl(0.7, 0.002),
}
"""Three kinds of speed-up, made up: 64 devices are 40, 17 and 2 times as fast as one at best."""


def philly_like(
    count: int, hours: float, seed: int = 0, *, longest_device_hours: float = 1000.0, most_devices: int = 64
) -> list[Job]:
    """Jobs as in the Philly trace that arrive evenly spread over so many hours.

    As Pollux's artifact does (Qiao et al., OSDI 2021), jobs of less than 60 s or more than ``longest_device_hours`` are
    left out.

    >>> jobs = philly_like(100, 8.0)
    >>> len(jobs), jobs == philly_like(100, 8.0), all(job.duration >= 60 for job in jobs)
    (100, True, True)
    """
    draw = random.Random(seed)
    jobs: list[Job] = []
    while len(jobs) < count:
        devices = draw.choices([n for n, _ in PHILLY_SHARES], [share for _, share in PHILLY_SHARES])[0]
        seconds = PHILLY_SECONDS[max(least for least in PHILLY_SECONDS if least <= devices)]
        duration = _quantile(tuple(zip(PHILLY_QUANTILES, seconds, strict=True)), draw.random())
        arrival = draw.uniform(0.0, hours * 3600)
        kind = draw.choice(sorted(CURVES))
        if duration < 60 or duration * devices > longest_device_hours * 3600 or devices > most_devices:
            continue
        jobs.append(Job(f"job-{len(jobs):05d}", arrival, duration, devices, CURVES[kind]))
    return sorted(jobs, key=lambda job: (job.arrival, job.name))


def _quantile(points: Sequence[tuple[float, float]], at: float) -> float:
    for (low, first), (high, last) in itertools.pairwise(points):
        if at <= high:
            return math.exp(math.log(first) + (at - low) / (high - low) * math.log(last / first))
    return points[-1][1]


def read_trace(path: str | Path, curves: Mapping[str, tuple[float, ...]] | None = None) -> list[Job]:
    """Jobs of a CSV (also .gz) with columns arrival (or timestamp), duration and devices (or num_gpus); the first is at 0.

    Times are in seconds, a timestamp may also be a date with time. A column ``curve`` names one of ``curves``; without it
    they take turns by the jobs' device time, the longest jobs those that scale best. Raises `DataError` that names file,
    line and field.
    """
    curves = curves or CURVES
    jobs = []
    opened = gzip.open if str(path).endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                where = f"{path}: line {number}"
                arrival = _seconds(row, ("arrival", "timestamp"), where)
                duration = _number(row, ("duration",), where)
                devices = _number(row, ("devices", "num_gpus"), where)
                if duration <= 0 or devices < 1:
                    raise DataError(f"{where}: got duration {duration}, devices {devices}; expected above 0")
                name = row.get("curve") or _curve_for(duration * devices, sorted(curves))
                if name not in curves:
                    raise DataError(f"{where}: curve: got {name!r}; expected one of {', '.join(curves)}")
                jobs.append(Job(f"job-{number - 2:05d}", arrival, duration, int(devices), curves[name]))
    except OSError as failure:
        raise DataError(f"{path}: can't be read ({failure})") from None
    if not jobs:
        raise DataError(f"{path}: no job in it")
    first = min(job.arrival for job in jobs)
    jobs = [Job(j.name, j.arrival - first, j.duration, j.devices, j.curve) for j in jobs]
    return sorted(jobs, key=lambda job: (job.arrival, job.name))


def _curve_for(device_seconds: float, names: Sequence[str]) -> str:
    place = int(math.log10(max(1.0, device_seconds)) * len(names) / 7)
    return names[min(place, len(names) - 1)]


def _field(row: Mapping[str, str], names: Sequence[str], where: str) -> str:
    for name in names:
        if row.get(name):
            return row[name]
    raise DataError(f"{where}: no {' or '.join(names)}; its columns are {', '.join(map(str, row))}")


def _number(row: Mapping[str, str], names: Sequence[str], where: str) -> float:
    text = _field(row, names, where)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{where}: {names[0]}: got {text!r}; expected a number")
    return found


def _seconds(row: Mapping[str, str], names: Sequence[str], where: str) -> float:
    text = _field(row, names, where)
    try:
        return float(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise DataError(f"{where}: {names[0]}: got {text!r}; expected seconds or a date") from None
