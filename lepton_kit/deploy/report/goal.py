"""What a search is for: the cheapest variant that loses little enough, or the best one that is small or fast enough."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lepton_kit.deploy.report.rows import Row
from lepton_kit.errors import CompressionError
from lepton_kit.planning.estimates import digits

COSTS = ("balanced", "latency", "size")
LOST, LATENCY, SIZE = "lost", "latency_1_one", "file_bytes"
"""The figures of a row that a goal can limit: the score that is lost, ms at batch 1 on one thread, bytes of the file."""
TARGETS = {
    "latency": (LATENCY, {"ms": 1.0, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "s": 1e3}),
    "size": (SIZE, {"kB": 1e3, "KB": 1e3, "B": 1.0, "MB": 1e6, "KiB": 1024.0, "MiB": 1024.0**2}),
}
"""What a target can limit: the figure, and its units as multiples of the figure's own."""
_TARGET = re.compile(r"\s*([a-z]+)\s*(?:<=|≤)\s*([0-9.]+(?:e[-+]?[0-9]+)?)\s*([^\s0-9.]+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Goal:
    """One figure has to stay within a limit, and of the variants within it the one with the least of another is best.

    A bound limits what is lost and looks for the least ``cost``; a target limits latency or size and looks for the
    least loss.
    """

    limited: str
    limit: float
    cost: str = "balanced"

    @property
    def is_bound(self) -> bool:
        """Whether the score is limited, so that what is looked for is cheap."""
        return self.limited == LOST

    def cost_of(self, row: Row, reference: Row) -> float | None:
        """Of a bound the cost relative to float LiteRT; of a target the figure that it limits; None: not known."""
        return relative_cost(row, reference, self.cost) if self.is_bound else row.get(self.limited)

    def meets(self, lost: float, cost: float) -> bool:
        """Whether a variant with that loss and that cost stays within the limit.

        >>> Goal("lost", 0.01).meets(0.005, 0.9), Goal("file_bytes", 50e3).meets(0.005, 60e3)
        (True, False)
        """
        return (lost if self.is_bound else cost) <= self.limit + 1e-12

    def price(self, lost: float, cost: float) -> tuple[float, float]:
        """What the best variant has least of; the second number decides between equals."""
        return (cost, lost) if self.is_bound else (lost, cost)

    def told(self, value: float | None = None) -> str:
        """The limit, or a value of the limited figure, in words.

        >>> (
        ...     Goal("file_bytes", 50e3).told(),
        ...     Goal("latency_1_one", 0.02).told(0.0351),
        ...     Goal("lost", 0.01).told(),
        ... )
        ('size <= 50 kB', 'latency 0.0351 ms', 'loses at most 0.01')
        """
        shown = self.limit if value is None else value
        if self.is_bound:
            return f"loses {'at most ' if value is None else ''}{shown:.3g}"
        sign = "<= " if value is None else ""
        if self.limited == LATENCY:
            return f"latency {sign}{digits(shown)} ms"
        return f"size {sign}{digits(shown / 1000, 4)} kB"


def relative_cost(row: Row, reference: Row, cost: str) -> float | None:
    """Cost of a row relative to float LiteRT: latency at batch 1 on one thread, gzip size, or their geometric mean."""
    ratios = []
    for key in {"latency": (LATENCY,), "size": ("gzip_bytes",)}.get(cost, (LATENCY, "gzip_bytes")):
        mine, other = row.get(key), reference.get(key)
        if mine is None or not other:
            return None
        ratios.append(mine / other)
    return math.prod(ratios) ** (1 / len(ratios))


def target_of(target: Any) -> tuple[str, float]:
    """(figure, limit in the figure's own unit) of a target such as ``"size <= 50 kB"``. Raises `CompressionError`.

    >>> target_of("latency ≤ 20 us"), target_of("size <= 50 kB")
    (('latency_1_one', 0.02), ('file_bytes', 50000.0))
    """
    found = _TARGET.fullmatch(target) if isinstance(target, str) else None
    if found is not None:
        name, number, unit = found.groups()
        figure, units = TARGETS.get(name.lower(), ("", {}))
        if unit in units and number.count(".") <= 1 and 0 < float(number) * units[unit] < math.inf:
            return figure, float(number) * units[unit]
    units_told = "; ".join(f"{name}: {', '.join(units)}" for name, (_, units) in TARGETS.items())
    raise CompressionError(
        f"target: got {target!r}; expected latency or size, then <= or ≤, a number above 0 and a unit ({units_told}), "
        "such as 'latency <= 0.02 ms' or 'size <= 50 kB'"
    )


def goal_of(
    metric: str, max_accuracy_drop: float | None, max_drop: Any, target: Any, cost: str
) -> tuple[str, Goal | None, bool | None]:
    """(metric, goal or None: no search, whether a bound is a share of the float model's value; None: of an error it is).

    >>> goal_of("auto", None, "auc=2%", None, "size")
    ('auc', Goal(limited='lost', limit=0.02, cost='size'), True)
    """
    if cost not in COSTS:
        raise CompressionError(f"cost: got {cost!r}; expected one of {', '.join(COSTS)}")
    if target is None:
        metric, bound, relative = bound_of(metric, max_accuracy_drop, max_drop)
        return metric, None if bound is None else Goal(LOST, bound, cost), relative
    limited, limit = target_of(target)
    for name, value in (("max_drop", max_drop), ("max_accuracy_drop", max_accuracy_drop)):
        if value is not None:
            raise CompressionError(
                f"target: got it beside {name}; expected one of the two: a target finds the best score that meets it, "
                "a bound the cheapest variant inside it"
            )
    if cost != "balanced":
        raise CompressionError(f"cost: got {cost!r} beside a target, which says itself what has to be small")
    return metric, Goal(limited, limit), None


def bound_of(
    metric: str, max_accuracy_drop: float | None, max_drop: Any
) -> tuple[str, float | None, bool | None]:
    """(metric, bound, whether the bound is a share of the float model's value; None: of an error it is).

    >>> bound_of("auto", None, {"auc": 0.01}), bound_of("auto", None, "2%")
    (('auc', 0.01, False), ('auto', 0.02, True))
    """
    if max_drop is None:
        if max_accuracy_drop is not None and not 0 <= max_accuracy_drop < 1:
            raise CompressionError(f"max_accuracy_drop: got {max_accuracy_drop}; expected a share in [0, 1)")
        return metric, max_accuracy_drop, None
    if max_accuracy_drop is not None:
        raise CompressionError("max_drop: got it beside max_accuracy_drop; expected one of the two")
    given = max_drop
    if isinstance(given, str) and "=" in given:
        name, _, text = given.rpartition("=")
        given = {name.strip(): text}
    if isinstance(given, Mapping):
        if len(given) != 1:
            raise CompressionError(
                f"max_drop: got {len(given)} metrics; expected one, such as {{'auc': 0.01}}"
            )
        name, given = next(iter(given.items()))
        if metric not in ("auto", name):
            raise CompressionError(f"max_drop: got a bound for {name!r}; the metric is {metric!r}")
        metric = name
    try:
        share = isinstance(given, str) and given.strip().endswith("%")
        value = float(str(given).strip().removesuffix("%")) / (100 if share else 1)
    except ValueError:
        value = -1.0
    if isinstance(given, bool) or not 0 <= value < float("inf"):
        raise CompressionError(
            f"max_drop: got {max_drop!r}; expected a number of at least 0, a share such as '2%', or a metric with one of "
            "these, {'auc': 0.01} or 'auc=0.01'"
        )
    return metric, value, share
