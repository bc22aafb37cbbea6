"""A run as a job of Slurm: what it asks for, the batch script in its folder, and its place in the queue."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from typing import Any, Self

import pydantic
from pydantic import Field, PositiveInt

from lepton_kit.config import RunSettings, in_words
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import RunPaths, Status
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.runtime.hosts.slurm import ask
from lepton_kit.specs import Settings

TIME = r"^(UNLIMITED|\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2})$"
"""Minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on, as sbatch takes them."""
OURS = (
    "signal",
    "output",
    "error",
    "open-mode",
    "requeue",
    "no-requeue",
    "no-kill",
    "wrap",
    "array",
    "parsable",
)
"""Options of sbatch on which a run's job depends."""


class SlurmJob(Settings):
    """What a run's job asks Slurm for.

    >>> SlurmJob(nodes=2, time="2:00:00").options(workers=3)[:3]
    ['--nodes=2', '--ntasks-per-node=2', '--time=2:00:00']
    """

    nodes: PositiveInt = Field(1, description="machines that the workers stand on")
    tasks_per_node: PositiveInt | None = Field(
        None, description="room for workers on each node; null: as many as the run's workers need"
    )
    cpus_per_task: PositiveInt | None = Field(
        None, description="cores of each worker; null: what Slurm gives"
    )
    gpus_per_node: PositiveInt | None = Field(None, description="GPUs on each node, one a worker")
    time: str | None = Field(None, pattern=TIME, description="time limit as sbatch takes it, such as 2:00:00")
    partition: str | None = Field(None, min_length=1, description="queue; null: the cluster's own choice")
    requeue: bool = Field(
        False, description="go on in the queue after a preemption, a lost node or the time limit"
    )
    grace_seconds: int = Field(
        120, ge=10, le=65535, description="before the time limit the run stops with a checkpoint, so long"
    )
    sbatch: tuple[str, ...] = Field((), description="further options of sbatch, such as --account=lab")

    @pydantic.field_validator("sbatch")
    @classmethod
    def _further(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            name = option.lstrip("-").partition("=")[0]
            if not option.startswith("-") or "\n" in option:
                raise ValueError("options that begin with -, such as --account=lab")
            if name in OURS:
                raise ValueError(f"none of {', '.join(OURS)}, which the run's job sets itself")
        return options

    @classmethod
    def read(cls, given: Mapping[str, Any] | Self) -> Self:
        """A job from a mapping of its settings. Raises `ConfigError` that names the first wrong one."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ConfigError("slurm", given=given, rule="settings of a job: {'nodes': 2, 'time': '1:00:00'}")
        try:
            return cls.model_validate(dict(given))
        except pydantic.ValidationError as failure:
            first = failure.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            rule = in_words(first["msg"])
            if first["type"] == "extra_forbidden":
                rule = f"one of {', '.join(cls.model_fields)}"
            elif field == "time":
                rule = "a time as sbatch takes it: minutes, 2:00:00, 1-12:00:00"
            raise ConfigError(f"slurm.{field}", given=first["input"], rule=rule) from None

    def room(self, workers: int) -> int:
        """Workers for which each node has room, if the run has so many altogether."""
        return self.gpus_per_node or self.tasks_per_node or -(-workers // self.nodes)

    def options(self, workers: int) -> list[str]:
        """What it asks for, as options of sbatch, for so many workers."""
        found = {
            "nodes": self.nodes,
            "ntasks-per-node": self.room(workers),
            "cpus-per-task": self.cpus_per_task,
            "gpus-per-node": self.gpus_per_node,
            "time": self.time,
            "partition": self.partition,
        }
        return [f"--{name}={value}" for name, value in found.items() if value is not None] + list(self.sbatch)


def workers_of(job: SlurmJob, config: RunSettings) -> int:
    """Places that a run needs in a job. Raises `ConfigError` where the job has no room for them."""
    count = config.workers.count
    if count == "auto":
        workers = job.nodes * job.room(max(job.nodes, config.workers.min_workers))
    else:
        workers = int(count) + config.workers.standby
    if workers > (room := job.nodes * job.room(workers)):
        rule = f"at most {room}: {job.nodes} nodes with room for {job.room(workers)} each, standby included"
        raise ConfigError("workers.count", given=workers, rule=rule)
    return workers


def script(job: SlurmJob, config: RunSettings, paths: RunPaths) -> str:
    """The batch script of a run: what it asks for, and the command that begins the run or goes on with it."""
    asked = [f"--job-name={config.name}", *job.options(workers_of(job, config))]
    asked += [f"--output={str(paths.logs).replace('%', '%%')}/slurm-%j.log", "--open-mode=append"]
    command = [sys.executable, "-P", "-m", "lepton_kit.cli", "resume", str(paths.root), "--foreground"]
    return "\n".join(
        [
            "#!/bin/bash",
            f"# The run {paths.id} as a job of Slurm. It can be submitted again: sbatch {shlex.quote(str(paths.job_script))}",
            *(f"#SBATCH {_quoted(one)}" for one in asked),
            "# A node that fails is a host that is lost: the others go on.",
            "#SBATCH --no-kill",
            "# Before the time limit the run stops with a checkpoint, as it does on scancel and preemption.",
            f"#SBATCH --signal=B:USR1@{job.grace_seconds}",
            f"#SBATCH {'--requeue' if job.requeue else '--no-requeue'}",
            "",
            "# The first time this begins the run, later it goes on from the last checkpoint.",
            f"exec {shlex.join(command)}",
            "",
        ]
    )


def _quoted(option: str) -> str:
    """An option on a line of sbatch, which knows quotes."""
    name, sign, value = option.partition("=")
    return option if not any(one.isspace() for one in value) else f'{name}{sign}"{value}"'


def enqueue(paths: RunPaths) -> str:
    """Submit the script in a run's folder and note its place in the queue; returns the job's id. Raises `RunError`."""
    number = ask("sbatch", "--parsable", str(paths.job_script)).strip().partition(";")[0]
    note_queued(paths, number)
    return number


def note_queued(paths: RunPaths, number: str) -> None:
    """Note that a run waits as a job; the first word of its driver replaces that."""
    state = {
        "status": Status.QUEUED,
        "cause": f"Slurm job {number}; `scancel {number}` takes it back",
        "driver_pid": None,
        "job": number,
    }
    write_atomically(paths.status, json.dumps(state))


def job_of(paths: RunPaths) -> str | None:
    """The job as which a run waits, by what stands in its folder; None if it does not wait."""
    try:
        state = paths.read_status()
    except RunError:
        return None
    return state.get("job") if state["status"] == Status.QUEUED else None


def check_turn(paths: RunPaths, environment: Mapping[str, str] = os.environ) -> None:
    """Raise `RunError` for a run that waits as another job than this process stands in: that one will begin it."""
    waiting = job_of(paths)
    if waiting is not None and waiting != environment.get("SLURM_JOB_ID"):
        raise RunError(
            f"{paths.id} waits as Slurm job {waiting}, which will begin it; `scancel {waiting}` takes it back"
        )


def requeue(paths: RunPaths, number: str) -> bool:
    """Put the job in which a run has stopped back into the queue, if it was submitted so. Slurm ends it at once."""
    if "Requeue=1" not in ask("scontrol", "show", "job", number, "--oneliner").split():
        return False
    note_queued(paths, number)
    ask("scontrol", "requeue", number)
    return True
