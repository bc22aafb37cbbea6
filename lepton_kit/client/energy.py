"""What a run took and what that costs: as a whole, for each sample and each epoch, tagged and with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.errors import RunError
from lepton_kit.planning import cost
from lepton_kit.planning.energy import Energy, added, spread_over
from lepton_kit.planning.estimates import digits
from lepton_kit.rundir import RunView

if TYPE_CHECKING:
    import pandas as pd

THOUSAND = 1000


@dataclass(frozen=True)
class RunEnergy:
    """The energy of a run so far. It prints itself; `table` has a row for each figure, `epochs` one for each epoch.

    ``total`` is all of it, from its start to its last word; ``training`` the part while steps were made, of which
    ``per_sample`` is the sample's; ``seconds`` how long that was counted, of all its machines together. ``of`` is what was counted. ``why`` says why not all of
    it was measured. Epochs that are shorter than the 5 s between two readings share evenly.
    """

    total: Energy
    training: Energy
    per_epoch: tuple[Energy, ...]
    samples: int
    seconds: float
    of: tuple[str, ...]
    hosts: tuple[str, ...]
    why: str | None

    @property
    def per_sample(self) -> Energy | None:
        """Of training, for a sample; None before the first."""
        return self.training.scaled(1 / self.samples) if self.samples else None

    @property
    def starting(self) -> float:
        """Joules beside training: loading libraries, preparing data, pauses."""
        return max(0.0, self.total.joules - self.training.joules)

    def carbon(self, grams_per_kwh: float) -> tuple[float, float, float]:
        """Grams of CO2 equivalent (value, low, high) where electricity has this intensity, which is never guessed.

        Raises `ConfigError` for one below 0.
        """
        return cost.grams(self.total, grams_per_kwh)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The figures as plain values, in joules: what, joules, low, high, idle, origin."""
        named: list[tuple[str, Energy | None]] = [("run", self.total), ("training", self.training)]
        named.append(("sample", self.per_sample))
        named.append(
            ("1,000 samples", self.per_sample.scaled(THOUSAND) if self.per_sample is not None else None)
        )
        named += [(f"epoch {number}", one) for number, one in enumerate(self.per_epoch)]
        return [_row(name, one) for name, one in named if one is not None]

    def table(self) -> pd.DataFrame:
        """A row for the run, its training, a sample, 1,000 samples and each epoch: joules, low, high, idle, origin."""
        import pandas as pd

        return pd.DataFrame(self.rows).set_index("what")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        told = {"seconds": self.seconds, "samples": self.samples, "why": self.why}
        return {"of": list(self.of), "hosts": list(self.hosts), **told, "figures": self.rows}

    def __str__(self) -> str:
        idle = self.total.idle / self.total.joules if self.total.joules else 0.0
        lines = [
            f"{self.total}; {idle:.0%} of it is what the machine takes without work",
            f"training {self.training}",
        ]
        if self.per_sample is not None:
            lines.append(f"a sample {self.per_sample}")
        counted = ", ".join(self.of) or "the processors, other programs included"
        where = f" of {', '.join(self.hosts)}" if self.hosts else ""
        lines.append(f"counted: {counted}{where}")
        if self.why is not None:
            lines.append(f"not all of it is measured: {self.why}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def _row(name: str, one: Energy) -> dict[str, Any]:
    figures = {"joules": one.joules, "low": one.low, "high": one.high, "idle": one.idle}
    return {"what": name, **figures, "origin": one.origin}


def energy_of(view: RunView, name: str) -> RunEnergy:
    """What a run's log says. Raises `RunError` with the reason where it says nothing."""
    taken = view.energy
    if not taken.rows:
        why = taken.why or "nothing is told yet, or it was trained by a version that did not look"
        raise RunError(f"{name}: its energy is not known: {why}")
    parts = [
        (row.begin, row.end, Energy(row.joules, row.low, row.high, row.measured, row.idle))
        for row in taken.rows
    ]
    spans = [taken.epochs[row["epoch"]] for row in view.epochs if row["epoch"] in taken.epochs]
    return RunEnergy(
        total=added(energy for *_, energy in parts),
        training=added(spread_over(parts, taken.training)),
        per_epoch=tuple(spread_over(parts, spans)),
        samples=taken.samples,
        seconds=sum(end - begin for begin, end, _ in parts),
        of=tuple(taken.sources),
        hosts=tuple(taken.hosts),
        why=None if taken.origin == "measured" else taken.why,
    )


@dataclass(frozen=True)
class RunCost:
    """What a run cost by a file of prices: ``total``, the ``sample``'s and the epochs' part of it, and its carbon if asked."""

    total: cost.Money
    per_sample: cost.Money | None
    per_epoch: tuple[cost.Money, ...]
    prices: tuple[cost.Price, ...]
    grams: tuple[float, float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "amount": self.total.amount,
            "low": self.total.low,
            "high": self.total.high,
            "currency": self.total.currency,
            "origin": self.total.origin,
            "parts": dict(self.total.parts),
            "per_sample": self.per_sample.amount if self.per_sample is not None else None,
            "per_epoch": [one.amount for one in self.per_epoch],
            "prices": [vars(one) for one in self.prices],
            "grams": self.grams,
        }

    def __str__(self) -> str:
        size = self.total.unit[1]
        parts = ", ".join(f"{name} {digits(amount / size)}" for name, amount in self.total.parts.items())
        lines = [f"{self.total}: {parts}"]
        if self.per_sample is not None:
            lines.append(f"1,000 samples {self.per_sample.scaled(THOUSAND)}")
        if self.grams is not None:
            lines.append("{} g CO2e ({} to {})".format(*map(digits, self.grams)))
        lines += [f"by {one}" for one in self.prices]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def cost_of(
    energy: RunEnergy, prices: str | Path | None, instance: str | None, grams_per_kwh: float | None
) -> RunCost:
    """See `StandingRun.cost`."""
    known = cost.load(prices)
    total = cost.of(energy.total, energy.seconds, known, instance)
    whole = energy.total.joules
    shares = [one.joules / whole if whole else 0.0 for one in energy.per_epoch]
    sample = energy.per_sample
    used = [known.cloud[instance]] if instance is not None else [known.electricity, known.machine]
    intensity = known.carbon.amount if grams_per_kwh is None and known.carbon else grams_per_kwh
    return RunCost(
        total=total,
        per_sample=total.scaled(sample.joules / whole) if sample is not None and whole else None,
        per_epoch=tuple(total.scaled(share) for share in shares),
        prices=tuple(one for one in [*used, known.carbon if intensity is not None else None] if one),
        grams=None if intensity is None else cost.grams(energy.total, intensity),
    )
