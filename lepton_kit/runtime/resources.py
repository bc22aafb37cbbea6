"""What the workers of a run take of the machine, measured every few seconds: cores, memory, and the load of GPUs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from lepton_kit.devices import gpu_loads

EVERY_SECONDS = 5.0
"""A day of training adds 17,000 short lines to the log."""


class Resources:
    """Turns the running totals of the workers into what they took since the last measurement.

    Asking the GPUs starts a program for a moment, so it is done in a thread, and only for workers on GPUs.
    """

    def __init__(self, loads: Callable[[], list[tuple[float, int]]] = gpu_loads):
        self._loads = loads
        self._since: tuple[float, float] | None = None
        self._asking: threading.Thread | None = None
        self._gpus: list[tuple[float, int]] = []

    def rest(self) -> None:
        """Nothing trains now: the next measurement begins anew."""
        self._since = None

    def measure(self, now: float, cpu_seconds: float, memory: list[int], gpu: bool) -> dict[str, Any] | None:
        """The fields of a ``resources`` event if one is due.

        ``cpu_seconds`` is the processor time of all workers so far, ``memory`` what each of them holds, in bytes.
        """
        if self._since is None:
            self._since = (now, cpu_seconds)
            return None
        then, used = self._since
        if now - then < EVERY_SECONDS:
            return None
        self._since = (now, cpu_seconds)
        gpus = self._gpus  # as they answered after the last measurement
        if gpu and (self._asking is None or not self._asking.is_alive()):
            self._asking = threading.Thread(target=self._ask, name="lepton-gpus", daemon=True)
            self._asking.start()
        found: dict[str, Any] = {
            "cores": round(max(0.0, cpu_seconds - used) / (now - then), 3), "memory_bytes": sum(memory),
        }  # fmt: skip
        if gpu and gpus:
            found["gpu"] = round(sum(share for share, _ in gpus) / len(gpus), 3)
            found["gpu_memory_bytes"] = sum(size for _, size in gpus)
        return found

    def _ask(self) -> None:
        self._gpus = self._loads()
