"""`submit`: a run begins as a job of a scheduler instead of at once; its folder, checks and log are the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from lepton_kit.client import jobs
from lepton_kit.client.jobs import SlurmJob
from lepton_kit.client.launch import Checked, Filling, from_config, plan
from lepton_kit.client.options import LaunchOptions
from lepton_kit.client.run import Run, open_run
from lepton_kit.config import RunConfig, RunSettings
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import SLURM
from lepton_kit.models import trust as trusted
from lepton_kit.rundir import RunPaths, Status
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.runtime.folder import begin


def submit(
    what: Any,
    data: Any = None,
    *,
    slurm: Mapping[str, Any] | SlurmJob,
    runs_dir: str | Path | None = None,
    trust: bool = False,
    dry_run: bool = False,
    **options: Unpack[LaunchOptions],
) -> Run:
    """Have a run trained as a job of Slurm; returns at once a run that is ``queued``.

    ``what`` is a model, with ``data`` and the options of `launch`; or a configuration or its file, of which the option
    ``workers`` alone may be another; or a `Run` that has not finished, which then goes on. ``slurm`` are settings of
    `SlurmJob`: ``{"nodes": 2, "time": "2:00:00"}``. Everything is checked as `launch` does, but for the nodes. The batch script
    ``job.sh`` lies in the run's folder; with ``dry_run`` it is written and not submitted. Raises what `launch` raises; then
    nothing is queued and no folder is left.
    """
    job = SlurmJob.read(slurm)
    if isinstance(what, Run):
        return _again(what, job, dry_run, options)
    settings: RunSettings
    if isinstance(what, str | Path | RunConfig):
        checked = _of_config(what, job, trust, options)
        settings, fill = checked.config, checked.store
    else:
        planned = plan(what, data, **{**options, **_hosts(job, options.get("hosts"))})
        settings, fill = planned.settings, planned.store
        if planned.session is not None:
            raise ConfigError(
                "spark", given="a session", rule="a master: a job does not begin in this process"
            )
    if settings.workers.driver is not None:
        rule = "null: the driver of a job stands on one of its nodes"
        raise ConfigError("driver", given=settings.workers.driver, rule=rule)
    return Run(begin(settings.name, runs_dir, _with_script(job, fill), _leave if dry_run else jobs.enqueue))


def _leave(paths: RunPaths) -> None:
    """Start nothing."""


def _of_config(what: Any, job: SlurmJob, trust: bool, options: Mapping[str, Any]) -> Checked:
    if unknown := sorted(set(options) - {"workers"}):
        raise ConfigError(
            unknown[0], given=options[unknown[0]], rule="in the configuration: workers alone is taken here"
        )
    config = what if isinstance(what, RunConfig) else RunConfig.load(what)
    changes: dict[str, Any] = {"workers.hosts": _hosts(job, config.workers.hosts or None)["hosts"]}
    if options.get("workers") is not None:
        changes["workers.count"] = options["workers"]
    jobs.workers_of(job, config.replace(**changes))
    base = Path.cwd() if isinstance(what, RunConfig) else Path(what).resolve().parent
    return from_config(config, base, trust=trust, changes=changes)


def _hosts(job: SlurmJob, given: Any) -> dict[str, Any]:
    """The hosts of a run that Slurm finds nodes for: on a single one the workers stand as they do without hosts."""
    found = [SLURM] if job.nodes > 1 else None
    if given is None or given in (SLURM, [SLURM]):
        return {"hosts": found}
    if all(getattr(host, "is_allocation", False) for host in given):
        return {"hosts": [host.model_dump() for host in given] if found else None}
    several = isinstance(given, list | tuple)
    told = ", ".join(str(getattr(host, "name", host)) for host in given) if several else given
    raise ConfigError("hosts", given=told, rule="none or slurm: Slurm says on which nodes a job stands")


def _with_script(job: SlurmJob, fill: Filling) -> Filling:
    def with_script(folder: Path) -> RunConfig:
        config = fill(folder)
        final = RunPaths(folder.with_name(folder.name.removeprefix(".")))
        write_atomically(RunPaths(folder).job_script, jobs.script(job, config, final))
        return config

    return with_script


def _again(run: Run, job: SlurmJob, dry_run: bool, options: Mapping[str, Any]) -> Run:
    """A run that is there goes on as a job, with the workers and hosts that it has."""
    if options:
        name = next(iter(options))
        raise ConfigError(
            name, given=options[name], rule="nothing: a run goes on with the settings that it has"
        )
    if run.alive or run.status in (Status.FINISHED, Status.QUEUED):
        raise RunError(f"{run.id} is {run.status}; a job goes on with runs that were stopped or interrupted")
    trusted.check(run.directory)
    hosts = run.config.workers.hosts
    if (hosts is None) != (job.nodes == 1) or not all(host.is_allocation for host in hosts or ()):
        rule = "1, for the run has no hosts" if hosts is None else "several, for the run has hosts of Slurm"
        raise ConfigError("slurm.nodes", given=job.nodes, rule=rule)
    write_atomically(run.paths.job_script, jobs.script(job, run.config, run.paths))
    if not dry_run:
        jobs.enqueue(run.paths)
    return run


def open_or_config(what: str, runs_dir: str | Path | None, *, trust: bool = False) -> Run | Path:
    """A configuration file, or the run that a text names."""
    return Path(what) if Path(what).is_file() else open_run(what, runs_dir, trust=trust)
