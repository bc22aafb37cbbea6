"""What a line of the conformance table says: a model, its data, how it is trained, and the verdict."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

Verdict = Literal["exact", "explained", "refused"]


@dataclass(frozen=True, eq=False)
class Data:
    """Rows to train on and to validate with, as a user holds them: x, y, weights, and the same with a v."""

    x: Any
    y: Any = None
    w: Any = None
    vx: Any = None
    vy: Any = None
    vw: Any = None

    def __len__(self) -> int:
        return len(first(self.x))

    @property
    def validation(self) -> tuple[Any, ...] | None:
        """What `fit` takes as validation_data, or None."""
        return None if self.vx is None else parts(self.vx, self.vy, self.vw)

    def weighted(self, w: Any, vw: Any = None) -> Data:
        """The same rows with sample weights."""
        return replace(self, w=w, vw=vw)

    def targets(self, y: Any, vy: Any = None) -> Data:
        """The same rows with other targets; without ``vy`` nothing is validated."""
        return replace(self, y=y, vy=vy, vx=self.vx if vy is not None else None)

    def split(self, share: float) -> Data:
        """Keras' own rule for validation_split: the last rows, unshuffled."""
        at = int(np.floor(len(self) * (1.0 - share)))
        head, tail = (
            [take(part, rows) for part in (self.x, self.y, self.w)] for rows in (slice(at), slice(at, None))
        )
        return Data(*head, *tail)


@dataclass(frozen=True, eq=False)
class Situation:
    """One line of the table; `make` builds and compiles the user's model anew on each call."""

    name: str
    verdict: Verdict
    make: Callable[[], Any]
    data: Data
    word: str = ""
    """For explained and refused: what the run's warnings, or the error, must say. For exact: said beside it."""
    via: Literal["launch", "fit"] = "launch"
    workers: int = 2
    batch: int = 12
    epochs: int = 2
    fit: dict[str, Any] = field(default_factory=dict)
    """Options that `model.fit` takes too; the reference gets them as they are."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of `launch` or `lk.fit` alone."""
    reference: Callable[[], Any] | None = None
    """Makes the reference's model where an option above stands for something that plain Keras is told in `compile`."""
    given: Callable[[Data], tuple[tuple[Any, ...], dict[str, Any]]] | None = None
    """What `lk.fit` is given for the data, as (arguments, options); without it the arrays."""
    shuffle: bool = True
    """Whether the rows are expected in the kit's order; False: as they lie."""
    callbacks: Callable[[Path], list[Any]] | None = None
    after: Callable[[list[Any], Path], Any] | None = None
    """What else must be equal when all is done, from the user's own callbacks and their folder."""
    policy: str | None = None
    floor: float = 1e-6
    ceiling: float = 1e-4
    """A situation in which plain Keras differs from itself by more than this says nothing."""
    moves: bool = True
    fast: bool = False

    @property
    def id(self) -> str:
        """The name as pytest shows it."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def exact(name: str, make: Callable[[], Any], data: Data, **more: Any) -> Situation:
    """N workers do what plain `fit` does."""
    return Situation(name, "exact", make, data, **more)


def explained(name: str, word: str, make: Callable[[], Any], data: Data, **more: Any) -> Situation:
    """The run trains, and its warnings name what differs."""
    return Situation(name, "explained", make, data, word=word, **more)


def refused(name: str, word: str, make: Callable[[], Any], data: Data, **more: Any) -> Situation:
    """An error before any process starts says what is wrong."""
    return Situation(name, "refused", make, data, word=word, **more)


def parts(x: Any, y: Any, w: Any) -> tuple[Any, ...]:
    """(x, y, w) as Keras takes them: without what is not there."""
    return (x,) if y is None and w is None else (x, y) if w is None else (x, y, w)


def first(value: Any) -> Any:
    """One of the arrays of a structure."""
    if isinstance(value, dict):
        return first(next(iter(value.values())))
    return first(value[0]) if isinstance(value, tuple | list) else value


def take(value: Any, rows: Any) -> Any:
    """The same rows of every array of a structure; lists become tuples, as Keras' own batches have them."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: take(part, rows) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(take(part, rows) for part in value)
    return value[rows]
