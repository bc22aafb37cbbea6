"""Builds from a configuration what a worker trains: the model, compiled, its data, its hooks and its step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lepton_kit import models
from lepton_kit.config import RunConfig, TrainingConfig
from lepton_kit.data import PreparedData, sharding
from lepton_kit.data.frozen import open_frozen
from lepton_kit.data.prepared import Split
from lepton_kit.data.proofs import proof_of
from lepton_kit.errors import ConfigError
from lepton_kit.training import arithmetic, callbacks, choice, collective
from lepton_kit.training.ahead import Ahead
from lepton_kit.training.length import Length, length_of
from lepton_kit.training.own import OwnStep
from lepton_kit.training.step import Block, Step, has_own_step

DEFAULT_LEARNING_RATE = 1e-3


class Hook(Protocol):
    """Something that changes the model at certain steps, alike on every rank (pruning is one)."""

    state_variables: list[Any]

    def attach(self, model: Any) -> None:
        """Take the model that will be trained."""

    def next_boundary(self, step: int) -> int | None:
        """The smallest step >= ``step`` at which `update` has to be called."""

    def update(self, step: int) -> dict[str, Any]:
        """Do what is due at this step; returns what the log should say of it."""

    def finish(self) -> None:
        """Bring the model to its final form."""


@dataclass
class Job:
    """All that a worker needs to train one run; equal on every rank."""

    config: RunConfig
    data: PreparedData
    step: Step
    collective: collective.HorovodCollective
    hooks: list[Hook] = field(default_factory=list)
    callbacks: list[Any] = field(default_factory=list)

    @cached_property
    def length(self) -> Length:
        """Steps and epochs of the run; the data of a job do not change."""
        return length_of(self.config, len(self.data.train))

    @property
    def global_batch(self) -> int:
        """Samples in a step of the whole run."""
        return self.config.training.global_batch

    def batch_size(self, step: int) -> int:
        """Size of the global batch at a step."""
        step += self.length.first_step
        return sharding.batch_size(step, self.length.samples, self.global_batch)

    def full_batches(self, step: int) -> int:
        """Batches of one size from a step on, up to the end of the data's order."""
        passes = sharding.steps_per_epoch(self.length.samples, self.global_batch)
        return self.length.samples // self.global_batch - (step + self.length.first_step) % passes

    def shards(self, step: int, weights: Sequence[float]) -> tuple[np.ndarray, ...]:
        """The sample indices of every rank at a step."""
        return sharding.shard(
            seed=self.config.seed,
            step=step + self.length.first_step,
            samples=self.length.samples,
            global_batch=self.global_batch,
            weights=weights,
            shuffle=self.config.training.shuffle,
            order=self.config.training.order,
        )

    def block(self, first: int, steps: int, weights: Sequence[float], rank: int) -> Block:
        """What a rank feeds in the steps from ``first`` on, which all have batches of one size."""
        shards = [self.shards(step, weights) for step in range(first, first + steps)]
        indices = np.stack([parts[rank] for parts in shards])
        # A run of an older version proves places alone.
        contents = self.data.train.hashes_of(indices) if self.config.frozen is not None else None
        proofs, rows = proof_of(indices, contents), indices.shape[1]
        if rows == 0:
            indices = np.zeros((steps, 1), np.int64)
        whole: tuple[Any, Any, Any] = (None, None, None)
        if self.step.needs_whole:
            whole = self.data.train.rows(np.stack([np.concatenate(parts) for parts in shards]))
        offset = sum(len(part) for part in shards[0][:rank])
        x, y, w = self.data.train.rows(indices)
        self._read_ahead(first + steps, steps, weights, rank)
        return Block(x, y, w, whole, proofs, rank, offset, rows, self.batch_size(first))

    def _read_ahead(self, step: int, steps: int, weights: Sequence[float], rank: int) -> None:
        """Have what comes after a block read while it trains."""
        first = self.length.first_step
        part = None if self.step.needs_whole else rank
        self._ahead.after(
            step + first,
            steps,
            lambda one: np.concatenate(
                self.shards(one - first, weights)[part : None if part is None else part + 1]
            ),
            self.length.total_steps + first,
        )

    @cached_property
    def _ahead(self) -> Ahead:
        training = self.config.training
        return Ahead(
            self.data.train,
            seed=self.config.seed,
            global_batch=training.global_batch,
            shuffle=training.shuffle,
            order=training.order,
        )

    def validates(self, completed: int) -> bool:
        """Whether the epoch that is the ``completed``-th of the run is followed by a validation, as in Keras."""
        epoch = self.length.first_epoch + completed
        frequency = self.config.training.validate_every_epochs
        return epoch % frequency == 0 if isinstance(frequency, int) else epoch in frequency

    def learning_rate(self) -> float | None:
        """The rate of the next step; None for a model whose optimizers are its own."""
        rate = getattr(self.step.optimizer, "learning_rate", None)
        return None if rate is None else float(rate)

    @property
    def accumulated(self) -> int:
        """Batches that an update of the optimizer takes together."""
        inner = getattr(self.step.optimizer, "inner_optimizer", self.step.optimizer)
        return int(getattr(inner, "gradient_accumulation_steps", None) or 1)

    @property
    def schedule(self) -> str | None:
        """The name of the learning rate schedule, if the optimizer has one: no other rate can be set then."""
        return schedule_of(self.step.optimizer)

    @property
    def may_diverge(self) -> bool:
        """Whether a loss that is no number does not end the run: half precision skips such steps by itself, and
        Keras' `TerminateOnNaN` decides on its own."""
        import keras

        scaled = isinstance(self.step.optimizer, keras.optimizers.LossScaleOptimizer)
        return scaled or any(isinstance(one, keras.callbacks.TerminateOnNaN) for one in self.callbacks)

    def set_learning_rate(self, value: float) -> None:
        """Set the rate of an optimizer that has no schedule of its own."""
        if self.schedule is None:
            self.step.optimizer.learning_rate = value


