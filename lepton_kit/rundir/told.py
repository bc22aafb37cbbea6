"""A run in one line."""

from __future__ import annotations

from lepton_kit.rundir.view import RunView


def describe(view: RunView) -> str:
    """One line of progress for a terminal or a status label."""
    total = view.total_steps
    parts = [str(view.status)]
    if total:
        parts.append(f"step {view.step}/{total}")
    if len(view.loss):
        parts.append(f"loss {view.loss[-1]:.4f}")
    if view.current_throughput is not None and not view.done:
        parts.append(f"{view.current_throughput:,.0f} samples/s on {view.world_size} workers")
    if view.eta_seconds is not None:
        parts.append(f"{view.eta_seconds:.0f} s left")
    if said := view.in_line or view.cause or view.awaited:
        parts.append(said)
    return " · ".join(parts)
