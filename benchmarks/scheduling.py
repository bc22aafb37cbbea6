"""The pool's way of sharing a machine against others, in a simulator on a trace of jobs.

    python benchmarks/scheduling.py [--trace philly.csv.gz] [--curves FOLDER] [--devices 64 512] [--seeds 6]

The load is that of the artifact of Pollux (Qiao et al., OSDI 2021): 160 jobs within 8 hours for each 64 devices, of
60 s or more and below 1,000 device hours, more of both for more devices. Without ``--trace`` jobs are drawn with the
published figures of the Philly trace, with it they are drawn from that file (by time of day, as the artifact does). Their
speed-ups are three made-up curves (`lepton_kit.planning.traces.CURVES`), or with ``--curves`` those measured for the artifact
(files MODEL.placements.csv and MODEL.scalability.csv), at a global batch of 64 times the smallest local one. Each change
of a job's devices costs it 30 s; the least time between two decisions is 1 s for each 64 devices, the longest 5 minutes.

- fifo, easy, las (like Tiresias): each job has the devices that the trace says.
- las tuned: like Tiresias, with a count at which its devices are used to 50 to 80 per cent, as the artifact tunes them.
- equal: equal shares for all. pool: `allocate`, as runs on a machine compute it. pool, sizes unknown: without knowing
  how much each has left; pool, suspending: it may take all devices away from a job again (both with 64 devices only).

Printed: mean and 99th percentile of the time from arrival to end; that mean beside las and las tuned; the use of the
devices while any job waits; by how much a job was slower than with an equal share that changes for nothing (worst, and
Jain's index of the inverse). At last the class: 30 small runs at once on 64 devices, beside the best fixed number of
devices in the best order.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lepton_kit.planning import policies
from lepton_kit.planning.simulator import Outcome, jain, simulate
from lepton_kit.planning.speedups import rates
from lepton_kit.planning.traces import Job, amdahl, philly_like, read_trace

JOBS, HOURS, DEVICES, FIRST_HOUR = 160, 8, 64, 2
PAUSE, LOOK = 30.0, 300.0
BATCHES = 64
APPLICATIONS = ((1, ("cifar10", "ncf")), (10, ("deepspeech2",)), (100, ("yolov3",)), (1000, ("imagenet",)))
"""Which model stands for jobs below so many device hours, as in the artifact."""
ARMS: Mapping[str, tuple[policies.Policy, bool]] = {
    "fifo": (policies.fifo, False),
    "easy": (policies.easy_backfill, False),
    "las": (policies.least_attained_service, False),
    "las tuned": (policies.least_attained_service, True),
    "equal": (policies.equal_share, False),
    "pool": (policies.pool(PAUSE), False),
    "pool, sizes unknown": (policies.pool(PAUSE, sizes_known=False), False),
    "pool, suspending": (policies.pool(PAUSE, suspendable=True), False),
}


def measured_curves(folder: Path) -> dict[str, tuple[float, ...]]:
    """Speeds of models with 1 to 64 devices at one global batch, on as few nodes as possible."""
    found = {}
    for file in sorted(folder.glob("*.placements.csv")):
        name = file.name.partition(".")[0]
        times: dict[int, dict[int, tuple[int, float]]] = {}
        for row in [*_rows(file), *_rows(folder / f"{name}.scalability.csv")]:
            placed = row.get("placement")
            devices = sum(map(int, placed)) if placed else int(row["num_replicas"])
            nodes = len(placed) if placed else int(row["num_nodes"])
            known = times.setdefault(devices, {})
            batch = int(row["local_bsz"])
            if batch not in known or nodes < known[batch][0]:
                known[batch] = (nodes, float(row["step_time"]))
        whole = BATCHES * min(times[1])
        speeds = {
            n: max(whole / (-(-whole // (n * batch)) * seconds) for batch, (_, seconds) in known.items() if batch * n <= whole)
            for n, known in times.items()
            if n * min(known) <= whole
        }  # fmt: skip
        found[name] = rates(speeds, 64)
    return found


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def from_trace(
    everything: list[Job], count: int, curves: Mapping[str, tuple[float, ...]], seed: int
) -> list[Job]:
    """Jobs of a trace at their time of day, as Pollux's artifact draws them."""
    draw = random.Random(seed)
    fitting = []
    for job in everything:
        arrival = (job.arrival - FIRST_HOUR * 3600) % 86400
        hours = job.duration * job.devices / 3600
        if job.duration >= 60 and hours < 1000 and arrival < HOURS * 3600 and job.devices <= DEVICES:
            fitting.append((job, arrival, hours))
    jobs = []
    for number, (job, arrival, hours) in enumerate(draw.choices(fitting, k=count)):
        names = next(names for most, names in APPLICATIONS if hours < most)
        curve = curves[draw.choice(names)] if curves else job.curve
        jobs.append(replace(job, name=f"job-{number:05d}", arrival=arrival, curve=curve))
    return sorted(jobs, key=lambda job: (job.arrival, job.name))


