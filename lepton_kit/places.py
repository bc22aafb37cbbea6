"""Where a worker of this machine is to sit: a GPU, cores of its own, both or neither, and how users write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import pydantic
from pydantic import Field, PositiveInt

from lepton_kit.errors import ConfigError
from lepton_kit.machine.topology import parse_cores, tell_cores
from lepton_kit.specs import Settings

PINNED = "pinned"
"""As all places: each worker has cores of its own, which the kit chooses among those that are free."""
MOST_PLACES = 1024
RULE = (
    "'pinned', or a place for each worker: 'cores:0-1', 'gpu:0', 'gpu:0 memory:4000', 'cpu', with threads:N and "
    "shared where wanted, or mappings such as {'cores': '0-1', 'threads': 2}"
)


class PlaceSpec(Settings):
    """Where one worker sits. Without a GPU it computes on cores; without cores it may run on all that the run has.

    >>> PlaceSpec.parse("gpu:0 cores:2-3 memory:4000").numbers
    (2, 3)
    """

    gpu: int | None = Field(None, ge=0, description="number of its GPU, as nvidia-smi counts; null: none")
    cores: str | None = Field(
        None, description="cores that it is pinned to, such as 0-3,8; null: it may run on all"
    )
    threads: PositiveInt | None = Field(
        None, description="TensorFlow threads; null: its cores, without cores as for all workers"
    )
    memory: PositiveInt | None = Field(
        None,
        description="most megabytes (MB) of its GPU that it takes; null: as needed, or its part of a shared GPU",
    )
    shared: bool = Field(False, description="whether others may be pinned to its cores too")

    @pydantic.field_validator("cores", mode="before")
    @classmethod
    def _listed(cls, cores: Any) -> Any:
        if isinstance(cores, bool) or not isinstance(cores, int | str | list | tuple | range):
            return cores
        numbers = parse_cores(
            cores if isinstance(cores, str) else ",".join(str(one) for one in _several(cores))
        )
        if not numbers:
            raise ValueError("at least one core, such as 0-3")
        return tell_cores(numbers)

    @pydantic.model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.memory is not None and self.gpu is None:
            raise ValueError("`gpu` beside `memory`, which is of its GPU")
        if self.shared and self.cores is None:
            raise ValueError("`cores` beside `shared`")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """A place from words: ``cores:0-3`` (or ``0-3``), ``gpu:0``, ``memory:4000``, ``threads:2``, ``shared``, or ``cpu``.

        Raises `ValueError` for other words.

        >>> PlaceSpec.parse("1").cores, PlaceSpec.parse("cpu").device
        ('1', 'cpu')
        """
        values: dict[str, Any] = {}
        words = text.split()
        for word in words:
            name, colon, value = word.partition(":")
            if name == "shared" and not colon:
                value = "true"
            elif not colon and word[:1].isdigit():
                name, value = "cores", word
            elif name == "cpu" and not colon and not {"gpu"} & values.keys():
                continue
            elif not colon or name not in cls.model_fields:
                raise ValueError(f"{word!r}: {RULE}")
            if name in values:
                raise ValueError(f"{word!r}: {name} once")
            values[name] = value
        if not words:
            raise ValueError(RULE)
        return cls.model_validate(values)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Its cores; none: it is not pinned."""
        return () if self.cores is None else parse_cores(self.cores)

    @property
    def device(self) -> Literal["cpu", "gpu"]:
        """What it computes on."""
        return "cpu" if self.gpu is None else "gpu"

    def told(self) -> str:
        """As `parse` reads it.

        >>> PlaceSpec(gpu=1, cores="4").told(), PlaceSpec().told()
        ('gpu:1 cores:4', 'cpu')
        """
        values = self.model_dump(exclude_defaults=True)
        words = [name if value is True else f"{name}:{value}" for name, value in values.items()]
        return " ".join(words) or "cpu"


Places = tuple[PlaceSpec, ...] | Literal["pinned"] | None


def read_places(given: Any) -> Any:
    """What users write for places, as the configuration holds it. Raises `ConfigError` for what is none.

    >>> read_places(["gpu:0", {"cores": "1"}, 2])[2]
    {'cores': '2'}
    """
    if given is None or given == PINNED:
        return given
    if isinstance(given, str):
        given = [one.strip() for one in given.split(";")]
    if not isinstance(given, Sequence) or not given or len(given) > MOST_PLACES:
        raise ConfigError("places", given=given, rule=RULE)
    return [_read_place(k, one) for k, one in enumerate(given)]


def _read_place(k: int, given: Any) -> dict[str, Any]:
    try:
        if isinstance(given, int) and not isinstance(given, bool):
            given = str(given)
        if isinstance(given, str):
            given = PlaceSpec.parse(given)
        if not isinstance(given, PlaceSpec):
            given = PlaceSpec.model_validate(given)
    except (ValueError, TypeError) as failure:
        raise ConfigError(f"places.{k}", given=given, rule=_in_words(failure)) from None
    return dict(given.model_dump(exclude_defaults=True))


def _in_words(failure: Exception) -> str:
    if not isinstance(failure, pydantic.ValidationError):
        return str(failure)
    first = failure.errors(include_url=False)[0]
    where = ".".join(str(one) for one in first["loc"])
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{where}: {text}" if where else text


def _several(cores: Any) -> Sequence[int]:
    return [cores] if isinstance(cores, int) else list(cores)
