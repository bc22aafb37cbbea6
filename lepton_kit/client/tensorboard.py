"""Scalars of each rank for TensorBoard, written from a run's log; needs TensorFlow, and not the package of TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lepton_kit.errors import RunError, writing

NAME = "events.out.tfevents.0000000000.lepton"
"""One file a rank: written anew, it takes the place of the one before."""


def write_scalars(events: Iterable[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write ``rank-0``, ``rank-1``, … with each report's parts of the time and samples/s: see `Run.tensorboard`."""
    from tensorflow.core.framework.summary_pb2 import Summary
    from tensorflow.core.util.event_pb2 import Event
    from tensorflow.io import TFRecordWriter

    reports = [one for one in events if one["kind"] == "steps" and "data" in one]
    if not reports:
        raise RunError("no report tells where the time of its ranks went; a run tells once a second")
    written = []
    for rank in range(max(len(one["busy"]) for one in reports)):
        place = folder / f"rank-{rank}" / NAME
        with writing("folder", place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{NAME}.new")
        with TFRecordWriter(str(new)) as writer:
            writer.write(
                Event(wall_time=reports[0]["time"], file_version="brain.Event:2").SerializeToString()
            )
            for report in reports:
                if rank < len(report["busy"]):
                    values = [
                        Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(report, rank)
                    ]
                    event = Event(
                        wall_time=report["time"], step=report["last"], summary=Summary(value=values)
                    )
                    writer.write(event.SerializeToString())
        os.replace(new, place)
        written.append(place)
    return written


def _scalars(report: Mapping[str, Any], rank: int) -> Iterator[tuple[str, float]]:
    busy, seconds = report["busy"][rank], max(report["seconds"], 1e-9)
    if busy > 0:
        yield "workers/samples per second", report["samples"][rank] / busy
    for tag, taken in (
        ("data", report["data"][rank]),
        ("compute", busy),
        ("wait", report["waited"][rank]),
        ("communicate", report.get("communicated", 0.0)),
    ):
        yield f"workers/{tag} (part of the time)", min(1.0, taken / seconds)
