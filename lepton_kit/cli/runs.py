"""The verbs that start, watch and steer runs."""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.errors import ConfigError

if TYPE_CHECKING:
    from lepton_kit.rundir import Status

NO_HOSTS = "none"


def run(options: argparse.Namespace) -> int:
    """Start the run of a configuration file."""
    from lepton_kit.client.launch import launch_config

    def begin() -> Any:
        return launch_config(
            options.config, options.runs_dir, trust=options.trust, hosts=options.hosts, spark=options.spark
        )

    if options.foreground:
        from lepton_kit.cli.foreground import hold

        return hold(begin, lambda run, look: follow(run, options.json, once=False, look=look))
    run = begin()
    if options.detach:
        print(json.dumps({"id": run.id, "directory": str(run.directory)}) if options.json else run.id)
        return 0
    return follow(run, options.json, once=False)


def spark_archive(options: argparse.Namespace) -> int:
    """Pack this environment, and say what to do with it."""
    from lepton_kit.runtime.spark.archive import how_to, pack

    size = pack(Path(options.file))
    print(f"{size / 1e6:.0f} MB")
    print(how_to(Path(options.file)))
    return 0


def open_run_of(options: argparse.Namespace) -> Any:
    """The run that the arguments name."""
    from lepton_kit.client.run import open_run

    return open_run(options.run, options.runs_dir, trust=getattr(options, "trust", False))


def watch(options: argparse.Namespace) -> int:
    """Follow a run, or show it once."""
    return follow(open_run_of(options), options.json, options.once)


def follow(run: Any, as_json: bool, once: bool, look: Callable[[], object] | None = None) -> int:
    """Print what happens to a run until it ends, and ``look`` after other things meanwhile; 1 if it failed."""
    from lepton_kit.rundir import Status

    live = sys.stdout.isatty() and not as_json
    shown = ""
    if not once and not as_json:
        print(f"{run.id} in {run.directory}")
    while True:
        if look is not None:
            look()
        status = run.status
        ended = status.is_over
        line = json.dumps(state(run, status)) if as_json else told(run, status)
        if line != shown and (live or ended or once or not as_json):
            print(
                f"\r\033[K{line}" if live else line,
                end="" if live and not (ended or once) else "\n",
                flush=True,
            )
            shown = line
        if ended or once:
            return 1 if status in (Status.FAILED, Status.INTERRUPTED) else 0
        time.sleep(0.2 if live else 1.0)


def told(run: Any, status: Status) -> str:
    """A run in one line."""
    from lepton_kit.rundir import Status
    from lepton_kit.rundir.told import describe

    return f"{status} · {run.cause}" if status == Status.QUEUED else describe(run.view(), status, run.cause)


def state(run: Any, status: str) -> dict[str, Any]:
    """A run as plain types."""
    view = run.view()
    return {
        "id": run.id,
        "directory": str(run.directory),
        "status": status,
        "cause": run.cause,
        "in_line": view.in_line,
        "step": view.step,
        "total_steps": view.total_steps,
        "loss": float(view.loss[-1]) if len(view.loss) else None,
        "epochs": view.epochs,
        "throughput": view.current_throughput,
        "eta_seconds": view.eta_seconds,
        "workers": view.counts(),
        "incidents": [incident["what"] for incident in view.incidents],
    }


def scale(options: argparse.Namespace) -> int:
    """Ask for another number of workers."""
    open_run_of(options).scale(workers_of(options.workers))
    return 0


def set(options: argparse.Namespace) -> int:
    """Change settings of a run."""
    changes = {"learning_rate": options.learning_rate, "log_seconds": options.log_seconds}
    open_run_of(options).set(**{name: value for name, value in changes.items() if value is not None})
    return 0


def slow(options: argparse.Namespace) -> int:
    """Make a worker slow, for a lesson."""
    run = open_run_of(options)
    if options.factor is None and options.data_seconds is None:
        raise ConfigError("slow", given="nothing", rule="--factor or --data-seconds")
    if options.factor is not None:
        run.slow_down(options.rank, options.factor)
    if options.data_seconds is not None:
        run.slow_data(options.rank, options.data_seconds)
    return 0


