"""A plan in words and as a table: where more workers stop paying and why, and what is advised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lepton_kit.planning import cost, energy
from lepton_kit.planning.cost import Prices
from lepton_kit.planning.estimates import Estimate, digits
from lepton_kit.planning.estimating import Law, Prediction
from lepton_kit.planning.power import Power

if TYPE_CHECKING:
    import pandas as pd

    from lepton_kit.client.plans.picture import Curve

JOULES = 3.6e6
"""Of a kilowatt-hour."""
REASONS = {
    "turns": "the cores of a machine are all busy, and workers take turns on them",
    "compute": "what a step costs however small a worker's part is does not shrink",
    "wait": "all wait for the slowest, and among more workers one is later",
    "communicate": "adding up takes longer among more workers",
    "between": "sums between hosts take longer than what more workers save",
    "data": "reading samples takes the time",
    "other": "what happens between blocks of steps does not shrink",
}
FEW = ("no", "a second", "a third", "a fourth", "a fifth", "a sixth", "a seventh", "an eighth")


@dataclass(frozen=True)
class Bill:
    """By what a prediction's energy and money are reckoned: watts of each host, prices, and an instance that is paid by the hour."""

    power: Power
    prices: Prices
    instance: str | None
    threads: int

    def kwh(self, one: Prediction) -> Estimate | None:
        """Kilowatt-hours of all hosts, with all cores busy that workers have."""
        joules = [self._energy(one, seconds) for seconds in _ends_of(one)]
        if not joules:
            return None
        return Estimate(joules[0].joules, joules[1].low, joules[2].high).times(1 / JOULES)

    def money(self, one: Prediction) -> Estimate | None:
        """What that costs, in the prices' own currency. Raises `ConfigError` where nothing is priced."""
        machines = _machines(one)
        paid = [
            cost.of(self._energy(one, seconds), machines * seconds, self.prices, self.instance)
            for seconds in _ends_of(one)
        ]
        return Estimate(paid[0].amount, paid[1].low, paid[2].high) if paid else None

    def _energy(self, one: Prediction, seconds: float) -> energy.Energy:
        cores = self.threads * min(one.setting.crowd, one.setting.places)
        return energy.of(seconds, cores, self.power).scaled(_machines(one))


def _machines(one: Prediction) -> int:
    return 1 if one.setting.together else one.setting.hosts


def _ends_of(one: Prediction) -> list[float]:
    return [] if one.seconds is None else [one.seconds.value, one.seconds.low, one.seconds.high]


def table(found: Sequence[Prediction], bill: Bill) -> pd.DataFrame:
    """One row a prediction, by number of workers; bounds in columns of their own."""
    import pandas as pd

    return pd.DataFrame([_row(one, bill) for one in found]).set_index("workers")


def _row(one: Prediction, bill: Bill) -> dict[str, Any]:
    told: dict[str, Any] = {
        "workers": one.setting.workers, "hosts": one.setting.hosts, "batch": one.setting.batch,
    }  # fmt: skip
    figures = {
        "samples_per_second": one.samples_per_second,
        "efficiency": one.efficiency,
        "epochs": one.epochs,
        "seconds": one.seconds,
        "kwh": bill.kwh(one),
        "money": bill.money(one),
    }
    for name, found in figures.items():
        told[name] = None if found is None else _digits(found.value)
        if found is not None and found.low < found.high:
            told[f"{name}_low"], told[f"{name}_high"] = _digits(found.low), _digits(found.high)
    return told


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def where_it_stops(paying: tuple[int, Prediction, Prediction] | None, last: Prediction, law: Law) -> str:
    """One sentence: how many workers pay, what one more would bring, with bounds, and what keeps it from bringing more."""
    if paying is None:
        count = last.setting.workers
        return (
            f"All {count} workers that were looked at pay: {rate(last.samples_per_second)}, "
            f"{percent(last.efficiency.value)} of {count} times one worker (estimated)."
        )
    count, one, more = paying
    gain = law.ratio(one.setting, more.setting)
    extra = more.setting.workers - count
    whose = FEW[count] if extra == 1 and count < len(FEW) else f"{extra} more"
    reason = max(REASONS, key=lambda name: _grown(name, one, more))
    pays = "worker pays" if count == 1 else "workers pay"
    return (
        f"{'Only ' if count == 1 else ''}{count} {pays} here: {rate(one.samples_per_second)}; {whose} would {changed(gain)}, "
        f"because {REASONS[reason]} (estimated)."
    )


