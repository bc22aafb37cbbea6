"""Unequal workers: an equal cut, `weights="auto"`, and the best fixed cut that a sweep finds, side by side.

    python benchmarks/unequal.py [--seconds 6] [--shares 7]

One of two, or of three, workers is slowed three times (`run.slow_down`), or none is. Printed are samples/s, the ratio of auto to the
best fixed cut, and the seconds from the change to the first report within 5 % of what auto settles at. Then the slowed worker
becomes fast again. A busy machine makes its own unequal workers: compare ratios, on a quiet one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

import numpy as np
from kinds import keras_model, samples

BATCH = 240
FACTOR = 3.0


def start(workers: int, weights: Any, folder: str) -> Any:
    """A run that trains without end."""
    import keras

    import lepton_kit as lk

    model = keras_model("mlp")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss)
    data = lk.data.arrays(*samples("mlp"), validation_split=0)
    run = lk.launch(
        model, data, workers=workers, threads=1, weights=weights, global_batch=BATCH, epochs=1_000_000, log_seconds=0.25,
        runs_dir=folder,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while run.view().step < 50:
        if not run.alive or time.monotonic() > deadline:
            raise SystemExit(f"{run.id}: {run.status}: {run.cause}")
        time.sleep(0.05)
    return run


def rate(run: Any, seconds: float) -> float:
    """Samples/s from now on for so long."""
    before = run.view().step, time.perf_counter()
    time.sleep(seconds)
    return float((run.view().step - before[0]) * BATCH / (time.perf_counter() - before[1]))


def settled(run: Any, since: float, reached: float) -> float:
    """Seconds from a moment (of the log's clock) to the first report within 5 % of a rate."""
    view = run.view()
    times = {int(step): float(t) for step, t in zip(view.steps + 1, view.time, strict=True)}
    for step, found in zip(view.report_steps.array, view.throughput, strict=True):
        if times.get(int(step), 0.0) > since and found >= 0.95 * reached:
            return times[int(step)] - since
    return float("nan")


def fixed(workers: int, share: float, slow: bool, seconds: float, folder: str) -> float:
    """Samples/s where the last worker has this share of each batch."""
    rest = (1.0 - share) / (workers - 1)
    run = start(workers, [rest] * (workers - 1) + [share], folder)
    try:
        if slow:
            run.slow_down(workers - 1, FACTOR)
        time.sleep(1.0)
        return rate(run, seconds)
    finally:
        run.stop().wait()


def situation(workers: int, slow: bool, seconds: float, shares: int, folder: str) -> str:
    """A row of the table."""
    equal = fixed(workers, 1.0 / workers, slow, seconds, folder)
    sweep = np.linspace(1.0 / workers, 0.15 / workers, shares)[1:] if slow else []
    found = {1.0 / workers: equal} | {
        float(x): fixed(workers, float(x), slow, seconds, folder) for x in sweep
    }
    best = max(found, key=found.__getitem__)
    run = start(workers, "auto", folder)
    try:
        changed = time.time()
        if slow:
            run.slow_down(workers - 1, FACTOR)
        time.sleep(max(6.0, seconds))
        auto = rate(run, seconds)
        took = settled(run, changed, auto) if slow else 0.0
        recuts, back = len(run.view().recuts), float("nan")
        if slow:
            run.slow_down(workers - 1, 1.0)
            again = time.time()
            time.sleep(max(6.0, seconds))
            back = settled(run, again, rate(run, seconds))
    finally:
        run.stop().wait()
    name = f"{workers}, one {FACTOR:g} x slower" if slow else f"{workers}, equal"
    return (
        f"| {name} | {equal:,.0f} | {auto:,.0f} | {found[best]:,.0f} | {best:.2f} | {auto / found[best]:.2f} | {auto / equal:.2f} "
        f"| {took:.1f} | {back:.1f} | {recuts} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--shares", type=int, default=7, help="fixed cuts that are tried")
    options = parser.parse_args()
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    print(
        "| workers | equal cut | auto | best fixed cut | its share | auto / best | auto / equal | s to it | s back | recuts |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="lepton-unequal-") as folder:
        for workers, slow in ((2, True), (3, True), (2, False)):
            print(situation(workers, slow, options.seconds, options.shares, folder), flush=True)
    print(f"\nsamples/s, measured; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
