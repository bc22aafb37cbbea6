"""The validated, immutable configuration of a run, its YAML and JSON forms, and its JSON schema."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import Field

from lepton_kit.errors import ConfigError


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


class TrainingConfig(_Section):
    """What is optimised, and for how long."""

    global_batch: int = Field(128, ge=1, description="samples per step, over all workers together")
    epochs: int = Field(5, ge=1, description="passes over the training split")
    max_steps: int | None = Field(None, ge=1, description="stop after this many steps, whatever the epoch")
    optimizer: str | None = Field(
        None, description="Keras optimizer name; null takes the compiled model's own, else adam"
    )
    learning_rate: float | None = Field(
        None, gt=0, description="null takes the compiled model's own, else 0.001"
    )
    loss: str | None = Field(
        None, description="Keras loss name; null takes the model's own or suits the labels"
    )
    metrics: tuple[str, ...] | None = Field(
        None, description="Keras metric names; null takes the model's own or suits the labels"
    )
    weighted_metrics: tuple[str, ...] | None = Field(
        None, description="Keras metric names that sample weights apply to; null takes the model's own"
    )
    optimizer_state: Literal["keep", "reset"] = Field(
        "keep", description="what becomes of moments and step count of an optimizer that has trained before"
    )
    embedding_gradients: Literal["exact", "summed"] = Field(
        "exact", description="exact: row by row as Keras applies them; summed: added up first, less to send"
    )
    shuffle: bool = Field(True, description="a new order of the samples in each epoch; false: as they lie")
    steps_per_epoch: int | None = Field(
        None, ge=1, description="steps that count as an epoch; null: one pass over the data"
    )
    initial_epoch: int = Field(
        0, ge=0, description="number of the first epoch; epochs before it are left out"
    )
    validate_every_epochs: int | tuple[int, ...] = Field(
        1, description="epochs between two validations, or the numbers (from 1) of the epochs to validate"
    )
    validation_batch_size: int | None = Field(
        None, ge=1, description="samples per validation batch; null: the global batch"
    )
    callbacks: tuple[dict[str, Any], ...] = Field(
        (), description="Keras callbacks in order: {kind: NAME, options…}, or objects stored with the run"
    )
    keep_best: str | None = Field(
        None, description="quantity, such as val_loss, whose best epoch's weights are kept; null: none"
    )
    dtype_policy: str | None = Field(
        None, description="Keras dtype policy of the notebook, for models that are built in the workers"
    )
    checkpoint_seconds: float = Field(30.0, gt=0, description="longest time between two checkpoints")
    log_seconds: float = Field(0.25, gt=0, le=60, description="time between two reports to the event log")


class WorkersConfig(_Section):
    """How many processes train, and how they are kept."""

    count: int | Literal["auto"] = Field(
        2, description="workers that train, or auto: as many as cores are free"
    )
    min_workers: int = Field(1, ge=1, description="auto never goes below this")
    max_workers: int | None = Field(None, ge=1, description="no request goes above this; null: the cores")
    standby: int = Field(0, ge=0, le=16, description="warm processes kept ready to join or replace")
    threads: int | None = Field(None, ge=1, description="threads per worker; null: cores divided by workers")
    weights: tuple[float, ...] | None = Field(None, description="relative speed per rank; null: all equal")
    device: Literal["cpu", "gpu"] = Field("cpu", description="what each worker computes on")
    allreduce: Literal["auto", "horovod", "shared_memory"] = Field(
        "auto", description="how gradients are summed; auto: shared memory on one host, else Horovod"
    )
    wire: Literal["float32", "float16"] = Field(
        "float32", description="number format of gradients that Horovod sends; float16 is not exact"
    )
    hang_seconds: float = Field(15.0, gt=0, description="a silent worker is replaced after this time")
    max_failures: int = Field(
        5, ge=0, description="unexpected worker deaths in a row, without progress, that end the run"
    )

    @pydantic.field_validator("count")
    @classmethod
    def _count(cls, count: int | str) -> int | str:
        if isinstance(count, int) and count < 1:
            raise ValueError("a whole number of at least 1, or auto")
        return count

    @pydantic.model_validator(mode="after")
    def _bounds(self) -> WorkersConfig:
        if self.max_workers is not None and self.max_workers < self.min_workers:
            raise ValueError(f"max_workers of at least min_workers ({self.min_workers})")
        return self


class PruningConfig(_Section):
    """Magnitude pruning while training (Zhu & Gupta 2017, arXiv:1710.01878, for the polynomial ramp)."""

    sparsity: float = Field(0.8, ge=0, lt=1, description="share of zero weights at the end")
    initial_sparsity: float = Field(0.0, ge=0, lt=1, description="share of zero weights at begin_step")
    begin_step: int = Field(0, ge=0, description="step of the first pruning")
    end_step: int | None = Field(
        None, ge=1, description="step at which sparsity is reached; null: 3/4 of the run"
    )
    frequency: int = Field(20, ge=1, description="steps between two updates of the masks")
    power: float = Field(3.0, gt=0, description="exponent of the polynomial ramp")
    scope: Literal["layer", "global"] = Field("layer", description="rank weights within a layer or over all")
    pattern: Literal["unstructured", "2:4", "block"] = Field(
        "unstructured", description="free positions; 2 of every 4; or whole blocks"
    )
    block: tuple[int, int] = Field((4, 4), description="rows x columns of a block")
    skip: tuple[str, ...] = Field((), description="names of layers to leave dense")


class QuantizationAwareConfig(_Section):
    """Quantization-aware training: weights and activations are rounded in the forward pass."""

    bits: Literal[2, 3, 4, 8] = Field(8, description="bits per weight")
    skip: tuple[str, ...] = Field((), description="names of layers to leave in float")


class RunConfig(_Section):
    """All that is needed to repeat a run.

    ``model`` and ``data`` are the specs that `lepton_kit.models` and `lepton_kit.data` write and read; their
    relative paths count from the folder that holds the file.

    >>> RunConfig(model={"kind": "lepton"}, data={"kind": "npz"}).training.global_batch
    128
    """

    version: Literal[1] = 1
    name: str = Field(
        "run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="first part of the run's id"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, order, dropout and augmentation")
    model: dict[str, Any]
    data: dict[str, Any]
    training: TrainingConfig = TrainingConfig()
    workers: WorkersConfig = WorkersConfig()
    pruning: PruningConfig | None = None
    quantization_aware: QuantizationAwareConfig | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, source: str = "configuration") -> RunConfig:
        """Validate a plain dictionary. Raises `ConfigError` that names the first wrong field."""
        if not isinstance(values, dict):
            raise ConfigError(source, given=type(values).__name__, rule="a mapping of sections")
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as failure:
            raise _explain(failure, cls) from None

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a YAML or JSON file. Raises `ConfigError` that names the file or the wrong field."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as failure:
            raise ConfigError(str(path), given=str(failure), rule="a readable YAML or JSON file") from None
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as failure:
            raise ConfigError(str(path), given=str(failure), rule="valid YAML") from None
        return cls.from_dict(values, source=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as they stand in the YAML file."""
        return self.model_dump(mode="json", exclude_none=False)

    def to_yaml(self) -> str:
        """The file that `load` reads back to an equal configuration."""
        values = self.to_dict()
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        if yaml.safe_load(text) == values:
            return text
        return yaml.safe_dump(values, sort_keys=False)  # some control characters survive as escapes only

    def replace(self, **changes: Any) -> RunConfig:
        """A validated copy with fields changed; nested ones by dotted name: ``{"training.epochs": 3}``.

        >>> config = RunConfig(model={}, data={}).replace(**{"training.epochs": 3})
        >>> config.training.epochs
        3
        """
        values = self.to_dict()
        for name, value in changes.items():
            *parents, leaf = name.split(".")
            target = values
            for parent in parents:
                target = (
                    target.setdefault(parent, {})
                    if target.get(parent) is not None
                    else _section(target, parent)
                )
            target[leaf] = value
        return type(self).from_dict(values)


