"""Energy that is counted once: what a machine took between two readings, which part of it is a run's, and what a plan would take.

A machine's counters are read at moments that all its runs share, and so is the processor time of each run. A run's part
of the interval between two moments is ``its processor time / all processor time`` of the interval's energy (`shares`), so
parts add up to the counter where nothing else runs, and can't add up to more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lepton_kit.planning.estimates import digits
from lepton_kit.planning.power import Power

COUNTER_SPREAD = 0.05
"""How far a counter is taken to be off: NVML's documentation says 5 % of power readings; RAPL's maker says no figure."""
HIGHEST_WATTS = 2000.0
"""More than any package or GPU takes (2026): a counter that says more has been set back, not wrapped."""
QUIET_SHARE = 0.05
"""Of all processors. A machine that is less busy is taken to show what it takes without work."""
QUIET_SECONDS = 2.0


@dataclass(frozen=True)
class Energy:
    """Joules with an interval, tagged; ``idle`` is the part of them that the machine takes without any work.

    >>> Energy(3.0, 2.0, 4.0, True) + Energy(1.0, 1.0, 1.0, False, idle=0.5)
    Energy(joules=4.0, low=3.0, high=5.0, measured=False, idle=0.5)
    """

    joules: float
    low: float
    high: float
    measured: bool
    idle: float = 0.0

    @property
    def origin(self) -> Literal["measured", "estimated"]:
        """Measured only where all of it was read from counters."""
        return "measured" if self.measured else "estimated"

    @property
    def kwh(self) -> float:
        """Kilowatt-hours."""
        return self.joules / 3.6e6

    def __add__(self, other: Energy) -> Energy:
        ends = (self.low + other.low, self.high + other.high)
        both = self.measured and other.measured
        return Energy(self.joules + other.joules, *ends, both, self.idle + other.idle)

    def scaled(self, factor: float) -> Energy:
        """So many times as much, such as of one sample of many."""
        return Energy(
            self.joules * factor, self.low * factor, self.high * factor, self.measured, self.idle * factor
        )

    def __str__(self) -> str:
        ends = f"{shown(self.low)} to {shown(self.high)}"
        return f"{shown(self.joules)} ({self.origin}, {ends})"


NOTHING = Energy(0.0, 0.0, 0.0, True)


def shown(joules: float) -> str:
    """Joules with a prefix that reads well.

    >>> shown(0.0021), shown(2500), shown(7.2e6)
    ('2.1 mJ', '2.5 kJ', '2 kWh')
    """
    for unit, size in (("kWh", 3.6e6), ("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3)):
        if abs(joules) >= size:
            return f"{digits(joules / size)} {unit}"
    return "0 J" if joules == 0 else f"{digits(joules / 1e-6)} µJ"


def of(seconds: float, used_cores: float, power: Power, idle_share: float = 1.0) -> Energy:
    """What a machine takes while ``used_cores`` of its logical processors work for so many seconds.

    ``idle_share`` is the part of the idle power that is charged: 1 for the whole machine. Raises `ValueError` for
    negative numbers.

    >>> of(10.0, 2.0, Power(idle=20.0, core=5.0, cores=4, spread=(0.5, 2.0)))
    Energy(joules=300.0, low=150.0, high=600.0, measured=False, idle=200.0)
    """
    if seconds < 0 or used_cores < 0 or not 0 <= idle_share <= 1:
        raise ValueError(
            f"seconds {seconds}, used_cores {used_cores}, idle_share {idle_share}: below 0 or above 1"
        )
    idle = seconds * power.idle * idle_share
    joules = idle + seconds * (power.watts(used_cores) - power.idle)
    low, high = power.spread
    return Energy(joules, joules * low, joules * high, power.measured, idle)


@dataclass(frozen=True)
class Reading:
    """What a machine's counters say at a moment (monotonic seconds).

    ``counters``: name -> (microjoules, where it wraps); ``busy``: growing total of seconds that were used, of processors
    or of a GPU; ``why`` there are no counters, or not all.
    """

    at: float
    counters: Mapping[str, tuple[float, float]]
    busy: float
    why: str | None = None


@dataclass(frozen=True)
class Interval:
    """What a machine took between two readings, and for how many ``busy`` seconds it was used."""

    begin: float
    end: float
    energy: Energy
    busy: float
    why: str | None = None
    """Why it was not measured."""


def microjoules(before: Reading, after: Reading) -> float | None:
    """What all counters together have counted; None unless each can be told for sure.

    A counter that has wrapped once is put right. One that is at one end only, that may have wrapped more often, or that
    was set back tells nothing, and so the others don't tell the whole.

    >>> microjoules(Reading(0.0, {"a": (261e9, 262e9)}, 0.0), Reading(60.0, {"a": (1e9, 262e9)}, 0.0))
    2000000000.0
    """
    if not after.counters or before.counters.keys() != after.counters.keys() or after.why or before.why:
        return None
    total, most = 0.0, (after.at - before.at) * HIGHEST_WATTS * 1e6
    for name, (now, wrap) in after.counters.items():
        then, wrapped_at = before.counters[name]
        found = now - then if now >= then else now - then + wrap
        if wrap != wrapped_at or most >= wrap > 0 or not 0 <= found <= most:
            return None
        total += found
    return total


def between(before: Reading, after: Reading, power: Power, quiet_watts: float | None) -> Interval:
    """The interval between two readings: from the counters where they tell, else from the table.

    What it takes without work is ``quiet_watts`` where that was seen, else the table's part of what it took.
    """
    seconds, busy = after.at - before.at, max(0.0, after.busy - before.busy)
    counted = microjoules(before, after)
    guessed = of(seconds, busy / seconds if seconds > 0 else 0.0, power)
    if counted is None:
        why = after.why or before.why or "its counters did not tell between two readings"
        return Interval(before.at, after.at, guessed, busy, why)
    joules = counted / 1e6
    idle = guessed.idle / guessed.joules * joules if quiet_watts is None and guessed.joules else 0.0
    idle = min(joules, idle if quiet_watts is None else quiet_watts * seconds)
    ends = (joules * (1 - COUNTER_SPREAD), joules * (1 + COUNTER_SPREAD))
    return Interval(before.at, after.at, Energy(joules, *ends, True, idle), busy)


def quiet(found: Interval, cores: int) -> float | None:
    """The watts of an interval in which the machine had nothing to do; None of another one."""
    seconds = found.end - found.begin
    if not found.energy.measured or seconds < QUIET_SECONDS or found.busy > QUIET_SHARE * cores * seconds:
        return None
    return found.energy.joules / seconds


def shares(energy: Energy, busy: float, used: Mapping[str, float]) -> dict[str, Energy]:
    """Each program's part of what was taken in an interval, by the seconds that it used of the ``busy`` ones.

    Parts never add up to more than the whole: where the programs together say more than ``busy``, as clocks that tick
    do, they share it all. What is left is of others.

    >>> parts = shares(Energy(100.0, 90.0, 110.0, True), 20.0, {"one": 5.0, "other": 10.0})
    >>> parts["one"].joules, parts["other"].joules
    (25.0, 50.0)
    """
    whole = max(busy, sum(used.values()))
    return {name: energy.scaled(seconds / whole if whole > 0 else 0.0) for name, seconds in used.items()}


def added(parts: Iterable[Energy]) -> Energy:
    """All of them together.

    >>> added([]).joules
    0.0
    """
    total = NOTHING
    for one in parts:
        total = total + one
    return total


def spread_over(
    parts: Sequence[tuple[float, float, Energy]], spans: Sequence[tuple[float, float]]
) -> list[Energy]:
    """What falls into each span of time (begin, end) of parts that were taken evenly over theirs.

    >>> spread_over([(0.0, 10.0, Energy(100.0, 90.0, 110.0, True))], [(2.0, 4.0), (9.0, 12.0)])[1].joules
    10.0
    """
    found = []
    for begin, end in spans:
        inside = NOTHING
        for first, last, energy in parts:
            common = min(end, last) - max(begin, first)
            if common > 0:
                inside = inside + energy.scaled(common / (last - first))
        found.append(inside)
    return found
