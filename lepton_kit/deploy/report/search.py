"""The search of a goal: what to try next, what not to try at all, and which variant wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lepton_kit.deploy.report.goal import LATENCY, LOST, Goal
from lepton_kit.deploy.report.rows import Row

FINEST_STEP = 0.05  # shares of channels that are closer than this are not told apart (our choice, 2026-11)
SHARES = tuple(step / 100 for step in range(3, 97, 3))
"""The shares of channels that a search for a target chooses from."""
SAME_SCORE = 0.002
"""A format that could score better by less than this is not trained for: a fifth of a point is chance (our choice, 2026-11)."""
MARGIN = 0.95
"""A latency that is looked at before training is taken as this much too good: two timings of a file differ by so much."""


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
    """What a trunk gave: per number format its loss of score and its cost as the goal counts it."""

    trunk: Trunk
    drops: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)

    def inside(self, goal: Goal) -> dict[str, float]:
        """What of the number formats within the limit is to be least: costs of a bound, losses of a target."""
        return {
            name: goal.price(self.drops[name], cost)[0]
            for name, cost in self.costs.items()
            if goal.meets(self.drops[name], cost)
        }


Probe = Callable[[float], Mapping[str, float]]
"""What every number format would cost with that share of channels removed; nothing is trained for it."""


def next_trunks(
    space: Sequence[Trunk],
    seen: Sequence[Outcome],
    goal: Goal,
    *,
    refine: bool = False,
    lanes: int = 1,
    probe: Probe | None = None,
) -> list[Trunk]:
    """The next trunks worth training, at most ``lanes`` of them side by side; none when no other can win.

    The untouched model comes first because it needs no training. With ``refine`` the shares of removed channels are
    chosen here, those of ``space`` are not more than a beginning. Inside a bound what removes at least as much as one that
    failed in every number format is skipped, and what could not beat what is found even if all went well. For a target
    ``probe`` tells costs before training, and the mildest share that meets it is trained.
    """
    done = {outcome.trunk for outcome in seen}
    if Trunk() not in done:
        return [Trunk()]
    if not goal.is_bound:
        shares = SHARES if refine else sorted({trunk.structured for trunk in space})
        found = next_share(seen, goal, shares, probe) if probe is not None else None
        return [] if found is None else [Trunk(found)]
    worth = [
        trunk
        for trunk in (_refined(space, seen, goal, lanes) if refine else sorted(space, key=_effort))
        if trunk not in done and why_skip(trunk, seen, goal) is None
    ]
    return worth[:lanes]


def why_skip(trunk: Trunk, seen: Sequence[Outcome], goal: Goal) -> str | None:
    """The reason not to train a trunk in a search inside a bound, in words, or None."""
    for outcome in seen:
        if not outcome.inside(goal) and trunk.removes_as_much_as(outcome.trunk):
            return f"removes at least as much as {outcome.trunk.name or 'the model as it came'}, which lost too much"
    base = next((outcome for outcome in seen if outcome.trunk == Trunk()), None)
    if base is None or trunk == Trunk() or not base.costs:
        return None
    best = min((value for outcome in seen for value in outcome.inside(goal).values()), default=math.inf)
    hope = min(base.costs.values()) * shrink(trunk, goal.cost)
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


def _refined(space: Sequence[Trunk], seen: Sequence[Outcome], goal: Goal, lanes: int) -> list[Trunk]:
    """Shares of channels between the last success and the first failure; when these meet, zeros on the last success."""
    shares = {outcome.trunk.structured: outcome for outcome in seen if not outcome.trunk.sparsity}
    low = max((share for share, outcome in shares.items() if outcome.inside(goal)), default=0.0)
    high = min((s for s, outcome in shares.items() if s > low and not outcome.inside(goal)), default=1.0)
    between = [Trunk(share) for share in sections(low, high, lanes)]
    return between or sorted({Trunk(low, trunk.sparsity) for trunk in space if trunk.sparsity})


def sections(low: float, high: float, count: int) -> list[float]:
    """Shares in whole percents that cut a gap into ``count + 1`` even parts; none of a gap that is fine enough.

    >>> sections(0.0, 1.0, 1), sections(0.67, 1.0, 2), sections(0.67, 0.7, 2)
    ([0.5], [0.78, 0.89], [])
    """
    if high - low < FINEST_STEP:
        return []
    cuts = {round(low + (high - low) * part / (count + 1), 2) for part in range(1, count + 1)}
    return sorted(cut for cut in cuts if low < cut < high)


# ---------------------------------------------------------------- a target
def next_share(seen: Sequence[Outcome], goal: Goal, shares: Sequence[float], probe: Probe) -> float | None:
    """The mildest share of channels at which a number format that could still score best meets the target, or None.

    What a number format cost more after training than a look at it had promised counts from then on.
    """
    strongest = max(outcome.trunk.structured for outcome in seen)
    limit = goal.limit * (MARGIN if goal.limited == LATENCY else 1.0)
    wanted = worthy(seen, goal)
    more: dict[str, float] = {}
    for outcome in seen:
        promised = {} if outcome.trunk == Trunk() else probe(outcome.trunk.structured)
        for name in promised.keys() & outcome.costs.keys():
            more[name] = max(more.get(name, 0.0), outcome.costs[name] - promised[name])

    def meets(share: float) -> bool:
        return any(
            cost + more.get(name, 0.0) <= limit for name, cost in probe(share).items() if name in wanted
        )

    return mildest([share for share in shares if share > strongest], meets) if wanted else None


def worthy(seen: Sequence[Outcome], goal: Goal) -> set[str]:
    """The number formats that could score better than what meets the target, since what removes more loses more.

    >>> seen = [Outcome(Trunk(), {"float32": 0.0, "int8": 0.01}, {"float32": 2000.0, "int8": 500.0})]
    >>> worthy(seen, Goal("file_bytes", 600.0)), sorted(worthy(seen, Goal("file_bytes", 100.0)))
    ({'float32'}, ['float32', 'int8'])
    """
    best = min((value for outcome in seen for value in outcome.inside(goal).values()), default=math.inf)
    least = {
        name: lost
        for outcome in sorted(seen, key=lambda one: one.trunk)
        for name, lost in outcome.drops.items()
    }
    return {name for name, lost in least.items() if lost < best - SAME_SCORE}


def mildest(shares: Sequence[float], meets: Callable[[float], bool]) -> float | None:
    """The first of the rising shares that meets something, found by halving; None where the last one doesn't.

    >>> mildest([0.1, 0.2, 0.3], lambda share: share > 0.15), mildest([0.1], lambda share: False)
    (0.2, None)
    """
    low, high = 0, len(shares)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(shares[middle]) else (middle + 1, high)
    return shares[low] if low < len(shares) else None


# ---------------------------------------------------------------- the winner
def choose(rows: Sequence[Row], goal: Goal) -> str | None:
    """The best row within the goal's limit, or None; of equals the one that costs or loses less."""
    found = [
        (*goal.price(lost, cost), row.name)
        for row, lost, cost in _judged(rows, goal)
        if goal.meets(lost, cost)
    ]
    return min(found)[2] if found else None


def nearest(rows: Sequence[Row], goal: Goal) -> tuple[str, float] | None:
    """Of rows that all miss the limit the one that misses it least, and its value of what is limited."""
    found = [(lost if goal.limited == LOST else cost, row.name) for row, lost, cost in _judged(rows, goal)]
    if not found:
        return None
    value, name = min(found)
    return name, value


def _judged(rows: Sequence[Row], goal: Goal) -> list[tuple[Row, float, float]]:
    """(row, loss, cost) of all rows that can win."""
    reference = next((row for row in rows if row.name == "float32" and row.error is None), None)
    found = []
    for row in rows:
        lost = row.get("lost")
        if reference is None or row.error or row.role == "control" or lost is None:
            continue
        cost = goal.cost_of(row, reference)
        if cost is not None:
            found.append((row, lost, cost))
    return found
