"""Gives a run's workers their places on this machine: looks what there is, and what other runs hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from lepton_kit.config import RunConfig
from lepton_kit.machine import gpus, topology
from lepton_kit.machine.devices import quota
from lepton_kit.planning.seating import Room, seated
from lepton_kit.runtime.places import Place, local_places
from lepton_kit.runtime.pool.seating import Register, held_cores, seats


def room_now(held: Mapping[int, str] | None = None, besides: str = "") -> Room:
    """What there is to sit on; ``held`` is what other runs hold (core -> run), by default looked up, but for the run ``besides``."""
    if held is None:
        held = held_cores([one for one in seats() if one.run != besides])
    return Room(topology.cores(), quota(), gpus.found(), held, os.getpid())


def places_now(config: RunConfig, cores: int, held: Mapping[int, str] | None = None) -> list[Place]:
    """The places of a run on this machine, of which ``cores`` are usable. Raises `DeviceError` for impossible ones."""
    chosen = config.workers.places
    if chosen is None:
        return local_places(config, cores)
    assert config.workers.slots is not None, "it counts the places"
    room = room_now(held)
    return local_places(config, cores, seated(chosen, config.workers.slots, config.workers.threads, room))


def claimed(config: RunConfig, cores: int, register: Register) -> Sequence[Place]:
    """The same, and no other run takes their cores from now on. A run that chooses none needs nobody's leave."""
    if config.workers.places is None:
        return places_now(config, cores)
    return register.claim(lambda held: places_now(config, cores, held))
