"""Listing a folder of many ended runs: from their small status files, against reading configuration and log of each.

    python benchmarks/runs.py [--runs 2000] [--steps 2000]

Each run has a log of so many steps, in reports of 50. Both ways take turns on the same folder; printed are the medians
in seconds of three rounds and their ratio, and of the first way how many of them the processor worked, which other work
on the machine does not change. The second is what a run has to be read by that an older version has
trained, or whose log has grown since. Beside them stands what no list can do without: naming the folder's entries and
reading one small file of each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import lepton_kit as lk
from lepton_kit.config import RunConfig
from lepton_kit.rundir import EventLog, RunPaths, Status
from lepton_kit.runtime.reports import Ledger

REPORT = 50
CONFIG = RunConfig.from_dict(
    {
        "model": {"kind": "lepton", "input_shape": [28, 28, 1], "num_classes": 10},
        "data": {"kind": "sample", "name": "digits"},
    }
)


def log_of(folder: Path, steps: int) -> str:
    """The text of a log with so many steps."""
    path = folder / "events.jsonl"
    log = EventLog(path)
    log.append("status", status="running", cause=None, driver_pid=1)
    for first in range(0, steps, REPORT):
        log.append(
            "steps", generation=1, first=first, last=first + REPORT, world_size=2, loss=[0.5] * REPORT,
            metrics={"accuracy": 0.9}, seconds=0.1, busy=[0.1, 0.1], samples=[3200, 3200],
            fed=[128] * REPORT, checksum=[2**40] * REPORT, learning_rate=0.001,
        )  # fmt: skip
    log.close()
    return path.read_text(encoding="utf-8")


def make(folder: Path, number: int, text: str) -> None:
    paths = RunPaths(folder / f"run-{number:05d}")
    paths.create()
    paths.config.write_text(CONFIG.to_yaml(), encoding="utf-8")
    paths.events.write_text(text, encoding="utf-8")


def end(paths: RunPaths) -> None:
    """End it as a driver does."""
    ledger = Ledger(paths, EventLog(paths.events), workers=2)
    ledger.end(Status.FINISHED, None)


def listed(folder: Path) -> tuple[float, float]:
    """Seconds until the table is there, and seconds of the processor."""
    start, worked = time.perf_counter(), time.process_time()
    table = lk.runs(folder).table()
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    assert set(table["status"]) == {"finished"}
    return seconds, worked


def bare(folder: Path) -> float:
    """Seconds to name the runs and to read and decode one small file of each."""
    start = time.perf_counter()
    found = [json.loads((entry / "status.json").read_bytes()) for entry in sorted(folder.iterdir())]
    seconds = time.perf_counter() - start
    assert found
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as name:
        new, old = Path(name) / "new", Path(name) / "old"
        text = log_of(Path(name), options.steps)
        for folder in (new, old):
            folder.mkdir()
            for number in range(options.runs):
                make(folder, number, text)
                end(RunPaths(folder / f"run-{number:05d}"))
        for file in old.glob("*/status.json"):
            state = json.loads(file.read_text(encoding="utf-8"))
            del state["summary"]
            file.write_text(json.dumps(state), encoding="utf-8")
        rounds = [(listed(new), listed(old)[0], bare(new)) for _ in range(3)]
    worked = statistics.median(fast[1] for fast, _, _ in rounds)
    seconds = [(fast[0], slow, least) for fast, slow, least in rounds]
    fast, slow, least = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratio, over = (
        statistics.median(ratios) for ratios in zip(*((b / a, a / c) for a, b, c in seconds), strict=True)
    )
    print(f"{options.runs} runs of {options.steps} steps: {fast:.2f} s from the status files, of which the")
    print(
        f"processor worked {worked:.2f} s, and {slow:.2f} s from configurations and logs, {ratio:.0f} times as long;"
    )
    print(
        f"the status files alone take {least:.2f} s, so the list takes {over:.1f} times what no list can do without"
    )


if __name__ == "__main__":
    main()
