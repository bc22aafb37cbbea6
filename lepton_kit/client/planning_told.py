"""A plan in words and as a table: where more workers stop paying and why, and what is advised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lepton_kit.planning import energy
from lepton_kit.planning.estimating import Interval, Law
from lepton_kit.planning.power import Power

if TYPE_CHECKING:
    import pandas as pd

    from lepton_kit.client.planning_picture import Curve
    from lepton_kit.client.plans import Prediction

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


def table(found: Sequence[Prediction], power: Power | None, price: float | None) -> pd.DataFrame:
    """One row a prediction, by number of workers; bounds in columns of their own."""
    import pandas as pd

    return pd.DataFrame([_row(one, power, price) for one in found]).set_index("workers")


def _row(one: Prediction, power: Power | None, price: float | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "workers": one.setting.workers, "hosts": one.setting.hosts, "batch": one.setting.batch,
    }  # fmt: skip
    figures = {
        "samples_per_second": (one.samples_per_second, 1),
        "efficiency": (one.efficiency, 3),
        "epochs": (one.epochs, 2),
        "seconds": (one.seconds, 1),
    }
    machines = 1 if one.setting.together else one.setting.hosts
    if power is not None and one.seconds is not None:
        busy = power.cores * min(1.0, one.setting.crowd / one.setting.places)
        ends = (one.seconds.value, one.seconds.low, one.seconds.high)
        value, low, high = (energy.of(machines * seconds, busy, power) for seconds in ends)
        figures["kwh"] = (Interval(value.kwh, low.low / 3.6e6, high.high / 3.6e6), 9)
    if price is not None and one.seconds is not None:
        figures["money"] = (one.seconds.times(machines * price / 3600), 4)
    for name, (interval, digits) in figures.items():
        told[name] = None if interval is None else round(interval.value, digits)
        if interval is not None and interval.low < interval.high:
            told[f"{name}_low"], told[f"{name}_high"] = (
                round(interval.low, digits),
                round(interval.high, digits),
            )
    return told


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
        f"{count} {pays} here: {rate(one.samples_per_second)}; {whose} would change that by {gained(gain)}, "
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
        told.append(f"{times:.2g} × sooner" if times >= 1 else f"{1 / times:.2g} × later")
    return f"{now.setting.batch} → {then.setting.batch}: {'; '.join(told)} (estimated)"


def _ends(one: Prediction) -> str:
    return "" if one.seconds is None else f", {span(one.seconds)} to the end"


def picture(curves: Sequence[Curve], sentence: str, unit: str = "samples/s") -> str:
    """What the figure of a plan shows, in words."""
    told = []
    for one in curves:
        count, found = max(one.points, key=lambda point: point[1].value)
        bounds = f"{three(found.value)} {unit} ({three(found.low)} to {three(found.high)})"
        told.append(f"{one.name}: at most {bounds} with {count} worker{'s' * (count != 1)}")
    return f"Predicted {unit} by number of workers, {'; '.join(told)}. {sentence}".strip()


def rate(found: Interval) -> str:
    """Samples a second with bounds, in three digits.

    >>> rate(Interval(25312.0, 23000.4, 28000.0))
    '25,300 samples/s (23,000 to 28,000)'
    """
    return f"{three(found.value)} samples/s ({three(found.low)} to {three(found.high)})"


def three(value: float) -> str:
    """A number in three digits.

    >>> three(25312.0), three(3.14159), three(0.0)
    ('25,300', '3.14', '0')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.0f} %"


def gained(ratio: Interval) -> str:
    """A ratio as what it adds, with bounds.

    >>> gained(Interval(1.03, 0.95, 1.09))
    '+3 % (-5 to +9 %)'
    """
    value, low, high = (f"{100 * (one - 1):+.0f}" for one in (ratio.value, ratio.low, ratio.high))
    return f"{value} % ({low} to {high} %)"


def span(found: Interval) -> str:
    """A time with bounds, in a unit that suits it.

    >>> span(Interval(7200.0, 6000.0, 9000.0)), span(Interval(42.0, 40.0, 45.0))
    ('2 h (1.67 to 2.5)', '42 s (40 to 45)')
    """
    unit, size = next(
        (u, s) for u, s in (("h", 3600.0), ("min", 60.0), ("s", 1.0)) if found.value >= s or s == 1.0
    )
    value, low, high = (three(one / size) for one in (found.value, found.low, found.high))
    return f"{value} {unit} ({low} to {high})"
