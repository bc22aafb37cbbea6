"""The zoo: one small model of each kind that people build in Keras, with samples to judge it by."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tests.zoo import applications, dense, graphs, images, reported, sequences  # noqa: F401  each puts its kinds into the register
from tests.zoo.registry import IDS, KINDS, REPORTED

TRAIN, HELD = 100, 24


@functools.cache
def made(name: str) -> tuple[Any, Any, Any, Any]:
    """(compiled model, samples, held-out samples, targets of all); samples in the form that the model takes.

    Its weights are drawn, not trained, wide enough for answers that differ.
    """
    import keras

    keras.utils.set_random_seed(7)
    model = (KINDS | REPORTED)[name]()
    random = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" not in weight.path and "normalization" not in weight.path and len(weight.shape) > 1:
            weight.assign(weight.numpy() * (20 if "embeddings" in weight.path else 2))
        elif "batch_normalization" in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    x = _samples(model)
    y = _targets(model, x)
    losses = [_loss(model, place) for place in range(len(model.outputs))]
    model.compile("adam", losses if isinstance(y, list) else losses[0])
    held = keras.tree.map_structure(lambda a: a[TRAIN:], x)
    return model, keras.tree.map_structure(lambda a: a[:TRAIN], x), held, y


def custom(model: Any) -> dict[str, Any]:
    """The classes of a model that Keras does not bring itself."""
    own = {type(layer).__name__: type(layer) for layer in model.layers}
    return {name: one for name, one in own.items() if not one.__module__.startswith("keras.")}


OPEN = 12
"""What stands for an open dimension."""


def _samples(model: Any) -> Any:
    random = np.random.default_rng(3)
    found = {}
    for tensor in model.inputs:
        shape = (TRAIN + HELD, *(size or OPEN for size in tensor.shape[1:]))
        if "ids" in tensor.name:
            found[tensor.name] = random.integers(1, IDS, shape).astype(tensor.dtype)
        elif tensor.dtype == "uint8":
            found[tensor.name] = random.integers(0, 256, shape).astype("uint8")
        elif tensor.dtype == "int16":
            found[tensor.name] = random.normal(scale=6000, size=shape).astype("int16")
        else:
            found[tensor.name] = random.normal(size=shape).astype("float32")
        if "masked" in tensor.name:
            for row in found[tensor.name]:
                row[random.integers(3, len(row)) :] = 0
    return next(iter(found.values())) if len(found) == 1 else found


def _targets(model: Any, x: Any) -> Any:
    """Something that can be learned from the samples, in the shape of each output."""
    parts = list(x.values()) if isinstance(x, dict) else [x]
    flat = np.concatenate([part.reshape(len(part), -1).astype("float32") for part in parts], axis=1)
    flat = (flat - flat.mean(0)) / (flat.std(0) + 1e-6)
    random = np.random.default_rng(5)
    made = []
    for tensor in model.outputs:
        shape = tuple(size or OPEN for size in tensor.shape[1:])
        wide = flat @ random.normal(size=(flat.shape[1], int(np.prod(shape)))).astype("float32")
        wide = (wide / np.sqrt(flat.shape[1])).reshape(len(flat), *shape)
        if _softmax(model, tensor):
            made.append(wide.argmax(-1))
        else:
            made.append((wide > 0).astype("float32") if _sigmoid(model, tensor) else wide)
    return made[0] if len(made) == 1 else made


def _activation(tensor: Any) -> str:
    return getattr(getattr(tensor._keras_history.operation, "activation", None), "__name__", "")


def _softmax(model: Any, tensor: Any) -> bool:
    return _activation(tensor) == "softmax"


def _sigmoid(model: Any, tensor: Any) -> bool:
    return _activation(tensor) == "sigmoid"


def _loss(model: Any, place: int) -> str:
    tensor = model.outputs[place]
    if _softmax(model, tensor):
        return "sparse_categorical_crossentropy"
    return "binary_crossentropy" if _sigmoid(model, tensor) else "mse"
