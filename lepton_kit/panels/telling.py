"""A run told in HTML for the live panel: pure functions from a view to text."""

from __future__ import annotations

import html
import math
import time
from typing import Any

from lepton_kit.panels.parts import Markup, bar, chip, table
from lepton_kit.planning import noise
from lepton_kit.rundir import Status
from lepton_kit.rundir.told import duration
from lepton_kit.rundir.view import RunView, main_metric
from lepton_kit.runtime.places import HERE

INCIDENTS_SHOWN = 6
WORKERS_SHOWN = 32


def size(count: float | None) -> str:
    """Bytes in the unit that suits them.

    >>> size(512), size(3_000_000), size(None)
    ('512 B', '2.9 MiB', 'unknown')
    """
    if count is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def reading(done: int, total: int, seconds: float) -> str:
    """How far the reading of data is after so many seconds, with the time left once that can be estimated.

    >>> reading(1200, 20_000, 3.0), reading(1, 20_000, 0.1)
    ('reading … 1,200 of 20,000 (6 %), 47 s left (estimated)', 'reading … 1 of 20,000 (0 %)')
    """
    text = f"reading … {done:,} of {total:,} ({100 * done / max(total, 1):.0f} %)"
    if seconds >= 1 and done:
        text += f", {duration(seconds * (total - done) / done)} left (estimated)"
    return text


