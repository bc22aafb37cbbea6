"""Builds from a configuration what a worker trains: the model, compiled, its data, its hooks and its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lepton_kit import models
from lepton_kit.config import RunConfig
from lepton_kit.data import Dataset, PreparedData, sharding
from lepton_kit.errors import ConfigError
from lepton_kit.training import collective
from lepton_kit.training.step import Step

DEFAULT_LEARNING_RATE = 1e-3


class Hook(Protocol):
    """Something that changes the model at certain steps, alike on every rank (pruning is one)."""

    state_variables: list[Any]

    def attach(self, model: Any) -> None: ...

    def next_boundary(self, step: int) -> int | None:
        """The smallest step >= ``step`` at which `update` has to be called."""

    def update(self, step: int) -> dict[str, Any]: ...

    def finish(self) -> None: ...


@dataclass
class Job:
    """All that a worker needs to train one run; equal on every rank."""

    config: RunConfig
    data: PreparedData
    step: Step
    collective: collective.HorovodCollective
    hooks: list[Hook] = field(default_factory=list)

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def samples(self) -> int:
        return len(self.data.train)

    @property
    def global_batch(self) -> int:
        return self.config.training.global_batch

    @property
    def steps_per_epoch(self) -> int:
        return sharding.steps_per_epoch(self.samples, self.global_batch)

    @property
    def total_steps(self) -> int:
        return total_steps(self.config, self.samples)

    @property
    def validate_every_epochs(self) -> int:
        return self.config.training.validate_every_epochs

    @property
    def checkpoint_seconds(self) -> float:
        return self.config.training.checkpoint_seconds

    def completed_epochs(self, position: int) -> int:
        """Epochs behind a position; the end of the run completes the epoch that it cuts off."""
        whole, within = divmod(position, self.steps_per_epoch)
        return whole + (1 if within and position >= self.total_steps else 0)

    def take(self, indices: np.ndarray) -> tuple[Any, Any]:
        return self.data.train.take(indices)

    def learning_rate(self) -> float:
        return float(self.step.optimizer.learning_rate)

    def set_learning_rate(self, value: float) -> None:
        self.step.optimizer.learning_rate = value


def total_steps(config: RunConfig, samples: int) -> int:
    """Steps of the whole run."""
    steps = config.training.epochs * sharding.steps_per_epoch(samples, config.training.global_batch)
    return min(steps, config.training.max_steps or steps)


def build_model(config: RunConfig, base: Path, data: PreparedData) -> Any:
    """The model of a run with equal initial weights in every process, compiled for training.

    What the configuration leaves open is taken from the model's own compilation, else suits the labels.
    """
    import keras

    if config.model.get("kind") != "lepton":
        from lepton_kit.compression.quantization import qat_layers  # noqa: F401  a stored model may hold them
    model = models.build(config.model, base, config.seed)
    if config.quantization_aware is not None:
        from lepton_kit.compression.quantization import qat

        compiled = _compilation(model)
        model = qat.quantization_aware(model, config.quantization_aware)
        if compiled is not None:
            model.compile(**compiled)
    return compile_model(model, config, data, keras)


def compile_model(model: Any, config: RunConfig, data: PreparedData, keras: Any) -> Any:
    """Compile in place with what the configuration names, what the model brought, or what suits the labels."""
    training = config.training
    own = _compilation(model)
    loss: Any = training.loss or (own and own["loss"])
    metrics: Any = list(training.metrics) if training.metrics is not None else (own and own["metrics"])
    if loss is None:
        loss, default_metrics, _ = models.compile_defaults(model, data)
        metrics = default_metrics if metrics is None else metrics
    optimizer = _optimizer(keras, training.optimizer, training.learning_rate, own and own["optimizer"])
    extra = {"loss_weights": own["loss_weights"]} if own and not training.loss else {}
    model.compile(
        optimizer=optimizer, loss=_named("training.loss", loss, keras.losses.get), metrics=metrics, **extra
    )
    return model


def _optimizer(keras: Any, name: str | None, learning_rate: float | None, own: Any) -> Any:
    if name is None and own is not None:
        if learning_rate is not None:
            own.learning_rate = learning_rate
        return own
    optimizer = _named("training.optimizer", name or "adam", keras.optimizers.get)
    optimizer.learning_rate = learning_rate or DEFAULT_LEARNING_RATE
    return optimizer


def _named(field_name: str, value: Any, find: Callable[[Any], Any]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return find(value)
    except ValueError:
        raise ConfigError(field_name, given=value, rule="a name that Keras knows") from None


def _compilation(model: Any) -> dict[str, Any] | None:
    """What the model was compiled with, or None."""
    if not getattr(model, "compiled", False):
        return None
    own = model._compile_config.config if model._compile_config else {}
    return {
        "optimizer": model.optimizer,
        "loss": own.get("loss", model.loss),
        "metrics": own.get("metrics"),
        "loss_weights": own.get("loss_weights"),
    }


def build(config: RunConfig, base: Path) -> Job:
    """Everything for training, warmed: the first block of a generation finds its graphs traced."""
    data = Dataset.from_spec(config.data, base).prepare()
    model = build_model(config, base, data)
    hooks: list[Hook] = []
    if config.pruning is not None:
        from lepton_kit.compression.pruning.magnitude import PruningHook

        hooks.append(PruningHook(config.pruning, total_steps(config, len(data.train))))
    for hook in hooks:
        hook.attach(model)
    kind = collective.choose(config.workers.allreduce, config.workers.device)
    ring = collective.make(kind, config.workers.wire)
    if any(type(layer).__name__ == "SyncBatchNormalization" for layer in model._flatten_layers()):
        ring.cycle_milliseconds = (
            collective.HorovodCollective.cycle_milliseconds
        )  # its layers wait for Horovod
    x, y = data.train.take(np.zeros(1, np.int64))
    first = [_first_row(part) for part in (x, y)]
    step = Step(model, ring, (first[0], first[1]))
    step.warm(*first)
    return Job(config, data, step, ring, hooks)


def _first_row(part: Any) -> Any:
    return {name: array[0] for name, array in part.items()} if isinstance(part, dict) else part[0]
