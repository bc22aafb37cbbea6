"""Large models: how long training stands still when a worker joins and while a checkpoint is written, beside a plain copy.

    python benchmarks/elastic_large.py [MILLIONS ...]

Dense networks of so many million parameters (24 and 100; Adam, so the state has 12 bytes a parameter) grow from 2 to 3
workers and write checkpoints. Three workers on two cores take longer for a step than two, which is no standstill: what is told
of growth is beyond a step of the three. Needs up to 3.6 GB of memory a worker. The thread that writes a checkpoint has a low nice
value, which counts only under the usual policy of the scheduler.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from elastic import SETTLE_SECONDS, standstill, until

STEPS_AFTER = 8


def dense(millions: float) -> Any:
    """A dense network of about so many million parameters."""
    import keras

    width = round((millions * 1e6 / 4) ** 0.5)
    layers = [keras.layers.Dense(width, "relu") for _ in range(5)]
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *layers, keras.layers.Dense(10)])


def plain_copy(millions: float) -> float:
    """Seconds to copy a state of this size, in arrays of 4 million numbers, to memory that was not used before."""
    arrays = [np.ones(4_000_000, np.float32) for _ in range(round(3 * millions / 4))]
    start = time.perf_counter()
    copies = [array.copy() for array in arrays]
    seconds = time.perf_counter() - start
    assert len(copies) == len(arrays)
    return seconds


def large(millions: float, folder: Path) -> dict[str, Any]:
    """What a growth from 2 to 3 workers and a checkpoint beside training cost a large model; seconds and gigabytes."""
    import keras
    import psutil

    import lepton_kit as lk
    from lepton_kit.rundir import EventReader

    model = dense(millions)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    run = lk.launch(
        model, lk.data.sample("digits"), workers=2, standby=1, global_batch=12, epochs=1_000_000, log_seconds=0.01,
        checkpoint_seconds=15, hang_seconds=60, runs_dir=folder,
    )  # fmt: skip
    view = run.view

    def events(kind: str) -> list[dict[str, Any]]:
        return [event for event in EventReader(run.paths.events).poll() if event["kind"] == kind]

    def memory() -> float:
        return max(psutil.Process(worker["pid"]).memory_info().rss for worker in view().workers) / 1e9

    try:
        until(lambda: view().step > 0 or not run.alive, "the first step")
        until(lambda: view().counts()["standby"] == 1, "a standby")
        until(lambda: len(view().checkpoints) >= 2 or not run.alive, "two checkpoints")
        time.sleep(SETTLE_SECONDS)
        held = memory()
        asked, formed = time.time(), len(view().generations)
        run.scale(3)
        until(lambda: len(view().generations) > formed or not run.alive, "growth")
        first = view().step
        until(lambda: view().step > first + STEPS_AFTER or not run.alive, "steps of three")
        if not run.alive:
            raise SystemExit(f"the run ended: {run.cause}")
        times = [event["time"] for event in events("steps")]
        through = next(t for t in times if t > view().generations[-1]["time"])
        up = standstill(times, asked, through)
        formed_last = events("generation")[-1]
        parts = {"formed": formed_last["seconds"], **formed_last.get("parts", {})}
        parts["first step"] = next(
            event["seconds"] for event in events("steps") if event["generation"] == formed_last["generation"]
        )
        before = [b - a for a, b in itertools.pairwise(times) if b < asked]
        after = [b - a for a, b in itertools.pairwise(times) if a > through]
        saved = [event["time"] for event in events("checkpoint") if event["time"] < asked]
        beside = max(standstill(times, moment - 15.0, moment) for moment in saved[-1:])
    finally:
        run.stop()
        run.wait()
    step, step_of_three = float(np.median(before)), float(np.median(after))
    return {
        "step": step,
        "step of three": step_of_three,
        "2 -> 3 workers": up - step_of_three,
        "checkpoint": beside - step,
        "plain copy": plain_copy(millions),
        "GB a worker": held,
        "parts": parts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", nargs="*", type=float, default=[24.0, 100.0], help="parameters")
    options = parser.parse_args()
    print(
        "| million parameters | a step of two | of three | 2 to 3 workers | / plain copy | checkpoint | GB a worker "
        "| plain copy |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for millions in options.millions:
        with tempfile.TemporaryDirectory(prefix="lepton-elastic-") as folder:
            found = large(millions, Path(folder))
        ratio = found["2 -> 3 workers"] / found["plain copy"]
        print(
            f"| {millions:g} | {found['step']:.2f} | {found['step of three']:.2f} | {found['2 -> 3 workers']:.2f} "
            f"| {ratio:.1f} | {found['checkpoint']:.2f} | {found['GB a worker']:.2f} | {found['plain copy']:.2f} |",
            flush=True,
        )
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["parts"].items())
        print(f"{millions:g} million, where the growth's time went: {parts}", file=sys.stderr, flush=True)
    print(
        f"\nseconds beyond a step, measured; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    )


if __name__ == "__main__":
    main()
