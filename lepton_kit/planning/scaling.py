"""How long a step takes on so many workers, hosts and samples: a law of few costs that each stand for something.

A rank computes ``fixed + sample * x`` for its x samples: kernels have a cost that does not shrink with the batch (Habitat, Yu
et al., USENIX ATC 2021, and ConvMeter, 2024, predict steps from such terms). Busy neighbours slow it, as they share
memory and caches (the linear term of Gunther's universal scalability law, 1993). More workers than cores take turns:
with whole turns a step lasts ⌈k/m⌉ times as long, with arbitrarily short ones k/m (McNaughton 1959); the scheduler's
slice decides between them. Ranks add up in shared memory; between hosts a ring of leaders passes 2 (H - 1)/H of the bytes
in 2 (H - 1) messages (Patarasuk & Yuan 2009), each of which costs latency + bytes / bandwidth (α-β model, Hockney 1994).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from lepton_kit.errors import ConfigError

Costs = Mapping[str, Any]
"""A value for each of `NAMES`: a number, or an array of draws, all of one shape."""

NAMES = (
    "fixed", "sample", "contention", "reading", "skew", "meeting", "byte", "slice", "block", "call", "wire", "messages",
)  # fmt: skip
LONGEST_BLOCK = 64
BLOCK_SECONDS, LONGEST_BLOCK_SECONDS, AGREEMENTS = 0.1, 1.0, 40
"""How long blocks of steps are, as `training/agreement.py` chooses them."""
SPIN_SECONDS = 5e-5
"""What a rank that waits for others keeps its core, before it lets another rank have it (`training/native/ring.h`)."""
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


@dataclass(frozen=True)
class Link:
    """What joins two hosts: bits a second, and the seconds that a message takes one way.

    >>> Link.read("1gbit/0.5")
    Link(bits=1000000000.0, seconds=0.0005)
    """

    bits: float
    seconds: float

    @classmethod
    def read(cls, text: Any) -> Link:
        """From ``"1gbit/0.5"``: rate, and one-way latency in milliseconds. Raises `ConfigError`."""
        if isinstance(text, Link):
            return text
        rule = "rate/milliseconds, such as 1gbit/0.5 or 100mbit/5"
        found = re.fullmatch(
            r"([0-9.]+)\s*([kmgt]?)bit(?:/s)?\s*/\s*([0-9.]+)\s*(?:ms)?", str(text).strip().lower()
        )
        try:
            assert found is not None
            link = cls(float(found[1]) * UNITS[found[2]], float(found[3]) / 1e3)
            assert link.bits > 0
        except (AssertionError, ValueError):
            raise ConfigError("link", given=text, rule=rule) from None
        return link

    def __str__(self) -> str:
        unit = next(one for one in "tgmk" if self.bits >= UNITS[one] or one == "k")
        return f"{self.bits / UNITS[unit]:g}{unit}bit/{self.seconds * 1e3:g}"


LOOPBACK = Link(math.inf, 0.0)


def whole(name: str, value: Any) -> int:
    """A whole number of at least 1, also one of numpy. Raises `ConfigError` that names the field.

    >>> whole("batch", np.int64(64))
    64
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(name, given=value, rule="a whole number of at least 1")
    return int(value)


