"""Plain Keras on the whole large batch, in one process: what a distributed run has to equal.

`plain_fit` trains an object with Keras' own `fit`. None of the code that trains in workers is used but the order of the
samples, and the object is the user's own where it can be.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lepton_kit.config import RunConfig
from lepton_kit.data import PreparedData, sharding
from lepton_kit.training.length import length_of


def plain_fit(model: Any, config: RunConfig, data: PreparedData) -> list[np.ndarray]:
    """Train the steps of a configuration by `model.fit` and return the values of ``model.variables``."""
    model.fit(_batches(config, data), epochs=1, shuffle=False, verbose=0)
    return [np.array(variable.numpy()) for variable in model.variables]


@contextlib.contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Put a compiled model, its optimizer and its metrics back to what they were."""
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *getattr(model.optimizer, "variables", ())]
    values = [np.array(variable.numpy()) for variable in variables]
    history = getattr(model, "history", None)
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        model.reset_metrics()
        model.history = history


def _batches(config: RunConfig, data: PreparedData) -> Any:
    """The global batches of a run in order, as a `keras.utils.PyDataset`."""
    import keras

    training, length = config.training, length_of(config, len(data.train))

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return length.total_steps

        def __getitem__(self, step: int) -> tuple[Any, ...]:
            (indices,) = sharding.shard(
                seed=config.seed,
                step=step + length.first_step,
                samples=length.samples,
                global_batch=training.global_batch,
                weights=[1],
                shuffle=training.shuffle,
                order=training.order,
            )
            x, y, w = data.train.rows(indices)
            parts = (_floats(x), y, w)
            return parts[: 3 if w is not None else 2 if y is not None else 1]

    return Batches()


def _floats(x: Any) -> Any:
    import tensorflow as tf

    return tf.nest.map_structure(lambda a: a.astype(np.float32) if a.dtype == np.uint8 else a, x)
