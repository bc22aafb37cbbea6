"""`plan`: what a run would take with other workers, hosts, links and batches, from short runs or from a finished run's log."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from lepton_kit.client.given_data import as_dataset
from lepton_kit.client.launch import launch, launch_config
from lepton_kit.client.options import OF_DATA, SAME, LaunchOptions
from lepton_kit.client.options import read as read_options
from lepton_kit.client.plans.plan import Plan, block_of, read_noise
from lepton_kit.client.plans.runs import link_of, measure
from lepton_kit.client.run import Run, open_run
from lepton_kit.client.script import absolute
from lepton_kit.config import RunConfig, RunSettings
from lepton_kit.errors import ConfigError
from lepton_kit.hosts import HERE
from lepton_kit.machine.devices import usable_cores
from lepton_kit.planning.estimates import Estimate
from lepton_kit.planning.estimating import fit
from lepton_kit.planning.measured_steps import Told, read
from lepton_kit.planning.scaling import LOOPBACK, Setting, wire_bytes
from lepton_kit.rundir.events import EventReader
from lepton_kit.runtime.wishes import default_threads

MEASURED = (1, 2)
"""Numbers of workers that short runs have."""
SMALLER = 4
"""The second batch that is measured is so many times smaller, so that parts of many workers lie between what was measured."""
SHORTEST_BATCH = 8
FORWARD = 1 / 3
"""Of the computing of a step; the backward pass takes twice the forward pass (Kaplan et al. 2020, section 2.1)."""
OWN = ("workers", "epochs", "callbacks", "keep_best", "runs_dir", "name", "standby", "max_workers", "min_workers", "max_steps",
       "validation_freq", "batch_size", "hosts", "threads", "weights", "log_seconds", "checkpoint_seconds", "share", "priority", "spark",
       "driver", *SAME)  # fmt: skip
"""Options of a launch that short runs have of their own."""


def plan(
    what: Any,
    data: Any = None,
    *,
    measured: Sequence[int] | None = None,
    seconds: float = 1.0,
    link: Any = None,
    noise: Any = None,
    across: bool = False,
    trust: bool = False,
    tell: Callable[[str], Any] | None = None,
    **options: Unpack[LaunchOptions],
) -> Plan:
    """What training would take with any number of workers, hosts and samples a step, before it is paid for.

    ``what`` is a model (with ``data`` and options as `launch` takes them), a `RunConfig` or its file, or a run or its id. Of
    a run the log tells, if it has ended or not; of all others short runs do that are made now: one for each of two
    batches, with ``measured`` numbers of workers (1 and 2), ``seconds`` for each visit. ``across`` also measures what a sum
    between hosts costs, with two agents on this machine. ``link`` joins hosts, ``noise`` is the gradient noise scale in
    samples, from which epochs of other batches are told; of a run its own is taken. ``trust`` loads a configuration's own code (.pkl) though it comes
    from elsewhere, ``tell`` hears what is done. Raises what `launch` raises.
    """
    say = tell or (lambda _: None)
    joint = link_of(link)
    scale = read_noise(noise)
    _check(measured, seconds)
    if isinstance(what, Run) or (data is None and isinstance(what, str | Path) and not is_file(what)):
        run = what if isinstance(what, Run) else open_run(str(what), trust=trust)
        _refuse_beside_a_run({**options, **({} if data is None else {"data": data})})
        threads = run.config.workers.threads or default_threads(run.config)
        scale = scale or run.noise_scale()
        places = max(1, usable_cores() // threads)
        wire = run.config.workers.wire
        left_out: tuple[str, ...] = ()
        told = [read(EventReader(run.paths.events).stream(), places, joint, wire)]
        start = _starts_config(absolute(run.config, run.directory), Path(), {}, trust)
        if measured is None and not told[0].rows:
            raise ConfigError(
                "run",
                given=run.id,
                rule="one whose log tells of steps; measured=(1, 2) makes short runs of it",
            )
        base_workers = told[0].rows[-1].setting.workers if told[0].rows else 1
        epochs = run.config.training.epochs
        batch = run.config.training.global_batch
    else:
        told = []
        start, config = _asked(what, data, dict(options), trust)
        threads, wire = config.workers.threads or 1, config.workers.wire
        places = max(1, usable_cores() // threads)
        batch, epochs = config.training.global_batch, config.training.epochs
        base_workers = config.workers.count if isinstance(config.workers.count, int) else 1
        measured = measured or MEASURED
        left_out = _elsewhere(config)
    took = functools.partial(measure, start, places=places, seconds=seconds, threads=threads, wire=wire)
    if measured is not None:
        if max(measured) > batch:
            raise ConfigError(
                "measured", given=measured, rule=f"at most {batch}, one sample of the global batch each"
            )
        for size in _batches(batch, max(measured)):
            say(f"a short run with global batch {size} and {' and '.join(map(str, measured))} workers")
            told.append(took(batch=size, workers=measured))
    if across:
        say("a short run of two agents on this machine, for what sums between hosts cost")
        told.append(took(batch=batch, workers=(2,), across=True))
    base = Setting(
        workers=min(base_workers, batch), batch=batch, places=places, link=joint or LOOPBACK, wire_bytes=wire_bytes(wire)
    )  # fmt: skip
    return replace(_made(told, base, epochs, scale, threads), left_out=left_out)


def _made(told: Sequence[Told], base: Setting, epochs: int, noise: Estimate | None, threads: int) -> Plan:
    rows = [row for one in told for row in one.rows]
    facts = next((one.facts for one in told if one.facts), None)
    if not rows or facts is None:
        raise ConfigError("rows", given=0, rule="a measured step at least")
    law = fit(rows, int(facts["parameters"]))
    samples, held_out = int(facts["samples"]), int(facts.get("validation_samples") or 0)
    beside = next((one.beside for one in told if one.beside is not None), None)
    measured_epochs = beside is not None and len(told) == 1
    if not measured_epochs or beside is None:
        beside = FORWARD * law.costs["sample"] * held_out / min(base.workers, base.places)
    flat = any(row.setting.flat for row in rows)
    base = replace(base, longest_block=block_of(samples, base.batch), flat=flat)
    return Plan(law, rows, base, samples, epochs, beside, noise, threads)


def _elsewhere(config: RunConfig | RunSettings) -> tuple[str, ...]:
    """Where else workers are to stand: short runs are made on this machine alone."""
    if config.workers.spark is not None:
        return ("the executors of Spark",)
    return tuple(host.name for host in config.workers.hosts or () if host.name != HERE)


def _batches(batch: int, workers: int) -> list[int]:
    smaller = max(batch // SMALLER, min(batch, max(SHORTEST_BATCH, workers)))
    return [batch, smaller] if smaller < batch else [batch]


def is_file(what: Any) -> bool:
    """Whether it names the file of a configuration, rather than a run."""
    return str(what).endswith((".yaml", ".yml", ".json"))


def _check(measured: Sequence[int] | None, seconds: float) -> None:
    several = isinstance(measured, Sequence) and not isinstance(measured, str) and len(measured) > 0
    counts = measured if several and measured is not None else ()
    if measured is not None and (
        not counts or any(not isinstance(one, int) or isinstance(one, bool) or one < 1 for one in counts)
    ):
        raise ConfigError("measured", given=measured, rule="numbers of workers of at least 1, such as (1, 2)")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= 60:
        raise ConfigError("seconds", given=seconds, rule="above 0, at most 60")


def _refuse_beside_a_run(given: Mapping[str, Any]) -> None:
    if given:
        name, value = next(iter(given.items()))
        rule = (
            "nothing: a run has its own; another setting is asked of the plan, as plan.predict(workers=4, batch=64), "
            "and another run is planned from its model and data"
        )
        raise ConfigError(name, given=value, rule=rule)


def _asked(what: Any, data: Any, options: dict[str, Any], trust: bool) -> tuple[Any, RunConfig | RunSettings]:
    """How a short run of what is to be planned starts, and what it asks for."""
    if isinstance(what, RunConfig | str | Path):
        base = Path.cwd() if isinstance(what, RunConfig) else Path(what).resolve().parent
        config = what if isinstance(what, RunConfig) else RunConfig.load(what)
        return _starts_config(config, base, options, trust), config
    if data is None:
        raise ConfigError("data", given=None, rule="what launch takes: a Dataset, (x, y), a frame …")
    asked = read_options(options)
    settings, read = (
        asked.settings,
        as_dataset(data, asked),
    )  # once: a generator gives its samples a single time
    kept = {name: value for name, value in options.items() if name not in (*OWN, *OF_DATA)}

    def start(folder: Path, changes: Mapping[str, Any]) -> Run:
        return launch(what, read, runs_dir=folder, **(kept | dict(changes)))

    return start, settings


def _starts_config(config: RunConfig, base: Path, options: Mapping[str, Any], trust: bool) -> Any:
    """Starts short runs of a configuration."""
    if options:
        raise ConfigError(
            ", ".join(options),
            given="beside a configuration",
            rule="options stand in the configuration itself",
        )
    places = {"workers": "workers.count", "hosts": "workers.hosts", "threads": "workers.threads"}

    def start(folder: Path, changes: Mapping[str, Any]) -> Run:
        named: dict[str, Any] = {
            "training.callbacks": (),
            "training.keep_best": None,
            "training.max_steps": None,
        }
        named |= {
            "workers.hosts": None,
            "workers.spark": None,
            "workers.places": None,
            "workers.driver": None,
            "workers.min_workers": 1,
        }
        for name, value in changes.items():
            section = "" if name == "name" else "workers." if name in WORKERS else "training."
            named[places.get(name, section + name)] = value
        return launch_config(absolute(config, base).replace(**named), folder, trust=trust)

    return start


WORKERS = ("max_workers", "standby", "min_workers")
