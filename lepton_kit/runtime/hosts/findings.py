"""What was found of hosts before a run, as tables, with each problem in words and what can be done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lepton_kit.data.places import File, is_address
from lepton_kit.hosts import HostSpec
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.versions import LIBRARIES

CLOCK_SECONDS = 2.0
"""Clocks that differ by more than this are worth a word: logs of hosts would tell another order."""
FILES_ASKED = 1000
"""Of more files than this some, spread evenly, are looked for on each host."""


@dataclass(frozen=True)
class Wanted:
    """What a run would need of its hosts.

    ``files`` are read there by index; ``bytes`` are sent there; each of the ``workers`` (host -> how many) takes
    ``worker_bytes`` of memory.
    """

    files: Sequence[File] = ()
    bytes: int = 0
    worker_bytes: int = 0
    workers: Mapping[str, int] = field(default_factory=dict)

    def sample(self) -> list[File]:
        """The files to look for: those at an address are the same from everywhere."""
        files = [file for file in self.files if not is_address(file.address)]
        return files[:: max(1, -(-len(files) // FILES_ASKED))]


@dataclass(frozen=True)
class Found:
    """What was found of a host; ``problem`` is why a run can't use it, ``workers`` how many it would have there.

    ``clock`` is by how many seconds its clock is ahead of this machine's, and how far that may be off.
    """

    host: HostSpec
    here: talk.Here | None = None
    interface: str | None = None
    clock: tuple[float, float] | None = None
    state: talk.State | None = None
    problem: str | None = None
    workers: int = 0

    @property
    def reached(self) -> bool:
        """Whether its agent has answered."""
        return self.here is not None

    @property
    def remarks(self) -> list[str]:
        """What is worth a word, and keeps no run from using it."""
        found = []
        if self.clock is not None and abs(self.clock[0]) - self.clock[1] > CLOCK_SECONDS:
            found.append(
                f"its clock is {abs(self.clock[0]):.0f} s {'ahead' if self.clock[0] > 0 else 'behind'}"
            )
        if self.state is not None and self.state.native is not None:
            found.append(
                "no native library: sums within the host are slower (`lepton hosts install` builds it)"
            )
        return found

    def row(self) -> dict[str, Any]:
        """As a row of a table: memory and disk in GB, clock in seconds ahead of this machine's, give or take."""
        here, state = self.here, self.state
        known: dict[str, Any] = {}
        if here is not None:
            known = {
                **{name: here.versions.get(name, "missing") for name in ("python", *LIBRARIES)},
                "cores": here.cores,
                "memory_gb": round(here.memory_bytes / 1e9, 1),
                "free_gb": round(here.free_bytes / 1e9, 1),
                "gpus": len(here.gpus),
            }
        if state is not None:
            known |= {
                "native": "built" if state.native is None else state.native,
                "disk_gb": round(state.disk_bytes / 1e9, 1),
            }
        if self.clock is not None:
            known |= {"clock_ahead": round(self.clock[0], 3), "give_or_take": round(self.clock[1], 3)}
        return {
            "host": self.host.name,
            "slots": self.host.slots,
            "state": "not usable" if self.problem else "ready" if here else "not asked",
            **known,
            "interface": self.interface,
            "problem": self.problem or "",
            "remarks": "; ".join(self.remarks),
        }


@dataclass(frozen=True)
class Pair:
    """Whether ranks of one host reach those of another: seconds of a round trip, bytes a second, or the problem."""

    start: str
    to: str
    latency: float | None = None
    rate: float | None = None
    problem: str | None = None

    def row(self) -> dict[str, Any]:
        """As a row of a table; latency in ms there and back, bandwidth in Mbit/s."""
        return {
            "from": self.start,
            "to": self.to,
            "reached": self.problem is None,
            "latency_ms": None if self.latency is None else round(1e3 * self.latency, 2),
            "mbit_s": None if self.rate is None else round(8e-6 * self.rate),
            "problem": self.problem or "",
        }


