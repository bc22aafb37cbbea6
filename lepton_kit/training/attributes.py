"""Plain settings of a model that callbacks may change, such as ``optimizer.beta_1`` or an own number in a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lepton_kit.training.patched import optimizers_of

Place = tuple[str, int, str]
"""What kind of object, which one of its kind, and the attribute's name."""
PLAIN = (bool, int, float, str, type(None))
OWN_WAY = frozenset(
    {"stop_training", "name", "built", "compiled", "train_function", "test_function", "predict_function"}
)
"""Attributes that travel another way, or say nothing about the computation."""


def plain(model: Any) -> dict[Place, Any]:
    """The plain attributes of a model, its layers and optimizers by their place, equal in every process.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    >>> [value for (kind, _, name), value in plain(model).items() if name == "units"]
    [2]
    """
    return {
        (kind, index, name): value
        for kind, index, owner in _owners(model)
        for name, value in vars(owner).items()
        if _is_setting(name) and isinstance(value, PLAIN)
    }


def changed(before: dict[Place, Any], after: dict[Place, Any]) -> dict[Place, Any]:
    """What is new or other in the second.

    >>> changed({("layer", 0, "a"): 1}, {("layer", 0, "a"): 1, ("layer", 0, "b"): 2})
    {('layer', 0, 'b'): 2}
    """
    return {
        place: value
        for place, value in after.items()
        if place not in before or type(before[place]) is not type(value) or before[place] != value
    }


def assign(model: Any, values: dict[Place, Any]) -> None:
    """Set attributes that `changed` has found in another process."""
    owners = {(kind, index): owner for kind, index, owner in _owners(model)}
    for (kind, index, name), value in values.items():
        object.__setattr__(owners[kind, index], name, value)


def _is_setting(name: str) -> bool:
    return (name == "_trainable" or not name.startswith("_")) and name not in OWN_WAY


def _owners(model: Any) -> Iterator[tuple[str, int, Any]]:
    for index, layer in enumerate(model._flatten_layers()):
        yield "layer", index, layer
    for index, optimizer in enumerate(optimizers_of(model)):
        yield "optimizer", index, optimizer
        if hasattr(optimizer, "inner_optimizer"):
            yield "inner optimizer", index, optimizer.inner_optimizer
