"""Whether a model fits its data, and the task that both say; read without TensorFlow where the model is a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data import PreparedData
from lepton_kit.errors import ModelError
from lepton_kit.models.description import describe, description, symbolic
from lepton_kit.models.lepton import LeptonModel
from lepton_kit.models.losses import fact
from lepton_kit.models.targets import Target, Task, check_target, default_loss, pair, task_of_target


def input_shapes(spec: Mapping[str, Any], base: str | Path) -> Any:
    """Shape of one sample, without the batch: a tuple, or a dictionary name -> tuple. None where unknown.

    Read without importing TensorFlow. Raises `ModelError` or `ConfigError`.
    """
    return _tuples(description(spec, base)["inputs"])


def check_fits(model: Any, prepared: PreparedData, base: str | Path = ".", loss: Any = None) -> None:
    """Raise `ModelError` where a model (or a spec, or a LeptonModel) does not fit the data.

    The loss decides what the targets are: ``loss`` where the run names one, else the model's own, else the default.
    """
    if isinstance(model, Mapping) and model.get("kind") == "lepton":
        model = LeptonModel.from_spec(model)
    if isinstance(model, LeptonModel):
        model.fitted_to(prepared)
        return
    described = describe_for(model, prepared, base, loss)
    _check_inputs(_tuples(described["inputs"]), prepared.sample_shape)
    if described["free"]:
        return
    for split in (prepared.train, prepared.validation):
        for target in _targets(described, split.y) if split is not None else ():
            check_target(target)


def task_of(model: Any, prepared: PreparedData, base: str | Path = ".", loss: Any = None) -> Task:
    """The task that the loss and the output of a model (or a spec, or a LeptonModel) say; other for several outputs.

    Raises `ModelError` where targets fit no default loss.
    """
    described = describe_for(model, prepared, base, loss)
    if described["free"]:
        return Task("other")
    targets = _targets(described, prepared.train.y)
    return task_of_target(targets[0]) if len(targets) == 1 else Task("other")


def describe_for(
    model: Any, prepared: PreparedData, base: str | Path = ".", loss: Any = None
) -> dict[str, Any]:
    """The description of a model or spec, with the shapes that a subclassed model gives for these data."""
    if isinstance(model, Mapping):
        described = description(model, base)
    elif isinstance(model, LeptonModel) or getattr(model, "outputs", None):
        described = describe(model)
    else:
        described = describe(model, symbolic(prepared.train.rows(np.arange(min(2, len(prepared.train))))[0]))
    return {**described, "loss": fact(loss), "compiled": True} if loss is not None else described


def _targets(described: dict[str, Any], y: Any) -> list[Target]:
    """The outputs with their targets; where the model is not compiled, with the losses that suit these."""
    found = pair(described, y)
    return found if described["compiled"] else [replace(one, loss=default_loss(one)) for one in found]


def _check_inputs(expected: Any, given: Any) -> None:
    if expected is None or (isinstance(given, tuple) and given and isinstance(given[0], tuple)):
        return  # several inputs by position
    if isinstance(expected, dict) != isinstance(given, dict):
        if isinstance(expected, dict) and len(expected) == 1:
            expected = next(iter(expected.values()))
        elif isinstance(given, dict) and len(given) == 1:
            raise ModelError(
                f"the model takes a plain array of shape {expected}; the data are named: {list(given)}"
            )
        else:
            raise ModelError(f"the model expects inputs {_text(expected)}; the data have {_text(given)}")
    pairs = [("", expected, given)]
    if isinstance(expected, dict):
        if set(expected) != set(given):
            raise ModelError(f"the model's inputs are {sorted(expected)}; the data have {sorted(given)}")
        pairs = [(f"input {name!r}: ", expected[name], given[name]) for name in expected]
    for name, one, two in pairs:
        if not _accepts(one, two):
            raise ModelError(
                f"{name}the model expects samples of shape {tuple(one)}; the data have {tuple(two)}"
            )


def _accepts(one: Any, two: Any) -> bool:
    if len(one) == len(two) + 1 and one[-1] == 1:
        one = one[:-1]  # Keras adds a last axis of 1 to what lacks it
    return len(one) == len(two) and all(a is None or a == b for a, b in zip(one, two, strict=True))


def _tuples(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {name: tuple(shape) for name, shape in shapes.items()}
    return tuple(shapes) if shapes is not None else None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {tuple(shape)}" for name, shape in value.items())
    return str(tuple(value))