@dataclass(frozen=True)
class Checked:
    """What was found of each host, and of the way from each to each; shows as two tables."""

    hosts: tuple[Found, ...]
    pairs: tuple[Pair, ...] = ()

    @property
    def problems(self) -> list[str]:
        """Why a run can't use them, one sentence a host; none if it can."""
        return [one.problem for one in self.hosts if one.problem is not None]

    def table(self) -> Any:
        """A data frame with one row a host: slots, state, versions, cores, memory, GPUs, native library, disk, clock."""
        import pandas

        return pandas.DataFrame([one.row() for one in self.hosts]).set_index("host")

    def ways(self) -> Any:
        """A data frame with one row for each two hosts and direction: reached, latency, bandwidth."""
        import pandas

        columns = list(Pair("", "").row())
        return pandas.DataFrame([one.row() for one in self.pairs], columns=columns).set_index(["from", "to"])

    def to_dict(self) -> dict[str, Any]:
        """Plain types only: ``hosts`` and ``pairs``."""
        return {"hosts": [one.row() for one in self.hosts], "pairs": [one.row() for one in self.pairs]}

    def __repr__(self) -> str:
        return f"<Checked: {len(self.hosts)} hosts, {len(self.problems)} that can't be used>"

    def __str__(self) -> str:
        told = self.table().drop(columns=["problem", "remarks"]).T.to_string(na_rep="–")
        remarks = [f"{one.host.name}: {text}" for one in self.hosts for text in one.remarks]
        parts = [told, self.ways().to_string(na_rep="–") if self.pairs else "", "\n".join(remarks)]
        return "\n\n".join(part for part in [*parts, "\n".join(self.problems)] if part)

    def _repr_html_(self) -> str:
        tables = [self.table()] + ([self.ways()] if self.pairs else [])
        return "".join(str(one.to_html(na_rep="–")) for one in tables)


def of_state(host: HostSpec, here: talk.Here | None, state: talk.State, wanted: Wanted) -> list[str]:
    """What of a host's disk, memory and files keeps a run from using it."""
    found = []
    if host.via != "local":
        if state.cache_problem is not None:
            found.append(f"its cache {state.cache} can't be written ({state.cache_problem})")
        elif state.disk_bytes < wanted.bytes:
            found.append(
                f"the run's files take {wanted.bytes / 1e6:,.0f} MB, {state.disk_bytes / 1e6:,.0f} MB are free at {state.cache}"
            )
    workers = wanted.workers.get(host.name, 0)
    if here is not None and here.free_bytes < workers * wanted.worker_bytes:
        found.append(
            f"{workers} workers need about {workers * wanted.worker_bytes / 1e9:.1f} GB of memory (estimated), "
            f"{here.free_bytes / 1e9:.1f} GB are free"
        )
    if host.device == "gpu" and here is not None and len(here.gpus) < host.slots:
        found.append(f"has {len(here.gpus)} GPUs for {host.slots} slots")
    if state.missing:
        path, why = next(iter(state.missing.items()))
        more = f", and {len(state.missing) - 1} more" if len(state.missing) > 1 else ""
        found.append(
            f"the data's {path} is not the same file there ({why}){more}; files that are read by index have to be on "
            "each host under the same path, such as on a shared mount"
        )
    return found


def of_pair(
    caller: str, there: talk.Listening, why: str, ports: tuple[int, int], known_as: str | None
) -> str:
    """Why the ranks of another host would not reach those of this one.

    ``known_as`` is this host's address as the driver's machine knows it; None on that machine.
    """
    text = f"{caller} does not reach {there.address} there on port {there.port} ({why})"
    if known_as is not None and known_as != there.address:
        return (
            f"{text}; it is known here as {known_as}, so address translation may stand between, which a ring can't cross: "
            "name its `interface` that the others reach, or join all by one network or VPN"
        )
    return (
        f"{text}: let TCP ports {ports[0]} to {ports[1]} (its net.ipv4.ip_local_port_range) through its firewall, "
        f"from {caller}"
    )
