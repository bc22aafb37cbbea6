"""What keeps a process from computing: cores that others took, a quota that ran out, memory that is short, heat (Linux)."""

from __future__ import annotations

import functools
import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lepton_kit.machine.devices import cgroup_files

TASKS = Path("/proc/self/task")
MEMORY = Path("/proc/pressure/memory")
CORES = Path("/sys/devices/system/cpu")
HEAT_CORES = 8
"""So many cores are asked for their heat, twice a second; a package tells for all of its own."""


@dataclass(frozen=True)
class Pressure:
    """Running totals of this process; None where the system does not tell.

    ``delayed_seconds``: its threads could have run and had no core, all threads together. ``faults``: pages that had to
    come from a disk. ``throttled_seconds``: a control group that it is in had used up its quota. ``short_seconds``: some
    task of its control group, or else of the machine, waited for memory. ``heats``: how often a core that it may use, or
    the package of one, has slowed itself down for heat.
    """

    delayed_seconds: float | None
    faults: int
    throttled_seconds: float | None
    short_seconds: float | None
    heats: int | None


def pressure(tasks: Path = TASKS, memory: Path = MEMORY, cores: Path = CORES) -> Pressure:
    """What it is now; takes some hundred microseconds.

    >>> pressure().faults >= 0
    True
    """
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    told = cgroup_files("memory.pressure")
    if not told:
        with suppress(OSError):
            told = [memory.read_text(encoding="ascii")]
    return Pressure(_delayed(tasks), faults, throttled(cgroup_files("cpu.stat")), short(told), heats(cores))


def _delayed(tasks: Path) -> float | None:
    """Sum over threads of the second number of schedstat: nanoseconds on a run queue (Documentation/scheduler/sched-stats)."""
    found = None
    with suppress(OSError):
        for task in tasks.iterdir():
            with suppress(OSError, ValueError, IndexError):  # a thread may end meanwhile
                waited = int((task / "schedstat").read_text(encoding="ascii").split()[1])
                found = (found or 0) + waited
    return None if found is None else found / 1e9


def short(texts: list[str]) -> float | None:
    """Seconds in texts of ``memory.pressure`` (Documentation/accounting/psi.rst), the most that one of them tells; None if none.

    >>> short(
    ...     [
    ...         "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000 full avg10=0.00 avg60=0.00 avg300=0.00 total=7"
    ...     ]
    ... )
    1.5
    """
    found = []
    for text in texts:
        words = text.split()
        totals = [word[len("total=") :] for word in words if word.startswith("total=")]
        if words[:1] == ["some"] and totals and totals[0].isdigit():
            found.append(int(totals[0]) / 1e6)
    return max(found, default=None)


def heats(cores: Path = CORES) -> int | None:
    """How often cores that this process may use, and their packages, have slowed down for heat; None where none tells.

    From ``thermal_throttle`` (Documentation/ABI/testing/sysfs-devices-system-cpu). Of many cores the first ones tell.
    """
    found = None
    for file in _heat_files(cores, frozenset(os.sched_getaffinity(0))):
        with suppress(OSError, ValueError):
            found = (found or 0) + int(file.read_text(encoding="ascii"))
    return found


@functools.cache
def _heat_files(cores: Path, mine: frozenset[int]) -> tuple[Path, ...]:
    names = ("core_throttle_count", "package_throttle_count")
    folders = [cores / f"cpu{core}" / "thermal_throttle" for core in sorted(mine)[:HEAT_CORES]]
    return tuple(folder / name for folder in folders for name in names if (folder / name).exists())


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
