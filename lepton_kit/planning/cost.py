"""What energy and time cost: from a dated file of prices that a user replaces; carbon by an intensity that is given."""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from lepton_kit.errors import ConfigError
from lepton_kit.planning.energy import Energy
from lepton_kit.planning.estimates import digits

SHIPPED = Path(__file__).with_name("prices.yaml")
HOUR = 3600.0
SMALL = 1e-3
MOST_HOURS = 8784
"""Of a leap year."""


@dataclass(frozen=True)
class Price:
    """An amount in a currency for a kilowatt-hour or an hour, with its date and source.

    >>> str(Price(0.25, "EUR", "2026-01-01", "a bill"))
    '0.25 EUR a kWh: a bill, 2026-01-01'
    """

    amount: float
    currency: str
    date: str
    source: str
    per: Literal["kWh", "hour"] = "kWh"

    def __str__(self) -> str:
        a = "an" if self.per == "hour" else "a"
        return f"{digits(self.amount, 4)} {self.currency} {a} {self.per}: {self.source}, {self.date}"


@dataclass(frozen=True)
class Prices:
    """What a file of prices says: of electricity, of an hour of one's own machine, of cloud instances by name.

    ``carbon`` is in grams of CO2 equivalent for a kilowatt-hour.
    """

    date: str
    electricity: Price | None = None
    machine: Price | None = None
    cloud: Mapping[str, Price] = field(default_factory=dict)
    carbon: Price | None = None
    file: str = SHIPPED.name

    def check(self, instance: str | None) -> None:
        """Raises `ConfigError` for an instance that is not in the file, and where nothing is priced without one."""
        if instance is None:
            if self.electricity is None and self.machine is None:
                raise ConfigError(self.file, given="neither", rule="a price of electricity or of a machine")
        elif instance not in self.cloud:
            near = difflib.get_close_matches(instance, self.cloud, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(self.cloud) or "none"
            raise ConfigError("instance", given=instance, rule=f"one of {self.file}: {known}{meant}")


@dataclass(frozen=True)
class Money:
    """An amount with its interval; ``parts`` are what it is made of, such as electricity and machine.

    It is measured where the energy was and nothing but electricity is paid; a price list is not yet a bill.
    """

    amount: float
    low: float
    high: float
    currency: str
    measured: bool
    parts: Mapping[str, float]

    @property
    def origin(self) -> Literal["measured", "estimated"]:
        """The tag."""
        return "measured" if self.measured else "estimated"

    def scaled(self, factor: float) -> Money:
        """So many times as much."""
        parts = {name: amount * factor for name, amount in self.parts.items()}
        ends = (self.low * factor, self.high * factor)
        return Money(self.amount * factor, *ends, self.currency, self.measured, parts)

    def __str__(self) -> str:
        unit, size = self.unit
        ends = f"{digits(self.low / size)} to {digits(self.high / size)}"
        return f"{digits(self.amount / size)} {unit} ({self.origin}, {ends})"

    @property
    def unit(self) -> tuple[str, float]:
        """The currency, or a millionth of it where the amount is small: (its name, its size)."""
        small = 0 < self.amount < SMALL
        return (f"millionths of a {self.currency}", 1e-6) if small else (self.currency, 1.0)


def of(energy: Energy, seconds: float, prices: Prices, instance: str | None = None) -> Money:
    """What a run costs: electricity, and where the file prices it the machine's time; or ``instance`` by the hour.

    ``seconds`` are those of all machines together. Raises `ConfigError` for an instance that is not in the
    file, and where it prices neither electricity nor a machine.

    >>> power = Price(0.5, "EUR", "2026-01-01", "a bill")
    >>> print(of(Energy(7.2e6, 3.6e6, 7.2e6, True), 60.0, Prices("2026-01-01", power)))
    1 EUR (measured, 0.5 to 1)
    """
    prices.check(instance)
    if instance is not None:
        price = prices.cloud[instance]
        amount = price.amount * seconds / HOUR
        return Money(amount, amount, amount, price.currency, False, {instance: amount})
    paid = prices.electricity or prices.machine
    assert paid is not None, "check has seen to it"
    rate = prices.electricity.amount if prices.electricity else 0.0
    worn = prices.machine.amount * seconds / HOUR if prices.machine else 0.0
    parts = {"electricity": energy.kwh * rate} if prices.electricity else {}
    parts |= {"machine": worn} if prices.machine else {}
    low, high = energy.low / 3.6e6 * rate + worn, energy.high / 3.6e6 * rate + worn
    measured = energy.measured and prices.machine is None
    return Money(sum(parts.values()), low, high, paid.currency, measured, parts)


def grams(energy: Energy, grams_per_kwh: float) -> tuple[float, float, float]:
    """CO2 equivalent in grams (value, low, high) by the intensity of the electricity. Raises `ConfigError` for one below 0.

    >>> grams(Energy(3.6e6, 1.8e6, 7.2e6, True), 50.0)
    (50.0, 25.0, 100.0)
    """
    if not _is_number(grams_per_kwh) or grams_per_kwh < 0:
        raise ConfigError("grams_per_kwh", given=grams_per_kwh, rule="a number of at least 0")
    each = grams_per_kwh / 3.6e6
    return energy.joules * each, energy.low * each, energy.high * each


def load(path: str | Path | None = None) -> Prices:
    """The prices of a YAML file, or those that the package ships. Raises `ConfigError` that names the file and the field.

    >>> load().electricity.currency
    'EUR'
    """
    try:
        file = SHIPPED if path is None else Path(path)
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except TypeError:
        raise ConfigError("prices", given=path, rule="the path of a YAML file") from None
    except OSError as failure:
        raise ConfigError(
            "prices", given=str(path), rule=f"a YAML file that can be read ({failure.strerror})"
        ) from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as failure:  # a date such as 2026-02-30 is a ValueError
        said = " ".join(str(failure).split())
        raise ConfigError("prices", given=str(path), rule=f"a YAML file ({said})") from None
    return read(told, file.name)


def read(told: Any, file: str = "prices") -> Prices:
    """Prices from plain values. Raises `ConfigError` naming the field.

    >>> read({"date": "2026-01-01", "electricity": {"per_kwh": -1}})
    Traceback (most recent call last):
    ...
    lepton_kit.errors.ConfigError: prices: electricity.per_kwh: got -1; expected a number of at least 0
    """
    top = _Section(file, "", told, ("date", "electricity", "machine", "cloud", "carbon"))
    cloud = _Section(file, "cloud", top.told.get("cloud") or {}, None)
    found = Prices(
        date=top.date("date"),
        electricity=_price(top, "electricity", "per_kwh"),
        machine=_machine(top),
        cloud={name: one for name in cloud.told if (one := _price(cloud, name, "per_hour")) is not None},
        carbon=_price(top, "carbon", "grams_per_kwh", currency=False),
        file=file,
    )
    if found.electricity and found.machine and found.electricity.currency != found.machine.currency:
        rule = f"{found.electricity.currency}, as of electricity: both are added up"
        raise ConfigError(f"{file}: machine.currency", given=found.machine.currency, rule=rule)
    return found


class _Section:
    """A mapping of the file; errors name its fields."""

    def __init__(self, file: str, name: str, told: Any, known: tuple[str, ...] | None):
        self._prefix = f"{file}: {name}." if name else f"{file}: "
        self.file, self.name, self.told = file, name, told
        if not isinstance(told, dict) or not all(isinstance(one, str) for one in told):
            raise ConfigError(f"{file}: {name or 'all of it'}", given=told, rule="names with values")
        for one in told if known is not None else ():
            if known is not None and one not in known:
                near = difflib.get_close_matches(one, known, 1)
                rule = f"one of {', '.join(known)}{f'; did you mean {near[0]}?' if near else ''}"
                raise ConfigError(f"{file}: {name or 'field'}", given=one, rule=rule)

    def number(self, name: str, least: float = 0.0, most: float = math.inf, above: bool = False) -> float:
        value = self.told.get(name)
        fits = _is_number(value) and (value > least if above else value >= least) and value <= most
        if not fits:
            low = f"above {least:g}" if above else f"of at least {least:g}"
            high = f" and at most {most:g}" if most < math.inf else ""
            raise ConfigError(f"{self._prefix}{name}", given=value, rule=f"a number {low}{high}")
        return float(value)

    def text(self, name: str, rule: str) -> str:
        value = self.told.get(name)
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{self._prefix}{name}", given=value, rule=rule)
        return value.strip()

    def date(self, name: str) -> str:
        value = self.told.get(name)
        try:
            if isinstance(value, datetime.date):
                return value.isoformat()
            return datetime.date.fromisoformat(value).isoformat()
        except (TypeError, ValueError):
            raise ConfigError(
                f"{self._prefix}{name}", given=value, rule="a date such as 2026-01-31"
            ) from None

    def part(self, name: str, known: tuple[str, ...]) -> _Section | None:
        if name not in self.told:
            return None
        return _Section(self.file, f"{self.name}.{name}" if self.name else name, self.told[name], known)


def _price(top: _Section, name: str, unit: str, currency: bool = True) -> Price | None:
    known = (unit, "date", "source", *(("currency",) if currency else ()))
    part = top.part(name, known)
    if part is None:
        return None
    amount = part.number(unit)
    paid = part.text("currency", "a currency such as EUR") if currency else "g"
    source = part.text("source", "where the price comes from")
    return Price(amount, paid, part.date("date"), source, "hour" if unit == "per_hour" else "kWh")


def _machine(top: _Section) -> Price | None:
    """The price of an hour: what it cost, by the hours that it works in its life."""
    part = top.part("machine", ("price", "years", "hours_per_year", "currency", "date", "source"))
    if part is None:
        return None
    hours = part.number("years", above=True) * part.number("hours_per_year", most=MOST_HOURS, above=True)
    paid = part.text("currency", "a currency such as EUR")
    source = part.text("source", "where the price comes from")
    return Price(part.number("price") / hours, paid, part.date("date"), source, "hour")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
