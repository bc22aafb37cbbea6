"""`plan`: what a run would take with other workers, hosts, links and batches, from short runs or from a finished run's log."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lepton_kit.client import planning_picture, planning_told
from lepton_kit.client.launch import launch, launch_config
from lepton_kit.client.options import SAME, LaunchOptions
from lepton_kit.client.options import read as read_options
from lepton_kit.client.planning_picture import Curve
from lepton_kit.client.planning_runs import link_of, measure
from lepton_kit.client.run import Run, open_run
from lepton_kit.client.script import absolute
from lepton_kit.config import RunConfig
from lepton_kit.devices import usable_cores
from lepton_kit.errors import ConfigError
from lepton_kit.planning.estimating import Interval, Law, Row, fit
from lepton_kit.planning.measured_steps import Told, read
from lepton_kit.planning.scaling import LONGEST_BLOCK, LOOPBACK, Link, Setting
from lepton_kit.rundir.events import EventReader
from lepton_kit.runtime.wishes import default_threads

if TYPE_CHECKING:
    import pandas as pd

    from lepton_kit.drawing import Picture

MEASURED = (1, 2)
"""Numbers of workers that short runs have."""
SMALLER = 4
"""The second batch that is measured is so many times smaller, so that parts of many workers lie between what was measured."""
SHORTEST_BATCH = 8
FORWARD = 1 / 3
"""Of the computing of a step; the backward pass takes twice the forward pass (Kaplan et al. 2020, section 2.1)."""
PAYS = 0.5
"""A further worker pays if it adds at least so much of what it would add at the efficiency so far."""
OWN = ("workers", "epochs", "callbacks", "keep_best", "runs_dir", "name", "standby", "max_workers", "min_workers", "max_steps",
       "validation_freq", "batch_size", "hosts", "threads", "log_seconds", "checkpoint_seconds", "share", "priority", "spark",
       "driver", *SAME)  # fmt: skip
"""Options of a launch that short runs have of their own."""


@dataclass(frozen=True)
class Noise:
    """The gradient noise scale, in samples, with its interval: estimated while a run trains, or given."""

    samples: Interval

    @classmethod
    def read(cls, given: Any) -> Noise | None:
        """From a number of samples, (value, low, high), or anything with ``samples`` that is one. Raises `ConfigError`."""
        found = getattr(given, "samples", given)
        if found is None:
            return None
        values = (found.value, found.low, found.high) if isinstance(found, Interval) else found
        values = (values, values, values) if isinstance(values, int | float) else tuple(values)
        if len(values) != 3 or not 0 <= values[1] <= values[0] <= values[2]:
            raise ConfigError("noise", given=given, rule="samples of at least 0, or (samples, low, high)")
        return cls(Interval(*(float(one) for one in values)))

    def epochs(self, batch: int, other: int) -> Interval:
        """How many times the epochs of ``other`` a run with this global batch needs for the same loss.

        To reach a loss takes samples in proportion to B + noise scale (McCandlish et al. 2018, formula 2.11): on
        much smaller batches than the noise scale a larger one costs nothing, on much larger ones all it has more.

        >>> print(Noise.read(832).epochs(512, 128))
        1.4 (1.4 to 1.4)
        """
        scale = self.samples
        ends = [(batch + one) / (other + one) for one in (scale.value, scale.low, scale.high)]
        return Interval(ends[0], min(ends), max(ends))


@dataclass(frozen=True)
class Prediction:
    """A setting and what is predicted of it. ``epochs`` is None where the batch is another and no noise scale is known.

    ``step`` and ``seconds`` (to the end) are in seconds, ``efficiency`` is the speed beside that of so many times one worker;
    ``parts`` are the seconds of a step by what they go to.
    """

    setting: Setting
    step: Interval
    samples_per_second: Interval
    efficiency: Interval
    epochs: Interval | None
    seconds: Interval | None
    parts: Mapping[str, float]


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
    ``epochs`` what ``base`` is to train. ``beside`` are the seconds of an epoch beside its steps.
    """

    law: Law
    rows: Sequence[Row]
    base: Setting
    samples: int
    epochs: int
    beside: float = 0.0
    noise: Noise | None = None
    threads: int = 1

    def __repr__(self) -> str:
        return f"<Plan: {self.told()}>"

    def __str__(self) -> str:
        return f"{self.told()}\n{self.table().to_string(na_rep='-')}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.figure()._repr_mimebundle_() | {"text/plain": repr(self)}

    def setting(
        self, workers: int | None = None, hosts: int | None = None, batch: int | None = None, link: Any = None
    ) -> Setting:
        """The planned setting with something changed. Raises `ConfigError` that names what can't be."""
        changes: dict[str, Any] = {"workers": workers, "hosts": hosts, "batch": batch, "link": link_of(link)}
        given = {name: value for name, value in changes.items() if value is not None}
        if batch is not None:
            if isinstance(batch, int) and batch > self.samples:
                raise ConfigError("batch", given=batch, rule=f"at most the {self.samples} training samples")
            given["longest_block"] = _block(self.samples, batch)
        if "hosts" in given and given["hosts"] > 1 and given.get("link", self.base.link) == LOOPBACK:
            raise ConfigError("link", given=link, rule="rate/milliseconds of the link between the hosts")
        return replace(self.base, **given)

    def predict(
        self,
        workers: int | None = None,
        *,
        hosts: int | None = None,
        batch: int | None = None,
        link: Any = None,
    ) -> Prediction:
        """Throughput, time to the end, efficiency and epochs, each with an interval that is to hold in nine of ten cases.

        ``hosts`` is how many machines like this one the workers stand on, ``link`` what joins them: ``"1gbit/0.5"`` (rate,
        milliseconds one way), or what ``lk.Cluster(...).check()`` has found. What is not given is as planned. Raises `ConfigError`.
        """
        return self.of(self.setting(workers, hosts, batch, link))

    def of(self, setting: Setting) -> Prediction:
        """The prediction of a setting."""
        step = self.law.step(setting)
        alone = replace(setting, workers=1, hosts=1, link=LOOPBACK, together=False)
        ratio = self.law.ratio(alone, setting).times(1.0 / setting.workers)
        epochs = self._epochs(setting.batch)
        seconds = None
        if epochs is not None:
            steps = -(-self.samples // setting.batch)
            ends = [
                count * (steps * each + self.beside)
                for count, each in (
                    (epochs.value, step.value),
                    (epochs.low, step.low),
                    (epochs.high, step.high),
                )
            ]
            seconds = Interval(*ends)
        rate = step.inverse.times(setting.batch)
        return Prediction(setting, step, rate, ratio, epochs, seconds, self.law.parts(setting))

    def _epochs(self, batch: int) -> Interval | None:
        if batch == self.base.batch:
            return Interval(float(self.epochs), float(self.epochs), float(self.epochs))
        return None if self.noise is None else self.noise.epochs(batch, self.base.batch).times(self.epochs)

    def over(self, most: int | None = None, **changes: Any) -> list[Prediction]:
        """Predictions for 1, 2, … workers; beyond 16 for powers of two. Hosts are taken as workers need them if there is a link."""
        base = self.setting(**changes)
        most = min(most or max(4, 2 * self.base.places), base.batch)
        counts = [*range(1, min(most, 16) + 1), *(2**k for k in range(5, most.bit_length()))]
        grows = base.link != LOOPBACK and not base.together and "hosts" not in changes
        return [
            self.of(base.with_workers(count) if grows else replace(base, workers=count))
            for count in sorted({*counts, most})
            if grows or count >= base.hosts
        ]

    def table(
        self,
        workers: Iterable[int] | None = None,
        *,
        power: tuple[float, float] | None = None,
        price: float | None = None,
        **changes: Any,
    ) -> pd.DataFrame:
        """One row for each number of workers: hosts, batch, samples/s, efficiency, epochs, seconds, with low and high bounds.

        ``changes`` are those of `predict`. ``power`` is (watts of an idle host, watts more with all cores busy), ``price`` is
        that of a host for an hour: with them there are columns for kWh and money. Shown figures are estimated.
        """
        found = (
            self.over(**changes)
            if workers is None
            else [self.of(self.setting(count, **changes)) for count in workers]
        )
        return planning_told.table(found, power, price)

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
        return planning_told.where_it_stops(self.paying, self.over()[-1], self.law)

    def figure(self, workers: int | None = None, **changes: Any) -> Picture:
        """Throughput by number of workers up to ``workers``: what was measured, what is predicted, and its bounds, as a still picture.

        One curve for each measured batch; with ``changes`` (those of `predict`) the one that they describe.
        """
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
        text = planning_told.picture(curves, self.told() if not changes else "")
        return planning_picture.draw(curves, quantity="samples/s", text=text, moments=moments)

    def advise(self, *, most: int | None = None, batches: Sequence[int] | None = None) -> Advice:
        """The workers and the global batch with which the run ends soonest, without workers that don't pay.

        ``most`` bounds the workers; ``batches`` are looked at if the noise scale is known, else the planned one is kept, since
        another may need more epochs.
        """
        tried = [self.base.batch]
        if self.noise is not None:
            tried = sorted({*tried, *(batches or (self.base.batch * 2**k for k in range(-2, 4)))})
            tried = [batch for batch in tried if 1 <= batch <= self.samples]
        best: Prediction | None = None
        for batch in tried:
            found = self._paying_at(batch, most)
            if best is None or (found.seconds and best.seconds and found.seconds.value < best.seconds.value):
                best = found
        assert best is not None
        now = self.of(self.base)
        options = {"workers": best.setting.workers, "batch_size": best.setting.batch}
        if self.threads != max(1, usable_cores() // best.setting.workers):
            options["threads"] = self.threads
        return Advice(options, best, planning_told.advice(best, now, self.noise is not None))

    def _paying_at(self, batch: int, most: int | None) -> Prediction:
        found = self.over(most, batch=batch) if batch != self.base.batch else self.over(most)
        for one, more in itertools.pairwise(found):
            gain = more.samples_per_second.value / one.samples_per_second.value - 1
            if gain < PAYS * (more.setting.workers / one.setting.workers - 1):
                return one
        return found[-1]


def plan(
    what: Any,
    data: Any = None,
    *,
    measured: Sequence[int] | None = None,
    seconds: float = 1.0,
    link: Any = None,
    noise: Any = None,
    across: bool = False,
    tell: Callable[[str], Any] | None = None,
    **options: Unpack[LaunchOptions],
) -> Plan:
    """What training would take with any number of workers, hosts and samples a step, before it is paid for.

    ``what`` is a model (with ``data`` and options as `launch` takes them), a `RunConfig` or its file, or a run or its id. Of
    a run the log tells, if it has ended or not; of all others short runs do that are made now: one for each of two
    batches, with ``measured`` numbers of workers (1 and 2), ``seconds`` for each visit. ``across`` also measures what a sum
    between hosts costs, with two agents on this machine. ``link`` joins hosts, ``noise`` is the gradient noise scale in
    samples, from which epochs of other batches are told. ``tell`` hears what is done. Raises what `launch` raises.
    """
    say = tell or (lambda _: None)
    joint = link_of(link)
    scale = Noise.read(noise)
    _check(measured, seconds)
    if isinstance(what, Run) or (data is None and isinstance(what, str | Path) and not _is_file(what)):
        run = what if isinstance(what, Run) else open_run(str(what))
        threads = run.config.workers.threads or default_threads(run.config)
        places = max(1, usable_cores() // threads)
        told = [read(EventReader(run.paths.events).stream(), places, joint)]
        start = _starts_config(absolute(run.config, run.directory), Path(), {})
        if measured is None and not told[0].rows:
            raise ConfigError(
                "run",
                given=run.id,
                rule="one whose log tells of steps; measured=(1, 2) makes short runs of it",
            )
        base_workers = told[0].rows[-1].setting.workers if told[0].rows else 1
        epochs = run.config.training.epochs
        batch = run.config.training.global_batch
    else:
        threads, told = int(options.get("threads") or 1), []
        places = max(1, usable_cores() // threads)
        start, batch, epochs, base_workers = _asked(what, data, dict(options))
        measured = measured or MEASURED
    if measured is not None:
        took = functools.partial(measure, start, places=places, seconds=seconds, threads=threads)
        for size in _batches(batch, max(measured)):
            say(f"a short run with global batch {size} and {' and '.join(map(str, measured))} workers")
            told.append(took(batch=size, workers=measured))
        if across:
            say("a short run of two agents on this machine, for what sums between hosts cost")
            told.append(took(batch=batch, workers=(2,), across=True))
    return _made(told, batch, epochs, base_workers, places, joint, scale, threads)


def _made(
    told: Sequence[Told], batch: int, epochs: int, workers: int, places: int, link: Link | None,
    noise: Noise | None, threads: int,
) -> Plan:  # fmt: skip
    rows = [row for one in told for row in one.rows]
    facts = next((one.facts for one in told if one.facts), None)
    if not rows or facts is None:
        raise ConfigError("rows", given=0, rule="a measured step at least")
    law = fit(rows, int(facts["parameters"]))
    samples, held_out = int(facts["samples"]), int(facts.get("validation_samples") or 0)
    beside = next((one.beside for one in told if one.beside is not None), None)
    measured_epochs = beside is not None and len(told) == 1
    if not measured_epochs or beside is None:
        beside = FORWARD * law.costs["sample"] * held_out / min(workers, places)
    base = Setting(
        workers=min(workers, batch), batch=batch, places=places, link=link or LOOPBACK,
        longest_block=_block(samples, batch),
    )  # fmt: skip
    return Plan(law, rows, base, samples, epochs, beside, noise, threads)


def _block(samples: int, batch: int) -> int:
    return max(1, min(LONGEST_BLOCK, samples // batch))


def _batches(batch: int, workers: int) -> list[int]:
    smaller = max(batch // SMALLER, min(batch, max(SHORTEST_BATCH, workers)))
    return [batch, smaller] if smaller < batch else [batch]


def _is_file(what: Any) -> bool:
    return str(what).endswith((".yaml", ".yml", ".json"))


def _check(measured: Sequence[int] | None, seconds: float) -> None:
    if measured is not None and (
        not measured or any(not isinstance(one, int) or one < 1 for one in measured)
    ):
        raise ConfigError("measured", given=measured, rule="numbers of workers of at least 1, such as (1, 2)")
    if not 0 < seconds <= 60:
        raise ConfigError("seconds", given=seconds, rule="above 0, at most 60")


def _asked(what: Any, data: Any, options: dict[str, Any]) -> tuple[Any, int, int, int]:
    """(how a short run starts, global batch, epochs, workers) of what is to be planned."""
    if isinstance(what, RunConfig | str | Path):
        base = Path.cwd() if isinstance(what, RunConfig) else Path(what).resolve().parent
        config = what if isinstance(what, RunConfig) else RunConfig.load(what)
        training, count = config.training, config.workers.count
        workers = count if isinstance(count, int) else 1
        return _starts_config(config, base, options), training.global_batch, training.epochs, workers
    if data is None:
        raise ConfigError("data", given=None, rule="what launch takes: a Dataset, (x, y), a frame …")
    settings = read_options(options).settings
    kept = {name: value for name, value in options.items() if name not in OWN}

    def start(folder: Path, changes: Mapping[str, Any]) -> Run:
        return launch(what, data, runs_dir=folder, **(kept | dict(changes)))

    count = settings.workers.count
    return (
        start, settings.training.global_batch, settings.training.epochs, count if isinstance(count, int) else 1,
    )  # fmt: skip


def _starts_config(config: RunConfig, base: Path, options: Mapping[str, Any]) -> Any:
    """Starts short runs of a configuration."""
    if options:
        raise ConfigError(
            ", ".join(options),
            given="beside a configuration",
            rule="options stand in the configuration itself",
        )
    places = {"workers": "workers.count", "hosts": "workers.hosts", "threads": "workers.threads"}

    def start(folder: Path, changes: Mapping[str, Any]) -> Run:
        named: dict[str, Any] = {
            "training.callbacks": (),
            "training.keep_best": None,
            "training.max_steps": None,
        }
        named |= {
            "workers.hosts": None,
            "workers.spark": None,
            "workers.driver": None,
            "workers.min_workers": 1,
        }
        for name, value in changes.items():
            section = "" if name == "name" else "workers." if name in WORKERS else "training."
            named[places.get(name, section + name)] = value
        return launch_config(absolute(config, base).replace(**named), folder)

    return start


WORKERS = ("max_workers", "standby", "min_workers")
