"""Short runs that measure how long steps take: a run for each batch, whose workers change while it trains; nothing stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lepton_kit.client.run import Run
from lepton_kit.errors import RunError
from lepton_kit.planning.measured_steps import Told, read
from lepton_kit.planning.scaling import Link
from lepton_kit.processes.scratch import passing
from lepton_kit.rundir import Status
from lepton_kit.rundir.events import EventReader

EVER = 100_000.0
EPOCHS = 1_000_000
LOG_SECONDS = 0.2
"""Between reports: a visit of a second has a handful."""
LOOK_SECONDS = 0.1
"""Between two looks at the log: they take from the cores that are measured."""
LEAST_REPORTS = 4
PATIENCE = 180.0
TWO_HERE = ("localhost/a", "localhost/b")
"""Two agents on this machine: what sums between hosts cost where the link costs nothing."""

Start = Callable[[Path, Mapping[str, Any]], Run]
"""Starts a run in a folder of runs, with these options of `launch` beside its own."""


def measure(
    start: Start,
    *,
    batch: int,
    workers: Sequence[int],
    places: int,
    seconds: float = 1.0,
    threads: int = 1,
    across: bool = False,
    wire: str = "float32",
) -> Told:
    """Measured steps of one batch with each of these numbers of workers, ``seconds`` of training for each and each visit.

    They are visited down and up again, so that a machine that gets slower meanwhile slows all, the smallest twice in a row; no
    process starts while a visit is measured. With ``across`` the workers stand in two agents on this machine. ``wire`` says what the run sends between them. Raises `RunError`
    where the run fails.
    """
    falling = sorted(set(workers), reverse=True)
    with started(start, asked(batch, falling, threads, across)) as run:
        visit(run, [*falling, *reversed(falling)], seconds)
        return read(EventReader(run.paths.events).stream(), places, wire=wire)


def asked(batch: int, workers: Sequence[int], threads: int = 1, across: bool = False) -> dict[str, Any]:
    """Options of a short run that will have each of these numbers of workers, and writes nothing but its log."""
    most = max(workers)
    options: dict[str, Any] = {
        "global_batch": batch, "workers": most, "max_workers": most, "expects": list(workers), "standby": 0,
        "epochs": EPOCHS, "log_seconds": LOG_SECONDS, "checkpoint_seconds": EVER, "validate_every_epochs": EPOCHS,
        "name": "plan",
    }  # fmt: skip
    if not across:
        return options | {"threads": threads}
    slots = -(-most // len(TWO_HERE))
    return options | {"hosts": [{"name": name, "slots": slots, "threads": threads} for name in TWO_HERE]}


@contextmanager
def started(start: Start, options: Mapping[str, Any]) -> Iterator[Run]:
    """A run in a folder that goes with it; it is stopped at the end, and ends if this process is killed."""
    with passing("lepton-plan-") as folder:
        run = start(folder, options)
        try:
            yield run
        finally:
            if run.alive:
                run.stop().wait(PATIENCE)


def visit(run: Run, workers: Sequence[int], seconds: float) -> None:
    """Have a run train with these numbers of workers in turn, each until its log has so many seconds of it."""
    for count in workers:
        view = run.view()
        if view.world_size != count and view.wanted not in (None, count):
            run.scale(count)
        _until(run, lambda count=count: run.view().world_size == count)  # type: ignore[misc]  # mypy knows no type of a default in a lambda
        first = len(run.view().report_steps) + 1  # that of a new ring does not count
        _until(run, lambda first=first: len(run.view().report_steps) >= first)  # type: ignore[misc]  # mypy knows no type of a default in a lambda
        end = time.monotonic() + seconds

        def enough(last: int = first + LEAST_REPORTS, end: float = end) -> bool:
            return len(run.view().report_steps) >= last and time.monotonic() >= end

        _until(run, enough)


def _until(run: Run, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        if run.status.is_over or not run.alive or run.status is Status.AWAY:
            raise RunError(f"a short run that was to measure steps has {run.status}: {run.cause}")
        if time.monotonic() > deadline:
            raise RunError(f"a short run that was to measure steps has told nothing for {PATIENCE:g} s")
        time.sleep(LOOK_SECONDS)


def link_of(given: Any) -> Link | None:
    """A link from what a user gives: text, a `Link`, or what ``lk.Cluster(...).check()`` has found, the slowest way of it."""
    pairs = [one for one in getattr(given, "pairs", ()) if one.rate and one.latency is not None]
    if pairs:
        return Link(8.0 * min(one.rate for one in pairs), max(one.latency for one in pairs) / 2)
    return None if given is None else Link.read(given)
