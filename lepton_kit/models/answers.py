"""How the outputs of a trained model read: as probabilities, scores or values, decided by its loss and activation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from lepton_kit.data.preprocessing import Target
from lepton_kit.errors import DataError, ModelError
from lepton_kit.models.targets import BINARY, ONE_HOT, SPARSE, pair, task_of_target
from lepton_kit.models.targets import Target as Output
from lepton_kit.rundir.reading import read_mapping
from lepton_kit.specs import Section

FILE = "answers.json"
"""The file beside a model that says how its outputs read."""

HINGES = ("hinge", "squared_hinge", "categorical_hinge")
OVERLAPS = ("dice", "tversky")
NO_MEANING = ("circle", "ctc")  # embeddings, and steps of a sequence that a decoder reads
UNBOUNDED = frozenset(
    (
        "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "celu", "glu", "silu", "swish", "mish", "softplus",
        "softsign", "tanh", "hard_tanh", "hard_silu", "hard_swish", "log_sigmoid", "log_softmax", "exponential", "squareplus",
    )
)  # fmt: skip
"""Activations of Keras' own that also give values below 0 or above 1."""
GENERALIZED = "categorical_generalized_cross_entropy"
SMALLEST = 1e-7  # Keras' epsilon, to which it clips probabilities


class Answer(Section):
    """How one output reads.

    ``link`` is what makes probabilities of it: ``none`` (it gives them), ``softmax``, ``sigmoid``, ``shares`` (divided
    by their sum, as Keras' loss does) or ``score`` (there are none: the largest, or one above ``middle``, wins). An
    output of one unit stands for the second of two classes. ``shape`` is that of a sample's output, where it is known.

    >>> Answer(task="classification", link="sigmoid").probabilities(np.array([[0.0]])).tolist()
    [[0.5, 0.5]]
    """

    name: str | None = None
    task: Literal["classification", "multilabel", "regression", "other"]
    link: Literal["none", "softmax", "sigmoid", "shares", "score"] = "none"
    labels: tuple[str, ...] | None = None
    note: str | None = None
    middle: float = 0.0
    shape: tuple[int | None, ...] | None = None

    def probabilities(self, outputs: np.ndarray) -> np.ndarray | None:
        """Shape ``(samples, …, classes)``, float64, of outputs ``(samples, …, units)``; None where there are none."""
        if self.task not in ("classification", "multilabel") or self.link == "score":
            return None
        plain = np.asarray(outputs, np.float64)
        plain = plain[..., None] if self.task == "classification" and plain.ndim == 1 else plain
        if self.task == "multilabel" or plain.shape[-1] == 1:
            found = _sigmoid(plain) if self.link == "sigmoid" else plain
            return found if self.task == "multilabel" else np.concatenate([1 - found, found], axis=-1)
        if self.link == "softmax":
            powers: np.ndarray = np.exp(plain - plain.max(axis=-1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
        if self.link == "sigmoid":
            plain = _sigmoid(plain)
        if self.link != "none":
            plain = np.clip(plain, SMALLEST, None)
            return np.asarray(plain / plain.sum(axis=-1, keepdims=True))
        return plain

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of a loss without probabilities as one column a class, shape ``(samples, …, classes)``.

        >>> Answer(task="classification", link="score").scores(np.array([[2.0]])).tolist()
        [[-2.0, 2.0]]
        """
        plain = np.asarray(outputs, np.float64)
        plain = plain[..., None] if self.task == "classification" and plain.ndim == 1 else plain
        if self.task == "classification" and plain.shape[-1] == 1:
            return np.concatenate([2 * self.middle - plain, plain], axis=-1)
        return plain

    def classes(self, outputs: np.ndarray) -> np.ndarray:
        """The number of the class of each sample (or place), int64; of a multilabel 0 or 1 a label."""
        found = self.probabilities(outputs)
        if self.task == "multilabel":
            return (np.asarray(outputs) > self.middle if found is None else found > 0.5).astype(np.int64)
        result: np.ndarray = (self.scores(outputs) if found is None else found).argmax(axis=-1)
        return result

    def label(self, number: int) -> Any:
        """The name of a class, or its number where classes have no names."""
        return self.labels[number] if self.labels is not None and number < len(self.labels) else number


def answers(
    described: Mapping[str, Any], target: Target, y: Any = None, loss: Any = None
) -> tuple[Answer, ...]:
    """How each output of a model reads, in the order of its description.

    ``described`` is what `description.describe` says, ``target`` what the data say of their target, ``y`` training
    targets, which help with a loss of the user's own; ``loss`` the fact of another loss than the described one.
    """
    described = {**described, "loss": loss if loss is not None else described["loss"]}
    if described["outputs"] is None:
        described["outputs"] = [{"name": None, "shape": None, "activation": None}]
    try:
        outputs = pair(described, y)
    except ModelError:  # targets of another form than the outputs, which the model's own code knows to use
        outputs = pair(described, None)
    alone = len(outputs) == 1
    return tuple(
        _answer(output, target if alone else Target(), bool(described["free"])) for output in outputs
    )


def _answer(output: Output, target: Target, free: bool) -> Answer:
    loss, activation = output.loss, output.activation
    units = output.shape[-1] if output.shape else (1 if output.shape == () else None)
    about: dict[str, Any] = {"name": output.name, "shape": output.shape}
    names = target.class_names
    if names is not None and (units is None or units == len(names) or (units == 1 and len(names) == 2)):
        about["labels"] = names
    name = loss["name"] if loss is not None and loss["stock"] and not free else None
    logits = bool(loss["from_logits"]) if loss is not None else False
    if name == "crossentropy":
        name = BINARY[0] if units == 1 else SPARSE
    if names is not None and units is not None and "labels" not in about:
        about |= _named_units(units, names, sure=name == SPARSE and units > len(names))
    if name in NO_MEANING:
        return Answer(task="other", name=output.name, shape=output.shape)
    if name in (SPARSE, GENERALIZED, *ONE_HOT):
        # Keras looks through a softmax, also where from_logits=True is asked.
        link = "none" if activation == "softmax" else "softmax" if logits else "shares"
        return Answer(task="classification", link=link, **about)
    if name in BINARY:
        link = "sigmoid" if logits and activation != "sigmoid" else "none"
        if activation == "softmax" and units != 1:
            return Answer(task="classification", **about)
        if units not in (1, None) and target.task == "classification":
            return Answer(task="classification", link="sigmoid" if link == "sigmoid" else "shares", **about)
        task = "classification" if units in (1, None) else "multilabel"
        if link == "none" and activation in UNBOUNDED:
            return _scored(task, activation, about)
        return Answer(task=task, link=link, **about)
    if name in HINGES:
        one = units in (1, None) or name == "categorical_hinge" or target.task == "classification"
        return Answer(task="classification" if one else "multilabel", link="score", **about)
    if name in OVERLAPS:
        task = "classification" if activation == "softmax" or units in (1, None) else "multilabel"
        return _scored(task, activation, about) if activation in UNBOUNDED else Answer(task=task, **about)
    return _of_values(output, target, name, units, about)


def _of_values(
    output: Output, target: Target, name: str | None, units: int | None, about: dict[str, Any]
) -> Answer:
    """An output whose loss does not say classes: what its targets are decides."""
    activation, task = output.activation, target.task
    if name is None and task == "other":
        kind = task_of_target(output).kind if output.loss is not None else "other"
        task = {"classification": "classification", "segmentation": "classification"}.get(kind, "other")  # type: ignore[assignment]  # literals
        task = "regression" if kind == "regression" else task
    if task == "classification" and (name is None or units != 1 or activation == "sigmoid"):
        if activation in ("softmax", "sigmoid"):
            link = "none" if activation == "softmax" or units == 1 else "shares"
            return Answer(task=task, link=link, **about)
        if name is not None:
            return Answer(task=task, link="score", **about)
        about["note"] = _both(
            "the loss is the model's own: its outputs are read as logits", about.get("note")
        )
        return Answer(task=task, link="sigmoid" if units == 1 else "softmax", **about)
    if task == "multilabel":
        link = "none" if activation == "sigmoid" else "score" if name is not None else "sigmoid"
        return Answer(task=task, link=link, **about)
    if name is None and task == "other":
        return Answer(task="other", name=output.name, shape=output.shape)
    places = output.shape is not None and len(output.shape) > 1
    return Answer(task="other" if places else "regression", name=output.name, shape=output.shape)


def _named_units(units: int, names: tuple[str, ...], sure: bool) -> dict[str, Any]:
    """What is said where there is not one unit a class. ``sure``: the first units are the classes, in their order."""
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    text = f"the model's output has {units} units, the data have {len(names)} classes ({shown})"
    if not sure:
        return {"note": f"{text}: no unit is sure to stand for one of them, so they are told by number"}
    others = tuple(f"unit {place}" for place in range(len(names), units))
    told = others[0] if len(others) == 1 else f"{others[0]} to {others[-1]}"
    return {"labels": names + others, "note": f"{text}: the others, {told}, stand for none of them"}


def _scored(task: Any, activation: str | None, about: dict[str, Any]) -> Answer:
    """An output that a loss takes for probabilities, of an activation that does not give any."""
    text = (
        f"the loss takes the outputs for probabilities, but their activation is {activation}, which also gives values "
        "below 0 and above 1: they are told as scores, and above 0.5 counts as yes"
    )
    return Answer(task=task, link="score", middle=0.5, **{**about, "note": _both(text, about.get("note"))})


def _both(*notes: str | None) -> str:
    return "; ".join(note for note in notes if note)


def to_json(found: tuple[Answer, ...]) -> str:
    """As text, which `load` reads."""
    return json.dumps({"version": 1, "outputs": [one.model_dump(mode="json") for one in found]}, indent=1)


def load(path: Path) -> tuple[Answer, ...]:
    """The answers of a file that `to_json` filled. Raises `DataError`."""
    try:
        content = read_mapping(path)
        if content["version"] != 1:
            raise DataError(f"{path}: version {content['version']!r}; this lepton_kit reads version 1")
        return tuple(Answer.model_validate(one) for one in content["outputs"])
    except (OSError, ValueError, KeyError, TypeError, pydantic.ValidationError) as failure:
        if isinstance(failure, DataError):
            raise
        raise DataError(f"{path}: does not say how outputs read ({failure})") from None


def _sigmoid(plain: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.exp(-np.logaddexp(0, -plain))
    return result
