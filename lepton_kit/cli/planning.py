"""The verb that plans a run: what it would take with other workers, hosts, links and batches."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lepton_kit.errors import ConfigError, writing


def add_verb(verb: Any) -> None:
    """Add ``lepton plan``."""
    text = "Say what training would take with more or fewer workers, hosts, links and batches, from short runs or a run's log."
    made = verb("plan", plan, text, reads=True)
    made.add_argument(
        "what",
        metavar="ID|FILE",
        help="a run, whose log is read; or a configuration, of which short runs are made",
    )
    made.add_argument("--workers", type=int, nargs="+", metavar="N", help="predict these numbers of workers")
    made.add_argument("--hosts", type=int, help="on so many machines like this one")
    made.add_argument("--link", help="between the hosts: rate/milliseconds one way, such as 1gbit/0.5")
    made.add_argument("--wire", metavar="FORMAT", help="of gradients between the hosts: float32 or float16")
    made.add_argument("--batch", type=int, help="another global batch")
    made.add_argument(
        "--noise", type=float, help="gradient noise scale in samples, for epochs of other batches"
    )
    made.add_argument(
        "--measure",
        type=int,
        nargs="+",
        metavar="N",
        help="make short runs with these numbers of workers (of a file: 1 2)",
    )
    made.add_argument(
        "--seconds", type=float, default=1.0, help="of training for each number of workers and visit"
    )
    made.add_argument(
        "--across", action="store_true", help="also measure what sums between hosts cost, by two agents here"
    )
    made.add_argument("--prices", metavar="FILE", help="YAML file of prices (default: the one that ships)")
    made.add_argument("--instance", help="a cloud instance of that file, paid by the hour for each host")
    made.add_argument("--figure", metavar="FILE.svg", help="write the picture of the plan")


def plan(options: argparse.Namespace) -> int:
    """Plan a run."""
    from lepton_kit.client.plans import planning

    if options.figure and Path(options.figure).suffix != ".svg":
        raise ConfigError("--figure", given=options.figure, rule="a file that ends in .svg")
    changes = {
        name: getattr(options, name)
        for name in ("hosts", "batch", "wire")
        if getattr(options, name) is not None
    }
    _check(options)
    what: Any = options.what
    if not planning.is_file(what):
        from lepton_kit.client.run import open_run

        what = open_run(what, options.runs_dir, trust=options.trust)
    else:
        _check_batch(options, Path(what))
    found = planning.plan(
        what,
        measured=options.measure and tuple(options.measure),
        seconds=options.seconds,
        link=options.link,
        noise=options.noise,
        across=options.across,
        trust=options.trust,
        tell=lambda text: print(f"lepton: {text}", file=sys.stderr, flush=True),
    )
    table = found.table(options.workers, prices=options.prices, instance=options.instance, **changes)
    advice = found.advise(wire=options.wire)
    if options.figure:
        with writing("--figure", Path(options.figure)):
            Path(options.figure).write_text(found.figure(**changes).svg, encoding="utf-8")
    if options.json:
        rows = json.loads(table.reset_index().to_json(orient="records"))
        told = {"told": found.told(), "advice": {**advice.options, "text": advice.text}, "rows": rows}
        print(json.dumps(told | {"costs": found.law.costs, "origin": "estimated"}))
        return 0
    print(f"{found.told()}\n{advice}\n{table.to_string(na_rep='-')}")
    return 0


def _check_batch(options: argparse.Namespace, file: Path) -> None:
    """Refuse, before a process starts, more workers than the configuration's batch has samples."""
    from lepton_kit.config import RunConfig
    from lepton_kit.planning.scaling import Setting

    batch = options.batch or RunConfig.load(file).training.global_batch
    for workers in options.workers or ():
        Setting(workers, batch, 1)


def _check(options: argparse.Namespace) -> None:
    """Refuse, before a process starts, what no plan could tell."""
    from lepton_kit.planning import cost
    from lepton_kit.planning.scaling import LOOPBACK, Link, Setting, wire_bytes

    wire_bytes(options.wire or "float32")
    link = LOOPBACK if options.link is None else Link.read(options.link)
    hosts = 1 if options.hosts is None else options.hosts
    for workers in options.workers or [max(1, hosts)]:
        batch = workers if options.batch is None else options.batch
        Setting(workers, batch if workers >= 1 else 1, 1, hosts, link)
    if hosts > 1 and link == LOOPBACK:
        raise ConfigError("--link", given=None, rule="rate/milliseconds of the link between the hosts")
    cost.load(options.prices).check(options.instance)
