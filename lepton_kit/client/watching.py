"""What is known of each worker of a run as a table, and as a trace that Perfetto and Chrome draw."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.errors import ConfigError, RunError, writing
from lepton_kit.rundir import RunView, Status
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.rundir.ranks import RankTime

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("data", "computing", "communicating", "waiting", "other")
"""Of the time of a rank, in the order in which they are shown."""
SPANS = {"data": "data", "compute": "busy", "wait": "waited", "communicate": "communicated"}
"""Names of the spans of a trace, in their order, and where a report has their seconds."""


def workers_table(view: RunView, status: Status | None = None) -> pd.DataFrame:
    """A row for each worker, ranks first: see `Run.workers_table`. Of a run that has ended those that trained last.

    ``status`` is the run's where more is known than its log says: a driver that was killed has written nothing of it.
    """
    import pandas as pd

    status = view.status if status is None else status
    workers = view.last_workers if status.is_over else view.workers
    times = {row.rank: row for row in view.ranks.times()}
    loads = view.ranks.loads()
    rows = [_row(one, times, loads) for one in workers]
    for row in rows:
        if status.is_over:
            row["state"] = "ended"
        elif status is Status.PAUSED and row["state"] == "training":
            row["state"] = "paused"
    rows.sort(key=lambda row: (row["rank"] is None, row["rank"], row["worker"]))
    columns = [
        "rank",
        "worker",
        "host",
        "state",
        "samples_per_second",
        *(f"{name}_percent" for name in PARTS),
    ]
    columns += ["cores", "stolen_percent", "memory_mb", "slowed"]
    return pd.DataFrame(rows, columns=columns).astype({"rank": "Int64"})


def _row(
    worker: Mapping[str, Any], times: Mapping[int, RankTime], loads: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    rank = worker.get("rank") if worker["state"] == "training" else None
    time, load = (None, {}) if rank is None else (times.get(rank), loads.get(rank, {}))
    stolen, memory = load.get("stolen"), worker.get("memory_bytes")
    slowed = worker.get("slowed") or {}
    return {
        "rank": rank,
        "worker": worker["worker"],
        "host": worker.get("host"),
        "state": worker["state"],
        "samples_per_second": None if time is None else time.samples_per_second,
        **{f"{name}_percent": None if time is None else 100 * getattr(time, name) for name in PARTS},
        "cores": load.get("cores"),
        "stolen_percent": None if stolen is None else 100 * stolen,
        "memory_mb": None if memory is None else memory / 1e6,
        "slowed": ", ".join(f"{name} {value:g}" for name, value in slowed.items()),
    }


def trace(events: Iterable[Mapping[str, Any]], path: Path, steps: int) -> Path:
    """Write the reports of the last ``steps`` steps as a trace: see `Run.trace`."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ConfigError("steps", given=steps, rule="a whole number of at least 1")
    if path.suffix != ".json":
        raise ConfigError("path", given=str(path), rule="a file that ends in .json")
    kept: deque[Mapping[str, Any]] = deque()
    hosts: dict[int, str | None] = {}
    for event in events:
        if event["kind"] == "steps" and "data" in event:
            kept.append(event)
            while kept[0]["last"] <= event["last"] - steps:
                kept.popleft()
        elif event["kind"] == "generation":  # it may repeat steps that were told before
            while kept and kept[-1]["last"] > event["step"]:
                kept.pop()
        elif event["kind"] == "workers":
            hosts |= {one["rank"]: one.get("host") for one in event["workers"] if one.get("rank") is not None}
    if not kept:
        raise RunError("no report tells where the time of its ranks went; a run tells once a second")
    with writing("path", path):
        write_atomically(path, json.dumps({"traceEvents": traced(kept, hosts), "displayTimeUnit": "ms"}))
    return path


def traced(reports: Iterable[Mapping[str, Any]], hosts: Mapping[int, str | None]) -> list[dict[str, Any]]:
    """Events of the Trace Event Format (Google, 2016): complete ones (X), names (M) and counters (C), in microseconds.

    All ranks of a report end together, where its last sum ends; a rank's spans stand before that, by how long they took.
    That end is when the driver heard of it, or later where spans would overlap: one clock, and else durations.
    """
    found: list[dict[str, Any]] = []
    ranks: set[int] = set()
    start = end = None
    for report in reports:
        count = len(report["busy"])
        taken = [[_seconds(report, field, rank) for field in SPANS.values()] for rank in range(count)]
        longest = max(map(sum, taken))
        start = report["time"] - longest if start is None else start
        end = max(report["time"] - start, longest + (end or 0.0))
        about = {name: report[name] for name in ("generation", "first", "last") if name in report}
        for rank in range(count):
            at = end - sum(taken[rank])
            for name, seconds in zip(SPANS, taken[rank], strict=True):
                span = {"name": name, "cat": "rank", "ph": "X", "pid": rank, "tid": 0}
                times = {"ts": round(1e6 * at, 1), "dur": round(1e6 * seconds, 1)}
                found.append({**span, **times, "args": {**about, "samples": report["samples"][rank]}})
                at += seconds
            busy = report["busy"][rank]
            rate = report["samples"][rank] / busy if busy > 0 else 0.0
            counted = {"name": "samples/s", "ph": "C", "pid": rank, "ts": round(1e6 * end, 1)}
            found.append({**counted, "args": {"own compute": round(rate, 1)}})
        ranks |= set(range(count))
    for rank in sorted(ranks):
        host = f" on {hosts[rank]}" if hosts.get(rank) else ""
        for kind, told in (("process_name", {"name": f"rank {rank}{host}"}), ("process_sort_index", {"sort_index": rank})):  # fmt: skip
            found.append({"name": kind, "ph": "M", "pid": rank, "tid": 0, "args": told})
    return found


def _seconds(report: Mapping[str, Any], field: str, rank: int) -> float:
    found = report.get(field, 0.0)
    return max(0.0, float(found[rank] if isinstance(found, (list, tuple)) else found))
