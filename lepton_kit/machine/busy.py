"""Which core is busy, and with which processes (Linux, /proc): two looks, a moment apart."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LEAST_SHARE = 0.05
"""A thread that takes less of a core than this is not told."""


@dataclass(frozen=True)
class Taker:
    """A process that takes a core: ``share`` of its time, as far as its threads were last seen there."""

    pid: int
    name: str
    share: float


@dataclass(frozen=True)
class Look:
    """What /proc tells at one moment: core -> (ticks busy, ticks in all), thread -> (ticks, core, process, name)."""

    cores: Mapping[int, tuple[int, int]]
    threads: Mapping[int, tuple[int, int, int, str]]


def look(proc: Path = PROC) -> Look:
    """Look once; takes some milliseconds for each thousand threads."""
    return Look(_cores(proc), _threads(proc))


def between(before: Look, after: Look) -> tuple[dict[int, float], dict[int, list[Taker]]]:
    """Of each core the share of the time in which it was busy, and who took it, the greediest first.

    >>> before = Look({0: (10, 100)}, {7: (5, 0, 7, "spin")})
    >>> between(before, Look({0: (60, 200)}, {7: (55, 0, 7, "spin")}))
    ({0: 0.5}, {0: [Taker(pid=7, name='spin', share=0.5)]})
    """
    shares, span = {}, 1
    for core, (busy, total) in after.cores.items():
        then = before.cores.get(core, (0, 0))
        span = max(span, total - then[1])
        if total > then[1]:
            shares[core] = min(1.0, max(0, busy - then[0]) / (total - then[1]))
    taken: dict[int, dict[tuple[int, str], int]] = defaultdict(lambda: defaultdict(int))
    for thread, (ticks, core, pid, name) in after.threads.items():
        if thread in before.threads:
            taken[core][pid, name] += max(0, ticks - before.threads[thread][0])
    takers = {}
    for core, by in sorted(taken.items()):
        whole = max(span, sum(by.values()))  # threads that came from other cores bring their ticks from there
        takers[core] = [
            Taker(pid, name, round(ticks / whole, 2))
            for (pid, name), ticks in sorted(by.items(), key=lambda item: (-item[1], item[0]))
            if ticks / whole >= LEAST_SHARE
        ]
    return shares, {core: found for core, found in takers.items() if found}


def now(seconds: float = 0.2, proc: Path = PROC) -> tuple[dict[int, float], dict[int, list[Taker]]]:
    """The same for the next moment; blocks for so many seconds. Empty where the system has no /proc."""
    before = look(proc)
    time.sleep(seconds)
    return between(before, look(proc))


def _cores(proc: Path) -> dict[int, tuple[int, int]]:
    """From /proc/stat (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal; the rest is in these already."""
    found = {}
    for line in _text(proc / "stat").splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and len(fields) >= 8:
            ticks = [int(one) for one in fields[:8]]
            found[int(name[3:])] = (sum(ticks) - ticks[3] - ticks[4], sum(ticks))
    return found


def _threads(proc: Path) -> dict[int, tuple[int, int, int, str]]:
    """From /proc/PID/task/TID/stat (proc_pid_stat(5)): utime and stime are its fields 14 and 15, the last core is 39."""
    found = {}
    for pid in (int(name) for name in _listed(proc) if name.isdigit()):
        name = _text(proc / str(pid) / "comm").strip()
        for thread in (int(one) for one in _listed(proc / str(pid) / "task") if one.isdigit()):
            _, _, rest = _text(proc / str(pid) / "task" / str(thread) / "stat").rpartition(")")
            fields = rest.split()  # from the third on: the second may hold any character
            if len(fields) > 36:
                found[thread] = (int(fields[11]) + int(fields[12]), int(fields[36]), pid, name)
    return found


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # it has ended, or there is none
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
