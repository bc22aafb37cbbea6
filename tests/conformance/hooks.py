"""Callbacks as people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.conformance.makers import CLASSES

Base = keras.callbacks.Callback


def plain_or_spec(folder: Path, plain: Any, spec: dict[str, Any]) -> list[Any]:
    """What plain Keras takes for the reference, what a configuration says for the run."""
    return [spec if folder.name == "workers" else plain]


class Writes:
    """A line for each epoch."""

    def __init__(self, path: Path):
        self.path = path

    def __call__(self, epoch: int, logs: Any = None) -> None:
        with self.path.open("a") as file:
            file.write(f"{epoch} {sorted(logs)}\n")


class Remembers(Base):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.order: list[str] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.order.append("begin")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.order.append(f"epoch {epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen += [logs["loss"], logs["val_accuracy"]]
        self.order.append(f"{self.params['epochs']} {sorted(logs)}")

    def on_train_end(self, logs: Any = None) -> None:
        self.order.append("end")


class Stops(Base):
    def __init__(self, epoch: int):
        super().__init__()
        self.epoch, self.stopped = epoch, -1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            self.stopped = epoch
            self.model.stop_training = True


class Shrinks(Base):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.set_weights([0.9 * value for value in self.model.get_weights()])


class Halves(Base):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        rate = float(self.model.optimizer.learning_rate.numpy())
        self.model.optimizer.learning_rate = 0.5 * rate


class Resets(Base):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.layers[-1].bias.assign(np.zeros(3))


class Batches(Base):
    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses += [batch, logs["loss"]]


class WarmsUp(Base):
    steps = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        self.model.optimizer.learning_rate = 0.02 * min(self.steps, 5)


class StopsAtBatch(Base):
    def __init__(self, batch: int):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training = batch == self.batch


class Tests(Base):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def on_test_end(self, logs: Any = None) -> None:
        self.values.append(logs["loss"])


class Predicts(Base):
    def __init__(self, x: Any):
        super().__init__()
        self.x, self.values = x, []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.values.append(self.model.predict(self.x, verbose=0))


class Draws(Base):
    """Random, but from a seed of its own, so that plain Keras draws the same."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(5)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = float(self.generator.uniform(0.05, 0.1))


class TestBatches(Base):
    __test__ = False

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


def holding(guard: Any) -> Any:
    """A callback with an attribute that no other process can have."""
    callback = Remembers()
    callback.guard = guard
    return callback


def used(model: Any) -> Any:
    """A callback with the memory of an earlier fit."""
    callback = Remembers()
    model.fit(
        CLASSES.x,
        CLASSES.y,
        epochs=1,
        verbose=0,
        shuffle=False,
        validation_data=CLASSES.validation,
        callbacks=[callback],
    )
    return callback


class TurnsDown(Base):
    """Halves a number that the loss reads from outside the model, as one that anneals a KL weight."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.knob.assign(self.model.knob * 0.5)


class TunesAtFirst(Base):
    """Sets what a graph is traced with."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.model.optimizer.beta_1 = 0.5
        self.model.optimizer.clipnorm = 0.01


class TurnsUp(Base):
    """Sets a plain number of the model."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.strength = 10.0
