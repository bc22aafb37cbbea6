"""The cores of this machine and how they lie together: physical cores, hyper-threads, NUMA nodes (Linux, /sys)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/sys/devices/system")
LARGEST_CORE = 1 << 16
"""No list of cores reaches further; it keeps a mistyped range from filling the memory."""


@dataclass(frozen=True)
class Core:
    """One core as the kernel counts them, which runs one thread at a time.

    ``siblings`` are the cores (itself too) that share its physical core (SMT, hyper-threads); ``node`` is the NUMA node
    whose memory is near; ``usable``: this process may run there.
    """

    number: int
    siblings: tuple[int, ...]
    node: int = 0
    package: int = 0
    usable: bool = True

    @property
    def first(self) -> bool:
        """Whether it is the first of its physical core."""
        return self.number == self.siblings[0]


def parse_cores(text: str) -> tuple[int, ...]:
    """The numbers in a list of cores as Linux writes it (cpuset(7), *List format*), ascending, each once.

    Raises `ValueError` for a text that is no such list.

    >>> parse_cores("0-2,8"), parse_cores("0-6:1/3"), parse_cores("")
    ((0, 1, 2, 8), (0, 3, 6), ())
    """
    found: set[int] = set()
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+)/(\d+))?)?", part)
        if match is None:
            raise ValueError(f"{part!r} is no core and no range of cores, such as 0-3")
        first, last = int(match[1]), int(match[2] or match[1])
        used, group = int(match[3] or 1), int(match[4] or 1)
        if last < first or last >= LARGEST_CORE or not 1 <= used <= group:
            raise ValueError(f"{part!r} is no range of cores: the first number is the smaller one")
        found.update(one for one in range(first, last + 1) if (one - first) % group < used)
    return tuple(sorted(found))


def tell_cores(cores: Iterable[int]) -> str:
    """A list of cores as Linux writes it, which `parse_cores` reads back.

    >>> tell_cores([0, 1, 2, 8])
    '0-2,8'
    """
    told: list[str] = []
    numbers = sorted(set(cores))
    begin = 0
    for k, number in enumerate(numbers):
        if k + 1 < len(numbers) and numbers[k + 1] == number + 1:
            continue
        told.append(str(number) if k == begin else f"{numbers[begin]}-{number}")
        begin = k + 1
    return ",".join(told)


def cores(root: Path = SYSTEM, mask: Iterable[int] | None = None) -> tuple[Core, ...]:
    """All cores that are online, by number; ``mask`` are those that this process may use (by default as the kernel says).

    Where the system does not tell how cores lie (a container without /sys, another system than Linux) each core of the
    mask counts as a physical one of its own, in one node.

    >>> all(core.number in core.siblings for core in cores())
    True
    """
    allowed = set(affinity() if mask is None else mask)
    numbers = set(_listed(root / "cpu" / "online")) | allowed
    nodes = _nodes(root)
    found = []
    for number in sorted(numbers):
        folder = root / "cpu" / f"cpu{number}" / "topology"
        shared = _listed(folder / "core_cpus_list") or _listed(folder / "thread_siblings_list")
        siblings = tuple(one for one in shared if one in numbers)
        if number not in siblings:
            siblings = (number,)
        package = _number(folder / "physical_package_id")
        found.append(Core(number, siblings, nodes.get(number, 0), package, number in allowed))
    return tuple(found)


def affinity() -> tuple[int, ...]:
    """The cores that this process may run on, whatever a quota says."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def physical(found: Sequence[Core]) -> int:
    """How many physical cores these are.

    >>> physical([Core(0, (0, 2)), Core(1, (1, 3)), Core(2, (0, 2)), Core(3, (1, 3))])
    2
    """
    return len({core.siblings for core in found})


def _nodes(root: Path) -> dict[int, int]:
    """Core -> NUMA node; empty where the system has none."""
    found = {}
    for folder in root.glob("node/node*"):
        if (number := folder.name.removeprefix("node")).isdigit():
            found.update(dict.fromkeys(_listed(folder / "cpulist"), int(number)))
    return found


def _listed(path: Path) -> tuple[int, ...]:
    try:
        return parse_cores(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ()


def _number(path: Path) -> int:
    try:
        return max(0, int(path.read_text(encoding="ascii")))  # -1 where a virtual machine does not tell
    except (OSError, ValueError):
        return 0
