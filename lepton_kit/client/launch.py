"""Starting runs: everything is checked here, before any process starts, and a detached driver does the rest."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from lepton_kit import data as sources
from lepton_kit import models
from lepton_kit.client import compiled
from lepton_kit.client.cluster import Cluster
from lepton_kit.client.keras_names import check_names, check_optimizer
from lepton_kit.client.options import Asked, LaunchOptions, in_launch_words, read
from lepton_kit.client.remarks import remarks_on
from lepton_kit.client.run import Run
from lepton_kit.client.script import absolute
from lepton_kit.config import RunConfig, RunSettings
from lepton_kit.data import Dataset, PreparedData
from lepton_kit.data.elements import is_stream
from lepton_kit.data.frozen import KEPT, with_data
from lepton_kit.data.waiting import Waiting
from lepton_kit.devices import gpus, memory
from lepton_kit.errors import ConfigError, DataError, DeviceError, RunError
from lepton_kit.hosts import read_hosts
from lepton_kit.models import footprint
from lepton_kit.models import trust as trusted
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.runtime.folder import begin
from lepton_kit.runtime.pool.folder import usual_pool
from lepton_kit.runtime.start import prepare


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
    _reach(planned.settings)
    return Run(begin(planned.settings.name, runs_dir, planned.store))


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
) -> Run:
    """Start the run that a configuration (or its file) describes; returns at once.

    ``hosts`` are taken instead of those that it names, in any form that `launch` takes. Code beside a model's file that comes from elsewhere (``custom.pkl``) is loaded only with ``trust``, and from then on.
    """
    base = Path.cwd()
    if not isinstance(config, RunConfig):
        base = Path(config).resolve().parent
        config = RunConfig.load(config)
    if hosts is not None:
        config = config.replace(**{"workers.hosts": read_hosts(hosts)})
    known = config.model.model_fields_set
    config = absolute(config, base)
    if config.model.kind != "lepton":
        (trusted.trust if trust else trusted.check)(Path(config.model.path))
    for name in ("loss", "metrics", "weighted_metrics"):
        check_names(f"training.{name}", getattr(config.training, name))
    if config.training.optimizer is not None:
        check_optimizer("training.optimizer", config.training.optimizer)
    prepared = Dataset.from_spec(config.data, base).prepare()
    check(config, prepared, footprint.estimated(config.model.model_dump(mode="json"), base))
    if config.training.order is None and (order := prepared.train.order) is not None:
        config = config.replace(**{"training.order": order.model_dump()})
    fitted = _fitted(config, prepared, base, known)
    _reach(fitted)
    return Run(begin(fitted.name, runs_dir, lambda folder: with_data(fitted, prepared, folder)))


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
    return Plan(settings, model, trained, dataset, prepared, asked.callbacks, found)


def _few(prepared: PreparedData) -> tuple[Any, Any, Any]:
    return prepared.train.rows(np.arange(4) % len(prepared.train))


def _completed(asked: Asked, model: Any, dataset: Dataset, prepared: PreparedData) -> RunSettings:
    """The settings with what the data and the notebook say where nothing was asked."""
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
    if asked.compiled:
        changes |= compiled.IN_THE_MODEL
    return asked.settings.replace(**{f"training.{name}": value for name, value in changes.items()})


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


def as_dataset(data: Any, asked: Asked | None = None) -> Dataset:
    """A `Dataset` as it is, or one made of what `fit` takes: (x, y), (x, y, sample_weight), x alone, or a stream.

    Of arrays without validation data a fifth is held out, unless ``validation_split`` says otherwise.
    """
    asked = asked or Asked(RunSettings())
    options = dict(asked.data)
    parts = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(parts) <= 3 or isinstance(data, str | int | float | None):
        shown = f"{len(parts)} parts" if isinstance(data, tuple) else repr(data)
        raise DataError(
            f"data: got {shown}; expected a lepton_kit Dataset, (x, y), (x, y, sample_weight) or x"
        )
    if len(parts) == 3 and options.get("sample_weight") is not None:
        raise DataError("sample_weight: given twice, as an option and in data; give it once")
    x, y, weight = (*parts, None, None)[:3]
    weight = options.pop("sample_weight", weight)
    if not isinstance(x, Dataset) and not is_stream(x) and options.get("validation_data") is None:
        options.setdefault("validation_split", 0.2)
    training = asked.settings.training
    steps: dict[str, Any] = {"steps_per_epoch": training.steps_per_epoch, "epochs": training.epochs}
    return sources.of(x, y, sample_weight=weight, holdout="random", **steps, **options)


def _reach(config: RunSettings) -> None:
    """Look at the hosts of a run. Raises `RunError` with what is wrong with each that can't be used."""
    if config.workers.hosts is not None and (problems := Cluster(config.workers.hosts).check().problems):
        raise RunError("hosts: " + "; ".join(problems))


def _check_hosts(config: RunSettings, workers: int) -> None:
    slots = config.workers.slots or 0
    if workers + config.workers.standby > slots:
        rule = f"at most the {slots} slots of the hosts, those of standby ({config.workers.standby}) included"
        raise ConfigError("workers.count", given=workers, rule=rule)
    for name, wanted in (("weights", None), ("allreduce", ("auto", "horovod"))):
        given = getattr(config.workers, name)
        if (given is not None) if wanted is None else (given not in wanted):
            rule = "the `speed` of each host" if wanted is None else " or ".join(wanted)
            raise ConfigError(f"workers.{name}", given=given, rule=f"{rule}, where there are hosts")


def check(config: RunSettings, prepared: PreparedData, each: int) -> None:
    """What only the data and the machine can tell about a configuration; a worker needs ``each`` bytes."""
    samples, batch = len(prepared.train), config.training.global_batch
    workers = config.workers.min_workers if config.workers.count == "auto" else int(config.workers.count)
    if workers > samples:
        raise ConfigError("workers.count", given=workers, rule=f"at most the {samples} training samples")
    if batch < workers:
        raise ConfigError(
            "training.global_batch",
            given=batch,
            rule=f"at least one sample for each of the {workers} workers",
        )
    if config.workers.hosts is not None:
        return _check_hosts(config, workers)
    weights = config.workers.weights
    if weights is not None and len(weights) != workers:
        raise ConfigError(
            "workers.weights", given=list(weights), rule=f"one weight for each of the {workers} workers"
        )
    if config.workers.device == "gpu" and not gpus():
        raise DeviceError(
            "workers.device: got 'gpu'; this machine shows no GPU (nvidia-smi), so only 'cpu' is allowed"
        )
    total, free = memory()
    pooled = config.workers.count == "auto"
    if pooled:
        usual_pool()
        free = total  # what other runs hold now is waited for
    needed = each * (workers + config.workers.standby)
    if free < needed:
        raise DeviceError(
            f"memory: {workers} workers and {config.workers.standby} standby need about {needed / 1e9:.1f} GB "
            f"({each / 1e9:.2f} GB each, estimated from the model's size); {free / 1e9:.1f} GB are {'there' if pooled else 'free'}. "
            "Fewer workers need less"
        )
