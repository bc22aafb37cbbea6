"""The energy counters of a machine's processors and memory (Linux powercap), and how busy its processors have been."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lepton_kit.planning.energy import Reading
from lepton_kit.planning.power import Power, of_cpuinfo
from lepton_kit.runtime.energy.usage import tree_seconds

POWERCAP = "LEPTON_POWERCAP"
"""The environment variable that names the folder of the counters, such as where a container has them."""
USUAL = Path("/sys/class/powercap")
PROC = Path("/proc")


def root() -> Path:
    """The folder of this machine's counters."""
    named = os.environ.get(POWERCAP)
    return Path(named).absolute() if named else USUAL


def zones(folder: Path) -> tuple[list[Path], list[Path]]:
    """The zones of whole packages, and those of memory beside them, or in them where a folder has only packages.

    Cores and graphics are parts of a package, ``psys`` holds packages, and ``intel-rapl-mmio`` shows the same again: each
    would count twice. Memory is no part of its package (Linux, Documentation/power/powercap/powercap.rst; Intel's manual,
    volume 3B, 15.10). AMD's packages stand under the same names since Linux 5.8.
    """
    packages, memory = [], []
    found = [*folder.glob("intel-rapl:*"), *folder.glob("intel-rapl:*/intel-rapl:*")]
    for zone in sorted({one.name: one for one in reversed(found)}.values()):
        kind = _name(zone)
        if zone.name.count(":") == 1 and (kind is None or kind.startswith("package")):
            packages.append(zone)
        elif kind == "dram":
            memory.append(zone)
    return packages, memory


def _name(zone: Path) -> str | None:
    try:
        return (zone / "name").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def read(folder: Path, now: float, proc: Path = PROC) -> Reading:
    """All counters at this moment. Where a package's can't be read it is said why, and then nothing is measured."""
    packages, memory = zones(folder)
    found: dict[str, tuple[float, float]] = {}
    dies: dict[str, Path] = {}
    why = None if packages else f"this machine shows no energy counter of its processors ({folder})"
    for zone in [*packages, *memory]:
        try:
            counted, most = _microjoules(zone), float((zone / "max_energy_range_uj").read_text())
            if not _shown_before(zone, counted, dies, found):
                found[zone.name] = (counted, most)
        except PermissionError as failure:
            if zone in packages:
                why = f"the energy counter can't be read by this user ({failure.filename or zone})"
        except (OSError, ValueError) as failure:
            if zone in packages:
                why = f"the energy counter tells no number ({getattr(failure, 'filename', None) or zone})"
    return Reading(now, found, busy_seconds(proc), why)


def _microjoules(zone: Path) -> float:
    return float((zone / "energy_uj").read_text())


def _shown_before(
    zone: Path, counted: float, dies: dict[str, Path], found: Mapping[str, tuple[float, float]]
) -> bool:
    """Whether this zone of a die shows the counter of the package's first die again, as AMD's before the third generation do.

    The first one is read once more: what is the same counter lies between its two readings. Intel's dies have a counter each.
    """
    named = re.fullmatch(r"(package-\d+)-die-\d+", _name(zone) or "")
    if named is None:
        return False
    first = dies.setdefault(named[1], zone)
    return first.name in found and found[first.name][0] <= counted <= _microjoules(first)


def busy_seconds(proc: Path = PROC) -> float:
    """Seconds that all logical processors together have worked since the machine started; 0 where that is not told.

    Of proc(5)'s first line of /proc/stat: user, nice, system, irq and softirq. Time of guests is part of user, and time that
    a hypervisor has taken (steal) is not this machine's.
    """
    try:
        with (proc / "stat").open(encoding="ascii") as file:
            fields = [int(text) for text in file.readline().split()[1:8]]
    except (OSError, ValueError):
        return 0.0
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / os.sysconf("SC_CLK_TCK")


@cache
def table_power() -> Power:
    """What the table says of this machine."""
    cores = os.cpu_count() or 1
    try:
        return of_cpuinfo((PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace"), cores)
    except OSError:
        return of_cpuinfo("", cores)


class Counters:
    """What the processors and the memory of this machine take."""

    def __init__(self, folder: Path | None = None, proc: Path = PROC):
        self.folder, self._proc = folder or root(), proc
        self.name = "processors"
        self.power = table_power()

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def read(self) -> Reading:
        """All counters now."""
        return read(self.folder, time.monotonic(), self._proc)

    def used(self, pid: int, before: float, seconds: float) -> float:
        """Processor seconds of a program so far."""
        return tree_seconds(pid, self._proc)
