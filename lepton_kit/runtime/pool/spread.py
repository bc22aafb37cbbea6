"""Which hosts' slots a run of a pool may use: a pure choice that packs it on few hosts and takes none that others hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lepton_kit.config import RunSettings
from lepton_kit.hosts import HostSpec
from lepton_kit.runtime.places import Place

Units = dict[str, int]
"""Slots by host; a slot of a host with GPUs counts alone, since it is one device."""


def shares(config: RunSettings) -> bool:
    """Whether a run takes from the start what is free of its machine or its hosts, and so has to share them."""
    return config.workers.count == "auto" and config.workers.divided


def group_of(hosts: Sequence[HostSpec]) -> str:
    """The name of a set of hosts, the same in whatever order they are given.

    >>> group_of([HostSpec.parse("two:2"), HostSpec.parse("one")])
    'one:1, two:2'
    """
    return ", ".join(
        sorted(f"{one.name}:{one.slots}{'' if one.device == 'cpu' else ' gpu'}" for one in hosts)
    )


def unit(place: Place) -> str:
    """What a place is a part of: its host, or its own slot where that is a device.

    >>> unit(Place("one", 3, "cpu", 1)), unit(Place("one", 3, "gpu", 1))
    ('one', 'one/3')
    """
    return place.host if place.device == "cpu" else f"{place.host}/{place.slot}"


def units_of(hosts: Sequence[HostSpec]) -> Units:
    """All that hosts have, in their order.

    >>> units_of([HostSpec.parse("one:2"), HostSpec.parse("two")])
    {'one': 2, 'two': 1}
    """
    found: Units = {}
    for host in hosts:
        for slot in range(host.slots):
            name = unit(Place(host.name, slot, host.device, 1))
            found[name] = found.get(name, 0) + 1
    return found


def spread(workers: int, own: Mapping[str, int], others: Sequence[Mapping[str, int]], there: Units) -> Units:
    """So many workers' slots: those that the run has, then free ones, of hosts where it is already or that have most.

    Fewer where there are not so many; its own are kept even if there are more of them.

    >>> spread(3, {"one": 1}, [{"one": 1}], {"one": 2, "two": 4})
    {'one': 1, 'two': 2}
    """
    found = {name: count for name, count in own.items() if count > 0}
    free = {name: count - sum(one.get(name, 0) for one in (own, *others)) for name, count in there.items()}
    hosts = {name.partition("/")[0] for name in found}
    while sum(found.values()) < workers:
        left = [name for name, count in free.items() if count > 0]
        if not left:
            break
        best = max(left, key=lambda name: (name.partition("/")[0] in hosts, free[name]))
        found[best] = found.get(best, 0) + 1
        free[best] -= 1
        hosts.add(best.partition("/")[0])
    return found