def _section(target: dict[str, Any], name: str) -> dict[str, Any]:
    target[name] = {}
    return target[name]


def json_schema() -> str:
    """The JSON schema of a run's configuration file, for editors and other tools."""
    return json.dumps(RunConfig.model_json_schema(), indent=2)


def _explain(failure: pydantic.ValidationError, root: type[_Section]) -> ConfigError:
    first = failure.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    if where[-1:] and where[-1].startswith(("int", "literal[")):
        where.pop()  # the branch of a union is no part of the field's name
    field = ".".join(where) or "configuration"
    if first["type"] == "extra_forbidden":
        known = _known_fields(root, where[:-1])
        close = difflib.get_close_matches(where[-1], known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return ConfigError(field, given=first["input"], rule=f"one of the keys {', '.join(known)}{hint}")
    if first["type"] == "missing":
        return ConfigError(field, given=None, rule="this key to be there")
    if field == "workers.count":
        return ConfigError(field, given=first["input"], rule="a whole number of at least 1, or auto")
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(field, given=first["input"], rule=rule)


def _known_fields(root: type[_Section], path: list[str]) -> list[str]:
    section: Any = root
    for name in path:
        annotation = section.model_fields[name].annotation
        options = getattr(annotation, "__args__", (annotation,))
        section = next(
            option for option in options if isinstance(option, type) and issubclass(option, _Section)
        )
    return list(section.model_fields)
