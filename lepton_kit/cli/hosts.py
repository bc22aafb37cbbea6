"""The verb for hosts: list, add, remove, check, install, clean."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

ACTIONS = ("list", "add", "remove", "check", "install", "clean")


def add_verb(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Tell the parser of it."""
    made = verb("hosts", hosts, "Known hosts for runs: list, add, remove, check, install, clean.", reads=True)
    made.add_argument("action", choices=ACTIONS, nargs="?", default="list")
    made.add_argument(
        "hosts", nargs="*", metavar="NAME[:SLOTS]", help="as ssh knows them; default: all that were added"
    )
    made.add_argument(
        "--packages",
        choices=("index", "here"),
        default="index",
        help="install: from the package index that a host reaches, or sent from this machine",
    )
    made.add_argument("--data", metavar="CONFIG", help="check: whether the data of this run's file are there")


def hosts(options: argparse.Namespace) -> int:
    """Do what is asked for with the hosts that are named, or with all known ones."""
    from lepton_kit.client.cluster import Cluster
    from lepton_kit.errors import ConfigError

    if options.action in ("add", "remove") and not options.hosts:
        raise ConfigError("hosts", given="nothing", rule="names with slots such as gpu-box:4")
    cluster = Cluster(",".join(options.hosts) if options.hosts else None)
    if not cluster.hosts:
        print("[]" if options.json else "no host is known; `lepton hosts add NAME:SLOTS` adds one")
        return 0
    found: Any
    match options.action:
        case "add" | "remove":
            getattr(cluster, options.action)()
            found = {one.name: f"{one.slots} slots" for one in Cluster().hosts}
        case "install":
            found = cluster.install(options.packages)
        case "clean":
            found = cluster.clean()
        case _:
            checked = cluster.check(options.data) if options.action == "check" else cluster.look()
            print(json.dumps(checked.to_dict()) if options.json else checked)
            return 1 if checked.problems and options.action == "check" else 0
    if options.json:
        print(json.dumps(found))
    else:
        print(
            "\n".join(
                text if text.startswith(f"{name}:") else f"{name}: {text}" for name, text in found.items()
            )
        )
    return 0
