"""What there is to train on, and who has it: cores, GPUs and FPGA targets of this machine, and hosts that were named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lepton_kit.client.in_text import in_text
from lepton_kit.client.seat_map import Sitter, seat_map
from lepton_kit.drawing import Picture
from lepton_kit.hosts import HostSpec
from lepton_kit.machine import busy as looking
from lepton_kit.machine.busy import Taker
from lepton_kit.machine.devices import Inventory, inventory
from lepton_kit.machine.topology import physical, tell_cores
from lepton_kit.planning.seating import Room
from lepton_kit.runtime.pool.seating import Seats, held_cores, seats
from lepton_kit.runtime.seating import room_now

if TYPE_CHECKING:
    import pandas as pd

CORE_COLUMNS = ("core", "physical", "node", "usable", "busy", "run", "processes")
GPU_COLUMNS = ("gpu", "name", "memory_gb", "free_gb", "busy", "near_cores", "run", "processes")
HOST_COLUMNS = ("host", "slots", "via", "device", "threads", "speed")
MOST_TAKERS = 3


@dataclass(frozen=True)
class Devices:
    """The devices of one moment. Shows as a picture with tables; `cores`, `gpus`, `fpga` and `hosts` are frames.

    ``room`` has the cores, their quota and the GPUs; ``runs`` is what runs of this machine hold; ``busy`` is core -> share of
    it that is taken, ``takers`` core -> the processes that take it.
    """

    inventory: Inventory
    room: Room
    runs: Sequence[Seats] = ()
    busy: Mapping[int, float] = field(default_factory=dict)
    takers: Mapping[int, Sequence[Taker]] = field(default_factory=dict)
    named: Sequence[HostSpec] = ()

    def __repr__(self) -> str:
        return f"<Devices: {self.told()}>"

    def __str__(self) -> str:
        frames = [self.cores, self.gpus, self.fpga, self.hosts]
        shown = [in_text(one, max_colwidth=60) for one in frames if len(one)]
        return "\n\n".join([self.told(), *shown])

    def _repr_html_(self) -> str:
        frames = [one for one in (self.gpus, self.fpga, self.hosts) if len(one)]
        picture = self.picture()._repr_mimebundle_()["text/html"]
        import pandas as pd

        with pd.option_context("display.max_colwidth", None):  # a note in full
            tables = "".join(
                str(one.reset_index().to_html(index=False, notebook=True, na_rep="-")) for one in frames
            )
        return f"<p>{self.told()}</p>{picture}{tables}"

    def told(self) -> str:
        """The machine in a sentence."""
        room, gpus = self.room, len(self.room.gpus)
        nodes = len({core.node for core in room.cores})
        count = len(room.cores)
        text = f"{count} core{'s' * (count != 1)} ({physical(room.cores)} physical, {nodes} NUMA node{'s' * (nodes != 1)}), "
        if len(room.usable) < count:
            text += f"core{'s' * (len(room.usable) != 1)} {tell_cores(room.usable)} usable, "
        if self.inventory.cores_usable < len(room.usable):
            text += f"a quota of {room.quota:g} cores, "
        targets = len(self.inventory.of_kind("fpga"))
        text += f"{gpus or 'no'} GPU{'s' * (gpus > 1)}, {targets or 'no'} FPGA target{'s' * (targets > 1)}, "
        return text + f"{self.inventory.memory_free_bytes / 1e9:.1f} GB of memory free"

    def picture(self) -> Picture:
        """Cores by NUMA node and GPUs, how busy they are, and the workers that runs have pinned there."""
        sitters = [
            Sitter(str(one.worker), one.cores, one.gpu)
            for run in self.runs
            for one in run.workers
            if one.cores or one.gpu is not None
        ]
        there = {core for one in sitters for core in one.cores}
        held = {core: run for core, run in held_cores(self.runs).items() if core not in there}
        room = Room(self.room.cores, self.room.quota, self.room.gpus, held)
        return seat_map(room, sitters, self.busy)

    @property
    def cores(self) -> pd.DataFrame:
        """One row a core: the cores of its physical core, NUMA node, whether this process may use it, the share that is
        taken now (NaN: not known), the runs that hold it or compute there, and the processes that take it."""
        return _frame(CORE_COLUMNS, [self._core(core.number) for core in self.room.cores])

    @property
    def gpus(self) -> pd.DataFrame:
        """One row a GPU: name, memory and free memory (GB of 10⁹ bytes), load, cores near it, runs and processes on it."""
        return _frame(GPU_COLUMNS, [self._gpu(gpu) for gpu in self.room.gpus])

    @property
    def fpga(self) -> pd.DataFrame:
        """One row an FPGA target, which infers alone: its name, and what its figures are worth."""
        found = self.inventory.of_kind("fpga")
        return _frame(("target", "note"), [{"target": one.name, "note": one.note} for one in found])

    @property
    def hosts(self) -> pd.DataFrame:
        """One row a host that was named, as it was named; `Cluster` looks at them."""
        rows = [
            {"host": one.name} | {name: getattr(one, name) for name in HOST_COLUMNS[1:]} for one in self.named
        ]
        return _frame(HOST_COLUMNS, rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        frames = {"cores": self.cores, "gpus": self.gpus, "fpga": self.fpga, "hosts": self.hosts}
        rows = {
            name: frame.astype(object).where(frame.notna(), None).reset_index().to_dict("records")
            for name, frame in frames.items()
        }
        limit = self.room.quota if self.room.quota < len(self.room.cores) else None
        return {"told": self.told(), "quota": limit, **rows}

    def _core(self, number: int) -> dict[str, Any]:
        core = next(one for one in self.room.cores if one.number == number)
        takers = self.takers.get(number, ())
        pids = {one.pid: run.run for run in self.runs for one in run.workers}
        runs = [run.run for run in self.runs if number in run.held] + [
            pids[one.pid] for one in takers if one.pid in pids
        ]
        told = [f"{one.name} ({one.pid}) {one.share:.0%}" for one in takers[:MOST_TAKERS]]
        return {
            "core": number,
            "physical": tell_cores(core.siblings),
            "node": core.node,
            "usable": core.usable,
            "busy": self.busy.get(number),
            "run": ", ".join(dict.fromkeys(runs)),
            "processes": ", ".join(told),
        }

    def _gpu(self, gpu: Any) -> dict[str, Any]:
        on = [run.run for run in self.runs for one in run.workers if one.gpu == gpu.number]
        return {
            "gpu": gpu.number,
            "name": gpu.name,
            "memory_gb": None if gpu.memory_bytes is None else gpu.memory_bytes / 1e9,
            "free_gb": None if gpu.free_bytes is None else gpu.free_bytes / 1e9,
            "busy": gpu.busy,
            "near_cores": tell_cores(gpu.cores),
            "run": ", ".join(dict.fromkeys(on)),
            "processes": ", ".join(str(pid) for pid in gpu.processes or ()),
        }


def devices(hosts: Any = None, *, seconds: float = 0.2) -> Devices:
    """What there is to train on now, and who has it. Starts nothing; looks for ``seconds`` at how busy the cores are.

    ``hosts`` is listed beside this machine's own devices: what `launch` takes for them, such as a ``hosts.yaml``. Raises
    `ConfigError` for what names none.

    >>> devices(seconds=0.01).cores.columns[0]
    'physical'
    """
    from lepton_kit.client.cluster import Cluster

    named = () if hosts is None else Cluster(hosts).hosts
    shares, takers = looking.now(seconds)
    found = seats()
    return Devices(inventory(), room_now(held_cores(found)), found, shares, takers, named)


def _frame(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns)).set_index(columns[0])
