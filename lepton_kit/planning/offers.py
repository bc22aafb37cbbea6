"""The usual ways of seating the workers of a run on this machine, and why some of them can't be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lepton_kit.errors import DeviceError
from lepton_kit.places import PINNED, Places, PlaceSpec
from lepton_kit.planning.seating import Room, Seating, problems, seated

NO_GPU = "this machine shows no GPU"


@dataclass(frozen=True)
class Offer:
    """A way of seating: what ``launch(places=…)`` takes for it, where each worker would sit, and why it is impossible, if so."""

    name: str
    meaning: str
    places: Places
    seats: Sequence[Seating] = ()
    reason: str | None = None


def offers(room: Room, workers: int, gpu_bytes: int = 0) -> list[Offer]:
    """What so many workers may be offered, each of which needs ``gpu_bytes`` on a GPU; the first is always possible.

    >>> [one.name for one in offers(Room([]), 2) if one.reason is None]
    ['anywhere']
    """
    numbers = [gpu.number for gpu in room.gpus]
    alone = [PlaceSpec(gpu=number) for number in numbers]
    two = [PlaceSpec(gpu=number) for number in numbers for _ in range(2)]
    mixed = [*alone, *([PlaceSpec()] * (workers - len(alone)))]
    found = [
        Offer("anywhere", "the system moves workers from core to core", None, [Seating()] * workers),
        _pinned(room, workers),
        _chosen("a GPU each", "one worker on each GPU", alone[:workers], room, workers, gpu_bytes),
        _chosen(
            "two on a GPU", "two workers share a GPU and its memory", two[:workers], room, workers, gpu_bytes
        ),
    ]
    if numbers and len(numbers) >= workers:
        reason = f"the {len(numbers)} GPUs have room for all {workers} workers"
        return [
            *found,
            Offer("GPUs and cores", "a worker on each GPU, the others on cores", None, (), reason),
        ]
    return [*found, _chosen("GPUs and cores", "a worker on each GPU, the others on cores", mixed if numbers else [], room, workers, gpu_bytes)]  # fmt: skip


def _pinned(room: Room, workers: int) -> Offer:
    name, meaning = "own cores", "each worker is pinned to cores that no other run's pinned worker has"
    try:
        return Offer(name, meaning, "pinned", seated(PINNED, workers, None, room))
    except DeviceError as failure:
        return Offer(name, meaning, "pinned", (), str(failure).removeprefix("places: "))


def _chosen(
    name: str, meaning: str, places: list[PlaceSpec], room: Room, workers: int, gpu_bytes: int
) -> Offer:
    if len(places) < workers:
        gpus = len(room.gpus)
        reason = f"{workers} workers, {gpus} GPU{'s' * (gpus != 1)}" if gpus else NO_GPU
        return Offer(name, meaning, tuple(places), (), reason)
    wrong = next(problems(places, room, gpu_bytes), None)
    if wrong is not None:
        return Offer(name, meaning, tuple(places), (), wrong.text)
    return Offer(name, meaning, tuple(places), seated(places, workers, None, room))
