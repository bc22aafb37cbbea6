"""Where workers run: places, what they can do together, and which ranks they have in a generation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lepton_kit.config import RunConfig
from lepton_kit.runtime.wishes import default_threads, most_workers
from lepton_kit.training.collective import Membership

HERE = "localhost"


@dataclass(frozen=True)
class Place:
    """Room for one worker: a slot of a host, with its device.

    ``speed`` is relative to the other places. ``interface`` is the one by which other ranks reach this host.
    """

    host: str
    slot: int
    device: str
    threads: int
    speed: float = 1.0
    interface: str = "lo"

    @property
    def kind(self) -> tuple[str, str, int, int | None]:
        """Equal for places that are one to a process: it sees the device of its slot, but all cores of its host."""
        return self.host, self.device, self.threads, None if self.device == "cpu" else self.slot

    def is_for(self, other: Place) -> bool:
        """Whether a worker that was started at the other place may count as one of this place."""
        return (self.kind, self.slot) == (other.kind, other.slot)


@dataclass(frozen=True)
class Ability:
    """What all places of an executor can do together: share memory, pass file descriptors, see the run's folder."""

    shared_memory: bool
    descriptors: bool
    run_folder: Literal["same", "mounted", "fetched"]


def local_places(config: RunConfig, cores: int) -> list[Place]:
    """The places of a run on this machine: as many as it may ever need at once.

    ``workers.weights`` are the speeds of the first slots; the others are as fast as those are on average.
    """
    speeds = config.workers.weights or (1.0,)
    mean = sum(speeds) / len(speeds)
    threads = config.workers.threads or default_threads(config)
    return [
        Place(HERE, slot, config.workers.device, threads, speeds[slot] if slot < len(speeds) else mean)
        for slot in range(most_workers(config, cores) + config.workers.standby)
    ]


def on_this_machine(
    ranks: int, rendezvous: tuple[str, int], *, slot_bytes: int = 0, timeout_seconds: int = 60
) -> list[Membership]:
    """The first generation of so many ranks on this machine alone, for a ring without a driver."""
    places = [Place(HERE, slot, "cpu", 1) for slot in range(ranks)]
    return memberships(1, places, rendezvous, slot_bytes=slot_bytes, timeout_seconds=timeout_seconds)


def memberships(
    generation: int,
    places: Sequence[Place],
    rendezvous: tuple[str, int],
    *,
    slot_bytes: int,
    timeout_seconds: int,
) -> list[Membership]:
    """What each of these places is in a generation, in their order; the first one is rank 0.

    Ranks of one host stand together, hosts in the order in which they come. Local ranks count within a host; the
    ranks with one local rank on several hosts form a cross group.

    >>> a, b = Place("a", 0, "cpu", 1), Place("b", 0, "cpu", 1)
    >>> found = memberships(1, [a, b, a], ("127.0.0.1", 80), slot_bytes=4, timeout_seconds=5)
    >>> [(one.rank, one.local_rank, one.cross_rank) for one in found]
    [(0, 0, 0), (2, 0, 1), (1, 1, 0)]
    """
    hosts = list(dict.fromkeys(place.host for place in places))
    on = {host: [k for k, place in enumerate(places) if place.host == host] for host in hosts}
    ranks = {k: rank for rank, k in enumerate(k for host in hosts for k in on[host])}
    found = []
    for k, place in enumerate(places):
        local = on[place.host].index(k)
        across = [host for host in hosts if len(on[host]) > local]
        found.append(
            Membership(
                generation=generation,
                rank=ranks[k],
                world_size=len(places),
                local_rank=local,
                local_size=len(on[place.host]),
                cross_rank=across.index(place.host),
                cross_size=len(across),
                host=_in_keys(place.host),
                rendezvous_host=rendezvous[0],
                rendezvous_port=rendezvous[1],
                interface=place.interface,
                slot_bytes=slot_bytes,
                timeout_seconds=timeout_seconds,
            )
        )
    return found


def _in_keys(host: str) -> str:
    """A host's name as it can stand in the rendezvous' keys, which are parts of a URL.

    >>> _in_keys("gpu-box"), _in_keys("a/b")
    ('gpu-box', 'x612f62')
    """
    return host if re.fullmatch(r"[A-Za-z0-9.-]+", host) else f"x{host.encode().hex()}"