@dataclass(frozen=True)
class Setting:
    """Where and on what a step is computed.

    ``places`` are the workers that a host computes with at full speed: its cores by the threads of a worker.
    ``together`` says that all hosts are agents on one machine, which has these places. ``wire_bytes`` are those of a
    number between hosts: 4, or 2 with ``wire="float16"``. A block has ``longest_block`` steps at most, those of an epoch.
    """

    workers: int
    batch: int
    places: int
    hosts: int = 1
    link: Link = LOOPBACK
    together: bool = False
    wire_bytes: int = 4
    longest_block: int = LONGEST_BLOCK

    def __post_init__(self) -> None:
        for name in ("workers", "batch", "places", "hosts", "longest_block"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if self.workers > self.batch:
            raise ConfigError(
                "workers",
                given=self.workers,
                rule=f"at most {self.batch}, one sample of the global batch each",
            )
        if self.hosts > self.workers:
            raise ConfigError(
                "hosts", given=self.hosts, rule=f"at most {self.workers}, the number of workers"
            )

    @property
    def per_host(self) -> int:
        """Workers of the fullest host."""
        return -(-self.workers // self.hosts)

    @property
    def crowd(self) -> int:
        """Workers that share one machine's cores."""
        return self.workers if self.together else self.per_host

    @property
    def samples(self) -> int:
        """The largest part of a step, for which all wait."""
        return -(-self.batch // self.workers)

    def with_workers(self, workers: int) -> Setting:
        """The same with more or fewer workers, on as many hosts as they need at one a core; links stay as they are."""
        hosts = self.hosts if self.together else max(1, -(-workers // self.places))
        return replace(self, workers=workers, hosts=min(workers, hosts))


def parts(costs: Costs, setting: Setting, parameters: int) -> dict[str, Any]:
    """Seconds of a step by what they go to; their sum is the step. Of arrays of draws, an array each.

    ``data`` and ``compute`` are a rank's own; ``turns`` is what it waits for a core, ``wait`` for the slowest rank;
    ``communicate`` is adding up within hosts and ``between`` them; ``other`` what a block of steps costs beside.

    >>> costs = dict.fromkeys(NAMES, 0.0) | {"fixed": 0.002, "sample": 0.0001}
    >>> one, two = (parts(costs, Setting(k, 100, places=2), 10_000) for k in (1, 2))
    >>> round(float(sum(one.values())), 4), round(float(sum(two.values())), 4)
    (0.012, 0.007)
    """
    busy = min(setting.crowd, setting.places)
    crowding = 1.0 + costs["contention"] * (busy - 1)
    compute = (costs["fixed"] + costs["sample"] * setting.samples) * crowding
    data = costs["reading"] * setting.samples
    within = _within(costs, setting, 4.0 * parameters)
    own = compute + data + within
    found = {
        "data": data,
        "compute": compute,
        "turns": _turns(own, costs["slice"], setting),
        "wait": compute * costs["skew"] * _latest(setting.workers),
        "communicate": within,
        "between": _between(costs, setting, parameters),
    }
    found["other"] = _blocks(costs, setting, sum(found.values()))
    return found


def step_seconds(costs: Costs, setting: Setting, parameters: int) -> Any:
    """Seconds of a step."""
    return sum(parts(costs, setting, parameters).values())


def _turns(own: Any, slice_seconds: Any, setting: Setting) -> Any:
    """What sharing cores adds to a rank's own time; 0 where each has one.

    A rank that is put off in mid-turn loses half a slice to the others, in the mean.
    """
    crowd, places = setting.crowd, setting.places
    if crowd <= places:
        return own * 0.0
    more = -(-crowd // places) - 1
    return np.minimum(own * more, own * (crowd / places - 1) + slice_seconds / 2) + SPIN_SECONDS * more


def _within(costs: Costs, setting: Setting, size: float) -> Any:
    """Adding up in shared memory: each rank writes its gradients and reads those of all; of several hosts the leader
    does, and the others copy what comes back (`training/native/ring.cc`)."""
    ranks, again = setting.per_host, setting.hosts > 1
    if ranks == 1:
        return 0.0 * costs["byte"]
    return costs["meeting"] * (2 if again else 1) + costs["byte"] * size * (1 + ranks + (1 if again else 0))


def _between(costs: Costs, setting: Setting, parameters: int) -> Any:
    hosts, link = setting.hosts, setting.link
    if hosts == 1:
        return 0.0 * costs["call"]
    passed = 2.0 * (hosts - 1) / hosts * setting.wire_bytes * parameters
    return _round(costs, setting) + passed * (costs["wire"] + 8.0 / link.bits)


def _round(costs: Costs, setting: Setting) -> Any:
    """A sum of nothing between hosts: Horovod's own time, and messages one after the other: those of its ring, and two by
    which the first rank hears that all are ready."""
    return costs["call"] + costs["messages"] * (2 * (setting.hosts - 1) + 2) * setting.link.seconds


def _latest(ranks: int) -> float:
    """By how many deviations the last of so many normal times is expected to be late (Blom 1958).

    >>> round(_latest(2), 2), round(_latest(100), 2)
    (0.59, 2.5)
    """
    return NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25))


def _blocks(costs: Costs, setting: Setting, step: Any) -> Any:
    """What the agreement and the loop between blocks of steps cost, a step."""
    crowd = max(1.0, setting.crowd / setting.places)
    agreement = 0.0 * costs["call"] if setting.hosts == 1 else _round(costs, setting)
    each = costs["block"] * crowd + agreement
    length = np.clip(AGREEMENTS * agreement, BLOCK_SECONDS, LONGEST_BLOCK_SECONDS)
    return each / np.clip(length / np.maximum(step, 1e-9), 1.0, setting.longest_block)
