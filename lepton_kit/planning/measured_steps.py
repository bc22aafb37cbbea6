"""What the log of a run says of its steps: seconds and their parts, for each number of workers and hosts that it had."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lepton_kit.hosts import HERE
from lepton_kit.planning.estimating import Row
from lepton_kit.planning.scaling import LONGEST_BLOCK, LOOPBACK, Link, Setting, wire_bytes

UNEQUAL = 1.1
"""Ranks whose part of a step is so many times the mean were given unequal ones; the law is of equal parts."""
ENOUGH = 3
"""Reports of whole batches alone; of fewer a median says little."""
MAD, OF_MEDIAN = 1.4826, 1.2533
"""Of normal values the deviation is so many median distances from the median, and the median scatters so much more than the mean."""
PARTS = {"compute": "busy", "data": "data", "wait": "waited"}

Ring = tuple[int, tuple[str, ...], bool]
"""The number of workers, the hosts that they are on, and whether all of them are in Horovod's ring."""


@dataclass(frozen=True)
class Told:
    """What a log tells: measured steps, its ``plan`` event, and the median seconds of an epoch beside its steps, if known."""

    rows: tuple[Row, ...]
    facts: Mapping[str, Any]
    beside: float | None


@dataclass(frozen=True)
class _Report:
    seconds: float
    steps: int
    parts: Mapping[str, float]
    whole: bool = True
    validated: bool = False


def read(
    events: Iterable[Mapping[str, Any]], places: int, link: Link | None = None, wire: str = "float32"
) -> Told:
    """Measured steps from a run's events, for hosts that compute with ``places`` workers at full speed.

    Passed over are the first report of a ring, which holds what is made at the first step of a shape, one after a
    pause, those of unequal parts, and if there are others those with a validation or an epoch's smaller last batch. Steps over several machines count only
    if their ``link`` is given. ``wire`` is what the run had.
    """
    facts: Mapping[str, Any] = {}
    hosts: dict[int, str] = {}
    found: dict[Ring, list[_Report]] = defaultdict(list)
    epochs: list[tuple[Ring, float]] = []
    ring: Ring | None = None
    whole, skip = False, True
    for event in events:
        match event.get("kind"):
            case "plan":
                facts = event
            case "workers":
                hosts |= {one["worker"]: one.get("host") or HERE for one in event["workers"]}
            case "generation":
                names = sorted({hosts.get(worker, HERE) for worker in event["ranks"]})
                flat = len(event["ranks"]) > 1 and event.get("collective") == "horovod"
                ring, whole, skip = (len(event["ranks"]), tuple(names), flat), False, True
            case "status" if event["status"] == "paused":
                whole, skip = False, True
            case "steps" if ring is not None:
                if not skip and not _unequal(event["samples"]):
                    found[ring].append(_report(event, facts.get("global_batch", 0)))
                skip = False
            case "epoch" if ring is not None:
                if event.get("validation") is not None and found[ring]:
                    found[ring][-1] = replace(found[ring][-1], validated=True)
                if whole:  # the ring was the same since the epoch before
                    epochs.append((ring, event["seconds"]))
                whole = True
    rows: dict[Ring, Row] = {}
    for ring, reports in found.items():
        setting = _setting(facts, ring, places, link)
        if reports and setting is not None:
            setting = replace(setting, wire_bytes=wire_bytes(wire))
            rows[ring] = row(_typical(reports), setting)
    steps = facts.get("steps_per_epoch", 0)
    beside = [seconds - steps * rows[ring].seconds for ring, seconds in epochs if ring in rows]
    return Told(tuple(rows.values()), facts, max(0.0, statistics.median(beside)) if beside else None)


def row(reports: Sequence[_Report], setting: Setting) -> Row:
    """The median step, each report weighted by its steps; parts keep their share of all the time."""
    each = [(one.seconds / one.steps, one.steps) for one in reports]
    step = _median(each)
    away = _median([(abs(seconds - step), steps) for seconds, steps in each])
    seconds = sum(one.seconds for one in reports)
    names = reports[0].parts if all(one.parts for one in reports) else ()
    parts = {name: sum(one.parts[name] for one in reports) / seconds * step for name in names}
    return Row(setting, step, parts, OF_MEDIAN * MAD * away / step / len(each) ** 0.5)


def _typical(reports: Sequence[_Report]) -> Sequence[_Report]:
    """Those of steps alone, if there are any, and among these those of whole batches, if there are enough.

    An epoch's last batch may be a smaller one, for which a graph is made when it first comes.
    """
    trained = [one for one in reports if not one.validated] or reports
    whole = [one for one in trained if one.whole]
    return whole if len(whole) >= ENOUGH else trained


def _report(event: Mapping[str, Any], batch: int) -> _Report:
    parts: dict[str, float] = {}
    if "data" in event:  # logs of earlier versions have no parts
        parts = {name: statistics.fmean(event[told]) for name, told in PARTS.items()}
        parts["communicate"] = event["communicated"]
    steps = event["last"] - event["first"]
    return _Report(max(event["seconds"], 1e-9), steps, parts, whole=sum(event["samples"]) >= steps * batch)


def _median(weighted: Sequence[tuple[float, int]]) -> float:
    half, passed = sum(weight for _, weight in weighted) / 2, 0.0
    for value, weight in sorted(weighted):
        passed += weight
        if passed >= half:
            return value
    raise ValueError("nothing to take the median of")


def _unequal(samples: Sequence[int]) -> bool:
    return max(samples) > UNEQUAL * sum(samples) / len(samples) + 1.0


def _setting(facts: Mapping[str, Any], ring: Ring, places: int, link: Link | None) -> Setting | None:
    workers, names, flat = ring
    several = len(names) > 1
    together = several and all(name.partition("/")[0] == HERE for name in names)
    if not facts or (several and not together and link is None):
        return None
    return Setting(
        workers=workers,
        batch=facts["global_batch"],
        places=places,
        hosts=len(names),
        link=link if several and link is not None else LOOPBACK,
        together=together,
        longest_block=max(1, min(LONGEST_BLOCK, facts["steps_per_epoch"])),
        flat=flat,
    )
