"""GPUs as NVIDIA's driver tells of them (NVML): by its library alone, without CUDA, TensorFlow or another package."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
MOST_PROCESSES = 256
UNKNOWN = (1 << 64) - 1
"""What NVML says for a size that it does not know."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as it is now. Sizes in bytes; ``busy`` is the share of the last moment in which it computed; None: not known.

    ``number`` counts as ``nvidia-smi`` does, by the place on the bus. ``processes``: process id -> its bytes there.
    ``cores`` are those near it. ``millijoules`` are those since the driver was loaded (Volta and newer).
    """

    number: int
    name: str
    uuid: str = ""
    memory_bytes: int | None = None
    free_bytes: int | None = None
    busy: float | None = None
    processes: dict[int, int | None] | None = None
    cores: tuple[int, ...] = ()
    millijoules: int | None = None


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Process(ctypes.Structure):
    """nvmlProcessInfo_v2_t."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("instance", ctypes.c_uint),
        ("compute", ctypes.c_uint),
    )


def read(library: str = LIBRARY) -> list[Gpu] | None:
    """The GPUs of this machine; None where the library is missing or does not work, so that others may be asked.

    What a GPU does not tell stays unknown. Functions and structures: NVML API Reference Guide, NVIDIA, R570.
    """
    try:
        nvml = ctypes.CDLL(library)
        with _open(nvml):
            count = ctypes.c_uint()
            _checked(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
            return [_gpu(nvml, number) for number in range(count.value)]
    except (OSError, AttributeError, _Refused):
        return None


class _Refused(Exception):
    """NVML has answered with an error."""


def _checked(code: int) -> None:
    if code != 0:
        raise _Refused(code)


@contextmanager
def _open(nvml: Any) -> Iterator[None]:
    _checked(nvml.nvmlInit_v2())
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, number: int) -> Gpu:
    handle = ctypes.c_void_p()
    _checked(nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)))
    memory, busy, energy = _Memory(), _Utilization(), ctypes.c_ulonglong()
    sized = _asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)))
    told = _asked(lambda: nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(busy)))
    counted = _asked(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)))
    return Gpu(
        number=number,
        name=_text(nvml, "nvmlDeviceGetName", handle) or "GPU",
        uuid=_text(nvml, "nvmlDeviceGetUUID", handle),
        memory_bytes=int(memory.total) if sized else None,
        free_bytes=int(memory.free) if sized else None,
        busy=busy.gpu / 100 if told else None,
        processes=_processes(nvml, handle),
        cores=_near(nvml, handle),
        millijoules=int(energy.value) if counted else None,
    )


def _asked(ask: Callable[[], int]) -> bool:
    """Whether an answer came; an older library may lack the function."""
    try:
        return ask() == 0
    except AttributeError:
        return False


def _text(nvml: Any, function: str, handle: ctypes.c_void_p) -> str:
    buffer = ctypes.create_string_buffer(96)
    told = _asked(lambda: getattr(nvml, function)(handle, buffer, len(buffer)))
    return buffer.value.decode("utf-8", "replace") if told else ""


def _processes(nvml: Any, handle: ctypes.c_void_p) -> dict[int, int | None] | None:
    count, found = ctypes.c_uint(MOST_PROCESSES), (_Process * MOST_PROCESSES)()
    for name in ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"):
        count.value = MOST_PROCESSES
        with suppress(AttributeError):
            if getattr(nvml, name)(handle, ctypes.byref(count), found) == 0:
                return {
                    int(one.pid): None if one.used == UNKNOWN else int(one.used)
                    for one in found[: count.value]
                }
    return None


def _near(nvml: Any, handle: ctypes.c_void_p) -> tuple[int, ...]:
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    words = (ctypes.c_ulong * 64)()
    if not _asked(lambda: nvml.nvmlDeviceGetCpuAffinity(handle, len(words), words)):
        return ()
    return tuple(
        k * bits + bit for k, word in enumerate(words) if word for bit in range(bits) if word >> bit & 1
    )
