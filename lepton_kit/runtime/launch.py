"""Starting runs: everything is checked here, before any process starts, and a detached driver does the rest."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from lepton_kit import data as sources
from lepton_kit import models
from lepton_kit.config import RunConfig, RunSettings
from lepton_kit.data import Dataset, PreparedData
from lepton_kit.devices import gpus, memory
from lepton_kit.errors import ConfigError, DataError, DeviceError
from lepton_kit.runtime import compiled
from lepton_kit.runtime.folder import begin
from lepton_kit.runtime.keras_names import check_names, check_optimizer
from lepton_kit.runtime.options import Asked, LaunchOptions, read
from lepton_kit.runtime.run import Run
from lepton_kit.runtime.script import absolute
from lepton_kit.runtime.start import prepare
from lepton_kit.runtime.wishes import WORKER_BYTES
from lepton_kit.rundir.paths import write_atomically


def launch(model: Any, data: Any, *, runs_dir: str | Path = "runs", **options: Unpack[LaunchOptions]) -> Run:
    """Train ``model`` on ``data`` with data-parallel workers; returns at once.

    ``model`` is a `LeptonModel` or any Keras 3 model, ``data`` a `Dataset` or what `fit` takes: (x, y) or
    (x, y, sample_weight) of arrays, a frame, a `tf.data.Dataset`, a generator. `LaunchOptions` lists the options:
    those of ``compile`` and ``fit`` by their Keras names, with names or objects, and those of the workers
    (``workers``, ``standby``, ``max_workers``, …). Given objects are compiled into a copy of the model. Raises
    `ConfigError`, `DataError`, `ModelError` or `DeviceError` before any process starts; then no folder is left.
    """
    planned = plan(model, data, **options)
    return Run(begin(planned.settings.name, runs_dir, planned.store))


def warm(model: Any, data: Any, **options: Unpack[LaunchOptions]) -> None:
    """Start workers now and have them build this model, so that the next `launch` of it trains almost at once.

    Takes what `launch` takes. Costs the memory of the workers until `cool`, a launch, or the end of this process.
    """
    planned = plan(model, data, **options)

    def fill(folder: Path) -> None:
        write_atomically(folder / "config.yaml", planned.store(folder).to_yaml())

    prepare(fill)


def launch_config(config: RunConfig | str | Path, runs_dir: str | Path = "runs") -> Run:
    """Start the run that a configuration (or its file) describes; returns at once."""
    base = Path.cwd()
    if not isinstance(config, RunConfig):
        base = Path(config).resolve().parent
        config = RunConfig.load(config)
    config = absolute(config, base)
    for name in ("loss", "metrics", "weighted_metrics"):
        check_names(f"training.{name}", getattr(config.training, name))
    if config.training.optimizer is not None:
        check_optimizer("training.optimizer", config.training.optimizer)
    prepared = Dataset.from_spec(config.data, base).prepare()
    check(config, prepared)
    fitted = _fitted(config, prepared, base)
    return Run(begin(fitted.name, runs_dir, lambda folder: fitted))


def _fitted(config: RunConfig, prepared: PreparedData, base: Path) -> RunConfig:
    """The configuration with what its model's file and its data say filled in; refuses a model that can't fit."""
    if config.model.kind == "lepton":
        model = models.LeptonModel.from_spec(config.model).fitted_to(prepared)
        return config.replace(model={**model.spec(), "notes": _notes(prepared, list(config.model.notes))})
    models.check_fits(config.model, prepared, base)
    found = {}
    if config.model.kind == "keras" and "schedule" not in config.model.model_fields_set:
        found["schedule"] = compiled.schedule_in_file(Path(config.model.path))
    if "notes" not in config.model.model_fields_set:
        model = models.build(config.model, base, config.seed)
        found["notes"] = _notes(prepared, models.explain_inexactness(model))
    config = config.replace(model={**config.model.model_dump(mode="json"), **found})
    compiled.check_rate(config.training, config.model.schedule, "training.learning_rate")
    return config


@dataclass(frozen=True)
class Plan:
    """A launch that has passed its checks; `store` writes what it trains into a run's folder."""

    settings: RunSettings
    model: Any
    dataset: Dataset
    prepared: PreparedData
    asked: Asked

    def store(self, folder: Path) -> RunConfig:
        """Write model, callbacks and data into a folder; returns the configuration that belongs there."""
        ready = _ready(self.model, self.prepared)
        model = compiled.compiled(ready, self.asked, self.prepared)
        spec = models.store(model, folder / "model")
        notes = []
        if spec["kind"] != "lepton":
            notes = models.explain_inexactness(getattr(model, "network", model))
        schedule = compiled.schedule_of(model, self.settings.training)
        ...
