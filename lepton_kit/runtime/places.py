"""Where workers run: places, what they can do together, and which ranks they have in a generation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lepton_kit.config import RunConfig
from lepton_kit.planning.seating import Seating
from lepton_kit.runtime.wishes import default_threads, most_workers
from lepton_kit.training.collective import Membership, Seat, Sharing

HERE = "localhost"


@dataclass(frozen=True)
class Place:
    """Room for one worker: a slot of a host, with its device.

    ``speed`` is relative to the other places. ``interface`` is the one by which other ranks reach this host. ``shares``
    is whether workers of this host can sum in shared memory. ``cores`` are those that the worker is pinned to (none: it may
    run on all), and ``shared`` whether others may be, too; ``gpu`` is the number of its GPU, of which it takes at most
    ``gpu_bytes``, where these are chosen.
    """

    host: str
    slot: int
    device: str
    threads: int
    speed: float = 1.0
    interface: str = "lo"
    shares: bool = True
    cores: tuple[int, ...] = ()
    shared: bool = False
    gpu: int | None = None
    gpu_bytes: int | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for places that are one to a process: it sees the device of its slot, but all cores of its host.

        A worker that is pinned, or has a GPU, stays where it is.
        """
        own = None if self.device == "cpu" and not self.cores else self.slot
        return self.host, self.device, self.threads, own, self.cores, self.gpu, self.gpu_bytes

    def chosen(self) -> dict[str, Any]:
        """What the log tells of it, where it was chosen: its cores, its GPU."""
        found: dict[str, Any] = {"cores": list(self.cores)} if self.cores else {}
        return found | ({"gpu": self.gpu} if self.gpu is not None else {})

    def is_for(self, other: Place) -> bool:
        """Whether a worker that was started at the other place may count as one of this place."""
        return (self.kind, self.slot) == (other.kind, other.slot)


@dataclass(frozen=True)
class Ability:
    """What the places of an executor can do together: which of them share memory, and how they see the run's folder.

    Where all of them share memory, the driver makes it; else each host has its own.
    """

    sharing: Sharing
    run_folder: Literal["same", "mounted", "fetched"]


def local_places(config: RunConfig, cores: int, seated: Sequence[Seating] | None = None) -> list[Place]:
    """The places of a run on this machine: as many as it may ever need at once.

    ``seated`` says where each sits, if that was chosen. ``workers.weights`` that are numbers are the speeds of the first
    slots; the others are as fast as those are on average.
    """
    weights = config.workers.weights
    speeds = weights if isinstance(weights, tuple) and weights else (1.0,)
    mean = sum(speeds) / len(speeds)
    threads = config.workers.threads or default_threads(config)
    if seated is None:
        room = config.workers.slots or most_workers(config, cores) + config.workers.standby
        seated = [Seating(config.workers.device)] * room
    return [
        Place(
            HERE,
            slot,
            one.device,
            one.threads or threads,
            speeds[slot] if slot < len(speeds) else mean,
            cores=one.cores,
            shared=one.shared,
            gpu=one.gpu,
            gpu_bytes=one.gpu_bytes,
        )
        for slot, one in enumerate(seated)
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
    sharing: Sharing = "all",
) -> list[Membership]:
    """What each of these places is in a generation, in their order; the first one is rank 0.

    Ranks of one host stand together, hosts in the order in which they come. All have a seat in Horovod's ring, but
    where those of a ``host`` share memory: then its first rank alone has one.

    >>> a, b = Place("a", 0, "cpu", 1), Place("b", 0, "cpu", 1)
    >>> about = {"slot_bytes": 4, "timeout_seconds": 5, "sharing": "host"}
    >>> found = memberships(1, [a, b, a], ("127.0.0.1", 80), **about)
    >>> [(one.rank, one.shared_rank, one.seat and one.seat.rank) for one in found]
    [(0, 0, 0), (2, 0, 1), (1, 1, None)]
    """
    seats = seats_of([place.host for place in places])
    groups = {
        "all": [(seat.local_rank, seat.local_size) for seat in seats],
        "host": [
            (seat.local_rank, seat.local_size) if place.shares else (0, 1)
            for seat, place in zip(seats, places, strict=True)
        ],
        "none": [(0, 1)] * len(places),
    }[sharing]
    leaders = [k for k, (rank, _) in enumerate(groups) if sharing != "host" or rank == 0]
    seated = dict(zip(leaders, seats_of([places[k].host for k in leaders]), strict=True))
    return [
        Membership(
            generation=generation,
            rank=seats[k].rank,
            world_size=len(places),
            shared_rank=groups[k][0],
            shared_size=groups[k][1],
            seat=seated.get(k),
            host=_in_keys(place.host),
            rendezvous_host=rendezvous[0],
            rendezvous_port=rendezvous[1],
            interface=place.interface,
            slot_bytes=slot_bytes,
            timeout_seconds=timeout_seconds,
        )
        for k, place in enumerate(places)
    ]


def seats_of(names: Sequence[str]) -> list[Seat]:
    """The seats in a ring of processes on hosts of these names, as Horovod itself assigns them.

    Ranks of one host stand together, hosts in the order in which they come. Local ranks count within a host; the
    ranks with one local rank on several hosts form a cross group.

    >>> [(one.rank, one.local_rank, one.cross_rank) for one in seats_of("aba")]
    [(0, 0, 0), (2, 0, 1), (1, 1, 0)]
    """
    hosts = list(dict.fromkeys(names))
    on = {host: [k for k, name in enumerate(names) if name == host] for host in hosts}
    ranks = {k: rank for rank, k in enumerate(k for host in hosts for k in on[host])}
    found = []
    for k, name in enumerate(names):
        local = on[name].index(k)
        across = [host for host in hosts if len(on[host]) > local]
        cross = {"cross_rank": across.index(name), "cross_size": len(across)}
        found.append(Seat(ranks[k], len(names), local, len(on[name]), **cross))
    return found


def _in_keys(host: str) -> str:
    """A host's name as it can stand in the rendezvous' keys, which are parts of a URL.

    >>> _in_keys("gpu-box"), _in_keys("a/b")
    ('gpu-box', 'x612f62')
    """
    return host if re.fullmatch(r"[A-Za-z0-9.-]+", host) else f"x{host.encode().hex()}"
