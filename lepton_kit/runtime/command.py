"""The command line of a driver: it drives a run, or warms workers first and waits to be told which run.

With ``--standby`` it reads from standard input what to prepare and, at last, which run to drive; it ends when its input
does.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from lepton_kit.config import RunConfig
from lepton_kit.devices import usable_cores
from lepton_kit.errors import LeptonError
from lepton_kit.rundir import RunPaths, Status, lock
from lepton_kit.runtime.driver import Driver
from lepton_kit.runtime.failing import write_failure
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.hosts.executor import HostsExecutor
from lepton_kit.runtime.local import LocalExecutor, Started
from lepton_kit.runtime.places import local_places
from lepton_kit.runtime.pool.folder import usual_pool
from lepton_kit.runtime.pool.line import shares_machine, wait_in_line
from lepton_kit.runtime.pool.share import Share
from lepton_kit.runtime.standby import Standby, accept


def main(arguments: list[str] | None = None, fork: Callable[..., Started] | None = None) -> int:
    """Drive a run to its end; returns 0 if it finished.

    ``fork`` starts a zygote from this process, which has loaded the libraries; it takes descriptors that the zygote closes.
    """
    parser = argparse.ArgumentParser(prog="lepton_kit.runtime.entry", description=__doc__)
    parser.add_argument("run", nargs="?", help="folder of the run to drive")
    parser.add_argument("--lock", type=int, help="descriptor of the run's lock, held already")
    parser.add_argument(
        "--standby", metavar="FOLDER", help="warm workers, logging to this folder, and wait for orders"
    )
    parser.add_argument("--nursery", type=int, help="descriptor of a client that a nursery shall serve")
    parser.add_argument("--search", nargs="*", default=(), help="folders where workers look for modules too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.standby:
        standby = Standby(Path(options.standby), fork() if fork is not None else None, options.nursery)
        options.run = standby.wait_for_run()
        if options.run is None:
            return 0
        standby.move_log(RunPaths(Path(options.run)).driver_log)
    paths, held, share = RunPaths(Path(options.run)), options.lock, None

    def hire(config: RunConfig) -> WorkerGroup:
        if config.workers.hosts is not None:
            if options.standby:  # warm workers are of this machine alone
                standby.executor.close()
            return WorkerGroup(HostsExecutor(config, paths.root), options.search)
        if options.standby and not waited:
            executor, group = standby.executor, standby.group
        else:
            executor = LocalExecutor(str(paths.driver_log), started, options.nursery)
            group = WorkerGroup(executor, options.search)
        executor.offer(local_places(config, usable_cores()))
        return group

    takes_orders, waited = bool(options.standby or fork is not None), False
    started: Started | None = None
    try:
        held = lock.take(paths) if held is None else held
        paths = lock.place(paths, held)
        config = RunConfig.load(paths.config)
        share = Share(config, paths.id, usual_pool, paths.root)
        if shares_machine(config) and not (first := share.look()).workers:
            waited = True
            if takes_orders:
                accept()
            if options.standby:  # whoever waits holds no workers
                standby.executor.close()
            if (status := wait_in_line(paths, config, share, first)) is not None:
                return 0 if status is Status.FINISHED else 1
        if fork is not None and config.workers.hosts is None and (waited or not options.standby):
            started = fork(held, *share.descriptors)
        driver = Driver(paths, hire, held, share)
        if takes_orders and not waited:
            accept()
    except Exception as failure:
        cause = str(failure)
        if not isinstance(failure, LeptonError):
            traceback.print_exc()
            cause = f"the driver could not start: {type(failure).__name__}: {failure}"
        if held is not None:  # else another driver has the run, and speaks for it
            write_failure(paths.root, cause)
        if share is not None:
            share.leave()
        print(cause, file=sys.stderr)
        return 1
    try:
        return 0 if driver.run() is Status.FINISHED else 1
    finally:
        share.leave()
