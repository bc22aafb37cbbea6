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
from lepton_kit.errors import LeptonError
from lepton_kit.machine.devices import usable_cores
from lepton_kit.rundir import RunPaths, Status, lock
from lepton_kit.runtime.driver import Driver
from lepton_kit.runtime.failing import could_not_start, write_failure
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.hosts.executor import HostsExecutor
from lepton_kit.runtime.local import LocalExecutor, Started
from lepton_kit.runtime.pool.folder import usual_pool
from lepton_kit.runtime.pool.line import wait_in_line
from lepton_kit.runtime.pool.seating import Register
from lepton_kit.runtime.pool.share import Share
from lepton_kit.runtime.pool.spread import shares
from lepton_kit.runtime.seating import claimed
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
    standby: Standby | None = None
    if options.standby:
        standby = Standby(Path(options.standby), fork() if fork is not None else None, options.nursery)
        options.run = standby.wait_for_run()
        if options.run is None:
            return 0
        standby.move_log(RunPaths(Path(options.run)).driver_log)
    return _Runner(options, fork, standby).run()


class _Runner:
    """Takes a run, waits in line where it has to, and drives it, in turns if the machine is shared."""

    def __init__(
        self, options: argparse.Namespace, fork: Callable[..., Started] | None, standby: Standby | None
    ):
        self._options, self._fork, self._standby = options, fork, standby
        self._paths = RunPaths(Path(options.run))
        self._held: int | None = options.lock
        self._share: Share | None = None
        self._nursery: int | None = options.nursery
        self._orders = standby is not None or fork is not None
        self._started: Started | None = None

    def run(self) -> int:
        """To the end; returns 0 if the run finished."""
        try:
            while True:
                try:
                    driver = self._begin()
                except Exception as failure:
                    return self._fail(failure)
                status = driver if isinstance(driver, Status) else driver.run()
                if status is not Status.QUEUED:
                    return 0 if status is Status.FINISHED else 1
        finally:
            if self._share is not None:
                self._share.leave()

    def _begin(self) -> Driver | Status:
        """A driver whose run has its share of the machine; or the run's status, if it ended before."""
        self._held = lock.take(self._paths) if self._held is None else self._held
        self._paths = lock.place(self._paths, self._held)
        config = RunConfig.load(self._paths.config)
        self._share = self._share or Share(config, self._paths.id, usual_pool, self._paths.root)
        waits = shares(config) or self._share.again
        if waits and not (first := self._share.first_look()).workers:
            self._accept()
            if self._standby is not None:  # whoever waits holds no workers
                self._standby.executor.close()
                self._standby = None
            if (status := wait_in_line(self._paths, config, self._share, first)) is not None:
                return status
        if self._fork is not None and self._standby is None and config.workers.hosts is None:
            self._started = self._fork(self._held, *self._share.descriptors)
        driver = Driver(self._paths, self._hire, self._held, self._share)
        self._accept()
        return driver

    def _hire(self, config: RunConfig) -> WorkerGroup:
        standby, self._standby = self._standby, None
        nursery, self._nursery = self._nursery, None
        if config.workers.hosts is not None:
            if standby is not None:  # warm workers are of this machine alone
                standby.executor.close()
            return WorkerGroup(HostsExecutor(config, self._paths.root), self._options.search)
        if standby is not None:
            executor, group = standby.executor, standby.group
        else:
            executor = LocalExecutor(str(self._paths.driver_log), self._started, nursery)
            group = WorkerGroup(executor, self._options.search)
        executor.register = Register(self._paths.id)
        try:
            executor.offer(claimed(config, usable_cores(), executor.register))
        except LeptonError:
            executor.close(0.0)
            raise
        return group

    def _accept(self) -> None:
        if self._orders:
            self._orders = False
            accept()

    def _fail(self, failure: Exception) -> int:
        cause = str(failure)
        if not isinstance(failure, LeptonError):
            traceback.print_exc()
            cause = could_not_start(failure)
        if self._held is not None:  # else another driver has the run, and speaks for it
            write_failure(self._paths.root, cause)
        print(cause, file=sys.stderr)
        return 1
