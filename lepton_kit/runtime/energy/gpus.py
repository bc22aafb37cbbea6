"""What GPUs take, from the counters of NVIDIA's driver; each run has its processes' part of a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lepton_kit.machine import nvml
from lepton_kit.machine.nvml import Gpu
from lepton_kit.planning.energy import Reading
from lepton_kit.planning.power import Power
from lepton_kit.runtime.energy.usage import tree_pids

NEVER = 2.0**63
"""Where a counter of 64 bits wraps, in microjoules: not in the life of a machine."""
ONE_LOOK_SECONDS = 0.5
"""All GPUs are asked at once, so those who ask within this time have one answer."""


class Gpus:
    """All GPUs of the machine, asked together."""

    def __init__(self, ask: Callable[[], Sequence[Gpu] | None] = nvml.read):
        self._ask = ask
        self._asked = float("-inf")
        self._found: dict[str, Gpu] = {}

    def now(self) -> dict[str, Gpu]:
        """Those that there are, by their UUIDs."""
        if time.monotonic() - self._asked > ONE_LOOK_SECONDS:
            self._found = {one.uuid: one for one in self._ask() or ()}
            self._asked = time.monotonic()
        return self._found


class GpuCounter:
    """One GPU: its energy counter, and whose processes are on it.

    A run's part of a moment is the number of its processes that compute there by that of all: whoever holds a GPU is
    charged, busy or not. Process numbers have to be those that the driver tells, so in a container of its own none is found.
    """

    def __init__(self, gpus: Gpus, uuid: str, pids: Callable[[int], set[int]] = tree_pids):
        self._gpus, self._uuid, self._pids = gpus, uuid, pids
        self.name = f"GPU {uuid}"
        self.power = Power(0.0, 0.0, 1, source="no table has GPUs")

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def read(self) -> Reading:
        """Its counter now; what is shared of it is time."""
        found, now = self._gpus.now().get(self._uuid), time.monotonic()
        if found is None or found.millijoules is None:
            return Reading(now, {}, now, f"{self.name} tells no energy")
        return Reading(now, {self.name: (found.millijoules * 1e3, NEVER)}, now)

    def used(self, pid: int, before: float, seconds: float) -> float:
        """Seconds of it that were a program's so far, by the processes that are there now."""
        found = self._gpus.now().get(self._uuid)
        there = list(found.processes or ()) if found is not None else []
        own = self._pids(pid) if there else set()
        return before + seconds * (sum(one in own for one in there) / len(there) if there else 0.0)


def gpu_counters(
    ask: Callable[[], Sequence[Gpu] | None] = nvml.read, pids: Callable[[int], set[int]] = tree_pids
) -> list[GpuCounter]:
    """A source for each GPU of this machine; none without NVIDIA's driver."""
    gpus = Gpus(ask)
    return [GpuCounter(gpus, uuid, pids) for uuid in gpus.now() if uuid]
