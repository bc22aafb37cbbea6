"""What this machine can train and infer on: cores, memory, disk, GPUs and FPGA targets, without TensorFlow."""

from __future__ import annotations

import functools
import importlib.util
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lepton_kit.errors import DeviceError
from lepton_kit.machine.gpus import found as found_gpus
from lepton_kit.machine.topology import affinity

Origin = Literal["measured", "estimated", "not_run"]


@dataclass(frozen=True)
class Device:
    """One thing that computes; `origin` tags its figures, `memory_bytes` is None where unknown."""

    kind: Literal["cpu", "gpu", "fpga"]
    name: str
    abilities: tuple[Literal["train", "infer"], ...]
    memory_bytes: int | None
    origin: Origin
    note: str = ""


@dataclass(frozen=True)
class Inventory:
    """What the machine has and this process may use of it; memory and disk in bytes."""

    cores_physical: int
    cores_logical: int
    cores_usable: int
    memory_total_bytes: int
    memory_free_bytes: int
    disk_path: str
    disk_free_bytes: int
    devices: tuple[Device, ...]
    origin: Origin = "measured"

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return asdict(self)

    def of_kind(self, kind: str) -> tuple[Device, ...]:
        """The devices of one kind: cpu, gpu or fpga."""
        return tuple(device for device in self.devices if device.kind == kind)


def inventory(path: str | Path = ".") -> Inventory:
    """Look at the machine; `path` is the folder whose free disk space counts. Takes milliseconds.

    >>> found = inventory()
    >>> found.cores_usable >= 1 and found.of_kind("cpu")[0].abilities
    ('train', 'infer')
    """
    import psutil

    memory_total, memory_free = memory()
    logical = psutil.cpu_count(logical=True) or 1
    usable = usable_cores()
    cpu = Device(
        "cpu", cpu_name(), ("train", "infer"), memory_total, "measured", f"{usable} of {logical} cores usable"
    )
    return Inventory(
        cores_physical=psutil.cpu_count(logical=False) or logical,
        cores_logical=logical,
        cores_usable=usable,
        memory_total_bytes=memory_total,
        memory_free_bytes=memory_free,
        disk_path=str(path),
        disk_free_bytes=free_disk(path),
        devices=(cpu, *gpus(), *fpga_targets()),
    )


def usable_cores() -> int:
    """Cores that this process may keep busy: its affinity, cut by the cgroup's quota; at least 1."""
    return max(1, math.floor(min(len(affinity()), quota())))


def quota() -> float:
    """Cores that the control groups of this process let it keep busy, however many it may run on; infinity: no limit."""
    return cpu_quota(cgroup_files("cpu.max"), cgroup_files("cpu.cfs_quota_us", "cpu.cfs_period_us"))


def cpu_quota(unified: list[str], legacy: list[str]) -> float:
    """The tightest quota in cores, infinity if there is none.

    `unified`: texts of cgroup v2 `cpu.max`; `legacy`: "quota period" of v1, both as read from every level.

    >>> cpu_quota(["max 100000", "150000 100000"], []), cpu_quota([], ["-1 100000"])
    (1.5, inf)
    """
    tightest = math.inf
    for text in (*unified, *legacy):
        limit, _, period = text.partition(" ")
        if limit.isdigit() and period.strip().isdigit() and int(period) > 0:
            tightest = min(tightest, int(limit) / int(period))
    return tightest


def free_cores(*, own: float = 0.0, seconds: float = 0.2) -> int:
    """Cores that nobody else keeps busy; blocks for `seconds` to look.

    `own`: how many of the busy cores are the caller's own and so count as free to it.
    """
    import psutil

    busy = psutil.cpu_percent(interval=seconds) / 100 * (psutil.cpu_count() or 1)
    return cores_left(usable_cores(), busy, own)


def cores_left(usable: int, busy: float, own: float = 0.0) -> int:
    """Whole cores left when `busy` are busy, `own` of them by the caller.

    A fifth of a core of background noise does not cost a whole one.

    >>> cores_left(4, 1.1), cores_left(4, 3.0, own=2.0), cores_left(2, 5.0)
    (3, 3, 0)
    """
    return max(0, math.floor(usable - max(0.0, busy - own) + 0.2))


