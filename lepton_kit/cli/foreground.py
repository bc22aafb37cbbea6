"""A run that lives as long as the command that began it: what batch jobs and containers run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lepton_kit.client import jobs
from lepton_kit.processes.ends import Heard
from lepton_kit.rundir import Status, send_request

if TYPE_CHECKING:
    from lepton_kit.client.run import Run


def hold(begin: Callable[[], Run], follow: Callable[[Run, Callable[[], None]], int]) -> int:
    """Begin a run, or go on with one, and ``follow`` it to its end, calling what that is given now and then; SIGTERM stops it with a checkpoint, as ``interrupted``.

    Returns 0 if it finished or was stopped. In a job of Slurm that may be requeued, one that the time limit stops is, unless it
    has not trained a step in all its time: it would come back for ever.
    """
    heard = Heard()  # at once: the limit may be near before the run has begun
    run = begin()
    first, asked = run.view().step, False

    def look() -> None:
        nonlocal asked
        if heard.signals and not asked:
            asked = True
            send_request(run.paths, "interrupt")

    code = follow(run, look)
    job = os.environ.get("SLURM_JOB_ID")
    if run.status is Status.INTERRUPTED and signal.SIGUSR1 in heard.signals and job is not None:
        while run.alive:
            time.sleep(0.05)
        if run.view().step <= first:
            print(f"{run.id}: no step was trained before the time limit; job {job} ends", flush=True)
        elif jobs.requeue(run.paths, job):
            print(f"{run.id}: the time limit is near; job {job} is in the queue again", flush=True)
    return code
