"""A machine, or hosts, that runs share in a test: their shares, and what their drivers would say."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lepton_kit.models.footprint import WORKER_BYTES
from lepton_kit.rundir import Status
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.pool import members, share
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.share import Share
from lepton_kit.runtime.wishes import Wishes
from tests.configs import any_config


class Lab:
    """Shares of one machine with so many cores and so much memory, and what their drivers would say."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, cores: int, free: int = 10**12):
        self.folder, self.now = folder, 1e6
        self.free = free
        monkeypatch.setattr(share, "usable_cores", lambda: cores)
        monkeypatch.setattr(share, "memory", lambda: (10**12, self.free))
        monkeypatch.setattr(share, "busy_seconds", lambda: 0.0)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(members, "ahead", lambda *_: 0.0)  # files are written by another clock than this
        self.cores = cores

    def run(self, name: str, **workers: Any) -> Any:
        self.now += 1
        config = any_config(workers={"count": "auto", **workers}, training={"global_batch": 64})
        made = Share(config, name, lambda: PoolFolder(self.folder))
        wishes = Wishes(config, self.cores)
        grant = made.first_look()
        if grant.workers:
            made.begin(wishes)
        roster = SimpleNamespace(members={}, own_seconds=0.0)
        view = SimpleNamespace(
            status=Status.RUNNING, world_size=wishes.workers, generations=[{"seconds": 0.2}], total_steps=10**9,
            step=0, current_throughput=None,
        )  # fmt: skip
        return SimpleNamespace(share=made, wishes=wishes, grant=grant, roster=roster, view=view)

    def follow(self, *runs: Any, settled: bool = True) -> None:
        """A look of each, some time later; what each wished for has come true by then."""
        for run in runs:
            self.now += share.SETTLE_SECONDS + 1 if settled else share.FOLLOW_SECONDS
            count = run.wishes.workers
            run.roster.members = dict(enumerate(self.workers(run, count)))
            if run.view.status is Status.RUNNING:
                run.view.world_size = count
                run.view.current_throughput = 100.0 * count
            run.share.follow(self.now, run.wishes, run.view, run.roster)

    def workers(self, run: Any, count: int) -> list[Any]:
        """So many workers, on hosts where it may have some; those that there were stay."""
        hosts = run.share._units
        every = [Place(host, slot, "cpu", 1) for host in hosts for slot in range(hosts[host])]
        there = list(run.roster.members.values())[:count]
        while len(there) < count:
            taken = [one.place for one in there]
            free = [one for one in run.share.allows(every, taken) if one not in taken]
            place = free[0] if hosts else None
            there.append(SimpleNamespace(memory_bytes=WORKER_BYTES, place=place))
        return there
