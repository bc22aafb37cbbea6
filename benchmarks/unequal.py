"""Unequal workers: an equal cut, `weights="auto"`, and the best fixed cut that a sweep finds, side by side.

    python benchmarks/unequal.py [--seconds 3] [--rounds 6] [--shares 6] [--only 2-slow 3-slow 2-shared 2-back 2-equal] [--minutes 0]

One of two, or of three, workers is slowed three times (`run.slow_down`), one of two shares its core with a spinning process,
one that was slowed speeds up again, or none is slow. A sweep picks the fixed cut that is to be beaten; then it, the equal cut and auto take turns, each paused
while another trains, so that a change in the machine's speed meets all of them and no lucky reading wins. Printed are
medians of samples/s, ratios taken round by round with the interval of their median, for two workers auto against the sum of
both speeds, and the seconds from the change to the first report within 5 % of what auto settles at. With ``--minutes 10``
auto then trains alone for so long, and its changes of the cut are counted: a policy that swings makes many. A busy machine
makes its own unequal workers: compare ratios, on a quiet one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from kinds import keras_model, samples

BATCH = 240
FACTOR = 3.0
SITUATIONS = {"2-slow": 2, "3-slow": 3, "2-shared": 2, "2-back": 2, "2-equal": 2}
ALIKE = ("2-back", "2-equal")
"""In these an equal cut is the best in the end."""
SLOWED_SECONDS = 8.0
SPIN = "import os; os.sched_setaffinity(0, {{{0}}})\nwhile True: pass"


class Trained:
    """A run that trains without end, paused between its turns."""

    def __init__(self, workers: int, weights: Any, situation: str, folder: str):
        import keras

        import lepton_kit as lk

        model = keras_model("mlp")
        model.compile(
            keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        data = lk.data.arrays(*samples("mlp"), validation_split=0)
        self.run = lk.launch(
            model, data, workers=workers, threads=1, weights=weights, global_batch=BATCH, epochs=1_000_000, log_seconds=0.25,
            hang_seconds=300, runs_dir=folder,
        )  # fmt: skip
        self._until(lambda: self.run.view().step > 50)
        self.changed = time.time()
        if situation.endswith("slow"):
            self.run.slow_down(workers - 1, FACTOR)
        elif situation == "2-back" and weights == "auto":
            self.run.slow_down(workers - 1, FACTOR)
            time.sleep(SLOWED_SECONDS)
            self.run.slow_down(workers - 1, 1.0)
            self.changed = time.time()
        elif situation == "2-shared":
            for worker in self.run.view().workers:
                _pin(worker["pid"], sorted(os.sched_getaffinity(0))[worker["rank"]])

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            if not self.run.alive or time.monotonic() > deadline:
                raise SystemExit(f"{self.run.id}: {self.run.status}: {self.run.cause}")
            time.sleep(0.02)

    def hold(self) -> None:
        self.run.pause()
        self._until(lambda: self.run.status == "paused")

    def turn(self, seconds: float) -> float:
        """Samples/s over one turn, without the report that counts the pause."""
        start = self.run.view().step
        self.run.resume()
        self._until(lambda: self.run.view().step > start)
        time.sleep(seconds)
        self.hold()
        told = [one for one in self._told() if one["first"] >= start][1:]
        return float(sum(sum(one["samples"]) for one in told) / sum(one["seconds"] for one in told))

    def _told(self) -> list[dict[str, Any]]:
        """The reports of its log. The last batch of an epoch is a short one, so samples are counted and not steps."""
        from lepton_kit.rundir import EventReader

        return [one for one in EventReader(self.run.paths.events).poll() if one["kind"] == "steps"]

    def settled(self, reached: float) -> float:
        """Seconds from the change to the first report within 5 % of a rate."""
        for one in self._told():
            if one["time"] > self.changed and sum(one["samples"]) / one["seconds"] >= 0.95 * reached:
                return float(one["time"] - self.changed)
        return float("nan")

    def speeds(self) -> float:
        """The sum of what its workers could do if nobody held them up."""
        return sum(row.samples_per_second for row in self.run.view().ranks.times())

    def close(self) -> None:
        self.run.stop().wait()


def _pin(pid: int, core: int) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(thread), {core})


@contextlib.contextmanager
def rival(situation: str) -> Iterator[None]:
    """A process that spins on the core of the second worker, where the situation has one."""
    if situation != "2-shared":
        yield
        return
    core = sorted(os.sched_getaffinity(0))[1]
    process = subprocess.Popen([sys.executable, "-c", SPIN.format(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def fixed(workers: int, share: float) -> list[float]:
    """Weights where the last worker has this share."""
    return [(1.0 - share) / (workers - 1)] * (workers - 1) + [share]


def interval(ratios: list[float]) -> str:
    """The median, and the interval between the second lowest and the second highest (of six turns: 78 % of medians)."""
    ordered = sorted(ratios)
    low, high = (ordered[1], ordered[-2]) if len(ordered) > 3 else (ordered[0], ordered[-1])
    return f"{statistics.median(ordered):.2f} ({low:.2f}–{high:.2f})"


def best_fixed(workers: int, situation: str, options: argparse.Namespace, folder: str) -> float:
    """The share of the last worker with which one turn of a fixed cut is fastest."""
    found = {}
    for share in np.linspace(1.0 / workers, 0.1 / workers, options.shares)[1:]:
        trained = Trained(workers, fixed(workers, float(share)), situation, folder)
        trained.hold()
        found[float(share)] = trained.turn(options.seconds)
        trained.close()
    return max(found, key=found.__getitem__)


def measured(situation: str, options: argparse.Namespace, folder: str) -> str:
    """A row of the table."""
    workers = SITUATIONS[situation]
    equal = 1.0 / workers
    with rival(situation):
        best = equal if situation in ALIKE else best_fixed(workers, situation, options, folder)
        auto = Trained(workers, "auto", situation, folder)
        time.sleep(max(6.0, options.seconds))
        auto.hold()
        others = [Trained(workers, fixed(workers, share), situation, folder) for share in (equal, best)]
        for other in others:
            other.hold()
        rates: list[list[float]] = [[], [], []]
        for _ in range(options.rounds):
            for rate, one in zip(rates, (auto, *others), strict=True):
                rate.append(one.turn(options.seconds))
        for other in others:
            other.close()
        sum_of_speeds = auto.speeds() if workers == 2 else float("nan")
        found = statistics.median(rates[0])
        took = auto.settled(found) if situation != "2-equal" else 0.0
        recuts, minutes = len(auto.run.view().recuts), ""
        if options.minutes:
            auto.run.resume()
            time.sleep(60 * options.minutes)
            minutes = f", {len(auto.run.view().recuts) - recuts} more in {options.minutes:g} min"
        auto.close()
    against = [interval([a / b for a, b in zip(rates[0], other, strict=True)]) for other in rates[1:]]
    medians = [statistics.median(one) for one in rates]
    return (
        f"| {situation} | {medians[1]:,.0f} | {medians[0]:,.0f} | {medians[2]:,.0f} | {best:.2f} | {against[1]} | {against[0]} "
        f"| {found / sum_of_speeds:.2f} | {took:.1f} | {recuts}{minutes} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--shares", type=int, default=6, help="fixed cuts that are tried")
    parser.add_argument("--only", nargs="+", choices=list(SITUATIONS), default=list(SITUATIONS))
    parser.add_argument("--minutes", type=float, default=0.0, help="auto alone afterwards, to see it swing")
    options = parser.parse_args()
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    print(
        "| workers | equal cut | auto | best fixed cut | its share | auto / best | auto / equal | / sum of speeds | s to it | recuts |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="lepton-unequal-") as folder:
        for situation in options.only:
            print(measured(situation, options, folder), flush=True)
    print(f"\nsamples/s, measured; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
