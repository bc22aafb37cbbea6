"""Accuracy-bounded search: what to try next, what not to try at all, and which variant wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lepton_kit.deploy.report.rows import Row

FINEST_STEP = 0.1  # no bisection between shares of channels that are closer than this


@dataclass(frozen=True, order=True)
class Trunk:
    """A set of trained weights that several number formats are made from: which share of it was removed."""

    structured: float = 0.0
    sparsity: float = 0.0

    @property
    def name(self) -> str:
        """Part of a variant's name, empty for the model as it came."""
        parts = []
        if self.structured:
            parts.append(f"structured-{self.structured * 100:g}")
        if self.sparsity:
            parts.append(f"sparse-{self.sparsity * 100:g}")
        return "+".join(parts)

    def variant(self, precision: str) -> str:
        """A variant's name.

        >>> Trunk(0.5, 0.8).variant("int8"), Trunk().variant("int8")
        ('structured-50+sparse-80+int8', 'int8')
        """
        return f"{self.name}+{precision}" if self.name else precision

    def removes_as_much_as(self, other: Trunk) -> bool:
        """Whether it removes at least what the other does."""
        return self.structured >= other.structured and self.sparsity >= other.sparsity


def trunks(structured: Sequence[float], sparsity: Sequence[float]) -> list[Trunk]:
    """All combinations; the untouched model first, then single changes, mild ones before strong ones.

    >>> [trunk.name for trunk in trunks([0.5], [0.8])]
    ['', 'structured-50', 'sparse-80', 'structured-50+sparse-80']
    """
    return sorted({Trunk(a, b) for a in (0.0, *structured) for b in (0.0, *sparsity)}, key=_effort)


def _effort(trunk: Trunk) -> tuple[int, bool, float, float]:
    changes = (trunk.structured > 0) + (trunk.sparsity > 0)
    return changes, trunk.sparsity > 0, trunk.structured, trunk.sparsity


@dataclass(frozen=True)
class Outcome:
    """What a trunk gave: per number format its loss of score and its cost relative to float LiteRT."""

    trunk: Trunk
    drops: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)

    def inside(self, max_drop: float) -> dict[str, float]:
        """Costs of the number formats inside the bound."""
        return {name: cost for name, cost in self.costs.items() if self.drops[name] <= max_drop}


def next_trunk(
    space: Sequence[Trunk], seen: Sequence[Outcome], max_drop: float, cost: str, *, refine: bool = False
) -> Trunk | None:
    """The next trunk worth training, or None when no other can win.

    The untouched model comes first because it needs no training. Skipped are trunks that remove at least as much
    as one that failed in every number format, and those whose best conceivable cost does not beat what is found.
    With ``refine`` the share of removed channels is then bisected between the last success and the first failure.
    """
    done = {outcome.trunk for outcome in seen}
    for trunk in sorted(space, key=_effort):
        if trunk not in done and why_skip(trunk, seen, max_drop, cost) is None:
            return trunk
    if not refine:
        return None
    middle = _between(seen, max_drop)
    if middle is None or middle in done or why_skip(middle, seen, max_drop, cost) is not None:
        return None
    return middle


def why_skip(trunk: Trunk, seen: Sequence[Outcome], max_drop: float, cost: str) -> str | None:
    """The reason not to train a trunk, in words, or None."""
    for outcome in seen:
        if not outcome.inside(max_drop) and trunk.removes_as_much_as(outcome.trunk):
            return f"removes at least as much as {outcome.trunk.name or 'the model as it came'}, which lost too much"
    base = next((outcome for outcome in seen if outcome.trunk == Trunk()), None)
    if base is None or trunk == Trunk() or not base.costs:
        return None
    best = min((value for outcome in seen for value in outcome.inside(max_drop).values()), default=math.inf)
    hope = min(base.costs.values()) * shrink(trunk, cost)
    if hope >= best:
        return f"at best {hope:.2f} of float's cost; {best:.2f} is already found"
    return None


def shrink(trunk: Trunk, cost: str) -> float:
    """The smallest conceivable cost of a trunk relative to the untouched model in the same number format.

    Removing a share r of the channels leaves (1 - r)² of the work between two thinned layers; zeros leave 1 - s of
    the information and all of the work.

    >>> shrink(Trunk(0.5, 0.8), "latency"), round(shrink(Trunk(0.0, 0.75), "balanced"), 3)
    (0.25, 0.5)
    """
    latency = (1 - trunk.structured) ** 2
    size = latency * (1 - trunk.sparsity)
    return {"latency": latency, "size": size, "balanced": math.sqrt(latency * size)}[cost]


def _between(seen: Sequence[Outcome], max_drop: float) -> Trunk | None:
    shares = {outcome.trunk.structured: outcome for outcome in seen if not outcome.trunk.sparsity}
    good = [share for share, outcome in shares.items() if outcome.inside(max_drop)]
    bad = [share for share, outcome in shares.items() if not outcome.inside(max_drop)]
    if not good or not bad or min(bad) - max(good) < FINEST_STEP or min(bad) < max(good):
        return None
    return Trunk((max(good) + min(bad)) / 2)


def relative_cost(row: Row, reference: Row, cost: str) -> float | None:
    """Cost of a row relative to float LiteRT: latency at batch 1 on one thread, gzip size, or their geometric mean."""
    ratios = []
    for key in {"latency": ("latency_1_one",), "size": ("gzip_bytes",)}.get(
        cost, ("latency_1_one", "gzip_bytes")
    ):
        mine, other = row.get(key), reference.get(key)
        if mine is None or not other:
            return None
        ratios.append(mine / other)
    return math.prod(ratios) ** (1 / len(ratios))


def choose(rows: Sequence[Row], cost: str, max_drop: float) -> str | None:
    """The cheapest row that loses at most ``max_drop`` against the float model; of equals the better score."""
    reference = next((row for row in rows if row.name == "float32" and row.error is None), None)
    found = []
    for row in rows:
        drop = row.get("lost")
        if reference is None or row.error or row.role == "control" or drop is None:
            continue
        price = relative_cost(row, reference, cost)
        if price is not None and drop <= max_drop + 1e-12:
            found.append((price, drop, row.name))
    return min(found)[2] if found else None
