"""What keeps a process from computing: cores that others took, a quota that ran out, memory that had to be fetched (Linux)."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lepton_kit.machine.devices import cgroup_files

TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Pressure:
    """Running totals of this process; None where the system does not tell.

    ``delayed_seconds``: its threads could have run and had no core, all threads together. ``faults``: pages that had to
    come from a disk. ``throttled_seconds``: a control group that it is in had used up its quota.
    """

    delayed_seconds: float | None
    faults: int
    throttled_seconds: float | None


def pressure(tasks: Path = TASKS) -> Pressure:
    """What it is now; takes some hundred microseconds.

    >>> pressure().faults >= 0
    True
    """
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    return Pressure(_delayed(tasks), faults, throttled(cgroup_files("cpu.stat")))


def _delayed(tasks: Path) -> float | None:
    """Sum over threads of the second number of schedstat: nanoseconds on a run queue (Documentation/scheduler/sched-stats)."""
    found = None
    with suppress(OSError):
        for task in tasks.iterdir():
            with suppress(OSError, ValueError, IndexError):  # a thread may end meanwhile
                waited = int((task / "schedstat").read_text(encoding="ascii").split()[1])
                found = (found or 0) + waited
    return None if found is None else found / 1e9


def throttled(statistics: list[str]) -> float | None:
    """Seconds in texts of ``cpu.stat`` of control groups, the most that one of them tells; None if none does.

    >>> throttled(["nr_throttled 3 throttled_usec 2500000", "nr_throttled 1 throttled_time 1000000"])
    2.5
    """
    seconds = []
    for text in statistics:
        words = text.split()
        told = dict(zip(words[::2], words[1::2], strict=False))
        with suppress(ValueError):
            if "throttled_usec" in told:  # version 2
                seconds.append(int(told["throttled_usec"]) / 1e6)
            elif "throttled_time" in told:  # version 1, nanoseconds
                seconds.append(int(told["throttled_time"]) / 1e9)
    return max(seconds, default=None)
