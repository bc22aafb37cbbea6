"""How long a step takes on so many workers, hosts and samples: a law of few costs that each stand for something.

A rank computes ``fixed + sample * x`` for its x samples: kernels have a cost that does not shrink with the batch (Habitat, Yu
et al., USENIX ATC 2021, and ConvMeter, 2024, predict steps from such terms). Busy neighbours slow it, as they share
memory and caches (the linear term of Gunther's universal scalability law, 1993). More workers than cores take turns:
shared evenly a step lasts k/m times as long (McNaughton 1959), and longer by what is queued at one core while another has
nothing to do; whoever computes then has no busy neighbours. Ranks add up in shared memory; between hosts a ring of
leaders passes 2 (H - 1)/H of the bytes (Patarasuk & Yuan 2009), and a message costs latency + bytes / bandwidth (α-β model,
Hockney 1994). Horovod, over Gloo, first agrees on
what is ready and then adds it up; each of the two goes around the ring twice, and each time the first message waits for a
word that it is expected: 4 H latencies a sum (with two hosts 8.2 were measured, 2026-11). While ranks compute, its
loop keeps asking the other hosts, which takes time from them.
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
    "fixed", "sample", "contention", "reading", "skew", "meeting", "byte", "queueing", "block", "call", "wire", "messages",
    "polling",
)  # fmt: skip
LONGEST_BLOCK = 64
BLOCK_SECONDS, LONGEST_BLOCK_SECONDS, AGREEMENTS = 0.1, 1.0, 40
"""How long blocks of steps are, as `training/agreement.py` chooses them."""
CYCLE_SECONDS = 5e-4
"""Between two looks of Horovod's loop at what there is to add up (`training/collective.py`)."""
WIRES = {"float32": 4, "float16": 2}
"""Bytes of a gradient's number between hosts, by what ``launch`` calls ``wire``."""
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


