"""What GPUs take, from NVIDIA's management library, which comes with the driver; each run has its processes' part of a GPU."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from lepton_kit.planning.energy import Reading
from lepton_kit.planning.power import Power
from lepton_kit.runtime.energy.usage import tree_pids

LIBRARY = "libnvidia-ml.so.1"
NEVER = 2.0**63
"""Where a counter of 64 bits wraps, in millijoules: not in the life of a machine."""
MOST_PROCESSES = 256
UUID_BYTES = 96


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t of nvml.h (v2 and v3)."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class Gpu:
    """One GPU: its energy counter (Volta and newer), and whose processes are on it.

    A run's part of a moment is the number of its processes that compute there by that of all: whoever holds the GPU is
    charged, busy or not. Process numbers have to be those that the driver tells, so in a container of its own none is found.
    """

    def __init__(self, library: Any, number: int, pids: Callable[[int], set[int]] = tree_pids):
        self._library, self._pids = library, pids
        self._handle = ctypes.c_void_p()
        _check(library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(self._handle)))
        uuid = ctypes.create_string_buffer(UUID_BYTES)
        _check(library.nvmlDeviceGetUUID(self._handle, uuid, UUID_BYTES))
        self.name = f"GPU {uuid.value.decode()}"
        self.power = Power(0.0, 0.0, 1, source="NVML")

    def read(self) -> Reading:
        """Its counter now; what is shared of it is time."""
        counted, now = ctypes.c_ulonglong(), time.monotonic()
        if self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(counted)) != 0:
            return Reading(now, {}, now, f"{self.name} has no energy counter")
        return Reading(now, {self.name: (counted.value * 1e3, NEVER)}, now)

    def used(self, pid: int, before: float, seconds: float) -> float:
        """Seconds of it that were a program's so far, by the processes that are there now."""
        there = self._there()
        own = self._pids(pid) if there else set()
        return before + seconds * (sum(one in own for one in there) / len(there) if there else 0.0)

    def _there(self) -> list[int]:
        count = ctypes.c_uint(MOST_PROCESSES)
        found = (_Process * MOST_PROCESSES)()
        asked = getattr(self._library, "nvmlDeviceGetComputeRunningProcesses_v3", None)
        if asked is None or asked(self._handle, ctypes.byref(count), found) != 0:
            return []
        return [found[place].pid for place in range(min(count.value, MOST_PROCESSES))]


def _check(code: int) -> None:
    if code != 0:
        raise OSError(f"NVML: error {code}")


@cache
def library() -> Any:
    """NVIDIA's library, begun; None where there is none, or no driver."""
    try:
        found = ctypes.CDLL(LIBRARY)
        _check(found.nvmlInit_v2())
    except (OSError, AttributeError):
        return None
    return found


def gpu_sources(found: Any = None, pids: Callable[[int], set[int]] = tree_pids) -> list[Gpu]:
    """The GPUs of this machine that tell what they take."""
    found = library() if found is None else found
    count = ctypes.c_uint()
    if found is None:
        return []
    try:
        _check(found.nvmlDeviceGetCount_v2(ctypes.byref(count)))
        return [Gpu(found, number, pids) for number in range(count.value)]
    except (OSError, AttributeError):
        return []