def memory() -> tuple[int, int]:
    """Total and available bytes, cut by the memory limits of the control groups that this process is in."""
    import psutil

    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    texts = cgroup_files("memory.max", "memory.current", "memory.stat")
    texts += cgroup_files("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return memory_within(total, free, texts)


def memory_within(total: int, free: int, limits: list[str]) -> tuple[int, int]:
    """Cut total and free bytes by "limit used statistics" texts, one a control group.

    What the group has read of files and may forget is not in use: the kernel gives it back when it is wanted.

    >>> memory_within(8000, 6000, ["max 100", "4000 1000"])
    (4000, 3000)
    >>> memory_within(8000, 6000, ["4000 3000 anon 900 inactive_file 1800 active_file 200"])
    (4000, 3000)
    """
    for text in limits:
        limit, used, *rest = [*text.split(), "", ""][: max(2, len(text.split()))]
        if limit.isdigit() and int(limit) < total:
            statistics = dict(zip(rest[::2], rest[1::2], strict=False))
            files = sum(int(statistics.get(name, 0)) for name in ("inactive_file", "active_file"))
            total = int(limit)
            free = min(free, total - max(0, int(used) - files) if used.isdigit() else total)
    return total, max(0, free)


def free_disk(path: str | Path) -> int:
    """Free bytes of the disk that holds `path`, or would hold it. Raises `DeviceError` naming the path."""
    folder = Path(path).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError as failure:
        raise DeviceError(f"{path}: its free disk space cannot be read ({failure})") from None


def cpu_name() -> str:
    """The processor's own name, or its architecture where it gives none."""
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def gpus() -> tuple[Device, ...]:
    """The GPUs that NVIDIA's driver shows this process; none without it."""
    note = "needs a TensorFlow with CUDA; `lepton doctor` tells whether this one has it"
    return tuple(
        Device("gpu", one.name, ("train", "infer"), one.memory_bytes, "measured", note)
        for one in found_gpus()
    )


def gpu_loads() -> list[tuple[float, int]]:
    """Of each GPU the share of the last moment in which it computed, and its used memory in bytes, where these are known."""
    return [
        (one.busy, one.memory_bytes - one.free_bytes)
        for one in found_gpus()
        if one.busy is not None and one.memory_bytes is not None and one.free_bytes is not None
    ]


def fpga_targets(environment: Mapping[str, bool] | None = None) -> tuple[Device, ...]:
    """FPGA inference targets: emulation with hls4ml, synthesis with a vendor's tool, estimates with yosys.

    `environment` says which of hls4ml, g++, vitis_hls, vivado and yosys are there; by default it is looked up.

    >>> [device.name for device in fpga_targets({"hls4ml": True, "g++": True})]
    ['FPGA, emulated']
    """
    has = dict(environment) if environment is not None else _fpga_tools()
    if not has.get("hls4ml"):
        return ()
    targets = []
    if has.get("g++"):
        note = "bit-accurate C++ emulation by hls4ml; its speed says nothing about the chip's"
        targets.append(Device("fpga", "FPGA, emulated", ("infer",), None, "estimated", note))
    for tool in ("vitis_hls", "vivado"):
        if has.get(tool):
            note = f"resources and latency as {tool} reports them after synthesis; not tried on a board"
            targets.append(
                Device("fpga", f"FPGA, synthesised by {tool}", ("infer",), None, "estimated", note)
            )
    if has.get("yosys"):
        note = "logic cells as yosys maps them; no vendor's timing"
        targets.append(Device("fpga", "FPGA, mapped by yosys", ("infer",), None, "estimated", note))
    return tuple(targets)


def _fpga_tools() -> dict[str, bool]:
    has = {tool: shutil.which(tool) is not None for tool in ("g++", "vitis_hls", "vivado", "yosys")}
    has["hls4ml"] = importlib.util.find_spec("hls4ml") is not None
    return has


def cgroup_files(*names: str) -> list[str]:
    """The texts of the named control files, joined by a space, from every level that this process is in."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return cgroup_texts(Path("/sys/fs/cgroup"), lines, names)


def cgroup_texts(mount: Path, memberships: list[str], names: tuple[str, ...]) -> list[str]:
    """Read control files under `mount` for lines of /proc/self/cgroup: from each group up to the mount."""
    found = (_read_all(folder, names) for folder in _cgroup_folders(mount, tuple(memberships)))
    return [text for text in found if text is not None]


@functools.lru_cache(maxsize=16)
def _cgroup_folders(mount: Path, memberships: tuple[str, ...]) -> tuple[str, ...]:
    """Where control files may lie. Workers read some twice a second, so the paths are made once."""
    found: dict[str, None] = {}
    for line in memberships:
        _, controllers, place = line.split(":", 2)
        roots = (
            [mount]
            if not controllers
            else [mount / controllers, *(mount / name for name in controllers.split(","))]
        )
        for root in roots:
            group = root / place.lstrip("/")
            for folder in (group, *group.parents):
                if folder != root and root not in folder.parents:
                    break
                found[str(folder)] = None
    return tuple(found)


def _read_all(folder: str, names: tuple[str, ...]) -> str | None:
    texts = []
    try:
        for name in names:
            with open(f"{folder}/{name}", encoding="utf-8") as file:
                texts.append(file.read().strip())
    except OSError:
        return None
    return " ".join(texts)
