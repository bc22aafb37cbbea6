"""Which loss suits targets, what a loss takes, and the task that loss and output say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_kit.errors import ModelError
from lepton_kit.models.losses import fact

CHUNK = 1 << 20
PROBABILITIES = ("softmax", "sigmoid")
SPARSE = "sparse_categorical_crossentropy"
ONE_HOT = ("categorical_crossentropy", "categorical_focal_crossentropy")
OWN_TARGETS = frozenset(("circle", "categorical_generalized_cross_entropy", "ctc"))
"""Losses that take labels of their own shape, by the names of their classes."""
BINARY = ("binary_crossentropy", "binary_focal_crossentropy")


@dataclass(frozen=True)
class Target:
    """One output of a model with its loss and the targets that go with it; what is unknown is None."""

    name: str | None
    shape: tuple[int | None, ...] | None
    activation: str | None
    loss: dict[str, Any] | None
    y: np.ndarray | None

    @property
    def label(self) -> str:
        """What messages about this output begin with; empty where there is one output."""
        return f"output {self.name!r}: " if self.name is not None else ""


def pair(described: dict[str, Any], y: Any) -> list[Target]:
    """Every output with its targets: by name, by position, or the one with the one."""
    outputs = described["outputs"]
    if outputs is None:
        return []
    names = [output["name"] for output in outputs]
    losses = [_loss_of(described["loss"], name, index) for index, name in enumerate(names)]
    if isinstance(y, dict) and len(outputs) == len(y) == 1:
        arrays = list(y.values())
    elif isinstance(y, dict):
        needed = {n for n, loss in zip(names, losses, strict=True) if loss or not described["compiled"]}
        if set(y) - set(names) or needed - set(y):
            raise ModelError(
                f"the model's outputs are {sorted(map(str, names))}; the targets are {sorted(y)}"
            )
        arrays = [y.get(name) for name in names]
    elif isinstance(y, tuple | list):
        if len(y) != len(outputs):
            raise ModelError(f"the model has {len(outputs)} outputs; there are targets for {len(y)}")
        arrays = list(y)
    elif y is not None and len(outputs) > 1 and sum(loss is not None for loss in losses) == 1:
        arrays = [y if loss is not None else None for loss in losses]
    elif y is not None and len(outputs) > 1:
        raise ModelError(
            f"the model has {len(outputs)} outputs; the targets are one array: give one for each output"
        )
    else:
        arrays = [y] * len(outputs)
    found = []
    for output, array, loss in zip(outputs, arrays, losses, strict=True):
        shape = tuple(output["shape"]) if output["shape"] is not None else None
        name = output["name"] if len(outputs) > 1 else None
        found.append(Target(name, shape, output["activation"], loss, array))
    return found


def _loss_of(losses: Any, name: str | None, index: int) -> dict[str, Any] | None:
    if isinstance(losses, list):
        return losses[index] if index < len(losses) and isinstance(losses[index], dict) else None
    if isinstance(losses, dict) and not {"name", "stock"} <= set(losses):
        found = losses.get(name)
        return found if isinstance(found, dict) else None
    one: dict[str, Any] | None = losses
    return one


def default_loss(target: Target) -> dict[str, Any] | None:
    """The loss that suits an output and its targets where the user chose none; None where there are no targets.

    Whole-number targets are labels where the output has a unit for each class, 0/1 answers where it has their shape,
    values elsewhere. Floating point targets are values, unless they are 0/1 and the output gives several of them
    (one-hot rows, or several labels a sample) or a probability. Raises `ModelError` where no loss fits the shapes.
    """
    y, shape, logits = target.y, target.shape, target.activation not in PROBABILITIES
    if y is None:
        return None
    whole, given = y.dtype.kind in "biu", tuple(y.shape[1:])
    if shape is None:
        return _chosen(SPARSE, logits) if whole else fact("mse")
    units = shape[-1] if shape else 1
    alone = _fits(given, shape) or (units == 1 and _fits(given, shape[:-1]))
    places = _fits(given, shape[:-1]) or _fits(given, (*shape[:-1], 1))
    # A softmax over several units can only learn labels, also where they are written 0.0, 1.0, …
    if units != 1 and places and (whole or (target.activation == "softmax" and _whole(y))):
        return _chosen(SPARSE, logits)
    if alone and (whole or units != 1 or not logits) and _zeros_and_ones(y):
        if units != 1 and _fits(given, shape) and target.activation != "sigmoid" and _one_hot(y):
            return _chosen(ONE_HOT[0], logits)
        if target.activation != "softmax":
            return _chosen(BINARY[0], logits)
    if not alone:
        raise ModelError(
            f"{target.label}the model gives {_size(shape)} a sample; the targets have shape {given}: "
            "compile the model with the loss that takes them"
        )
    if whole and not logits:
        raise ModelError(
            f"{target.label}the model gives {target.activation} probabilities, so targets of 0 and 1; "
            "the data have other whole numbers"
        )
    return fact("mse")


def mean_squared() -> tuple[Any, list[Any], None]:
    """Keras' loss, metrics and from_logits for values."""
    import keras

    return keras.losses.MeanSquaredError(), ["mae"], None


