"""A plan: predicts what a run would take with any workers, hosts, link and batch; as table, figure, sentence and advice."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.client.plans import picture, told
from lepton_kit.client.plans.picture import Curve
from lepton_kit.client.plans.runs import link_of
from lepton_kit.client.plans.told import Bill
from lepton_kit.drawing import WIDTH
from lepton_kit.errors import ConfigError
from lepton_kit.machine.devices import usable_cores
from lepton_kit.planning import cost, noise
from lepton_kit.planning.estimates import Estimate
from lepton_kit.planning.estimating import Law, Prediction, Row
from lepton_kit.planning.power import Power
from lepton_kit.planning.scaling import LONGEST_BLOCK, LOOPBACK, WIRES, Setting, whole, wire_bytes
from lepton_kit.runtime.energy.counters import table_power

if TYPE_CHECKING:
    import pandas as pd

    from lepton_kit.drawing import Picture

MOST = 64
"""Workers that are looked at where they may stand on more hosts."""
CHANGES = ("workers", "hosts", "batch", "link", "wire")
"""What a prediction may have other than planned: arguments of `Plan.predict`."""
PAYS = 0.5
"""A further worker pays if it adds at least so much of what it would add at the efficiency so far."""


@dataclass(frozen=True)
class Advice:
    """What to launch with, and why: ``options`` are arguments of `launch`."""

    options: Mapping[str, Any]
    prediction: Prediction
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Plan:
    """A fitted scaling law of one model and data on this machine; predicts any workers, hosts, link and global batch.

    ``rows`` are the measured steps, ``base`` is the setting that is planned from, ``samples`` the training split,
    ``epochs`` what ``base`` is to train. ``beside`` are the seconds of an epoch beside its steps. ``left_out`` names where
    workers were to stand as well, which was not measured.
    """

    law: Law
    rows: Sequence[Row]
    base: Setting
    samples: int
    epochs: int
    beside: float = 0.0
    noise: Estimate | None = None
    threads: int = 1
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Plan: {self.told()}>"

    def __str__(self) -> str:
        return f"{self.told()}\n{self.table().to_string(na_rep='-')}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.figure()._repr_mimebundle_() | {"text/plain": repr(self)}

    def predict(
        self,
        workers: int | None = None,
        *,
        hosts: int | None = None,
        batch: int | None = None,
        link: Any = None,
        wire: str | None = None,
    ) -> Prediction:
        """Throughput, time to the end, efficiency and epochs, each with an interval that is to hold in nine of ten cases.

        ``hosts`` is how many machines like this one the workers stand on, ``link`` what joins them: ``"1gbit/0.5"`` (rate,
        milliseconds one way), or what ``lk.Cluster(...).check()`` has found; ``wire`` is that of `launch`: ``"float16"`` halves the bytes between
        hosts. What is not given is as planned. Raises `ConfigError`.
        """
        return self.of(self._changed(workers=workers, hosts=hosts, batch=batch, link=link, wire=wire))

    def _changed(self, **changes: Any) -> Setting:
        """The planned setting with something changed, as `predict` takes it. Raises `ConfigError` that names what can't be."""
        for name, value in changes.items():
            if name not in CHANGES:
                raise ConfigError(name, given=value, rule=f"one of {', '.join(CHANGES)}")
        batch, link, wire = (changes.get(name) for name in ("batch", "link", "wire"))
        if batch is not None and whole("batch", batch) > self.samples:
            raise ConfigError("batch", given=batch, rule=f"at most the {self.samples} training samples")
        given = {name: changes.get(name) for name in ("workers", "hosts", "batch")}
        given |= {"link": link_of(link), "wire_bytes": None if wire is None else wire_bytes(wire)}
        changed = replace(self.base, **{name: value for name, value in given.items() if value is not None})
        if changed.hosts > 1 and changed.link == LOOPBACK:
            raise ConfigError("link", given=link, rule="rate/milliseconds of the link between the hosts")
        return replace(changed, longest_block=block_of(self.samples, changed.batch))

    def of(self, setting: Setting) -> Prediction:
        """The prediction of a setting."""
        step = self.law.step(setting)
        alone = replace(setting, workers=1, hosts=1, link=LOOPBACK, together=False)
        ratio = self.law.ratio(alone, setting).times(1.0 / setting.workers)
        epochs = self._epochs(setting.batch)
        seconds = None
        if epochs is not None:
            steps = self._steps(setting)
            ends = [
                count * (steps * each + self.beside)
                for count, each in (
                    (epochs.value, step.value),
                    (epochs.low, step.low),
                    (epochs.high, step.high),
                )
            ]
            seconds = Estimate(*ends)
        rate = step.inverse.times(setting.batch)
        return Prediction(setting, step, rate, ratio, epochs, seconds, self.law.parts(setting))

    def _steps(self, setting: Setting) -> float:
        """Steps of an epoch; the last one, on what is left, counts as what it takes of a whole one."""
        whole, left = divmod(self.samples, setting.batch)
        if not left:
            return whole
        rest = replace(setting, batch=max(left, setting.workers))
        return whole + sum(self.law.parts(rest).values()) / sum(self.law.parts(setting).values())

    def _epochs(self, batch: int) -> Estimate | None:
        if batch == self.base.batch:
            return Estimate(float(self.epochs), float(self.epochs), float(self.epochs))
        return (
            None
            if self.noise is None
            else noise.epochs(self.noise, self.base.batch, batch).times(self.epochs)
        )

    def over(self, most: int | None = None, **changes: Any) -> list[Prediction]:
        """Predictions for 1, 2, … workers; beyond 16 for powers of two. Hosts are taken as workers need them if there is a link."""
        base = self._changed(**changes)
        grows = base.link != LOOPBACK and not base.together and "hosts" not in changes
        enough = MOST if grows else max(4, 2 * base.places)
        most = min(enough if most is None else whole("most", most), base.batch)
        counts = [*range(1, min(most, 16) + 1), *(2**k for k in range(5, most.bit_length()))]
        return [
            self.of(base.with_workers(count) if grows else replace(base, workers=count))
            for count in sorted({*counts, most})
            if grows or count >= base.hosts
        ]

    def table(
        self,
        workers: Iterable[int] | None = None,
        *,
        power: Power | None = None,
        prices: str | Path | None = None,
        instance: str | None = None,
        **changes: Any,
    ) -> pd.DataFrame:
        """One row for each number of workers: hosts, batch, samples/s, efficiency, epochs, seconds, kWh, money, with low and high bounds.

        ``changes`` are those of `predict`. ``power`` is that of a host, without it this machine's by a dated table; ``prices``
        is a YAML file, or the shipped one, and ``instance`` a cloud instance in it that is paid by the hour; docs/energy.md says
        more. All of it is estimated. Raises `ConfigError`.
        """
        counts = None if workers is None else _several("workers", workers)
        found = (
            self.over(**changes)
            if counts is None
            else [self.of(self._changed(workers=one, **changes)) for one in counts]
        )
        if power is not None and not isinstance(power, Power):
            raise ConfigError("power", given=power, rule="a Power, such as Power(50.0, 10.0, 4, (0.5, 2.0))")
        bill = Bill(power or table_power(), cost.load(prices), instance, self.threads)
        return told.table(found, bill)

    @functools.cached_property
    def paying(self) -> tuple[int, Prediction, Prediction] | None:
        """The largest number of workers that pays on this machine, what it does, and what one more would; None: all that were looked at do."""
        found = self.over()
        for one, more in itertools.pairwise(found):
            gain = more.samples_per_second.value / one.samples_per_second.value - 1
            if gain < PAYS * (more.setting.workers / one.setting.workers - 1):
                return one.setting.workers, one, more
        return None

    def told(self) -> str:
        """Where more workers stop paying, and why, in a sentence."""
        found = told.where_it_stops(self.paying, self.over()[-1], self.law)
        if not self.left_out:
            return found
        others = ", ".join(self.left_out)
        return f"{found} That is of this machine alone, without {others}: hosts like this one are told by plan.predict(hosts=2, link='1gbit/0.5')."

    def figure(self, workers: int | None = None, *, width: int = WIDTH, **changes: Any) -> Picture:
        """Throughput by number of workers up to ``workers``: what was measured, what is predicted, and its bounds, as a still picture.

        One curve for each measured batch; with ``changes`` (those of `predict`) the one that they describe. ``width`` is in pixels.
        """
        for name, value in (("workers", workers), ("width", width)):
            if value is not None:
                whole(name, value)
        batches = (
            [self.base.batch]
            if changes
            else sorted({row.setting.batch for row in self.rows} | {self.base.batch})
        )
        curves = []
        for batch in batches:
            found = self.over(workers, **({"batch": batch} | changes))
            shown = [
                (row.setting.workers, row.setting.batch / row.seconds)
                for row in self.rows
                if not changes and row.setting.batch == batch and row.setting.hosts == self.base.hosts
            ]
            points = [(one.setting.workers, one.samples_per_second) for one in found]
            named = changes.get("batch", batch)
            curves.append(Curve(f"global batch {named}", points, shown))
        moments = {f"pays up to {self.paying[0]}": self.paying[0]} if self.paying and not changes else {}
        text = told.picture(curves, self.told() if not changes else "")
        return picture.draw(curves, quantity="samples/s", text=text, moments=moments, width=width)

    def trade(self, batch: int, workers: int | None = None) -> str:
        """What another global batch costs in epochs and brings in speed, as in ``128 → 512: costs 1.4 × the epochs; …``."""
        return told.trade(self.of(self.base), self.predict(workers, batch=batch))

    def advise(
        self, *, most: int | None = None, batches: Sequence[int] | None = None, wire: str | None = None
    ) -> Advice:
        """The workers and the global batch with which the run ends soonest, without workers that don't pay.

        ``most`` bounds the workers; ``batches`` are looked at if the noise scale is known, else the planned one is kept, since
        another may need more epochs. ``wire`` is that of `launch`. Raises `ConfigError`.
        """
        if batches is not None:
            batches = [whole("batches", batch) for batch in _several("batches", batches)]
            for batch in batches:
                self._changed(workers=1, batch=batch)
        now, tried = self.base.batch, [self.base.batch]
        if self.noise is not None:
            near = (now // 4, now // 2, *(now * 2**k for k in range(1, 4)))
            tried = sorted({now, *(near if batches is None else batches)})
            tried = [batch for batch in tried if 1 <= batch <= self.samples]
        best: Prediction | None = None
        for batch in tried:
            found = self._paying_at(batch, most, wire)
            if best is None or (found.seconds and best.seconds and found.seconds.value < best.seconds.value):
                best = found
        assert best is not None
        options: dict[str, Any] = {"workers": best.setting.workers, "batch_size": best.setting.batch}
        if self.threads != max(1, usable_cores() // best.setting.workers):
            options["threads"] = self.threads
        if best.setting.ring > 1 and best.setting.wire_bytes == WIRES["float16"]:
            options["wire"] = "float16"
        return Advice(options, best, told.advice(best, self.of(self.base), self.noise is not None))

    def _paying_at(self, batch: int, most: int | None, wire: str | None) -> Prediction:
        found = self.over(most, batch=batch, wire=wire)
        for one, more in itertools.pairwise(found):
            gain = more.samples_per_second.value / one.samples_per_second.value - 1
            if gain < PAYS * (more.setting.workers / one.setting.workers - 1):
                return one
        return found[-1]


def _several(name: str, given: Any) -> list[Any]:
    """What was given as a list. Raises `ConfigError` for one thing alone, a text, or nothing."""
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    if not found:
        raise ConfigError(name, given=given, rule="whole numbers in a list, such as [1, 2, 4]")
    return found


def block_of(samples: int, batch: int) -> int:
    """The most steps that a block can have: an epoch's."""
    return max(1, min(LONGEST_BLOCK, samples // batch))


def read_noise(given: Any) -> Estimate | None:
    """A noise scale from what `Run.noise_scale` gives, samples, or (samples, low, high). Raises `ConfigError`.

    >>> print(read_noise((800, 500, 1300)))
    800 (500 to 1,300)
    """
    if given is None or isinstance(given, Estimate):
        return given
    values = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,) * 3
    numbers = len(values) == 3 and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in values
    )
    if not numbers or not 0 <= values[1] <= values[0] <= values[2] or not math.isfinite(values[0]):
        raise ConfigError("noise", given=given, rule="samples of at least 0, or (samples, low, high)")
    return Estimate(*(float(one) for one in values))
