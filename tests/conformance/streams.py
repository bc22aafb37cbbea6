"""The same rows as data sets, generators and the like, which `lk.fit` reads once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tests.conformance.table import Data, parts, take

Given = tuple[tuple[Any, ...], dict[str, Any]]
BATCH = 12


def whole(data: Data) -> Any:
    return tf.data.Dataset.from_tensor_slices(parts(data.x, data.y, data.w))


def dataset(data: Data) -> Given:
    return (whole(data).batch(BATCH),), {}


def with_validation(data: Data) -> Given:
    held = tf.data.Dataset.from_tensor_slices(data.validation).batch(BATCH)
    return dataset(data)[0], {"validation_data": held}


def pipeline(data: Data) -> Given:
    """Mapped, cached, prefetched: the same every time."""
    return (whole(data).map(lambda x, y: (x * 1.0, y)).cache().batch(BATCH).prefetch(2),), {}


def endless(data: Data) -> Given:
    return (whole(data).repeat().batch(BATCH),), {}


def random_values(data: Data) -> Given:
    generator = np.random.default_rng(
        3
    )  # goes on, while TensorFlow's own begins again in each pass once it is seeded

    def shaken(x: Any) -> Any:
        return x + generator.normal(size=x.shape).astype(x.dtype)

    def noisy(x: Any, y: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(shaken, [x], x.dtype), x.shape), y

    return (whole(data).map(noisy).batch(BATCH),), {}


def random_order(data: Data) -> Given:
    return (whole(data).shuffle(37).batch(BATCH),), {}


def batches(data: Data) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(data), BATCH):
        rows = slice(start, start + BATCH)
        yield parts(*(take(part, rows) for part in (data.x, data.y, data.w)))


def generator(data: Data) -> Given:
    return (batches(data),), {}


def endless_generator(data: Data) -> Given:
    def forever() -> Iterator[tuple[Any, ...]]:
        while True:
            yield from batches(data)

    return (forever(),), {}


def raising(data: Data) -> Given:
    def broken() -> Iterator[tuple[Any, ...]]:
        yield next(batches(data))
        raise OSError("the disk has gone")

    return (broken(),), {}


def changing(data: Data) -> Given:
    def other() -> Iterator[tuple[Any, ...]]:
        yield data.x[:12], data.y[:12]
        yield data.x[:12, :5], data.y[:12]

    return (other(),), {}


class Rows(keras.utils.PyDataset):
    def __init__(self, data: Data):
        super().__init__()
        self.parts = list(batches(data))

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Any:
        return self.parts[index]


def py_dataset(data: Data) -> Given:
    return (Rows(data),), {}


class Tensor:
    """What a batch of torch looks like from here."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def numpy(self) -> np.ndarray:
        return self.values


class Loader:
    """A loader as torch has them: may be gone through any number of times, and has a length."""

    def __init__(self, data: Data):
        self.parts = [tuple(map(Tensor, part)) for part in batches(data)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def loader(data: Data) -> Given:
    return (Loader(data),), {}


def frame(data: Data) -> Given:
    columns = [f"c{k}" for k in range(data.x.shape[1])]
    return (pd.DataFrame(data.x, columns=columns), pd.Series(data.y)), {"batch_size": BATCH}


def empty(data: Data) -> Given:
    return (whole(data).take(0).batch(BATCH),), {}