def schedule_of(optimizer: Any) -> str | None:
    """The name of an optimizer's learning rate schedule, if it has one."""
    import keras

    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(inner, "_learning_rate", None)
    return type(rate).__name__ if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


def build_model(config: RunConfig, base: Path, data: PreparedData) -> Any:
    """The model of a run with equal initial weights in every process, compiled for training.

    What the configuration leaves open is taken from the model's own compilation, else suits the labels.
    """
    import keras

    if config.model.get("kind") != "lepton":
        from lepton_kit.compression.quantization import qat_layers  # noqa: F401  a stored model may hold them
    with _policy(config.training.dtype_policy):
        model = models.build(config.model, base, config.seed)
    if config.quantization_aware is not None:
        from lepton_kit.compression.quantization import qat

        compiled = compilation(model)
        model = qat.quantization_aware(model, config.quantization_aware)
        if compiled is not None:
            model.compile(**compiled)
    return compile_model(model, config, data, keras)


def _two_of(split: Split) -> tuple[Any, Any, Any]:
    return split.rows(np.arange(2) % len(split))


@contextlib.contextmanager
def _policy(name: str | None) -> Iterator[None]:
    """The dtype policy of the notebook, for layers that are made here."""
    import keras

    before = keras.config.dtype_policy()
    if name is not None:
        keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compile_model(model: Any, config: RunConfig, data: PreparedData, keras: Any) -> Any:
    """Compile in place with what the configuration names, what the model brought, or what suits the labels.

    A model that brings everything is left as it is.
    """
    training = config.training
    own = compilation(model)
    named = (training.loss, training.optimizer, training.metrics, training.weighted_metrics)
    if own is not None and all(name is None for name in named):
        _prepare_optimizer(model, training)
        return model
    if own is None:
        own = {"optimizer": None, "loss": None, "metrics": None}
    loss: Any = training.loss or own["loss"]
    metrics: Any = list(training.metrics) if training.metrics is not None else own["metrics"]
    if loss is None:
        loss, default_metrics, _ = models.compile_defaults(model, data)
        metrics = default_metrics if metrics is None else metrics
    settings = {**own, "metrics": metrics, "loss": _named("training.loss", loss, keras.losses.get)}
    if training.weighted_metrics is not None:
        settings["weighted_metrics"] = list(training.weighted_metrics)
    if training.optimizer is not None or own["optimizer"] is None:
        settings["optimizer"] = _named(
            "training.optimizer", training.optimizer or "adam", keras.optimizers.get
        )
        if training.learning_rate is not None:
            settings["optimizer"].learning_rate = training.learning_rate
    model.compile(**settings)
    if settings["optimizer"] is own["optimizer"]:
        _prepare_optimizer(model, training)
    return model


