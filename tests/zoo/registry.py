"""The register of the zoo: builders of models by name, filled by the modules of its kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KINDS: dict[str, Callable[[], Any]] = {}
"""Name -> a function that builds the model, not yet compiled."""
REPORTED: dict[str, Callable[[], Any]] = {}
"""The same for kinds that public reports are about."""
IDS = 20
"""Ids of embeddings are below it."""


def kind(build: Callable[[], Any]) -> Callable[[], Any]:
    """Put a builder under its name, with spaces, into `KINDS`."""
    KINDS[build.__name__.replace("_", " ")] = build
    return build


def reported(build: Callable[[], Any]) -> Callable[[], Any]:
    """Put a builder under its name, with spaces, into `REPORTED`."""
    REPORTED[build.__name__.replace("_", " ")] = build
    return build


def line(*layers: Any, name: str = "line") -> Any:
    import keras

    return keras.Sequential(list(layers), name=name)
