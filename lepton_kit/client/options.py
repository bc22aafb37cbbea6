"""The options of `launch`: their names, which are Keras' where Keras has one, and what a misspelt one is told."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np

from lepton_kit.client.keras_names import check_names, check_optimizer
from lepton_kit.client.spark import read_spark
from lepton_kit.config import (
    PruningConfig,
    QuantizationAwareConfig,
    RunSettings,
    TrainingConfig,
)
from lepton_kit.errors import ConfigError
from lepton_kit.hosts import read_hosts
from lepton_kit.places import read_places
from lepton_kit.specs import Arithmetic, BlockOrder
from lepton_kit.workers import WorkersConfig


class LaunchOptions(TypedDict, total=False):
    """Everything that `launch` takes beside a model and data; `RunConfig` says what each setting means.

    Optimizers, losses and metrics are Keras names or objects, as in ``compile``.
    """

    workers: int | str
    batch_size: int | None
    epochs: int
    seed: int
    name: str
    pruning: Mapping[str, Any] | PruningConfig | float | None
    quantization_aware: Mapping[str, Any] | QuantizationAwareConfig | int | None
    optimizer: Any
    learning_rate: Any
    loss: Any
    metrics: Any
    weighted_metrics: Any
    loss_weights: Any
    class_weight: Mapping[Any, float] | None
    sample_weight: Any
    validation_data: Any
    validation_split: float | None
    target: str | None
    data_folder: Any
    validation_freq: Any
    validation_batch_size: int | None
    callbacks: Any
    keep_best: str | None
    shuffle: bool
    order: Mapping[str, Any] | BlockOrder | None
    steps_per_epoch: int | None
    initial_epoch: int
    max_steps: int | None
    optimizer_state: str
    embedding_gradients: str
    dtype_policy: str | None
    arithmetic: Mapping[str, Any] | Arithmetic | None
    checkpoint_seconds: float
    log_seconds: float
    min_workers: int
    max_workers: int | None
    expects: tuple[int, ...]
    share: float
    priority: int
    standby: int
    threads: int | None
    hosts: Any
    spark: Any
    driver: str | None
    weights: tuple[float, ...] | Literal["auto"] | None
    device: str
    allreduce: str
    wire: str
    hang_seconds: float
    max_failures: int
    places: Any
    global_batch: int
    validate_every_epochs: int | tuple[int, ...]


SAME = {"global_batch": "batch_size", "validate_every_epochs": "validation_freq"}
"""A setting's name in the configuration file, and Keras' name for it; both are taken."""
OPTIONS = (*(name for name in LaunchOptions.__annotations__ if name not in SAME), "runs_dir")
RENAMED = {"workers": "count", **{keras: ours for ours, keras in SAME.items()}}
MEANT = {"lr": "learning_rate", "num_workers": "workers"}
"""What other libraries call it, where no letters lead there."""
COMPILED = ("optimizer", "loss", "metrics", "weighted_metrics", "loss_weights", "learning_rate")
OF_DATA = ("sample_weight", "class_weight", "validation_data", "validation_split", "target", "data_folder")


class OptionError(ConfigError):
    """An option that `launch` does not have; the text names the nearest that it has."""

    def __init__(self, name: str):
        close = [MEANT[name]] if name in MEANT else difflib.get_close_matches(name, [*OPTIONS, *SAME], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        self.field, self.given, self.rule = name, None, f"one of {', '.join(OPTIONS)}"
        text = f"launch: no option {name!r}; {hint}options: {', '.join(OPTIONS)}"
        Exception.__init__(self, text)

    def __reduce__(self) -> tuple[object, ...]:
        return OptionError, (self.field,)


@dataclass(frozen=True)
class Asked:
    """What a call asked for, sorted by who sees to it.

    ``compiled`` holds objects for ``compile``; names and numbers stand in the settings. ``data`` is for the data set.
    ``session`` is one of Spark.
    """

    settings: RunSettings
    compiled: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    callbacks: Any = None
    given: frozenset[str] = frozenset()
    session: Any = None


def read(options: Mapping[str, Any]) -> Asked:
    """Check the options of a launch. Raises `OptionError` for an unknown one, `ConfigError` for a wrong value."""
    given = {}
    for name, value in options.items():
        if name not in OPTIONS and name not in SAME:
            raise OptionError(name)
        if SAME.get(name) in options and value is not None:
            raise ConfigError(name, given=value, rule=f"one of {name} and {SAME[name]}: they are the same")
        given[SAME.get(name, name)] = value.item() if isinstance(value, np.generic) else value
    values: dict[str, Any] = {"training": {}, "workers": {}}
    compiled: dict[str, Any] = {}
    session = None
    for name, value in given.items():
        if name == "spark":
            values["workers"][name], session = read_spark(value)
        elif name in COMPILED:
            kept, made = _split(name, value)
            if made is not None:
                compiled[name] = made
            elif kept is not None:
                values["training"][name] = kept
        elif name in SHORT and value is not None:
            values[name] = _settings_of(name, value)
        elif name == "callbacks" or name in OF_DATA:
            continue
        elif (inner := RENAMED.get(name, name)) in TrainingConfig.model_fields:
            if value is not None:
                values["training"][inner] = FORMS.get(name, _as_it_is)(value)
        elif inner in WorkersConfig.model_fields:
            values["workers"][inner] = value if value is None else FORMS.get(name, _as_it_is)(value)
        elif name in RunSettings.model_fields:
            values[name] = value
    with in_launch_words(options):
        settings = RunSettings.from_dict(values)
    asked = [name for name, value in given.items() if value is not None]
    data = {name: given[name] for name in OF_DATA if given.get(name) is not None}
    return Asked(settings, compiled, data, given.get("callbacks"), frozenset(asked), session)


@contextlib.contextmanager
def in_launch_words(options: Mapping[str, Any]) -> Iterator[None]:
    """Errors about fields of the configuration name the options of `launch` instead, as they were given."""
    try:
        yield
    except ConfigError as failure:
        section, _, rest = failure.field.partition(".")
        if section not in ("training", "workers") or not rest:
            raise
        inner, dot, place = rest.partition(".")
        outer = next((ours for ours, theirs in RENAMED.items() if theirs == inner), inner)
        outer = inner if inner in SAME and inner in options else outer
        raise ConfigError(f"{outer}{dot}{place}", given=failure.given, rule=failure.rule) from None


def _as_it_is(value: Any) -> Any:
    return value


def _frequency(value: Any) -> Any:
    """``validation_freq`` is a number or, in Keras, any container of epochs."""
    return sorted(value) if isinstance(value, list | tuple | set | range) else value


FORMS: dict[str, Callable[[Any], Any]] = {
    "validation_freq": _frequency,
    "hosts": read_hosts,
    "places": read_places,
}
SHORT = {
    "pruning": ("sparsity", float, "a share of zeros of at least 0, below 1, or settings: {'sparsity': 0.8}"),
    "quantization_aware": ("bits", int, "2, 3, 4 or 8 bits, or settings: {'bits': 8}"),
}


def _settings_of(name: str, value: Any) -> dict[str, Any]:
    setting, _, rule = SHORT[name]
    if isinstance(value, PruningConfig | QuantizationAwareConfig):
        return value.model_dump()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {setting: value}
    raise ConfigError(name, given=value, rule=rule)


def _split(name: str, value: Any) -> tuple[Any, Any]:
    """(what the configuration holds, what has to be compiled into the model); one of them is None."""
    if value is None:
        return None, None
    match name:
        case "optimizer":
            return _optimizer(value)
        case "learning_rate":
            return _learning_rate(value)
        case "loss_weights":
            _check_weights(value)
            return None, value
    check_names(name, value)
    _check_parts(name, value)
    if name == "loss":
        return (value, None) if isinstance(value, str) else (None, value)
    entries = [value] if isinstance(value, str) else value
    plain = isinstance(entries, list | tuple) and all(isinstance(entry, str) for entry in entries)
    return (tuple(entries), None) if plain else (None, value)


def _optimizer(value: Any) -> tuple[Any, Any]:
    rule = "a Keras optimizer's name or object"
    if isinstance(value, str):
        check_optimizer("optimizer", value)
        return value, None
    if isinstance(value, Mapping):
        import keras

        try:
            return None, keras.optimizers.get(dict(value))
        except (ValueError, TypeError, KeyError):
            raise ConfigError("optimizer", given=value, rule=rule) from None
    if not _is_keras(value, "optimizers", "Optimizer"):
        raise ConfigError("optimizer", given=_name_of(value), rule=rule)
    return None, value


def _learning_rate(value: Any) -> tuple[Any, Any]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, None
    if _is_keras(value, "optimizers.schedules", "LearningRateSchedule"):
        return None, value
    raise ConfigError(
        "learning_rate", given=_name_of(value), rule="a number above 0 or a Keras LearningRateSchedule"
    )


def _check_parts(name: str, value: Any) -> None:
    """Losses and metrics are names, functions or Keras objects, alone or in lists and dictionaries."""
    if isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            _check_parts(name, part)
        return
    room, kind = ("losses", "Loss") if name == "loss" else ("metrics", "Metric")
    wrong = isinstance(value, type) or not (isinstance(value, str) or callable(value) or value is None)
    if wrong and not _is_keras(value, room, kind):
        what = kind.lower()
        rule = f"a Keras {what}'s name or object, or a function (y_true, y_pred)"
        raise ConfigError(name, given=_name_of(value), rule=rule)


def _check_weights(value: Any) -> None:
    parts = (
        value.values()
        if isinstance(value, Mapping)
        else value
        if isinstance(value, list | tuple)
        else [value]
    )
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, int | float):
            raise ConfigError(
                "loss_weights", given=value, rule="a number for each output, by name or in order"
            )


def _is_keras(value: Any, room: str, kind: str) -> bool:
    """Whether it is one of Keras' objects. One who has an object has loaded Keras, so nothing loads here."""
    if "keras" not in sys.modules:
        return False
    place: Any = sys.modules["keras"]
    for part in (*room.split("."), kind):
        place = getattr(place, part)
    return isinstance(value, place)


def _name_of(value: Any) -> Any:
    """What an error shows: plain values as they are, of objects and classes the name."""
    if isinstance(value, type):
        return value.__name__
    return value if isinstance(value, int | float | str) else type(value).__name__
