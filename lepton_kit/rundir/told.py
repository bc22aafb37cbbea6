"""A run in one line."""

from __future__ import annotations

import math

from lepton_kit.rundir.status import Status
from lepton_kit.rundir.view import RunView


def describe(view: RunView, status: Status | None = None, cause: str | None = None) -> str:
    """One line of progress for a terminal or a status label; ``status`` and ``cause``: where more is known than the log says."""
    total = view.total_steps
    parts = [str(status or view.state)]
    if total:
        parts.append(f"step {view.step}/{total}")
    if len(view.loss):
        parts.append(f"loss {view.loss[-1]:.4f}")
    if view.current_throughput is not None and not view.done:
        ranks = view.world_size
        parts.append(f"{view.current_throughput:,.0f} samples/s on {ranks} worker{'s' * (ranks != 1)}")
    if view.eta_seconds is not None:
        parts.append(f"{duration(view.eta_seconds)} left")
    if said := view.in_line or cause or view.cause or view.awaited:
        parts.append(said)
    return " · ".join(parts)


def duration(seconds: float | None) -> str:
    """A time span in words of a size that suits it.

    >>> duration(7.2), duration(95), duration(7300), duration(None)
    ('7 s', '1 min 35 s', '2 h 1 min', 'unknown')
    """
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