def tuned(jobs: list[Job], devices: int, seed: int) -> list[Job]:
    """The same work, with a number of devices of which 50 to 80 per cent come out as speed."""
    draw = random.Random(seed)
    found = []
    for job in jobs:
        fine = [n for n in range(1, devices // 4 + 1) if 0.5 <= job.speed(n) / n <= 0.8]
        count = draw.choice(fine) if fine else 1
        found.append(replace(job, devices=count, duration=job.work / job.speed(count)))
    return found


def table(jobs_of: list[list[Job]], devices: int, seeds: int) -> None:
    load = statistics.mean(sum(j.duration * j.devices for j in jobs) for jobs in jobs_of) / (
        devices * HOURS * 3600
    )
    print(f"\n{devices} devices, {len(jobs_of[0])} jobs in {HOURS} h, offered load {load:.2f}, {seeds} draws")
    print(
        f"{'':>20} {'mean s':>9} {'p99 s':>9} {'/ las':>6} {'/ tuned':>8} {'used':>6} {'waiting':>8} {'worst':>7} {'Jain':>5}"
    )
    equal = [
        simulate(jobs, devices, policies.equal_share, pause=0.0, step=devices / DEVICES, look=LOOK)
        for jobs in jobs_of
    ]
    results: dict[str, list[Outcome]] = {}
    for name, (policy, retuned) in ARMS.items():
        if "," in name and devices > DEVICES:
            continue  # the same function once more
        began = time.perf_counter()
        results[name] = [
            simulate(
                tuned(jobs, devices, place) if retuned else jobs,
                devices,
                policy,
                pause=PAUSE,
                step=devices / DEVICES,
            )
            for place, jobs in enumerate(jobs_of)
        ]
        seconds = time.perf_counter() - began
        show(name, results, equal, seconds)


def show(name: str, results: dict[str, list[Outcome]], equal: list[Outcome], seconds: float) -> None:
    mine = results[name]
    mean = statistics.mean(one.mean for one in mine)
    beside = [mean / statistics.mean(one.mean for one in results[other]) if other in results else float("nan")
              for other in ("las", "las tuned")]  # fmt: skip
    waiting = [one.utilisation_waiting for one in mine if one.utilisation_waiting is not None]
    slower = [one.against(fair) for one, fair in zip(mine, equal, strict=True)]
    fair = statistics.mean(jain([1 / one for one in many]) for many in slower)
    print(
        f"{name:>20} {mean:9,.0f} {statistics.mean(one.percentile(0.99) for one in mine):9,.0f} {beside[0]:6.2f} {beside[1]:8.2f} "
        f"{statistics.mean(one.utilisation for one in mine):6.3f} {f'{statistics.mean(waiting):.3f}' if waiting else '-':>8} "
        f"{max(max(many) for many in slower):7.2f} {fair:5.2f}   ({seconds:.0f} s)",
        flush=True,
    )


def classroom(devices: int = 64, count: int = 30) -> tuple[float, float]:
    """Seconds until all of a class's runs are over: in a pool, and with the best fixed number of devices in the best order."""
    draw = random.Random(0)
    curve = amdahl(0.97, 0.0005)
    jobs = [
        Job(f"{k:02d}", draw.uniform(0, 10), draw.lognormvariate(5.0, 0.7), 1, curve) for k in range(count)
    ]
    pooled = simulate(jobs, devices, policies.pool(0.5), pause=0.5).makespan
    best = float("inf")
    for number in range(1, devices + 1):
        for order in (lambda job: job.arrival, lambda job: job.work, lambda job: -job.work):
            fixed = [replace(job, arrival=0.001 * place, devices=number, duration=job.work / job.speed(number))
                     for place, job in enumerate(sorted(jobs, key=order))]  # fmt: skip
            best = min(best, simulate(fixed, devices, policies.fifo, pause=0.0).makespan)
    return pooled, best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trace", type=Path, help="CSV of arrival, duration, devices, such as the Philly trace"
    )
    parser.add_argument("--curves", type=Path, help="folder with measured step times of models")
    parser.add_argument("--devices", type=int, nargs="+", default=[64, 512])
    parser.add_argument(
        "--seeds", type=int, default=6, help="draws of jobs for 64 devices; one for more devices"
    )
    options = parser.parse_args()
    curves = measured_curves(options.curves) if options.curves else {}
    everything = read_trace(options.trace) if options.trace else []
    for name, curve in curves.items():
        print(
            f"{name:>12}: with 4, 16, 64 devices {curve[3]:.1f}, {curve[15]:.1f}, {curve[63]:.1f} times as fast as with one"
        )
    for devices in options.devices:
        seeds = options.seeds if devices == DEVICES else 1
        count = JOBS * devices // DEVICES
        jobs_of = [
            from_trace(everything, count, curves, seed) if everything else philly_like(count, HOURS, seed)
            for seed in range(seeds)
        ]
        table(jobs_of, devices, seeds)
    pooled, best = classroom()
    print(
        f"\na class of 30 on 64 devices: {pooled:.0f} s in the pool, {best:.0f} s in the best fixed order: {pooled / best:.2f} x"
    )


if __name__ == "__main__":
    main()
