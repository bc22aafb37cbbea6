"""What a run's log says of its energy: totals with their interval and tag, and when it was taken."""

from __future__ import annotations

from typing import Any, NamedTuple

TOGETHER_SECONDS = 1.0
"""Reports of steps that are no further apart are one time of training: between them lie validations and callbacks."""


class Took(NamedTuple):
    """What was taken from ``begin`` to ``end`` (unix seconds), in joules; ``idle`` is the part without any work."""

    begin: float
    end: float
    joules: float
    low: float
    high: float
    idle: float
    measured: bool


class Taken:
    """The energy of a run so far; built from ``energy`` events. ``rows`` has one for each of them."""

    def __init__(self) -> None:
        self.rows: list[Took] = []
        self.training: list[tuple[float, float]] = []
        """When steps were made (begin, end; unix seconds)."""
        self.epochs: dict[int, tuple[float, float]] = {}
        """When each epoch began and ended; of one that was repeated, the last time."""
        self.samples = 0
        """That it has trained on, those that were repeated too."""
        self.sources: dict[str, None] = {}
        """What was counted, such as processors and GPUs, in the order in which it was first told."""
        self.hosts: dict[str, None] = {}
        self.why: str | None = None
        """Why not all of it was measured, as it was told last."""

    def feed(self, event: dict[str, Any]) -> None:
        """Take in an event of this kind. Older versions told joules alone, of the whole machine."""
        self.why = event["why"] or self.why
        joules, end = event["joules"], event["time"]
        if joules is None:
            return
        low, high, idle = event.get("low", joules), event.get("high", joules), event.get("idle", 0.0)
        measured = event.get("origin", "measured") == "measured"
        self.rows.append(Took(end - event.get("seconds", 0.0), end, joules, low, high, idle, measured))
        self.sources |= dict.fromkeys(str(one) for one in event.get("of", ()))
        if "host" in event:
            self.hosts[event["host"]] = None

    def ended(self, event: dict[str, Any]) -> None:
        """An epoch has ended, by its event."""
        if isinstance(event["seconds"], int | float):
            self.epochs[event["epoch"]] = (event["time"] - event["seconds"], event["time"])

    def trained(self, begin: float, end: float, samples: int) -> None:
        """Steps were made in this time, on so many samples."""
        self.samples += samples
        if self.training and begin - self.training[-1][1] < TOGETHER_SECONDS:
            begin = self.training.pop()[0]
        self.training.append((begin, max(begin, end)))

    def summary(self) -> dict[str, Any]:
        """What a list of runs shows."""
        return {"energy_joules": self.joules, "energy_origin": self.origin, "no_energy": self.why}

    @property
    def joules(self) -> float | None:
        """What it took so far; None where nothing was told."""
        return sum(row.joules for row in self.rows) if self.rows else None

    @property
    def origin(self) -> str | None:
        """measured only where all of it was; None where nothing was told."""
        if not self.rows:
            return None
        return "measured" if all(row.measured for row in self.rows) else "estimated"
