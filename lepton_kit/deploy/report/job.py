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

from lepton_kit.compression.quantization.formats import PRECISIONS
from lepton_kit.deploy.report.bench import Bench
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.job_file import Job, Record
from lepton_kit.deploy.report.search import (
    Outcome,
    Trunk,
    choose,
    next_trunk,
    relative_cost,
    trunks,
    why_skip,
)
from lepton_kit.processes.isolated import Call, fork_call, load_tensorflow
from lepton_kit.rundir import RunPaths, Status, read_requests

CANCELLED = "the compression was cancelled"
LOOK_SECONDS = 0.1
"""A client's request waits at most so long."""


def needs_training(job: Job) -> bool:
    """Whether any variant is trained, so that a control has to stand beside it."""
    return bool(job.structured or job.sparsity or any(PRECISIONS[name].trained_bits for name in job.quantize))


def search(bench: Bench, max_drop: float) -> tuple[str | None, list[dict[str, Any]]]:
    """Run the search on a bench, for what may be lost; the name of the winner and what was decided on the way.

    The winner is chosen by the final timing, in which all variants ran interleaved.
    """
    job = bench.job
    space = trunks(job.structured, job.sparsity)
    seen: list[Outcome] = []
    trail: list[dict[str, Any]] = []
    while (trunk := next_trunk(space, seen, max_drop, job.cost, refine=job.refine)) is not None:
        bench.train(trunk)
        bench.variants(trunk, job.quantize)
        outcome = _judge(bench, trunk)
        seen.append(outcome)
        inside = outcome.inside(max_drop)
        trail.append(
            {"trunk": trunk.name or "as it came", "drops": dict(outcome.drops), "inside": sorted(inside)}
        )
        if trunk == Trunk() and not outcome.costs:
            break
    tried = {outcome.trunk for outcome in seen}
    for trunk in space:
        if trunk not in tried:
            reason = why_skip(trunk, seen, max_drop, job.cost)
            trail.append({"trunk": trunk.name, "skipped": reason or "the model could not be converted"})
    if len(tried) > 1 or any(PRECISIONS[name].trained_bits for name in job.quantize):
        bench.control()
    bench.time()
    return choose(bench.rows, job.cost, max_drop), trail


def _judge(bench: Bench, trunk: Trunk) -> Outcome:
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
        price = relative_cost(timed[row.name], reference, bench.job.cost) if reference else None
        lost = row.get("lost")
        if price is not None and lost is not None:
            drops[row.precision], costs[row.precision] = lost, price
    return Outcome(trunk, drops, costs)


def run_job(job: Job, call: Call, tell: Callable[[str], None] = lambda text: None) -> ReportCard:
    """Do the whole job and save the card in its folder."""
    bench = Bench(job, call, tell)
    bench.float_model()
    bench.control_run()
    if job.max_drop is not None:
        best, trail = search(bench, job.max_drop)
    else:
        best, trail = None, []
        wanted = trunks(job.structured, job.sparsity)
        for trunk in wanted:
            bench.train(trunk)
            bench.variants(trunk, job.quantize)
        if needs_training(job):
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
