"""What the workers of a run take of the machine, measured every few seconds: cores, memory, the load of GPUs, and hindrances."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from lepton_kit.machine.devices import gpu_loads
from lepton_kit.runtime.roster import Member
from lepton_kit.training.messages import Alive

EVERY_SECONDS = 5.0
"""A day of training adds 17,000 short lines to the log."""


class Resources:
    """Turns the running totals of the workers into what they took since the last measurement.

    Asking the GPUs starts a program for a moment, so it is done in a thread, and only for workers on GPUs.
    """

    def __init__(self, loads: Callable[[], list[tuple[float, int]]] = gpu_loads):
        self._loads = loads
        self._since: tuple[float, float, dict[int, Alive]] | None = None
        self._asking: threading.Thread | None = None
        self._gpus: list[tuple[float, int]] = []

    def rest(self) -> None:
        """Nothing trains now: the next measurement begins anew."""
        self._since = None

    def measure(self, now: float, cpu_seconds: float, members: Sequence[Member]) -> dict[str, Any] | None:
        """The fields of a ``resources`` event if one is due; ``cpu_seconds`` is the time of all workers so far.

        ``ranks`` has for each rank that was there at the last measurement its ``cores``, the part ``stolen`` of the time in
        which it could have computed, the part in which a quota had ``throttled`` it, ``faults`` a second, the part in which
        memory was ``short`` around it, and ``heats`` a second: how often its cores slowed down for heat.
        """
        last = {one.worker: one.alive for one in members if one.alive is not None}
        if self._since is None or now - self._since[0] < EVERY_SECONDS:
            self._since = self._since or (now, cpu_seconds, last)
            return None
        (then, used, before), self._since = self._since, (now, cpu_seconds, last)
        found: dict[str, Any] = {
            "cores": round(max(0.0, cpu_seconds - used) / (now - then), 3),
            "memory_bytes": sum(alive.memory_bytes for alive in last.values()),
            "ranks": {
                str(one.rank): _hindered(before[one.worker], last[one.worker], now - then)
                for one in members
                if one.rank is not None and one.worker in before and one.worker in last
            },
        }
        gpus = self._gpus  # as they answered after the last measurement
        on_gpu = any(one.place.device == "gpu" for one in members)
        if on_gpu and (self._asking is None or not self._asking.is_alive()):
            self._asking = threading.Thread(target=self._ask, name="lepton-gpus", daemon=True)
            self._asking.start()
        if on_gpu and gpus:
            found["gpu"] = round(sum(share for share, _ in gpus) / len(gpus), 3)
            found["gpu_memory_bytes"] = sum(size for _, size in gpus)
        return found

    def _ask(self) -> None:
        self._gpus = self._loads()


def _hindered(before: Alive, now: Alive, seconds: float) -> dict[str, float | None]:
    """What one worker took of its cores between two heartbeats, and what kept it from more; None: not known."""
    used = max(0.0, now.cpu_seconds - before.cpu_seconds)
    delayed = _grown(before.delayed_seconds, now.delayed_seconds)
    throttled, short, heats = (
        _grown(getattr(before, name), getattr(now, name))
        for name in ("throttled_seconds", "short_seconds", "heats")
    )
    return {
        "cores": round(used / seconds, 3),
        "stolen": None if delayed is None or used + delayed == 0 else round(delayed / (used + delayed), 3),
        "throttled": None if throttled is None else round(min(1.0, throttled / seconds), 3),
        "faults": round(max(0, now.faults - before.faults) / seconds, 1),
        "short": None if short is None else round(min(1.0, short / seconds), 3),
        "heats": None if heats is None else round(heats / seconds, 2),
    }


def _grown(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else max(0.0, now - before)
