"""Where workers sit, and which choices are impossible, with the reason: pure functions of what the machine has and holds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lepton_kit.errors import DeviceError
from lepton_kit.machine.nvml import Gpu
from lepton_kit.machine.topology import Core, physical, tell_cores
from lepton_kit.places import PINNED, PlaceSpec
from lepton_kit.planning.cores import choose_cores

CONTEXT_BYTES = 1_000_000_000
"""Memory of a GPU that a process takes beside its tensors: CUDA's context and libraries. Estimated.

Seen on an H200: seven processes that held a small model's variables had 4.8 GB; two workers that got 0.94 GB each with
all failed, since cuBLAS had no room."""
MEGABYTE = 1_000_000
GROW = "restart it, and import lepton_kit (or set TF_FORCE_GPU_ALLOW_GROWTH=true) before a model is made"
"""What lets a process take the memory of a GPU as it needs it."""


@dataclass(frozen=True)
class Room:
    """What there is to sit on. ``quota``: cores that may be kept busy; ``held``: core -> the run whose pinned worker has it.

    ``pid`` is the process that asks, whose own share of a GPU is named as such.
    """

    cores: Sequence[Core]
    quota: float = math.inf
    gpus: Sequence[Gpu] = ()
    held: Mapping[int, str] = field(default_factory=dict)
    pid: int | None = None

    @property
    def usable(self) -> tuple[int, ...]:
        """The cores on which this process may run."""
        return tuple(core.number for core in self.cores if core.usable)


@dataclass(frozen=True)
class Seating:
    """Where one worker sits; ``cores`` is empty where it may run on all, ``threads`` None where that is left open."""

    device: Literal["cpu", "gpu"] = "cpu"
    cores: tuple[int, ...] = ()
    shared: bool = False
    threads: int | None = None
    gpu: int | None = None
    gpu_bytes: int | None = None


@dataclass(frozen=True)
class Problem:
    """Why a choice is impossible: at which place (None: all together), and in words."""

    place: int | None
    text: str

    def __str__(self) -> str:
        return f"places: {self.text}" if self.place is None else f"places.{self.place}: {self.text}"


def seated(places: Sequence[PlaceSpec] | str, slots: int, threads: int | None, room: Room) -> list[Seating]:
    """Where the workers of ``slots`` places sit; `PINNED` leaves it to the kit. Raises `DeviceError` where they can't.

    >>> two = Room([Core(0, (0,)), Core(1, (1,))])
    >>> (
    ...     [one.cores for one in seated("pinned", 2, None, two)],
    ...     seated([PlaceSpec(cores="1")], 1, None, two)[0].threads,
    ... )
    ([(0,), (1,)], 1)
    """
    if places == PINNED:
        each = threads or cores_each(slots, room)
        found = choose_cores(room.cores, room.held.keys(), slots, each)
        if found is None or slots * each >= room.quota + 1:
            raise DeviceError(f"places: {_too_few(slots, each, room)}")
        return [Seating("cpu", cores, threads=threads or len(cores)) for cores in found]
    assert not isinstance(places, str)
    if wrong := next(iter(problems(places, room)), None):
        raise DeviceError(str(wrong))
    parts = _parts(places, room)
    return [
        Seating(
            one.device,
            one.numbers,
            one.shared,
            one.threads or threads or len(one.numbers) or None,
            one.gpu,
            parts[k],
        )
        for k, one in enumerate(places)
    ]


def cores_each(slots: int, room: Room) -> int:
    """How many cores each of so many pinned workers gets: the free physical ones, divided; at least 1.

    >>> cores_each(3, Room([Core(n, (n % 8, n % 8 + 8)) for n in range(16)]))
    2
    """
    free = [core for core in room.cores if core.usable and not any(one in room.held for one in core.siblings)]
    return max(1, int(min(physical(free), room.quota)) // max(1, slots))


def problems(places: Sequence[PlaceSpec], room: Room, gpu_bytes: int = 0) -> Iterator[Problem]:
    """What is impossible about these places; ``gpu_bytes`` is what a worker on a GPU needs there, by its model's size.

    >>> [
    ...     str(one)
    ...     for one in problems(
    ...         [PlaceSpec(cores="0-2"), PlaceSpec(gpu=0)], Room([Core(0, (0,)), Core(1, (1,))])
    ...     )
    ... ]
    ['places.0: core 2: this machine has the cores 0-1', 'places.1: gpu 0: this machine shows no GPU']
    """
    there, usable = {core.number for core in room.cores}, set(room.usable)
    taken: dict[int, int] = {}
    for k, one in enumerate(places):
        numbers = set(one.numbers)
        if missing := numbers - there:
            yield Problem(k, f"{_named(missing)}: this machine has the cores {tell_cores(there)}")
        elif barred := numbers - usable:
            yield Problem(k, f"{_named(barred)}: this process may run on {tell_cores(usable)} alone")
        if not one.shared and (held := sorted(numbers & room.held.keys())):
            runs = ", ".join(dict.fromkeys(room.held[core] for core in held))
            yield Problem(k, f"{_named(held)}: held by the run {runs}; say `shared` to sit there too")
        for core in sorted(numbers):
            other = taken.setdefault(core, k)
            if other != k and not (one.shared and places[other].shared):
                yield Problem(
                    k, f"core {core}: of place {other} already; say `shared` at both to sit there together"
                )
                break
    if len(taken) >= room.quota + 1:
        yield Problem(None, f"{len(taken)} cores, and the control group's quota is {room.quota:g}")
    yield from _gpu_problems(places, room, gpu_bytes)


def _gpu_problems(places: Sequence[PlaceSpec], room: Room, needed: int) -> Iterator[Problem]:
    gpus = {gpu.number: gpu for gpu in room.gpus}
    wanted: dict[int, int] = defaultdict(int)
    sitting = Counter(one.gpu for one in places)
    for k, one in enumerate(places):
        if one.gpu is None:
            continue
        if one.gpu not in gpus:
            there = f"this process sees the GPUs {tell_cores(gpus)}" if gpus else "this machine shows no GPU"
            yield Problem(k, f"gpu {one.gpu}: {there}")
            continue
        limit = one.memory * MEGABYTE if one.memory else None
        if limit is not None and limit < needed:
            yield Problem(k, f"memory {one.memory} MB: its model needs about {_size(needed)} (estimated)")
        wanted[one.gpu] += (limit or needed) + CONTEXT_BYTES
    for number, total in wanted.items():
        free = gpus[number].free_bytes
        if free is not None and total > free:
            count = sitting[number]
            need = f"{count} workers need" if count != 1 else "1 worker needs"
            told = f"gpu {number}: {need} about {_size(total)} (estimated), {_size(free)} are free"
            yield Problem(None, told + _holder(gpus[number].processes or {}, room.pid))


def _holder(processes: Mapping[int, int | None], pid: int | None) -> str:
    """Who has most of a GPU's memory, in words; nothing where that is not known."""
    sizes = {one: size for one, size in processes.items() if size}
    if not sizes:
        return ""
    most = max(sizes, key=lambda one: sizes[one])
    if most != pid:
        return f"; process {most} holds {_size(sizes[most])}"
    return (
        f"; this process holds {_size(sizes[most])}, since TensorFlow took it with its first tensor: {GROW}"
    )


