"""Asks the agents of hosts what they are and whom they reach, without starting a worker."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit.hosts import HostSpec
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.link import HostLink

CLOCK_SECONDS = 2.0
"""Clocks that differ by more than this are worth a word: logs of hosts would tell another order."""


@dataclass(frozen=True)
class Found:
    """What was found of a host; ``problem`` is why a run can't use it."""

    host: HostSpec
    here: talk.Here | None = None
    interface: str | None = None
    clock_ahead: float | None = None
    problem: str | None = None

    def row(self) -> dict[str, Any]:
        """As a row of a table; memory in GB, clock in seconds ahead of this machine's."""
        here = self.here
        known = {} if here is None else {
            "cores": here.cores,
            "memory_gb": round(here.memory_bytes / 1e9, 1),
            "free_gb": round(here.free_bytes / 1e9, 1),
            "gpus": len(here.gpus),
            "clock_ahead": None if self.clock_ahead is None else round(self.clock_ahead, 2),
            "interface": self.interface,
        }  # fmt: skip
        return {
            "host": self.host.name,
            "slots": self.host.slots,
            "state": "not usable" if self.problem else "ready" if here else "not asked",
            **known,
            "problem": self.problem or "",
        }


def look(
    hosts: Sequence[HostSpec], peers: Sequence[Sequence[str]], folder: Path, deadline: float
) -> Iterator[Found]:
    """Bring up an agent on each host, and take it down when it has answered, or at the deadline (monotonic seconds)."""
    RunPaths(folder).logs.mkdir(exist_ok=True)
    links = [HostLink(host, None, folder, hang_seconds=60.0) for host in hosts]
    clocks: dict[str, float] = {}
    try:
        for link, addresses in zip(links, peers, strict=True):
            link.peers = addresses
            link.connect()
        while time.monotonic() < deadline and (
            open_ := [one for one in links if one.state in ("connecting", "asked")]
        ):
            numbers = [number for link in open_ for number in link.filenos()]
            ready = set(select.select(numbers, [], [], max(0.0, min(0.5, deadline - time.monotonic())))[0])
            for link in open_:
                link.receive(ready)
                if link.facts is not None:
                    clocks.setdefault(link.host.name, link.facts.clock - time.time())
        for link in links:
            late = None if link.state == "ready" else f"{link.host.name}: has not answered in time"
            yield Found(link.host, link.facts, link.interface, clocks.get(link.host.name), link.cause or late)
    finally:
        for link in links:
            link.close(0.5)
