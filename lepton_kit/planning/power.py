"""What a machine takes while it idles and for each core that works: a dated table by processor, for machines without a counter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = (
    "Cloud Carbon Footprint's coefficients (SPECpower_ssj2008 results by architecture, read on 2026-11-26: "
    "github.com/cloud-carbon-footprint/ccf-coefficients and, under Apache-2.0, cloud-carbon-coefficients)"
)
DATED = "2026-03-09"
"""Of the SPECpower results behind the newest rows."""
SPREAD = (0.6, 1.6)
"""Multiples of a row: of eight architectures, 28 of the 32 5th and 95th percentiles of servers lie between (benchmarks/power_spread.py)."""

# watts of a whole server for each logical processor: idle, and at full load; memory, fans and power supply included
TABLE: dict[str, tuple[float, float]] = {
    "Sandy Bridge": (2.21, 8.63),
    "Ivy Bridge": (1.71, 5.56),
    "Haswell": (1.86, 5.60),
    "Broadwell": (0.71, 3.69),
    "Skylake": (0.61, 4.10),
    "Cascade Lake": (0.69, 4.06),
    "Coffee Lake": (1.14, 5.42),
    "Ice Lake": (0.77, 3.76),
    "Sapphire Rapids": (1.04, 4.16),
    "Emerald Rapids": (0.81, 4.48),
    "Granite Rapids": (0.58, 2.53),
    "EPYC 1st generation": (0.85, 2.60),
    "EPYC 2nd generation": (0.47, 1.69),
    "EPYC 3rd generation": (0.46, 1.96),
    "EPYC 4th generation": (0.74, 2.28),
}
"""From output/coefficients-aws-use.csv. Its fifth EPYC generation has five times the fourth's idle watts and is left out."""

# Models of family 6 and of AMD's families: Linux, arch/x86/include/asm/intel-family.h, and AMD's names of families.
INTEL: dict[int, str] = {
    **dict.fromkeys((42, 45), "Sandy Bridge"),
    **dict.fromkeys((58, 62), "Ivy Bridge"),
    **dict.fromkeys((60, 63, 69, 70), "Haswell"),
    **dict.fromkeys((61, 71, 79, 86), "Broadwell"),
    **dict.fromkeys((78, 94), "Skylake"),
    **dict.fromkeys((142, 158), "Coffee Lake"),
    **dict.fromkeys((106, 108), "Ice Lake"),
    143: "Sapphire Rapids",
    207: "Emerald Rapids",
    **dict.fromkeys((173, 174), "Granite Rapids"),
}
CASCADE_STEPPINGS = range(5, 8)
"""Of model 85, which Skylake servers have too."""
EPYC: dict[tuple[int, int], str] = {
    (23, 1): "EPYC 1st generation",
    (23, 49): "EPYC 2nd generation",
    (25, 1): "EPYC 3rd generation",
    (25, 17): "EPYC 4th generation",
    (25, 160): "EPYC 4th generation",
}


@dataclass(frozen=True)
class Power:
    """Watts of a machine: ``idle`` all of it without work, ``core`` more for each logical processor that is busy.

    ``spread`` are the multiples between which the truth lies. ``source`` says where the figures come from.

    >>> Power(idle=20.0, core=5.0, cores=4).watts(2.0)
    30.0
    """

    idle: float
    core: float
    cores: int
    spread: tuple[float, float] = (1.0, 1.0)
    measured: bool = False
    source: str = ""

    def watts(self, busy: float) -> float:
        """While so many logical processors are busy."""
        return self.idle + self.core * min(busy, self.cores)

    @property
    def idle_share(self) -> float:
        """Part of the watts at full load that it takes without work."""
        full = self.watts(self.cores)
        return self.idle / full if full > 0 else 0.0


def architecture(vendor: str, family: int, model: int, stepping: int = 0) -> str | None:
    """The row of the table for a processor as /proc/cpuinfo names it; None of one that is not in it.

    >>> architecture("AuthenticAMD", 25, 17), architecture("GenuineIntel", 6, 85, 7)
    ('EPYC 4th generation', 'Cascade Lake')
    """
    if vendor == "AuthenticAMD":
        return EPYC.get((family, model))
    if vendor != "GenuineIntel" or family != 6:
        return None
    if model == 85:
        if stepping < CASCADE_STEPPINGS.start:
            return "Skylake"
        return "Cascade Lake" if stepping in CASCADE_STEPPINGS else None
    return INTEL.get(model)


def power_of(name: str | None, cores: int) -> Power:
    """The table's power for an architecture with so many logical processors; the mean of the table where it is not known.

    >>> power_of("EPYC 4th generation", 2).watts(2.0)
    4.56
    >>> power_of(None, 2).spread[1] > power_of("Haswell", 2).spread[1]
    True
    """
    if name in TABLE:
        idle, full = TABLE[name]
        return Power(idle * cores, full - idle, cores, SPREAD, False, f"{name}: {SOURCE}")
    rows = list(TABLE.values())
    idle, full = (sum(row[place] for row in rows) / len(rows) for place in (0, 1))
    low = min(row[1] for row in rows) / full * SPREAD[0]
    high = max(row[1] for row in rows) / full * SPREAD[1]
    told = f"a processor that is not in the table, so the mean of its {len(rows)} rows: {SOURCE}"
    return Power(idle * cores, full - idle, cores, (round(low, 2), round(high, 2)), False, told)


def of_cpuinfo(text: str, cores: int) -> Power:
    """The table's power for the processor that /proc/cpuinfo describes.

    >>> of_cpuinfo("vendor_id : GenuineIntel\\ncpu family : 6\\nmodel : 63\\nstepping : 2\\n", 8).idle
    14.88
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return power_of(architecture(fields.get("vendor_id", ""), *_numbers(fields)), cores)


def _numbers(fields: Mapping[str, str]) -> tuple[int, int, int]:
    family, model, stepping = (fields.get(name, "") for name in ("cpu family", "model", "stepping"))
    whole = [int(text) if text.isdigit() else -1 for text in (family, model, stepping)]
    return whole[0], whole[1], whole[2]