def workers(options: argparse.Namespace) -> int:
    """Print where the time of each worker goes, and which one holds the others up."""
    from lepton_kit.client.in_text import in_text

    run = open_run_of(options)
    found, slow = run.workers_table(), run.view().ranks.told()
    if options.json:
        rows = json.loads(found.to_json(orient="records"))
        print(json.dumps({"workers": rows, "straggler": slow}))
        return 0
    if not len(found):
        print("no worker has been told of yet")
        return 0
    short = {name: name.replace("_percent", " %").replace("_per_second", "/s") for name in found.columns}
    text = in_text(found.rename(columns=short), "–", index=False, float_format=lambda value: f"{value:,.1f}")
    print(text if slow is None else f"{text}\n{slow}")
    return 0


def alert(options: argparse.Namespace) -> int:
    """Watch a run until it ends, and run a command for each alert."""
    found = open_run_of(options).alert(options.command, stall_seconds=options.stall_seconds)
    found.join()
    for one in found.told:
        print(f"{one.kind}: {one.text}")
    return 0


def energy(options: argparse.Namespace) -> int:
    """Print what a run took and costs."""
    run = open_run_of(options)
    found = run.energy()
    cost = run.cost(options.prices, instance=options.instance, grams_per_kwh=options.grams_per_kwh)
    print(json.dumps({**found.to_dict(), "cost": cost.to_dict()}) if options.json else f"{found}\n{cost}")
    return 0


def trace(options: argparse.Namespace) -> int:
    """Write the trace of a run."""
    print(open_run_of(options).trace(options.file, steps=options.steps))
    return 0


def steer(name: str) -> Any:
    """The verb that pauses, resumes or stops a run."""

    def act(options: argparse.Namespace) -> int:
        getattr(open_run_of(options), name)()
        return 0

    return act


def resume(options: argparse.Namespace) -> int:
    """Go on with a run; in the foreground also begin one that was never begun, and leave one that has finished."""
    from lepton_kit.client.resuming import AS_IT_WAS

    run = open_run_of(options)
    hosts = None if options.hosts == NO_HOSTS else AS_IT_WAS if options.hosts is None else options.hosts
    go_on = functools.partial(run.resume, hosts=hosts, workers=options.workers)
    if not options.foreground:
        go_on()
        return 0
    from lepton_kit.cli.foreground import hold
    from lepton_kit.rundir import Status

    if run.status is Status.FINISHED:
        print(f"{run.id} has finished")
        return 0
    return hold(go_on, lambda run, look: follow(run, options.json, once=False, look=look))


def workers_of(text: str) -> int | str:
    """A number of workers as a user writes it; what is none is for others to refuse."""
    return int(text) if text.lstrip("-").isdigit() else text


def pool(options: argparse.Namespace) -> int:
    """Show the runs that share this machine."""
    from lepton_kit.client.pool import pool

    found = pool()
    if options.json:
        folder = None if found.folder is None else str(found.folder)
        print(json.dumps({"folder": folder, "cores": found.cores, "runs": list(found.rows)}))
    else:
        print(found.told() if not found.rows else f"{found.told()}\n{found}")
    return 0


def audit(options: argparse.Namespace) -> int:
    """Audit a run's log."""
    from lepton_kit.client.audit import audit

    found = audit(open_run_of(options), contents=options.contents)
    if options.json:
        print(
            json.dumps({"exactly_once": found.exactly_once, "steps": found.steps, "problems": found.problems})
        )
    else:
        print(found)
    return 0 if found.exactly_once else 1


def logs(options: argparse.Namespace) -> int:
    """Print a log."""
    print(open_run_of(options).logs(options.worker), end="")
    return 0


def config(options: argparse.Namespace) -> int:
    """Print a run's configuration."""
    print(open_run_of(options).to_config(), end="")
    return 0


def schema(options: argparse.Namespace) -> int:
    """Print the JSON schema."""
    from lepton_kit.config import json_schema

    print(json_schema())
    return 0