def _parts(places: Sequence[PlaceSpec], room: Room) -> list[int | None]:
    """The most that each may take of its GPU: what was asked, else its part of one that several share, else all."""
    free = {gpu.number: gpu.free_bytes for gpu in room.gpus}
    on = Counter(one.gpu for one in places)
    parts: list[int | None] = []
    for one in places:
        left = None if one.gpu is None else free.get(one.gpu)
        if one.memory is not None:
            parts.append(one.memory * MEGABYTE)
        elif one.gpu is None or left is None or on[one.gpu] == 1:
            parts.append(None)
        else:
            asked = [other.memory * MEGABYTE for other in places if other.gpu == one.gpu and other.memory]
            rest = left - sum(asked) - CONTEXT_BYTES * on[one.gpu]
            parts.append(max(MEGABYTE, rest // (on[one.gpu] - len(asked))))
    return parts


def _too_few(slots: int, each: int, room: Room) -> str:
    free = [core for core in room.usable if core not in room.held]
    held = sorted(core for core in room.usable if core in room.held)
    told = f"{slots} places with {each} core{'s' * (each != 1)} each, {len(free)} of {len(room.usable)} cores are free"
    if held:
        runs = ", ".join(dict.fromkeys(room.held[core] for core in held))
        told += f" ({tell_cores(held)} held by {runs})"
    if room.quota < len(room.usable):
        told += f", the control group's quota is {room.quota:g}"
    return told


def _named(cores: Sequence[int] | set[int]) -> str:
    return f"core{'s' * (len(cores) != 1)} {tell_cores(cores)}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
