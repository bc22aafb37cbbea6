"""The energy that the processors take while a run trains: all of them, with whatever else the machine does meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lepton_kit.machine.devices import POWERCAP, energy_counters, joules, why_no_energy

EVERY_SECONDS = 5.0
"""Counters wrap within minutes at the soonest, so none is missed."""


class EnergyMeter:
    """Reads the counters of the machine (Linux powercap) while a run trains; where there are none it says why, once."""

    def __init__(self, root: Path = POWERCAP):
        self._root = root
        self._counters = energy_counters(root)
        self._since: tuple[float, list[float]] | None = None
        self._told = False

    def measure(self, now: float, training: bool) -> dict[str, Any] | None:
        """The fields of an ``energy`` event if one is due: every few seconds of training, and when it has ended."""
        if not self._counters:
            return self._missing(training)
        if self._since is None and not training:
            return None
        if self._since is not None and training and now - self._since[0] < EVERY_SECONDS:
            return None
        try:
            after = [float(path.read_text()) for path, _ in self._counters]
        except (OSError, ValueError):
            self._counters = []
            return self._missing(training)
        before, self._since = self._since, (now, after) if training else None
        if before is None:
            return None
        return {
            "joules": round(joules(before[1], after, [wrap for _, wrap in self._counters]), 3),
            "why": None,
        }

    def _missing(self, training: bool) -> dict[str, Any] | None:
        if self._told or not training:
            return None
        self._told = True
        return {"joules": None, "why": why_no_energy(self._root)}
