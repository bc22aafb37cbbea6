"""Starting runs: everything is checked here, before any process starts, and a detached driver does the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lepton_kit import models
from lepton_kit.config import PruningConfig, QuantizationAwareConfig, RunConfig, TrainingConfig, WorkersConfig
from lepton_kit.data import Dataset, PreparedData
from lepton_kit.devices import gpus, memory
from lepton_kit.errors import ConfigError, DataError, DeviceError
from lepton_kit.rundir import RunPaths, new_run_id
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.runtime.run import Run, begin
from lepton_kit.runtime.script import absolute
from lepton_kit.runtime.start import prepare, start_driver
from lepton_kit.runtime.wishes import WORKER_BYTES


def launch(
    model: Any,
    data: Any,
    *,
    workers: int | str = 2,
    global_batch: int = 128,
    epochs: int = 5,
    seed: int = 0,
    name: str = "run",
    pruning: dict[str, Any] | PruningConfig | float | None = None,
    quantization_aware: dict[str, Any] | QuantizationAwareConfig | int | None = None,
    runs_dir: str | Path = "runs",
    **options: Any,
) -> Run:
    """Train ``model`` on ``data`` with data-parallel workers; returns at once.

    ``model`` is a `LeptonModel` or any Keras 3 model, ``data`` a `Dataset` or a pair of arrays. Further options are the
    fields of `TrainingConfig` (``learning_rate``, ``optimizer``, ``loss``, …) and `WorkersConfig` (``standby``,
    ``max_workers``, …). Raises `ConfigError`, `DataError`, `ModelError` or `DeviceError` before any process starts.
    """
    config, prepared, dataset = configure(
        model,
        data,
        workers=workers,
        global_batch=global_batch,
        epochs=epochs,
        seed=seed,
        name=name,
        pruning=pruning,
        quantization_aware=quantization_aware,
        **options,
    )
    paths = RunPaths((Path(runs_dir) / new_run_id(config.name)).resolve())
    check(config, prepared)
    _check_model(model, prepared)
    paths.create()
    try:
        config = store(config, model, dataset, prepared, paths.root)
    except Exception:
        shutil.rmtree(paths.root)
        raise
    start_driver(paths)
    return Run(paths)


def warm(model: Any, data: Any, **options: Any) -> None:
    """Start workers now and have them build this model, so that the next `launch` of it trains almost at once.

    Takes what `launch` takes. Costs the memory of the workers until `cool`, a launch, or the end of this process.
    """
    config, prepared, dataset = configure(model, data, **options)
    check(config, prepared)
    prepare(lambda folder: store(config, model, dataset, prepared, folder))


def launch_config(config: RunConfig | str | Path, runs_dir: str | Path = "runs") -> Run:
    """Start the run that a configuration (or its file) describes; returns at once."""
    base = Path.cwd()
    if not isinstance(config, RunConfig):
        base = Path(config).resolve().parent
        config = RunConfig.load(config)
    config = absolute(config, base)
    prepared = Dataset.from_spec(config.data, base).prepare()
    check(config, prepared)
    return begin(_fitted(config, prepared, base), runs_dir)


def _fitted(config: RunConfig, prepared: PreparedData, base: Path) -> RunConfig:
    """The configuration with what a `LeptonModel` takes from its data filled in; refuses a model that can't fit."""
    if config.model.get("kind") != "lepton":
        models.check_fits(config.model, prepared, base)
        return config
    model = models.LeptonModel.from_spec(config.model).fitted_to(prepared)
    return config.replace(model=model.spec())


def configure(model: Any, data: Any, **options: Any) -> tuple[RunConfig, PreparedData, Dataset]:
    """The validated configuration of a run (model and data still to be stored), with its data prepared."""
    dataset = as_dataset(data)
    values: dict[str, Any] = {
        "model": {"kind": "lepton"},
        "data": {"kind": "arrays"},
        "training": {},
        "workers": {},
    }
    workers = options.pop("workers", 2)
    values["workers"]["count"] = workers
    for option, value in options.items():
        if option in TrainingConfig.model_fields:
            values["training"][option] = value
        elif option in WorkersConfig.model_fields:
            values["workers"][option] = value
        elif option in ("pruning", "quantization_aware"):
            values[option] = _section(option, value)
        else:
            values[option] = value
    config = RunConfig.from_dict(values)
    return config, dataset.prepare(), dataset


def _section(option: str, value: Any) -> Any:
    short = {"pruning": "sparsity", "quantization_aware": "bits"}[option]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {short: value}
    return value.model_dump() if hasattr(value, "model_dump") else value


def store(config: RunConfig, model: Any, dataset: Dataset, prepared: PreparedData, folder: Path) -> RunConfig:
    """Write model, data and configuration into a folder; returns the configuration that stands there."""
    fitted = model.fitted_to(prepared) if isinstance(model, models.LeptonModel) else model
    values = config.to_dict()
    values["model"] = models.store(fitted, folder / "model")
    values["data"] = dataset.store(folder / "data")
    config = RunConfig.from_dict(values)
    write_atomically(folder / "config.yaml", config.to_yaml())
    return config


def as_dataset(data: Any) -> Dataset:
    """A `Dataset` as it is, or one made of a pair (x, y) of arrays."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        from lepton_kit.data import arrays

        return arrays(*data)
    raise DataError(
        f"data: got {type(data).__name__}; expected a lepton_kit Dataset or a pair (x, y) of arrays"
    )


def check(config: RunConfig, prepared: PreparedData) -> None:
    """What only the data and the machine can tell about a configuration."""
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
    weights = config.workers.weights
    if weights is not None and len(weights) != workers:
        raise ConfigError(
            "workers.weights", given=list(weights), rule=f"one weight for each of the {workers} workers"
        )
    if config.workers.device == "gpu" and not gpus():
        raise DeviceError(
            "workers.device: got 'gpu'; this machine shows no GPU (nvidia-smi), so only 'cpu' is allowed"
        )
    _, free = memory()
    needed = WORKER_BYTES * (workers + config.workers.standby)
    if free < needed:
        raise DeviceError(
            f"memory: {workers} workers and {config.workers.standby} standby need about {needed / 1e9:.1f} GB "
            f"(estimated); {free / 1e9:.1f} GB are free. Fewer workers need less"
        )


def _check_model(model: Any, prepared: PreparedData) -> None:
    if not isinstance(model, models.LeptonModel):
        models.check_fits(model, prepared)
    else:
        model.fitted_to(prepared)