def number(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where there is none yet."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def summary(view: RunView, run_id: str, state: str | None = None, *, gone: bool = False) -> str:
    """State, progress with time left, and the figures of the moment; ``state`` may say ``interrupted``.

    ``gone`` says that no folder is left to go on from.
    """
    headline = _headline(view, run_id, state or view.status, gone)
    return "".join([headline, _progress(view), _tiles(view), _noise(view)])


def _headline(view: RunView, run_id: str, state: str, gone: bool) -> str:
    if state != Status.INTERRUPTED or view.status is Status.INTERRUPTED:
        told = view.cause or view.in_line
    elif gone:
        told = "its folder was deleted, or moved to where it is not seen from here"
    else:
        told = "the driver died; Resume goes on from the last checkpoint"
    cause = f' <span class="lk-note">{html.escape(told)}</span>' if told else ""
    return f'<div>{chip(state)} <b style="margin-left:4px">{html.escape(run_id)}</b>{cause}</div>'


def _progress(view: RunView) -> str:
    total = view.total_steps
    share = view.progress * 100
    if not total:
        started = "waits for its share of the machine" if view.in_line else html.escape(view.awaited)
        line = "no step was trained" if view.done else started or "workers are starting"
    else:
        line = f"step {view.step:,} of {total:,} ({share:.0f} %)"
        per_epoch = view.plan.get("steps_per_epoch")
        if per_epoch:
            # A run that has ended is in no epoch any more: the one that its last step was in counts.
            begun = -(-view.step // per_epoch) if view.done else view.step // per_epoch + 1
            epoch = min(begun, view.plan.get("epochs") or math.inf)
            line = f"epoch {epoch} of {view.plan.get('epochs', '?')} · {line}"
        if view.done:
            line += f" · took {duration(view.seconds)}"
        elif view.status is Status.RUNNING:
            line += f" · {duration(view.eta_seconds)} left (estimated)"
        if view.awaited:
            line += f" · {html.escape(view.awaited)}"
    return (
        f'<div class="lk-track" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share:.0f}" '
        f'aria-label="progress of the run" style="margin:8px 0 3px"><div style="width:{share:.1f}%"></div></div>'
        f'<div class="lk-note">{line}</div>'
    )


def _tiles(view: RunView) -> str:
    metric = main_metric(list(view.metrics))
    last = view.epochs[-1] if view.epochs else {}
    label = (metric or "accuracy").replace("_", " ")
    values = view.metrics.get(metric) if metric else None
    counts = view.counts()
    training = f"{counts['training']} of {counts['wanted']}"
    tiles = [
        ("training loss", number(view.loss[-1] if len(view.loss) else None)),
        ("validation loss", number(last.get("val_loss"))),
        (f"training {label}", number(values[-1] if values is not None and len(values) else None)),
        (f"validation {label}", number(last.get(f"val_{metric}"))),
        ("samples/s, measured", number(_rate(view), 0)),
    ]
    if not view.done:
        tiles.append(("workers of wanted", training))
    if view.total_sparsity is not None:
        tiles.append(("of the weights are zero", f"{view.total_sparsity:.1%}"))
    if view.learning_rate is not None:
        tiles.append(("learning rate", f"{view.learning_rate:.4g}"))
    inner = "".join(
        f'<div class="lk-tile"><b>{value}</b><span>{html.escape(name)}</span></div>' for name, value in tiles
    )
    return f'<div class="lk-tiles" style="margin-top:8px">{inner}</div>'


def _noise(view: RunView) -> str:
    """What batches of another size would cost; nothing where that can't be said."""
    found = noise.of_view(view)
    batch = view.plan.get("global_batch")
    if found is None or not isinstance(batch, int) or batch < 1:
        return ""
    return f'<div class="lk-note">{html.escape(f"{found}: {noise.costs(found, batch * view.accumulated)}")}</div>'


def _rate(view: RunView) -> float | None:
    if not view.done:
        return view.current_throughput
    times, samples = view.time, view.plan.get("samples")
    if len(times) < 2 or not samples or times[-1] <= times[0]:
        return view.current_throughput
    rates = view.throughput
    return float(sorted(rates)[len(rates) // 2]) if len(rates) else None


def workers(view: RunView) -> str:
    """The workers table: wanted, starting and training in words, then one line a worker."""
    counts = view.counts()
    words = " · ".join(f"{counts[name]} {name}" for name in ("wanted", "starting", "standby", "training"))
    if view.done:
        return '<div class="lk-note">No worker runs any more.</div>'
    if not view.workers:
        return f'<div class="lk-note">{words}</div>'
    cut = view.generations[-1].get("cut") if view.generations else None
    lines, speeds = [], view.per_rank_throughput
    by_host = any(worker.get("host", HERE) != HERE for worker in view.workers)
    for worker in view.workers[:WORKERS_SHOWN]:
        rank = worker.get("rank")
        share = cut[rank] if cut and rank is not None and rank < len(cut) else None
        lines.append([
            worker["worker"], *([worker.get("host") or "–"] if by_host else []), _state(worker),
            "–" if rank is None else rank,
            "–" if share is None else share, number(None if rank is None else speeds.get(rank), 0),
            size(worker.get("memory_bytes")), worker.get("pid") or "–",
        ])  # fmt: skip
    more = len(view.workers) - len(lines)
    tail = f'<div class="lk-note">and {more} more</div>' if more > 0 else ""
    columns = [
        "worker",
        *(["host"] if by_host else []),
        "state",
        "rank",
        "per-rank batch",
        "samples/s",
        "memory",
        "process",
    ]
    first = 2 + by_host
    return f'<div class="lk-note">{words}</div>{table(columns, lines, numbers=tuple(range(first, first + 5)))}{tail}'


def _state(worker: dict[str, Any]) -> Markup:
    """Its state, and how it is made slow for a lesson."""
    slowed = worker.get("slowed") or {}
    told = [f"×{slowed['factor']:g} as slow"] if "factor" in slowed else []
    told += [f"waits {slowed['data_seconds']:g} s for data"] if "data_seconds" in slowed else []
    return Markup(chip(worker["state"]) + (f" made slow: {html.escape(', '.join(told))}" if told else ""))


def incidents(view: RunView) -> str:
    """The last incidents, warnings and changes of the ring, one line each, newest first."""
    lines = [(event["time"], "lost", _incident(event)) for event in view.incidents]
    lines += [(event["time"], "warning", event["text"]) for event in view.warnings]
    lines += [(event["time"], "ring", _generation(event)) for event in view.generations[1:]]
    lines += [
        (
            event["time"],
            "refused",
            f"{event.get('verb', 'request')}: {event.get('cause') or 'not possible now'}",
        )
        for event in view.requests
        if event.get("accepted") is False
    ]
    lines.sort(key=lambda line: -line[0])
    if not lines:
        return ""
    items = [
        f'<li><span class="lk-note">{time.strftime("%H:%M:%S", time.localtime(when))} {kind}</span> '
        f"{html.escape(text)}</li>"
        for when, kind, text in lines[:INCIDENTS_SHOWN]
    ]
    more = len(lines) - len(items)
    tail = f'<li class="lk-note">and {more} earlier ones in the log</li>' if more > 0 else ""
    return f'<div class="lk-note">What happened</div><ul class="lk-incidents">{"".join(items)}{tail}</ul>'


def _incident(event: dict[str, Any]) -> str:
    rank = event.get("rank")
    if event.get("worker") is None:  # a whole host
        return str(event["what"])
    who = f"worker {event.get('worker')}" + (f" (rank {rank})" if rank is not None else "")
    return f"{who}: {event['what']}"


def _generation(event: dict[str, Any]) -> str:
    count = event["world_size"]
    text = f"from step {event['step']:,} on {count} worker{'' if count == 1 else 's'}"
    if event.get("cause"):
        text += f": {event['cause']}"
    if event.get("seconds") is not None:
        text += f"; training paused {event['seconds']:.2f} s"
    return text


def cut_bar(parts: tuple[int, ...]) -> Markup:
    """A global batch as a bar, one piece a rank, as long as its share."""
    total = sum(parts) or 1
    pieces = (
        (part, f"rank {rank}: {part} samples", str(part) if part / total > 0.055 else "")
        for rank, part in enumerate(parts)
    )
    return bar(f"parts of the global batch: {list(parts)}", pieces)
