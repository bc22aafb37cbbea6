"""The validated, immutable configuration of a run, its YAML and JSON forms, and its JSON schema."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from pathlib import Path
from typing import Any, Literal, Self, get_args

import pydantic
import yaml
from pydantic import Field, PositiveInt

from lepton_kit.errors import ConfigError
from lepton_kit.specs import Arithmetic, BlockOrder, DataSpec, ModelSpec, Section, Settings
from lepton_kit.workers import WorkersConfig

SHALLOW = 400
"""Levels that a YAML file may nest for libyaml to read it; 100,000 end the process, as tried in 2026-11, and of 2,000 no error could tell."""
MOST_BATCH, MOST_EPOCHS, MOST_RATE = 10_000_000, 10_000_000, 10_000.0
"""Beyond these a number is a slip of the hand rather than a wish; our choice, 2026-11."""


class TrainingConfig(Settings):
    """What is optimised, and for how long."""

    global_batch: int = Field(
        128, ge=1, le=MOST_BATCH, description="samples per step, over all workers together"
    )
    epochs: int = Field(5, ge=1, le=MOST_EPOCHS, description="passes over the training split")
    max_steps: int | None = Field(None, ge=1, description="stop after this many steps, whatever the epoch")
    optimizer: str | None = Field(
        None, description="Keras optimizer name; null takes the compiled model's own, else adam"
    )
    learning_rate: float | None = Field(
        None, gt=0, le=MOST_RATE, description="null takes the compiled model's own, else 0.001"
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
    order: BlockOrder | None = Field(
        None, description="new orders by blocks of rows, for data larger than memory; null: any row anywhere"
    )
    steps_per_epoch: int | None = Field(
        None, ge=1, description="steps that count as an epoch; null: one pass over the data"
    )
    initial_epoch: int = Field(
        0, ge=0, description="number of the first epoch, below epochs; those before it are left out"
    )
    validate_every_epochs: PositiveInt | tuple[PositiveInt, ...] = Field(
        1, description="epochs between two validations, or the numbers (from 1) of the epochs to validate"
    )
    validation_batch_size: int | None = Field(
        None, ge=1, le=MOST_BATCH, description="samples per validation batch; null: the global batch"
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
    arithmetic: Arithmetic | None = Field(
        None, description="how processes compute: epsilon, tensor_float_32, deterministic, flash_attention"
    )
    checkpoint_seconds: float = Field(30.0, gt=0, description="longest time between two checkpoints")
    log_seconds: float = Field(
        0.25,
        gt=0,
        le=60,
        description="time between two reports to the event log; below 0.01 each step has one",
    )

    @pydantic.field_validator("initial_epoch")
    @classmethod
    def _before_the_last(cls, first: int, info: pydantic.ValidationInfo) -> int:
        if first >= info.data.get("epochs", first + 1):
            raise ValueError(f"a number below epochs ({info.data['epochs']})")
        return first


class PruningConfig(Settings):
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


class QuantizationAwareConfig(Settings):
    """Quantization-aware training: weights and activations are rounded in the forward pass."""

    bits: Literal[2, 3, 4, 8] = Field(8, description="bits per weight")
    skip: tuple[str, ...] = Field((), description="names of layers to leave in float")


class FrozenData(Settings):
    """What a run's data were when it began: it trains on just these, and its log proves that it did."""

    fingerprint: str = Field(min_length=1, description="of the files and options that they were decoded from")
    content: str = Field(
        min_length=1, description="hash of every sample, name, shape, type and preprocessing"
    )
    samples: int = Field(ge=1, description="samples to train on")
    validation_samples: int = Field(0, ge=0, description="samples that are held out")
    proof: Literal[2] = Field(
        2, description="what the log proves of a step: 2, place and content of each sample"
    )


