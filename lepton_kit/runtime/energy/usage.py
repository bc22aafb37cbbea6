"""How much processor time a tree of processes has used: of one session, with the children that have ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class _Process(NamedTuple):
    """Of proc(5)'s stat: utime + stime + cutime + cstime in ticks, the session, and when it began (ticks since the start)."""

    ticks: int
    session: int
    born: int


def tree_seconds(pid: int, proc: Path = PROC) -> float:
    """Processor seconds of a process, of its children that it has waited for, and of its descendants in its own session.

    A nursery, and the drivers that it forks, hang below the driver that came first, but each has a session of its own: they
    are not its. Children that a thread other than the first has started count once they have been waited for. Other
    users' processes can be read too. Of one that is gone it is 0.
    """
    return sum(one.ticks for _, one in _tree(pid, proc)) / os.sysconf("SC_CLK_TCK")


def tree_pids(pid: int, proc: Path = PROC) -> set[int]:
    """The processes that `tree_seconds` counts."""
    return {number for number, _ in _tree(pid, proc)}


def born(pid: int, proc: Path = PROC) -> int | None:
    """When a process began, so that it can be told from a later one of its number; None of one that is gone."""
    found = _stat(proc, pid)
    return None if found is None else found.born


def _tree(pid: int, proc: Path) -> Iterator[tuple[int, _Process]]:
    first, waiting = _stat(proc, pid), [pid]
    while waiting and first is not None:
        number = waiting.pop()
        found = _stat(proc, number)
        if found is not None and found.session == first.session:
            yield number, found
            waiting += _children(proc, number)


def _stat(proc: Path, pid: int) -> _Process | None:
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return _Process(sum(map(int, fields[11:15])), int(fields[3]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def _children(proc: Path, pid: int) -> list[int]:
    try:
        with open(f"{proc}/{pid}/task/{pid}/children", "rb") as file:
            return [int(one) for one in file.read().split()]
    except (OSError, ValueError):
        return []
