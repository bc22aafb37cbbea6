"""Starting runs: everything is checked here, before any process starts, and a detached driver does the rest."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from lepton_kit import models
from lepton_kit.client import compiled
from lepton_kit.client.given_data import as_dataset
from lepton_kit.client.keras_names import check_names, check_optimizer
from lepton_kit.client.options import Asked, LaunchOptions, in_launch_words, read
from lepton_kit.client.remarks import remarks_on
from lepton_kit.client.room import check, reach
from lepton_kit.client.run import Run
from lepton_kit.client.script import absolute
from lepton_kit.client.spark import read_spark
from lepton_kit.config import RunConfig, RunSettings
from lepton_kit.data import Dataset, PreparedData
from lepton_kit.data.frozen import KEPT, with_data
from lepton_kit.data.waiting import Waiting
from lepton_kit.errors import ConfigError
from lepton_kit.hosts import read_hosts
from lepton_kit.models import footprint
from lepton_kit.models import trust as trusted
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.runtime.folder import begin
from lepton_kit.runtime.spark.session import lend
from lepton_kit.runtime.start import prepare
from lepton_kit.training import arithmetic

Filling = Callable[[Path], RunConfig]
"""Writes what belongs to a run into the folder that it is given, and returns its configuration."""


def launch(
    model: Any, data: Any, *, runs_dir: str | Path | None = None, **options: Unpack[LaunchOptions]
) -> Run:
    """Train ``model`` on ``data`` with data-parallel workers; returns at once.

    ``model`` is a `LeptonModel` or any Keras 3 model, ``data`` a `Dataset` or what `fit` takes: (x, y) or
    (x, y, sample_weight) of arrays, a frame, a `tf.data.Dataset`, a generator. `LaunchOptions` lists the options:
    those of ``compile`` and ``fit`` by their Keras names, with names or objects, and those of the workers
    (``workers``, ``standby``, ``max_workers``, …). Given objects are compiled into a copy of the model. Raises
    `ConfigError`, `DataError`, `ModelError` or `DeviceError` before any process starts; then no folder is left.
    """
    planned = plan(model, data, **options)
    each = footprint.estimated(planned.trained)
    reach(planned.settings, planned.prepared, each, planned.session)
    return _begun(planned.settings.name, runs_dir, planned.store, planned.session)


def _begun(name: str, runs_dir: str | Path | None, fill: Filling, session: Any) -> Run:
    paths = begin(name, runs_dir, fill)
    if session is not None:
        lend(paths, session)
    run = Run(paths)
    run.hold()
    return run


def warm(model: Any, data: Any, **options: Unpack[LaunchOptions]) -> None:
    """Start workers now and have them build this model, so that the next `launch` of it trains almost at once.

    Takes what `launch` takes. Costs the memory of the workers until `cool`, a launch, or the end of this process.
    """
    planned = plan(model, data, **options)

    def fill(folder: Path) -> None:
        write_atomically(folder / "config.yaml", planned.store(folder).to_yaml())

    prepare(fill)


def launch_config(
    config: RunConfig | str | Path,
    runs_dir: str | Path | None = None,
    *,
    trust: bool = False,
    hosts: Any = None,
    spark: Any = None,
) -> Run:
    """Start the run that a configuration (or its file) describes; returns at once.

    ``hosts``, or ``spark``, are taken instead of those, and of the places, that it names, in any form that `launch` takes. Code beside a model's file that comes from elsewhere (``custom.pkl``) is loaded only with ``trust``, and from then on.
    """
    base = Path.cwd()
    if not isinstance(config, RunConfig):
        base = Path(config).resolve().parent
        config = RunConfig.load(config)
    changes: dict[str, Any] = {}
    session = None
    if hosts is not None:
        changes = {"workers.hosts": read_hosts(hosts), "workers.spark": None, "workers.places": None}
    if spark is not None:
        named, session = read_spark(spark)
        changes = {"workers.hosts": None, "workers.spark": named, "workers.places": None}
    checked = from_config(config, base, trust=trust, changes=changes)
    reach(checked.config, checked.prepared, checked.each, session)
    return _begun(checked.config.name, runs_dir, checked.store, session)


@dataclass(frozen=True)
class Checked:
    """A configuration with which a run can start, its data, and the bytes that a worker needs."""

    config: RunConfig
    prepared: PreparedData
    each: int

    def store(self, folder: Path) -> RunConfig:
        """Write what belongs to the run into its folder."""
        return with_data(self.config, self.prepared, folder)


def from_config(config: RunConfig, base: Path, *, trust: bool = False, changes: Mapping[str, Any]) -> Checked:
    """Check a configuration with some fields changed, whose paths count from ``base``."""
    known = config.model.model_fields_set
    config = absolute(config.replace(**changes), base)
    if config.model.kind != "lepton":
        (trusted.trust if trust else trusted.check)(Path(config.model.path))
    for name in ("loss", "metrics", "weighted_metrics"):
        check_names(f"training.{name}", getattr(config.training, name))
    if config.training.optimizer is not None:
        check_optimizer("training.optimizer", config.training.optimizer)
    prepared = Dataset.from_spec(config.data, base).prepare()
    each = footprint.estimated(config.model.model_dump(mode="json"), base)
    check(config, prepared, each)
    if config.training.order is None and (order := prepared.train.order) is not None:
        config = config.replace(**{"training.order": order.model_dump()})
    return Checked(_fitted(config, prepared, base, known), prepared, each)


def _fitted(config: RunConfig, prepared: PreparedData, base: Path, known: set[str]) -> RunConfig:
    """The configuration with what its model's file and its data say filled in; refuses a model that can't fit.

    ``known`` are the fields of the model's spec that stood in the file: of a run's own file all.
    """
    if config.model.kind == "lepton":
        model = models.LeptonModel.from_spec(config.model).fitted_to(prepared)
        return config.replace(model={**model.spec(), "notes": _notes(prepared, list(config.model.notes))})
    models.check_fits(config.model, prepared, base, loss=config.training.loss)
    found: dict[str, Any] = {}
    if config.model.kind == "keras" and "schedule" not in known:
        found["schedule"] = compiled.schedule_in_file(Path(config.model.path))
    if "notes" not in known:
        found["notes"] = _notes(
            prepared, models.explain_inexactness(models.build(config.model, base, config.seed))
        )
    config = config.replace(model={**config.model.model_dump(mode="json"), **found})
    config.check_rate(config.training.learning_rate, "training.learning_rate")
    return config


@dataclass(frozen=True)
class Plan:
    """A launch that has passed its checks; `store` writes what it trains into a run's folder.

    ``model`` is the user's own, ``trained`` what is stored: itself, or a copy with other settings compiled in.
    """

    settings: RunSettings
    model: Any
    trained: Any
    dataset: Dataset
    prepared: PreparedData
    callbacks: Any
    found: dict[str, Any]
    session: Any = None

    def store(self, folder: Path) -> RunConfig:
        """Write model, callbacks and data into a folder; returns the configuration that belongs there."""
        from lepton_kit.training import callback_specs

        spec = models.store(self.trained, folder / "model")
        found = (
            self.found
            if spec["kind"] != "lepton"
            else {name: self.found[name] for name in ("notes", "remarks")}
        )
        models.verify(self.trained, spec, folder, self.prepared)
        if spec["kind"] == "object":
            seen = self._tried(spec, folder)
            found = {**found, "notes": list(dict.fromkeys([*found["notes"], *seen]))}
        else:
            for one in (self.model, self.trained):
                models.objects.forget(one)  # workers read a file of Keras' instead
        held = callback_specs.store(self.callbacks, folder / "model", self.model, self.trained)
        settings = self.settings.replace(**{"training.callbacks": held}) if held else self.settings
        data = KEPT if self.dataset.held is not None else self.dataset.spec()
        return with_data(settings.of({**spec, **found}, data), self.prepared, folder)

    def _tried(self, spec: dict[str, Any], folder: Path) -> list[str]:
        """What the stored copy of a user's own objects computes otherwise on several workers, found by trying it.

        Raises `ModelError` for an own train step whose update can't be put together from parts.
        """
        from lepton_kit.training import probe

        def load() -> Any:
            return compiled.as_configured(
                models.build(spec, folder, self.settings.seed), self.settings, self.prepared
            )

        return probe.findings(load, _few(self.prepared))


def plan(model: Any, data: Any, **options: Any) -> Plan:
    """Check everything that needs no process about a launch with these arguments. Raises what `launch` raises."""
    from lepton_kit.training.callback_specs import monitored

    asked = read(options)
    compiled.check_model(model)
    compiled.check_own_compile(model, asked)
    dataset = as_dataset(data, asked)
    prepared = dataset.prepare(progress=Waiting())
    settings = _completed(asked, model, dataset, prepared)
    with in_launch_words(options):
        check(settings, prepared, footprint.estimated(model))
    if isinstance(model, models.LeptonModel):
        trained: Any = model.fitted_to(prepared)
    else:
        trained = models.ready(model, prepared)
        models.check_fits(trained, prepared, loss=settings.training.loss)
        compiled.check_inputs(trained, prepared)
    trained = compiled.compiled(trained, asked, prepared)
    if not isinstance(trained, models.LeptonModel) and settings.training.loss is None:
        from lepton_kit.training import probe

        probe.check_loss(trained, _few(prepared))
    schedule = compiled.schedule_of(trained)
    compiled.check_rate(settings.training, schedule)
    best, watched = settings.training.keep_best, monitored(asked.callbacks)
    if best is not None:
        compiled.check_quantity(best, trained, settings.training, prepared)
    elif watched is not None:
        with contextlib.suppress(ConfigError):  # of a quantity that there won't be Keras only warns, so do we
            compiled.check_quantity(watched, trained, settings.training, prepared)
            settings = settings.replace(**{"training.keep_best": watched})
    notes = _notes(
        prepared,
        [
            *models.explain_inexactness(trained),
            *_of_epochs(settings, prepared),
        ],
    )
    found = {"schedule": schedule, "notes": notes, "remarks": remarks_on(trained, settings, prepared)}
    return Plan(settings, model, trained, dataset, prepared, asked.callbacks, found, asked.session)


def _few(prepared: PreparedData) -> tuple[Any, Any, Any]:
    return prepared.train.rows(np.arange(4) % len(prepared.train))


def _completed(asked: Asked, model: Any, dataset: Dataset, prepared: PreparedData) -> RunSettings:
    """The settings with what the data and the notebook say where nothing was asked."""
    _check_limits()
    changes: dict[str, Any] = {}
    if "batch_size" not in asked.given and dataset.batch_size is not None:
        changes["global_batch"] = dataset.batch_size
    if dataset.is_ordered:
        changes["shuffle"] = False  # as `fit` does with data that come in an order of their own
    if asked.settings.training.order is None and (order := prepared.train.order) is not None:
        changes["order"] = order.model_dump()
    policy = _policy()
    if isinstance(model, models.LeptonModel) and not model.built and policy != "float32":
        changes["dtype_policy"] = asked.settings.training.dtype_policy or policy
    if "arithmetic" not in asked.given and (told := arithmetic.now()) is not None:
        changes["arithmetic"] = told.model_dump()
    if asked.compiled:
        changes |= compiled.IN_THE_MODEL
    return asked.settings.replace(**{f"training.{name}": value for name, value in changes.items()})


def _check_limits() -> None:
    """Raises `ConfigError` where Keras' `fit` would be cut short by a limit that the notebook set for all its calls."""
    settings = getattr(sys.modules.get("keras"), "config", None)
    for name, meant in (("max_epochs", "epochs"), ("max_steps_per_epoch", "steps_per_epoch")):
        if settings is not None and (limit := getattr(settings, name)()):
            rule = f"none: it limits Keras' own fit alone; say {meant}={limit} instead"
            raise ConfigError(f"keras.config.{name}", given=limit, rule=rule)


def _policy() -> str:
    """The notebook's dtype policy; a process without Keras has the default."""
    settings = getattr(sys.modules.get("keras"), "config", None)
    return settings.dtype_policy().name if settings is not None else "float32"


def _of_epochs(settings: RunSettings, prepared: PreparedData) -> list[str]:
    """Where Keras' `fit` would end an epoch early, because the data end in its midst."""
    training = settings.training
    steps, passes = training.steps_per_epoch, -(-len(prepared.train) // training.global_batch)
    total = (steps or 0) * (training.epochs - training.initial_epoch)
    if steps is None or total <= passes or passes % steps == 0:
        return []
    return [
        f"steps_per_epoch={steps}, but a pass over the data has {passes} steps: Keras' fit ends an epoch where the data "
        "end, with a warning; here it goes on with the next pass"
    ]


def _notes(prepared: PreparedData, of_model: list[str]) -> list[str]:
    return list(dict.fromkeys([*of_model, *prepared.differences]))