class RunSettings(Settings):
    """All settings of a run but its model and its data."""

    version: Literal[1] = 1
    name: str = Field(
        "run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="first part of the run's id"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, order, dropout and augmentation")
    training: TrainingConfig = TrainingConfig()
    workers: WorkersConfig = WorkersConfig()
    pruning: PruningConfig | None = None
    quantization_aware: QuantizationAwareConfig | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Validate a plain dictionary. Raises `ConfigError` that names the first wrong field."""
        if not isinstance(values, dict):
            raise ConfigError("configuration", given=type(values).__name__, rule="a mapping of sections")
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as failure:
            raise _explain(failure, cls) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as they stand in the YAML file."""
        return self.model_dump(mode="json", exclude_none=False)

    def replace(self, **changes: Any) -> Self:
        """A validated copy with fields changed; nested ones by dotted name, ``{"training.epochs": 3}``."""
        values = self.to_dict()
        for name, value in changes.items():
            *parents, leaf = name.split(".")
            target = values
            for parent in parents:
                if target.get(parent) is None:
                    target[parent] = {}
                target = target[parent]
            target[leaf] = value
        return type(self).from_dict(values)

    def of(self, model: dict[str, Any], data: dict[str, Any]) -> RunConfig:
        """The whole configuration: these settings with the specs of a model and of data."""
        return RunConfig.from_dict({**self.to_dict(), "model": model, "data": data})


class RunConfig(RunSettings):
    """All that is needed to repeat a run.

    ``model`` and ``data`` are the specs that `lepton_kit.models` and `lepton_kit.data` write and read; their
    relative paths count from the folder that holds the file.

    >>> model = {"kind": "lepton", "input_shape": [28, 28, 1], "num_classes": 10}
    >>> config = RunConfig.from_dict({"model": model, "data": {"kind": "sample", "name": "digits"}})
    >>> config.training.global_batch, config.replace(**{"training.epochs": 3}).training.epochs
    (128, 3)
    """

    model: ModelSpec
    data: DataSpec
    frozen: FrozenData | None = Field(
        None, description="written at a launch: what the data were then; left out of what repeats a run"
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, as they stand in the YAML file: first what is trained, then how."""
        values = super().to_dict()
        if self.frozen is None:
            del values["frozen"]
        first = ("version", "name", "seed", "model", "data", "frozen")
        return {name: values[name] for name in first if name in values} | values

    @property
    def schedule(self) -> str | None:
        """The learning rate schedule that the run trains with, in words; None where the rate is a number."""
        return None if self.training.optimizer is not None else self.model.get("schedule")

    def check_rate(self, rate: float | None, field: str = "learning_rate") -> None:
        """Raise `ConfigError` if a rate is asked of a run whose schedule decides it."""
        if rate is not None and self.schedule is not None:
            raise ConfigError(
                field, given=rate, rule=f"none: it follows the optimizer's schedule, {self.schedule}"
            )

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a YAML or JSON file. Raises `ConfigError` that names the file, and the first wrong field in it."""
        path = Path(path)
        try:
            if path.exists() and not path.is_file():
                raise OSError("it is not a regular file")  # reading a pipe would wait for ever
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as failure:
            raise ConfigError(str(path), given=str(failure), rule="a readable YAML or JSON file") from None
        try:
            values = _parsed(text)
        except yaml.MarkedYAMLError as failure:
            wrong, why = _spoilt_line(failure, text)
            raise ConfigError(str(path), given=wrong, rule=f"valid YAML ({why})") from None
        except (yaml.YAMLError, ValueError, RecursionError) as failure:
            raise ConfigError(str(path), given=str(failure), rule="valid YAML") from None
        try:
            return cls.from_dict(values)
        except ConfigError as failure:
            raise ConfigError(f"{path}: {failure.field}", given=failure.given, rule=failure.rule) from None

    def to_yaml(self) -> str:
        """The file that `load` reads back to an equal configuration."""
        values = self.to_dict()
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        if _parsed(text) == values:
            return text
        return yaml.safe_dump(values, sort_keys=False)  # some control characters survive as escapes only


def _parsed(text: str) -> Any:
    """What a YAML file holds, by libyaml where it is there: eight times as fast.

    That follows nesting on the processor's stack, which a hostile file would overflow. No file nests deeper than its
    longest line and its brackets let it; one that could, and one that is wrong, is for PyYAML's own reader.
    """
    lines = max(map(len, text.splitlines()), default=0)
    if lines + text.count("[") + text.count("{") <= SHALLOW and hasattr(yaml, "CSafeLoader"):
        with contextlib.suppress(yaml.YAMLError, ValueError):
            return yaml.load(text, yaml.CSafeLoader)
    return yaml.safe_load(text)


def _spoilt_line(failure: yaml.MarkedYAMLError, text: str) -> tuple[str, str]:
    """The line of a file at which its reader gave up, and where and why it did."""
    mark, lines = failure.problem_mark, text.splitlines()
    if mark is None or mark.line > len(lines):
        return str(failure), "the whole file"
    # At the end of the file the line before is the one that lacks something.
    line = lines[min(mark.line, len(lines) - 1)] if lines else ""
    return line, f"line {mark.line + 1}, column {mark.column + 1}: {failure.problem}"


def json_schema() -> str:
    """The JSON schema of a run's configuration file, for editors and other tools."""
    return json.dumps(RunConfig.model_json_schema(), indent=2)


UNIONS = {
    "name": "letters, digits, '.', '_' and '-', beginning with a letter or a digit, at most 64 of them",
    "training.order.blocks": "a whole number of at least 1, or pairs (rows, how many such blocks)",
    "workers.count": "a whole number of at least 1, or auto",
    "workers.weights": "a number above 0 for each worker, or auto",
    "training.validate_every_epochs": "a whole number of at least 1, or a list of epochs, counted from 1",
    "data.x": "an array's name, a list of names, or input -> name",
    "data.y": "an array's name, a list of names, or output -> name",
    "data.validation_x": "an array's name, a list of names, or input -> name",
    "data.validation_y": "an array's name, a list of names, or output -> name",
    "data.scale": "standardize, (factor, offset), or name -> one of them",
}
"""What is allowed where pydantic's own words tell of the first of several types alone, or show a pattern."""


def _explain(failure: pydantic.ValidationError, root: type[Section]) -> ConfigError:
    found = failure.errors(include_url=False)
    first = next(
        (one for one in found if one["type"] == "extra_forbidden"), found[0]
    )  # why another is missing
    given, kind = first["input"], first["type"]
    where, section, choices = _where(root, first["loc"])
    field = ".".join(where) or "configuration"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        if isinstance(given, dict):
            return ConfigError(f"{field}.kind", given=given.get("kind"), rule=f"one of {', '.join(choices)}")
        kind = "model_type"
    if kind in ("model_attributes_type", "model_type"):
        rule = f"a mapping with a kind: {', '.join(choices)}" if choices else "a mapping of settings"
        return ConfigError(field, given=given, rule=rule)
    if kind == "extra_forbidden":
        known = list(section.model_fields)
        close = difflib.get_close_matches(where[-1], known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return ConfigError(field, given=given, rule=f"one of the keys {', '.join(known)}{hint}")
    if kind == "missing":
        return ConfigError(field, given=None, rule="this key to be there")
    return ConfigError(field, given=given, rule=UNIONS.get(field, in_words(first["msg"])))


def in_words(message: str) -> str:
    """A rule of pydantic as it stands after "expected".

    >>> in_words("Input should be greater than 0")
    'greater than 0'
    """
    return re.sub(r"^(Value error, |Input should be |\w+ should have )", "", message)


def _where(
    root: type[Section], places: tuple[int | str, ...]
) -> tuple[list[str], type[Section], dict[str, type[Section]]]:
    """The path of a field as its user writes it (without the names of a union's branches), the section that holds
    it, and the sections that it chooses from, if it does."""
    names: list[str] = []
    section, here = root, True
    choices: dict[Any, type[Section]] = {}
    for place in places:
        if isinstance(place, int):
            names.append(str(place))
        elif choices:
            section, choices = choices[place], {}
        elif here:
            names.append(place)
            sections = _sections(section, place)
            choices = sections if len(sections) > 1 else {}
            here = bool(sections)
            section = next(iter(sections.values())) if len(sections) == 1 else section
    return names, section, choices


def _sections(section: type[Section], name: str) -> dict[str, type[Section]]:
    """The sections that a field may hold, by kind."""
    annotation = section.model_fields[name].annotation if name in section.model_fields else None
    members = get_args(annotation) or (annotation,)
    flat = [inner for one in members for inner in (get_args(one) or (one,))]  # those of tuples too
    found = [one for one in flat if isinstance(one, type) and issubclass(one, Section)]
    return {
        get_args(one.model_fields["kind"].annotation)[0] if "kind" in one.model_fields else name: one
        for one in found
    }
