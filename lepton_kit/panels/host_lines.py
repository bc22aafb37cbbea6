"""What hosts do for a run, and what a check has found of them, in words and tables."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from lepton_kit.panels.parts import Markup, chip, table
from lepton_kit.panels.telling import number
from lepton_kit.rundir import RunView


@dataclass(frozen=True)
class HostShare:
    """What a host contributes now: workers in the ring, samples of each global batch, and samples/s."""

    host: str
    state: str
    doing: str | None
    workers: int
    samples: int
    share: float
    rate: float | None


def shares(view: RunView) -> list[HostShare]:
    """Each host of a run that trains, in the order of its configuration; none for a run on this machine alone."""
    if view.done:
        return []
    cut = view.generations[-1].get("cut") or [] if view.generations else []
    total, rate = sum(cut), view.current_throughput
    found = []
    for one in view.hosts:
        ranks = [
            worker["rank"]
            for worker in view.workers
            if worker.get("host") == one["host"]
            and worker.get("state") == "training"
            and worker.get("rank") is not None
        ]
        samples = sum(cut[rank] for rank in ranks if rank < len(cut))
        share = samples / total if total else 0.0
        found.append(
            HostShare(
                one["host"], _plain(one["state"]), one.get("doing"), len(ranks), samples, share,
                None if rate is None else rate * share,
            )
        )  # fmt: skip
    return found


def _plain(state: str) -> str:
    return "connecting" if state == "asked" else state


def by_host(view: RunView) -> str:
    """The table of hosts above that of workers; nothing for a run on this machine alone."""
    lines = [
        [
            one.host, chip(one.state), one.workers, f"{one.samples} ({one.share:.0%})", number(one.rate, 0),
            one.doing or "",
        ]
        for one in shares(view)
    ]  # fmt: skip
    if not lines:
        return ""
    return table(["host", "state", "workers", "of each batch", "samples/s", ""], lines, numbers=(2, 3, 4))


def contribution(one: HostShare) -> str:
    """One line for a host of the run that trains now."""
    if one.doing:
        return html.escape(one.doing)
    if not one.workers:
        return "no worker of the run stands there now"
    workers = f"{one.workers} worker{'' if one.workers == 1 else 's'}"
    rate = "" if one.rate is None else f" · {one.rate:,.0f} samples/s (measured)"
    return f"{workers} · {one.share:.0%} of each batch{rate}"


def found_tables(checked: Any) -> str:
    """The tables of a check: what each host has, and the way from each to each."""
    rows = [one.row() for one in checked.hosts if one.reached]
    lines = [
        [
            row["host"], row["cores"], f"{row['free_gb']} of {row['memory_gb']} GB", row["gpus"],
            row.get("native", "–"), f"{row['disk_gb']} GB" if "disk_gb" in row else "–",
            f"{row['clock_ahead']:+.3f} ± {row['give_or_take']:.3f} s" if "clock_ahead" in row else "–",
            row["interface"] or "–",
        ]
        for row in rows
    ]  # fmt: skip
    names = [
        "host",
        "cores",
        "memory free",
        "GPUs",
        "native library",
        "disk free",
        "clock ahead",
        "interface",
    ]
    parts = [table(names, lines, numbers=(1, 3))] if lines else []
    ways = [one.row() for one in checked.pairs]
    if ways:
        lines = [
            [
                way["from"], way["to"], Markup("yes") if way["reached"] else chip("lost"),
                "–" if way["latency_ms"] is None else f"{way['latency_ms']} ms",
                "–" if way["mbit_s"] is None else f"{way['mbit_s']:,} Mbit/s",
            ]
            for way in ways
        ]  # fmt: skip
        parts.append(table(["from", "to", "reached", "round trip", "bandwidth"], lines, numbers=(3, 4)))
    return "".join(parts)