def _grown(name: str, one: Prediction, more: Prediction) -> float:
    """By how many seconds a part of a step is longer than if more workers had shrunk it as they should."""
    shrunk = one.parts[name] * one.setting.workers / more.setting.workers
    return more.parts[name] - shrunk


def advice(best: Prediction, now: Prediction, scaled: bool) -> str:
    """What is advised, beside what is planned."""
    workers, batch = best.setting.workers, best.setting.batch
    many = f"{workers} worker{'s' * (workers != 1)}"
    what = f"Use {many} with a global batch of {batch}"
    if (workers, batch) == (now.setting.workers, now.setting.batch):
        return f"{what}, as planned: {rate(best.samples_per_second)}{_ends(best)} (estimated)."
    times = best.samples_per_second.value / now.samples_per_second.value
    told = f"{times:.2g} × the samples/s"
    if workers < now.setting.workers and times < 1:
        told += ", since more workers don't pay"
    if batch != now.setting.batch and best.epochs is not None and now.epochs is not None:
        told = f"{best.epochs.value / now.epochs.value:.2g} × the epochs, {told}"
    if best.seconds is not None and now.seconds is not None and scaled:
        told += f", {now.seconds.value / best.seconds.value:.2g} × sooner"
    planned = f"{now.setting.workers} and {now.setting.batch}"
    return f"{what} instead of {planned}: {told}{_ends(best)} (estimated)."


def trade(now: Prediction, then: Prediction) -> str:
    """What another batch costs and brings."""
    told = [f"{then.samples_per_second.value / now.samples_per_second.value:.2g} × the samples/s"]
    if then.epochs is not None and now.epochs is not None:
        told.insert(0, f"costs {then.epochs.value / now.epochs.value:.2g} × the epochs")
    else:
        told.append("how many epochs more is not known without the gradient noise scale")
    if then.seconds is not None and now.seconds is not None:
        times = now.seconds.value / then.seconds.value
        sooner = f"{times:.2g} × sooner" if times > 1 else f"{1 / times:.2g} × later"
        told.append("about as soon" if abs(math.log(times)) < 0.05 else sooner)
    return f"{now.setting.batch} → {then.setting.batch}: {'; '.join(told)} (estimated)"


def _ends(one: Prediction) -> str:
    return "" if one.seconds is None else f", {span(one.seconds)} to the end"


def picture(curves: Sequence[Curve], sentence: str, unit: str = "samples/s") -> str:
    """What the figure of a plan shows, in words."""
    told = []
    for one in curves:
        count, found = max(one.points, key=lambda point: point[1].value)
        bounds = f"{digits(found.value)} {unit} ({digits(found.low)} to {digits(found.high)})"
        told.append(f"{one.name}: at most {bounds} with {count} worker{'s' * (count != 1)}")
    return f"Predicted {unit} by number of workers, {'; '.join(told)}. {sentence}".strip()


def rate(found: Estimate) -> str:
    """Samples a second with bounds, in three digits.

    >>> rate(Estimate(25312.0, 23000.4, 28000.0))
    '25,300 samples/s (23,000 to 28,000)'
    """
    return f"{digits(found.value)} samples/s ({digits(found.low)} to {digits(found.high)})"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.0f} %"


def changed(ratio: Estimate) -> str:
    """What a ratio of speeds means, with bounds.

    >>> changed(Estimate(1.03, 0.95, 1.09)), changed(Estimate(0.7, 0.6, 0.9))
    ('bring +3 % (−5 to +9 %)', 'make that 30 % less (10 to 40 %)')
    """
    if ratio.value < 1 and ratio.high < 1:
        value, low, high = (f"{100 * (1 - one):.0f}" for one in (ratio.value, ratio.high, ratio.low))
        return f"make that {value} % less ({low} to {high} %)"
    value, low, high = (
        f"{100 * (one - 1):+.0f}".replace("-", "−") for one in (ratio.value, ratio.low, ratio.high)
    )
    return f"bring {value} % ({low} to {high} %)"


def span(found: Estimate) -> str:
    """A time with bounds, in a unit that suits it.

    >>> span(Estimate(7200.0, 6000.0, 9000.0)), span(Estimate(42.0, 40.0, 45.0))
    ('2 h (1.67 to 2.5)', '42 s (40 to 45)')
    """
    unit, size = next(
        (u, s) for u, s in (("h", 3600.0), ("min", 60.0), ("s", 1.0)) if found.value >= s or s == 1.0
    )
    value, low, high = (digits(one / size) for one in (found.value, found.low, found.high))
    return f"{value} {unit} ({low} to {high})"
