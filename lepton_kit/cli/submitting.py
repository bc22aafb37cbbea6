"""The verbs that hand a run over to a scheduler."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_kit.cli.runs import workers_of
from lepton_kit.rundir.paths import runs_folder

if TYPE_CHECKING:
    from lepton_kit.client.options import LaunchOptions

SETTINGS = ("nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "time", "partition", "grace_seconds")
"""Settings of a job that have an option of the same name."""


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Tell the parser of these verbs; ``verb(name, action, text, run=, reads=)`` makes one."""
    made = verb(
        "submit", submit, "Have a run trained as a job of Slurm; it begins when nodes are free.", reads=True
    )
    made.add_argument("config", help="YAML or JSON file; or a run that is to go on, by its id or folder")
    made.add_argument("--slurm", action="store_true", required=True, help="the scheduler")
    made.add_argument("--workers", help="instead of those that the file names")
    made.add_argument("--nodes", type=int, help="machines that the workers stand on (1)")
    made.add_argument("--tasks-per-node", type=int, help="room for workers on each; as many as are needed")
    made.add_argument("--cpus-per-task", type=int, help="cores of each worker")
    made.add_argument("--gpus-per-node", type=int, help="GPUs on each node, one a worker")
    made.add_argument("--time", help="limit, such as 2:00:00; the run stops with a checkpoint before it")
    made.add_argument("--partition", help="queue of the cluster")
    made.add_argument("--grace-seconds", type=int, help="before the limit, for that checkpoint (120)")
    made.add_argument(
        "--requeue", action="store_true", help="go on in the queue after a limit, a preemption, a lost node"
    )
    made.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="more for sbatch: --sbatch=--account=lab",
    )
    made.add_argument(
        "--dry-run", action="store_true", help="write the run's folder and script, submit nothing"
    )
    text = "Write a file with which Kubernetes or Ray runs a configuration. It was not run on either."
    made = verb("export-job", export_job, text)
    made.add_argument("config", help="YAML or JSON file")
    made.add_argument("scheduler", choices=("kubernetes", "ray"))
    made.add_argument("--output", help="the file to write; none prints it")
    made.add_argument("--image", help="kubernetes: the container image that has lepton_kit")
    made.add_argument("--claim", help="kubernetes: the volume claim that keeps the runs")
    made.add_argument("--memory", default="4Gi", help="kubernetes: of the pod")
    made.add_argument("--gpus", type=int, default=0, help="of the job")


def submit(options: argparse.Namespace) -> int:
    """Have a run trained as a job."""
    from lepton_kit.client.submitting import open_or_config, submit

    asked = {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    asked |= {"requeue": options.requeue, "sbatch": options.sbatch}
    more: LaunchOptions = {} if options.workers is None else {"workers": workers_of(options.workers)}
    what = open_or_config(options.config, options.runs_dir, trust=options.trust)
    run = submit(
        what, slurm=asked, runs_dir=options.runs_dir, trust=options.trust, dry_run=options.dry_run, **more
    )
    if options.json:
        about = {"id": run.id, "directory": str(run.directory), "script": str(run.paths.job_script)}
        print(json.dumps({**about, "status": run.status, "cause": run.cause}))
    elif options.dry_run:
        print(run.paths.job_script.read_text(encoding="utf-8"), end="")
        print(f"# not submitted: sbatch {run.paths.job_script}")
    else:
        print(f"{run.id}: {run.status} as {run.cause}")
    return 0


def export_job(options: argparse.Namespace) -> int:
    """Write a scheduler's file."""
    from lepton_kit.client import job_files
    from lepton_kit.config import RunConfig
    from lepton_kit.errors import ConfigError, writing

    config = RunConfig.load(options.config)
    if options.scheduler == "kubernetes":
        for name in ("image", "claim"):
            if getattr(options, name) is None:
                raise ConfigError(name, given=None, rule=f"--{name}: Kubernetes needs it")
        text = job_files.kubernetes(
            config, options.image, options.claim, memory=options.memory, gpus=options.gpus
        )
    else:
        runs = str(runs_folder(options.runs_dir))
        text = job_files.ray(config, Path(options.config), runs, gpus=options.gpus)
    if options.output is None:
        print(text, end="")
    else:
        with writing("--output", Path(options.output)):
            Path(options.output).write_text(text, encoding="utf-8")
    return 0