def default_objects(target: Target) -> tuple[Any, list[Any], bool | None]:
    """`default_loss` as Keras' loss, its metrics, and from_logits."""
    import keras

    loss = default_loss(target)
    name, logits = (loss["name"], bool(loss["from_logits"])) if loss is not None else (None, False)
    if name == SPARSE:
        metric = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        return keras.losses.SparseCategoricalCrossentropy(from_logits=logits), [metric], logits
    if name == ONE_HOT[0]:
        metric = keras.metrics.CategoricalAccuracy(name="accuracy")
        return keras.losses.CategoricalCrossentropy(from_logits=logits), [metric], logits
    if name == BINARY[0]:
        metric = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if logits else 0.5)
        return keras.losses.BinaryCrossentropy(from_logits=logits), [metric], logits
    return mean_squared()


def check_target(target: Target) -> None:
    """Raise `ModelError` where the loss of an output can't take the targets; a loss of the user's own is believed."""
    loss, y, shape = target.loss, target.y, target.shape
    if loss is None:
        return
    name = loss["name"]
    if y is None:
        raise ModelError(f"{target.label}the loss {name} needs targets; the data have none (y is None)")
    if not loss["stock"] or shape is None:
        return
    given = tuple(y.shape[1:])
    if name == SPARSE:
        if not (_fits(given, shape[:-1]) or _fits(given, (*shape[:-1], 1))):
            hint = f"; for one-hot targets use {ONE_HOT[0]}" if _fits(given, shape) else ""
            raise ModelError(
                f"{target.label}the loss {name} takes one whole-number label for each of {_size(shape[:-1] or (1,))}; "
                f"the targets have shape {given}{hint}"
            )
        _check_labels(target, loss)
    elif name in ONE_HOT:
        if not _fits(given, shape):
            few = len(given) < len(shape) or given[-1:] == (1,)
            hint = f"; for whole-number labels use {SPARSE}" if few else ""
            raise ModelError(
                f"{target.label}the loss {name} takes targets of the output's shape {shape}; they have {given}{hint}"
            )
    elif name in BINARY:
        column = shape[-1:] == (1,) and (_fits(given, shape[:-1]) or _fits(given, (*shape, 1)))
        if not _fits(given, shape) and not column:
            raise ModelError(
                f"{target.label}the loss {name} takes targets of the output's shape {shape}; they have {given}"
            )
    elif name not in OWN_TARGETS and not _broadcast(given, shape):
        raise ModelError(
            f"{target.label}the model gives {_size(shape)} a sample; the loss {name} cannot take targets of shape {given}"
        )


