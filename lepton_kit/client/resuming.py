"""A run that goes on: in a new driver, from its last checkpoint, and, if that is asked, with other workers on other hosts."""

from __future__ import annotations

from typing import Any

from lepton_kit.client import jobs
from lepton_kit.client.room import check, reach
from lepton_kit.client.spark import look_at
from lepton_kit.client.standing import StandingRun
from lepton_kit.config import RunConfig
from lepton_kit.data.frozen import open_frozen
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.hosts import read_hosts
from lepton_kit.models import footprint
from lepton_kit.models import trust as trusted
from lepton_kit.rundir import Status
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.rundir.trash import check_in_place
from lepton_kit.runtime.hosts.slurm import settled
from lepton_kit.runtime.spark.session import lend
from lepton_kit.runtime.start import start_driver

AS_IT_WAS = "as it was"
"""No host has such a name."""


def elsewhere(hosts: Any, workers: int | str | None) -> bool:
    """Whether a run shall go on with other hosts, or another number of workers, than it has."""
    return workers is not None or not (isinstance(hosts, str) and hosts == AS_IT_WAS)


def refuse_while_alive(run: StandingRun) -> None:
    """Raises `RunError`: the workers of a run that is under way stand where they stand."""
    verb = (
        "run.scale(n) changes their number"
        if not run.config.workers.hosts
        else "run.scale(n) takes more slots"
    )
    raise RunError(f"{run.id} is {run.status}; its hosts change while it is stopped: stop it first ({verb})")


def go_on(run: StandingRun, hosts: Any, workers: int | str | None, spark: Any) -> None:
    """Start a driver for a run that has none. Raises `ConfigError` or `RunError` before anything has changed."""
    check_in_place(run.paths)
    if run.status is Status.FINISHED:
        raise RunError(f"{run.id} has finished; there is nothing to resume")
    trusted.check(run.directory)
    jobs.check_turn(run.paths)
    config = moved(run, hosts, workers, spark) if elsewhere(hosts, workers) else run.config
    settled(config)  # says so at once where its hosts are an allocation and there is none
    if config.workers.spark is not None:
        look_at(config.workers.spark, spark)
    if config is run.config:
        start_driver(run.paths)
    else:
        _start_with(run, config)
    if spark is not None:
        lend(run.paths, spark)


def moved(run: StandingRun, hosts: Any, workers: int | str | None, spark: Any = None) -> RunConfig:
    """The configuration of a run with these hosts, None for this machine alone, and workers, if its data and model fit there.

    The number of workers is the last one that was granted, unless it is given. Speeds that were given for places are those
    of others now, so they no longer count. Raises `ConfigError` or `RunError` with what is wrong; starts nothing but a look
    at the hosts.
    """
    known = run.config.workers
    if known.driver is not None:
        raise RunError(
            f"{run.id}: its driver is on {known.driver}, and so are its checkpoints; its hosts stay as they are"
        )
    changes: dict[str, Any] = {"workers.count": workers if workers is not None else _granted(run)}
    if not (isinstance(hosts, str) and hosts == AS_IT_WAS):
        if spark is not None:
            raise ConfigError(
                "hosts", given=hosts, rule="nothing where there is a Spark session: its tasks are the places"
            )
        changes |= {"workers.hosts": None if hosts is None else read_hosts(hosts), "workers.spark": None}
        if hosts is not None:
            changes["workers.places"] = None  # they are of this machine
        if hosts is not None and known.allreduce == "shared_memory":
            changes["workers.allreduce"] = "auto"
        changes["workers.weights"] = known.weights if known.weights == "auto" else None
    elif isinstance(known.weights, tuple) and len(known.weights) != changes["workers.count"]:
        changes["workers.weights"] = None
    config = run.config.replace(**changes)
    if any(host.is_allocation for host in config.workers.hosts or ()):
        return config  # its nodes are looked at where they are found
    prepared = open_frozen(config, run.directory)
    each = footprint.estimated(config.model.model_dump(mode="json"), run.directory)
    check(config, prepared, each)
    reach(config, prepared, each)
    return config


def _granted(run: StandingRun) -> int | str:
    """The number of workers that the run was asked to have last."""
    config, view = run.config, run.view()
    asked = [
        one["workers"]
        for one in view.moves.standing(view.requests, config.workers.whereabouts)
        if one["verb"] == "scale" and one.get("accepted")
    ]
    granted: int | str = asked[-1] if asked else config.workers.count
    return granted


def _start_with(run: StandingRun, config: RunConfig) -> None:
    """Start a driver that finds this configuration in the run's folder; one that can't be started leaves the old one."""
    before = run.paths.config.read_text(encoding="utf-8")
    write_atomically(run.paths.config, config.to_yaml())
    try:
        start_driver(run.paths)
    except BaseException:
        write_atomically(run.paths.config, before)
        raise
    run.forget_config()