def _prepare_optimizer(model: Any, training: TrainingConfig) -> None:
    """The model's own optimizer with the rate and the state that the configuration asks for."""
    if training.optimizer_state == "reset" and model.optimizer is not None and model.optimizer.built:
        model.optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    if training.learning_rate is None:
        return
    schedule = schedule_of(model.optimizer)
    if schedule is not None:
        raise ConfigError(
            "training.learning_rate",
            given=training.learning_rate,
            rule=f"null: the model's optimizer has a schedule ({schedule})",
        )
    model.optimizer.learning_rate = training.learning_rate


def _named(field_name: str, value: Any, find: Callable[[Any], Any]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return find(value)
    except ValueError:
        raise ConfigError(field_name, given=value, rule="a name that Keras knows") from None


def compilation(model: Any) -> dict[str, Any] | None:
    """What the model was compiled with, as the arguments of `compile`; None if it was not."""
    if not getattr(model, "compiled", False):
        return None
    loss, metrics = getattr(model, "_compile_loss", None), getattr(model, "_compile_metrics", None)
    return {
        "optimizer": model.optimizer,
        "loss": getattr(loss, "_user_loss", None),
        "loss_weights": getattr(loss, "_user_loss_weights", None),
        "metrics": getattr(metrics, "_user_metrics", None),
        "weighted_metrics": getattr(metrics, "_user_weighted_metrics", None),
        "run_eagerly": model.run_eagerly,
    }


def expected_sizes(config: RunConfig) -> set[int]:
    """Samples a step that a worker gets with the numbers of workers that are expected: at the start, and named ones."""
    workers, batch = config.workers, config.training.global_batch
    given = workers.weights if isinstance(workers.weights, tuple) else ()
    counts = {*workers.expects} if workers.count == "auto" else {workers.count, *workers.expects}
    cuts = [
        sharding.cut(batch, given if len(given) == count else [1.0] * count)
        for count in counts
        if count <= batch
    ]
    return {samples for found in cuts for samples in found}


def collective_of(config: RunConfig, sharing: collective.Sharing) -> collective.HorovodCollective:
    """What the ranks of a run sum with; ``sharing`` is which of them share memory."""
    workers = config.workers
    nccl = "gpu" in workers.devices and choice.has_nccl()
    kind = choice.choose(workers.allreduce, workers.devices, sharing, nccl)
    return choice.make(kind, workers.wire, choice.is_staged(kind, workers.devices, nccl))


def build(config: RunConfig, base: Path, sharing: collective.Sharing = "all") -> Job:
    """Everything for training, warmed: the first block of a generation finds its graphs traced.

    ``sharing`` is which ranks share memory.
    """
    if config.training.arithmetic is not None:
        arithmetic.take(config.training.arithmetic)
    data = open_frozen(config, base)
    model = build_model(config, base, data)
    hooks: list[Hook] = []
    if config.pruning is not None:
        from lepton_kit.compression.pruning.magnitude import PruningHook

        hooks.append(PruningHook(config.pruning, length_of(config, len(data.train)).total_steps))
    for hook in hooks:
        hook.attach(model)
    ring = collective_of(config, sharing)
    training = config.training
    kind_of_step = OwnStep if has_own_step(model) else Step
    step = kind_of_step(
        model,
        ring,
        _two_of(data.train),
        held=_two_of(data.validation) if data.validation else None,
        batch=training.global_batch,
        validation_batch=training.validation_batch_size,
        exact_embeddings=training.embedding_gradients == "exact",
        sizes=expected_sizes(config),
    )
    step.warm()
    return Job(config, data, step, ring, hooks, callbacks.load(training.callbacks, base, model))