def _check_labels(target: Target, loss: dict[str, Any]) -> None:
    y, shape = target.y, target.shape
    assert y is not None
    assert shape is not None
    units = shape[-1]
    if units is None or y.dtype.kind not in "biuf":
        return
    row = 0
    for piece in _pieces(y):
        bad = (piece < 0) | (piece >= units)
        if loss["ignore"] is not None:
            bad &= piece != loss["ignore"]
        if bad.any():
            where = np.argwhere(bad)[0]
            raise ModelError(
                f"{target.label}the model has {units} outputs ({target.activation or 'linear'}), so the loss "
                f"{loss['name']} takes labels 0 to {units - 1}; row {row + int(where[0])} has the label "
                f"{piece[tuple(where)]:g}"
            )
        row += len(piece)


@dataclass(frozen=True)
class Task:
    """What a model learns: ``kind`` is classification, multilabel, regression, segmentation (a label for each place,
    also for each time step) or other; ``num_classes`` and ``from_logits`` are None where they do not apply."""

    kind: str
    num_classes: int | None = None
    from_logits: bool | None = None


def task_of_target(target: Target) -> Task:
    """The task that one output's loss says; of a loss of the user's own, the one that its targets suggest."""
    loss, shape, y = target.loss, target.shape, target.y
    if loss is None:
        return Task("other")
    name, logits = loss["name"], loss["from_logits"]
    units = shape[-1] if shape else None
    places = len(shape) > 1 if shape is not None else y is not None and y.ndim > 2
    labelled = "segmentation" if places else "classification"
    if name == "crossentropy":
        name = BINARY[0] if units == 1 else SPARSE
    if loss["stock"]:
        if name == SPARSE or name in ONE_HOT:
            return Task(labelled, units, bool(logits))
        if name in BINARY:
            if units == 1 or units is None:
                return Task(labelled, 2, bool(logits))
            return Task("multilabel", units, bool(logits))
        if name in ("dice", "tversky"):
            return Task("segmentation" if places else "other", 2 if units == 1 else units, False)
        if name in ("hinge", "squared_hinge", "categorical_hinge", "ctc", "circle"):
            return Task("other")
        return Task("regression")
    if y is None:
        return Task("other")
    given = tuple(y.shape[1:])
    if y.dtype.kind in "biu" and shape and (units or 0) > 1 and _fits(given, shape[:-1]):
        return Task(labelled, units, target.activation not in PROBABILITIES)
    places_of_one = places and units == 1 and target.activation == "sigmoid"
    if (
        places_of_one
        and (_fits((*given, 1), shape or ()) or _fits(given, shape or ()))
        and _zeros_and_ones(y)
    ):
        return Task(labelled, 2, False)  # masks, with a loss such as Dice and cross-entropy together
    if y.dtype.kind == "f" and shape is not None and (_fits(given, shape) or _fits((*given, 1), shape)):
        return Task("regression")
    return Task("other")


def _chosen(name: str, logits: bool) -> dict[str, Any]:
    return {"name": name, "from_logits": logits, "ignore": None, "stock": True}


def _fits(given: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(given) == len(shape) and all(b is None or a == b for a, b in zip(given, shape, strict=True))


def _broadcast(given: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    if len(given) < len(shape) and shape[-1:] == (1,):
        given = (*given, 1)  # Keras adds the last axis, or takes it away
    elif len(given) == len(shape) + 1 and given[-1:] == (1,):
        given = given[:-1]
    pairs = zip(reversed(given), reversed(shape), strict=False)
    return len(given) == len(shape) and all(b is None or a == b or 1 in (a, b) for a, b in pairs)


def _pieces(y: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, CHUNK // max(1, int(np.prod(y.shape[1:]))))
    for start in range(0, len(y), rows):
        yield np.asarray(y[start : start + rows])


def _zeros_and_ones(y: np.ndarray) -> bool:
    return all(bool(((piece == 0) | (piece == 1)).all()) for piece in _pieces(y))


def _whole(y: np.ndarray) -> bool:
    return all(bool((piece == np.floor(piece)).all()) for piece in _pieces(y))


def _one_hot(y: np.ndarray) -> bool:
    return all(bool((piece.sum(axis=-1) == 1).all()) for piece in _pieces(y))


def _size(shape: tuple[int | None, ...]) -> str:
    count = " x ".join("?" if n is None else str(n) for n in shape) or "1"
    return f"{count} value" if count == "1" else f"{count} values"
