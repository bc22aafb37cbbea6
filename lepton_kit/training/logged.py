"""What a worker says that is an event of the run's log: a class a kind, its fields those of the event."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

Numbers = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Message:
    """Something that one process tells another; its fields are what JSON can hold."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def content(self) -> dict[str, Any]:
        """Field name -> value, without a file descriptor, which does not travel as a number."""
        names = (field.name for field in fields(self))
        return {name: getattr(self, name) for name in names if name != "descriptor"}


@dataclass(frozen=True, kw_only=True)
class Logged(Message):
    """A message that is an event of the run's log."""

    event: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Steps(Logged):
    """Losses and proofs of the steps from ``first`` to before ``last``."""

    event = "steps"
    generation: int
    world_size: int
    metrics: Numbers
    seconds: float
    busy: list[float]
    """Seconds that each rank computed, ``data`` fetched samples, ``waited`` for the slowest; adding up takes all as long."""
    data: list[float]
    waited: list[float]
    communicated: float
    learning_rate: float | None
    first: int
    last: int
    loss: list[float | None]
    samples: list[int]
    fed: list[int]
    checksum: list[int]
    norms: list[list[float]] = field(default_factory=list)
    """Squared norms of gradients, a row a block: see `lepton_kit.planning.noise.Measured`."""
    accumulated: int = 1
    """Batches whose gradients the optimizer adds up before it changes the weights."""


@dataclass(frozen=True, kw_only=True)
class Weighed(Logged):
    """From this step on batches are cut by these speeds, one a rank; ``gain`` more throughput was promised of that."""

    event = "weights"
    step: int
    weights: list[float]
    gain: float


@dataclass(frozen=True, kw_only=True)
class EpochDone(Logged):
    """The figures of an epoch."""

    event = "epoch"
    epoch: int
    step: int
    metrics: dict[str, Any]
    validation: dict[str, Any] | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Example:
    """One sample of the validation split: its row, what is true and what the model says, as words.

    ``right`` is None where that is no question, as of a value; ``probability`` is that of what the model says. Of a label
    map ``places`` holds both maps, thinned: `lepton_kit.rundir.predictions.unpacked` reads them.
    """

    row: int
    true: str
    predicted: str
    right: bool | None = None
    probability: float | None = None
    places: str | None = None


@dataclass(frozen=True, kw_only=True)
class Predicted(Logged):
    """What the model said of the validation split at the end of an epoch.

    ``form``: ``classes`` (one a sample), ``places`` (one a place of a sample), ``labels`` (several a sample), ``values``, or
    ``none``, and ``why`` says why. ``counted`` of the samples, places or labels were looked at, ``right`` of them were right.
    ``counts`` is, of classes, a row for each true class with a column for each that was said; ``others`` classes more are
    together in a last row and column. Of labels it is a row a label: (yes said and true, yes said, yes true).
    ``points`` is, for each of ``names``, true values and what was said.
    """

    event = "predictions"
    epoch: int
    step: int
    form: Literal["classes", "places", "labels", "values", "none"]
    why: str | None = None
    counted: int = 0
    right: int = 0
    names: list[str]
    others: int = 0
    counts: list[list[int]]
    points: list[list[list[float | None]]]
    examples: list[Example]

    @property
    def content(self) -> dict[str, Any]:
        """Field name -> value, all of them plain."""
        return super().content | {"examples": [asdict(one) for one in self.examples]}


@dataclass(frozen=True, kw_only=True)
class Compressed(Logged):
    """Shares of zeros, by layer and in total."""

    event = "compression"
    step: int
    sparsity: dict[str, float]
    total: float


@dataclass(frozen=True, kw_only=True)
class Saved(Logged):
    """A checkpoint is written."""

    event = "checkpoint"
    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Warned(Logged):
    """Something that the user should know."""

    event = "warning"
    text: str


@dataclass(frozen=True, kw_only=True)
class Printed(Logged):
    """What callbacks have printed."""

    event = "output"
    text: str
