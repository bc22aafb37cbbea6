"""The rows of a report card: one variant of the model each, with tagged figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lepton_kit.errors import CompressionError

Origin = Literal["measured", "estimated", "not_run"]

# key -> (heading, unit)
COLUMNS: dict[str, tuple[str, str]] = {
    "score": ("score", ""),
    "difference": ("difference to float", ""),
    "lost": ("lost, as a bound counts it", ""),
    "departure": ("largest difference to Keras", "of the largest output"),
    "parameters": ("parameters", "numbers"),
    "nonzero_parameters": ("non-zero parameters", "numbers"),
    "file_bytes": ("file size", "bytes"),
    "gzip_bytes": ("gzip size", "bytes"),
    "peak_memory_bytes": ("peak memory", "bytes"),
    "latency_1_one": ("latency, batch 1, one thread", "ms"),
    "latency_32_one": ("latency, batch 32, one thread", "ms"),
    "latency_1_all": ("latency, batch 1, all threads", "ms"),
    "latency_32_all": ("latency, batch 32, all threads", "ms"),
    "throughput": ("throughput", "samples/s"),
    "energy": ("energy per inference", "mJ"),
    "training_energy": ("energy of its training", "J"),
    "luts": ("LUTs", "cells"),
    "flip_flops": ("flip-flops", "cells"),
    "dsps": ("DSPs", "cells"),
    "cycles": ("latency on the FPGA", "cycles"),
}


OWN = "own: "
"""How the keys of figures begin that the model's compile and its other outputs bring: metrics by their names."""
SAME = 1e-6
"""Scores that are closer than this are one; Keras counts in float32."""


def own_keys(rows: Sequence[Row], metric: str) -> list[str]:
    """The keys of such figures, in the order in which they first appear; not that of the score's own ``metric``.

    It stays where Keras counts otherwise than the score does.
    """
    keys = dict.fromkeys(key for row in rows for key in row.figures if key.startswith(OWN))
    same = OWN + metric
    if same in keys and all(_equal(row.get("score"), row.get(same)) for row in rows):
        del keys[same]
    return list(keys)


def _equal(score: float | None, own: float | None) -> bool:
    return score is None or own is None or abs(score - own) < SAME


@dataclass(frozen=True)
class Figure:
    """A number with its origin; ``low`` and ``high`` are its interval (95 % of a score, quartiles of a time)."""

    value: float | None
    origin: Origin
    low: float | None = None
    high: float | None = None
    note: str = ""

    @classmethod
    def not_run(cls, why: str) -> Figure:
        """An unknown, shown as unknown."""
        return cls(None, "not_run", note=why)


@dataclass(frozen=True)
class Row:
    """One variant of the model on one target."""

    name: str
    runtime: str
    precision: str = "float32"
    structured: float = 0.0
    sparsity: float = 0.0
    role: Literal["float", "variant", "control"] = "variant"
    target: str = "CPU"
    file: str | None = None
    figures: dict[str, Figure] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None

    def __repr__(self) -> str:
        return f"Row({self.name}, {self.error or ('; '.join(self.flags) or 'no flags')})"

    def get(self, key: str) -> float | None:
        """The value of a figure, or None where it is unknown."""
        figure = self.figures.get(key)
        return None if figure is None else figure.value

    def known(self, key: str) -> float:
        """The value of a figure that is there. Raises `CompressionError` where it is unknown."""
        value = self.get(key)
        if value is None:
            raise CompressionError(f"{self.name}: {key} is not known")
        return value
