"""The compression job: the variants asked for, or a search among them, in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lepton_kit.deploy.report.bench import Bench
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.goal import Goal
from lepton_kit.deploy.report.job_file import Job, Record
from lepton_kit.deploy.report.search import (
    Outcome,
    Probe,
    Trunk,
    choose,
    nearest,
    next_trunks,
    trunks,
    why_skip,
)
from lepton_kit.errors import CompressionError
from lepton_kit.processes.isolated import Call, fork_call, load_tensorflow
from lepton_kit.rundir import RunPaths, Status, read_requests

CANCELLED = "the compression was cancelled"
LOOK_SECONDS = 0.1
"""A client's request waits at most so long."""


def search(bench: Bench, goal: Goal) -> tuple[str | None, list[dict[str, Any]]]:
    """Run the search for a goal on a bench; the name of the winner and what was decided on the way.

    The winner is chosen by the final timing, in which all variants ran interleaved.
    """
    job = bench.job
    space = trunks(job.structured, job.sparsity)
    seen: list[Outcome] = []
    trail: list[dict[str, Any]] = []
    probe = _probe(bench, goal, trail)
    while batch := next_trunks(space, seen, goal, refine=job.refine, lanes=bench.lanes, probe=probe):
        bench.train(batch, job.quantize)
        for trunk in batch:
            bench.variants(trunk, job.quantize)
            outcome = _judge(bench, trunk, goal)
            seen.append(outcome)
            trail.append(
                {
                    "trunk": trunk.name or "as it came",
                    "drops": dict(outcome.drops),
                    "costs": dict(outcome.costs),
                    "inside": sorted(outcome.inside(goal)),
                }
            )
        if not seen[0].costs:
            break
    tried = {outcome.trunk for outcome in seen}
    for trunk in space if goal.is_bound else ():
        if trunk not in tried:
            reason = why_skip(trunk, seen, goal)
            trail.append({"trunk": trunk.name, "skipped": reason or "the model could not be converted"})
    bench.control()
    bench.time()
    best = choose(bench.rows, goal)
    return best, [*trail, {"best": best, "ended": _ended(bench, goal, best, trail)}]


def _probe(bench: Bench, goal: Goal, trail: list[dict[str, Any]]) -> Probe:
    """What number formats cost with a share of channels removed, each share looked at once and noted in the trail."""
    known: dict[float, dict[str, float]] = {}

    def probe(share: float) -> dict[str, float]:
        if share in known:
            return known[share]
        step: dict[str, Any] = {"probe": Trunk(share).name}
        try:
            known[share] = bench.probe(share, bench.job.quantize, goal.limited)
        except CompressionError as failure:  # channels can't be removed from this model
            known[share] = {}
            step["failed"] = str(failure).splitlines()[0]
        meets = sorted(name for name, cost in known[share].items() if cost <= goal.limit)
        trail.append({**step, "costs": known[share], "inside": meets})
        return known[share]

    return probe


def _ended(bench: Bench, goal: Goal, best: str | None, trail: list[dict[str, Any]]) -> str:
    """How a search ended, in words: its winner, or what came nearest and why nothing came nearer."""
    if best is not None:
        what = "the cheapest variant that" if goal.is_bound else "the best score with"
        return f"{best} is {what} {goal.told()}"
    near = nearest(bench.rows, goal)
    if near is None:
        return f"no variant could be measured for {goal.told()}"
    told = f"no variant {'' if goal.is_bound else 'has '}{goal.told()}; the nearest is {near[0]}: {goal.told(near[1])}"
    probed = [
        (cost, step["probe"], name)
        for step in trail
        if "probe" in step
        for name, cost in step["costs"].items()
    ]
    failed = next((step["failed"] for step in trail if "failed" in step), None)
    if not probed:
        return told if failed is None else f"{told}; no channels could be removed: {failed}"
    least, trunk, name = min(probed)
    if least > goal.limit:
        return f"{told}; before training, {trunk}+{name} would still have {goal.told(least)}"
    return f"{told}; {trunk}+{name} promised {goal.told(least)} before it was trained"


def _judge(bench: Bench, trunk: Trunk, goal: Goal) -> Outcome:
    rows = [
        row
        for row in bench.rows
        if row.runtime == "LiteRT"
        and (row.structured, row.sparsity) == (trunk.structured, trunk.sparsity)
        and not row.error
    ]
    timed = {row.name: row for row in bench.quick([*rows, *(r for r in bench.rows if r.name == "float32")])}
    reference = timed.get("float32")
    drops, costs = {}, {}
    for row in rows:
        cost = goal.cost_of(timed[row.name], reference) if reference else None
        lost = row.get("lost")
        if cost is not None and lost is not None:
            drops[row.precision], costs[row.precision] = lost, cost
    return Outcome(trunk, drops, costs)


def run_job(job: Job, call: Call, tell: Callable[[str], None] = lambda text: None) -> ReportCard:
    """Do the whole job and save the card in its folder."""
    bench = Bench(job, call, tell)
    bench.float_model()
    bench.control_run()
    best: str | None = None
    trail: list[dict[str, Any]] = []
    if job.goal is not None:
        best, trail = search(bench, job.goal)
    else:
        wanted = trunks(job.structured, job.sparsity)
        bench.train(wanted, job.quantize)
        for trunk in wanted:
            bench.variants(trunk, job.quantize)
        bench.control()
        bench.time()
    bench.on_gpu()
    card = bench.card(best, trail)
    card.save(bench.folder)
    shutil.rmtree(bench.work)
    if Path(job.data).parent == bench.folder / "input":
        shutil.rmtree(job.data)
    return card


def main(path: str) -> int:
    """``python -m lepton_kit.deploy.report.job job.json``: a driver as a run has one, in the job's folder."""
    job = Job.load(path)
    record = Record(RunPaths(Path(job.folder)))
    record.status(Status.STARTING)
    threading.Thread(target=_obey, args=(record,), daemon=True).start()
    record.tell("loading TensorFlow")
    load_tensorflow()
    record.status(Status.RUNNING)
    try:
        run_job(job, fork_call, record.tell)
    except Exception as failure:
        record.status(Status.FAILED, str(failure), type(failure).__name__)
        return 1
    record.status(Status.FINISHED)
    return 0


def _obey(record: Record) -> None:
    """Do what clients ask for until the process ends: it can be stopped, with all that it has started."""
    while True:
        requests, _ = read_requests(record.paths)
        for request in requests:
            stops = request.verb == "stop"
            record.request(
                request.verb, request.id, stops, None if stops else "a compression can only be stopped"
            )
            if stops and record.status(Status.STOPPED, CANCELLED):
                os.killpg(0, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # last, where a model's own modules may lie
    sys.exit(main(sys.argv[1]))