@dataclass(frozen=True)
class Link:
    """What joins two hosts: bits a second, and the seconds that a message takes one way.

    >>> Link.read("1gbit/0.5")
    Link(bits=1000000000.0, seconds=0.0005)
    """

    bits: float
    seconds: float

    def __post_init__(self) -> None:
        if not (_is_number(self.bits) and self.bits > 0):
            raise ConfigError("link.bits", given=self.bits, rule="bits a second, above 0")
        if not (_is_number(self.seconds) and 0 <= self.seconds < math.inf):
            raise ConfigError(
                "link.seconds", given=self.seconds, rule="seconds of a message one way, at least 0"
            )

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
            return cls(float(found[1]) * UNITS[found[2]], float(found[3]) / 1e3)
        except (AssertionError, ValueError):  # a `ConfigError` is one, too
            raise ConfigError("link", given=text, rule=rule) from None

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
    number that goes over Horovod: 4, or 2 with ``wire="float16"``. A block has ``longest_block`` steps at most, those of an epoch.
    ``flat`` says that all ranks add up in one ring of Horovod's, those of one host too (``allreduce="horovod"``); else they
    do in shared memory there, and only a leader of each host is in the ring.
    """

    workers: int
    batch: int
    places: int
    hosts: int = 1
    link: Link = LOOPBACK
    together: bool = False
    wire_bytes: int = 4
    longest_block: int = LONGEST_BLOCK
    flat: bool = False

    def __post_init__(self) -> None:
        for name in ("workers", "batch", "places", "hosts", "longest_block"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if self.wire_bytes not in WIRES.values():
            raise ConfigError("wire_bytes", given=self.wire_bytes, rule="4 (float32) or 2 (float16)")
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
    def ring(self) -> int:
        """Members of Horovod's ring."""
        return self.workers if self.flat else self.hosts

    @property
    def samples(self) -> int:
        """The largest part of a step, for which all wait."""
        return -(-self.batch // self.workers)

    def with_workers(self, workers: int) -> Setting:
        """The same with more or fewer workers, on as many hosts as they need at one a core; links stay as they are."""
        hosts = self.hosts if self.together else max(1, -(-workers // self.places))
        return replace(self, workers=workers, hosts=min(workers, hosts))


def wire_bytes(name: Any) -> int:
    """Bytes of a gradient's number between hosts. Raises `ConfigError` that says what there is.

    >>> wire_bytes("float16")
    2
    """
    if not isinstance(name, str) or name not in WIRES:
        raise ConfigError("wire", given=name, rule=" or ".join(WIRES))
    return WIRES[name]


def parts(costs: Costs, setting: Setting, parameters: int) -> dict[str, Any]:
    """Seconds of a step by what they go to; their sum is the step. Of arrays of draws, an array each.

    ``data`` and ``compute`` are a rank's own; ``turns`` is what it waits for a core, ``wait`` for the slowest rank;
    ``communicate`` is adding up within a host and ``between`` several; ``other`` what a block of steps costs beside.

    >>> costs = dict.fromkeys(NAMES, 0.0) | {"fixed": 0.002, "sample": 0.0001}
    >>> one, two = (parts(costs, Setting(k, 100, places=2), 10_000) for k in (1, 2))
    >>> round(float(sum(one.values())), 4), round(float(sum(two.values())), 4)
    (0.012, 0.007)
    """
    neighbours = min(setting.crowd, setting.places) - 1
    alone = costs["fixed"] + costs["sample"] * setting.samples
    compute = alone * (1.0 + costs["contention"] * neighbours + costs["polling"] * _polls(setting))
    data = costs["reading"] * setting.samples
    meeting, copying = _within(costs, setting, 4.0 * parameters)
    called, passing = _over_horovod(costs, setting, parameters)
    between = called + passing
    taking_cores = compute + data + copying + (passing if setting.flat else 0.0)
    even, queued = _turns(costs["queueing"], setting)
    relieved = alone * np.minimum(costs["contention"], 1.0) * (neighbours + 1)  # see `_turns`
    found = {
        "data": data,
        "compute": compute,
        "turns": taking_cores * (even - 1.0) + (taking_cores - relieved) * queued,
        "wait": compute * costs["skew"] * _latest(setting.workers),
        "communicate": meeting + copying + (between if setting.hosts == 1 else 0.0),
        "between": between if setting.hosts > 1 else 0.0 * between,
    }
    found["other"] = _blocks(costs, setting, sum(found.values()))
    return found


def step_seconds(costs: Costs, setting: Setting, parameters: int) -> Any:
    """Seconds of a step."""
    return sum(parts(costs, setting, parameters).values())


def _turns(queueing: Any, setting: Setting) -> tuple[float, Any]:
    """How many times as long as alone a rank's own work takes on cores that share it evenly, and what comes on top of that.

    Cores that share the work evenly take k/m. Ranks wake together, after a sum: m of them find an idle core, the others
    queue at one where others may queue, too. If they come to cores by chance and stay there, all wait for the fullest
    (a multinomial, taken as normal). ``queueing`` says how far from the first the scheduler is, towards the second.

    While the fullest works off its last d, the others have nothing to do, and had less before: with contention c a neighbour, m
    cores take (1 + c (m - 1)) (k/m - d/(m - 1)) and then d m/(m - 1) of work alone, in all (1 + c (m - 1)) k/m + (1 - c) d.
    """
    crowd, places = setting.crowd, setting.places
    if crowd <= places:
        return 1.0, 0.0 * queueing
    even = crowd / places
    queued = even - 1.0
    fullest = 1.0 + max(math.ceil(queued), queued + math.sqrt(queued * (1 - 1 / places)) * _latest(places))
    return even, queueing * (fullest - even)


def _polls(setting: Setting) -> float:
    """How often Horovod's loop asks the others of its ring for work, beside as often as it may: an answer takes three latencies.

    Only where ranks keep all cores busy it takes time from them.
    """
    if setting.ring == 1 or setting.crowd < setting.places:
        return 0.0
    return CYCLE_SECONDS / max(CYCLE_SECONDS, 3 * setting.link.seconds if setting.hosts > 1 else 0.0)


def _within(costs: Costs, setting: Setting, size: float) -> tuple[Any, Any]:
    """Adding up in shared memory: coming together, which keeps no core busy, and copying, which does.

    Each rank writes its gradients and reads those of all; of several hosts the leader does, and the others copy what comes
    back (`training/native/ring.cc`).
    """
    ranks, again = setting.per_host, setting.hosts > 1
    if ranks == 1 or setting.flat:
        return 0.0 * costs["meeting"], 0.0 * costs["byte"]
    return costs["meeting"] * (2 if again else 1), costs["byte"] * size * (1 + ranks + (1 if again else 0))


def _over_horovod(costs: Costs, setting: Setting, parameters: int) -> tuple[Any, Any]:
    """Adding up in Horovod's ring: calling and what waits for the link; and passing bytes on, which keeps cores busy."""
    ring, link = setting.ring, setting.link
    if ring == 1:
        return 0.0 * costs["call"], 0.0 * costs["wire"]
    passed = 2.0 * (ring - 1) / ring * setting.wire_bytes * parameters
    # What stays exact, the loss and metrics, needs a sum of its own beside rounded gradients.
    sums = 1 if setting.wire_bytes == WIRES["float32"] else 2
    far = passed * 8.0 / link.bits if setting.hosts > 1 else 0.0
    return _round(costs, setting, sums) + far, passed * costs["wire"]


def _round(costs: Costs, setting: Setting, sums: int = 1) -> Any:
    """Sums of little in Horovod's ring: its own time, and what waits for messages, as the head of this file reckons it.

    Of a ring with several members on a host only the links between hosts have a latency.
    """
    if setting.hosts == 1:
        return costs["call"]
    return costs["call"] + costs["messages"] * 2 * setting.hosts * (1 + sums) * setting.link.seconds


def _latest(ranks: int) -> float:
    """By how many deviations the last of so many normal times is expected to be late (Blom 1958).

    >>> round(_latest(2), 2), round(_latest(100), 2)
    (0.59, 2.5)
    """
    return NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25))


def _blocks(costs: Costs, setting: Setting, step: Any) -> Any:
    """What the agreement and the loop between blocks of steps cost, a step.

    A block costs the same however many share the cores: 6.1 to 7.8 ms with 1 to 4 workers on 2 cores, at batches 32 to 128
    (a small dense network on a slow machine, 2026-11-27: seconds of steps less their parts).
    """
    agreement = 0.0 * costs["call"] if setting.ring == 1 else _round(costs, setting)
    each = costs["block"] + agreement
    length = np.clip(AGREEMENTS * agreement, BLOCK_SECONDS, LONGEST_BLOCK_SECONDS)
    return each / np.clip(length / np.maximum(step, 1e-9), 1.0, setting.longest_block)
