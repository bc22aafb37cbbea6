"""What a launch compiles into a model: given objects go into a copy of it, and what can't go together is refused."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit import models
from lepton_kit.client.options import COMPILED, Asked
from lepton_kit.config import TrainingConfig
from lepton_kit.data import PreparedData
from lepton_kit.errors import ConfigError, ModelError


def check_model(model: Any) -> None:
    """Raise `ModelError` for what is no model. Loads nothing: one who has a Keras model has loaded Keras."""
    if isinstance(model, models.LeptonModel):
        return
    if isinstance(model, type):
        raise ModelError(f"model: got the class {model.__name__}; expected a model: {model.__name__}(…)")
    if not _is_keras(model):
        shown = model if isinstance(model, int | float | str | None) else type(model).__name__
        raise ModelError(f"model: got {shown!r}; expected a LeptonModel or a Keras 3 model")
    import keras

    for name in ("fit", "make_train_function"):
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise ModelError(
                f"model {model.name!r}: {type(model).__name__} has its own {name}, which workers do not call; put what it "
                "does into train_step"
            )
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
            raise ModelError(
                f"layer {layer.name!r} ({type(layer).__name__}, stateful=True) keeps a state for each place in the "
                "batch, and other places are on other workers: set stateful=False"
            )

    _check_trainable(model)


def _check_trainable(model: Any) -> None:
    """Refuse a choice of what trains that was made after the optimizer was built: `fit` goes on with the old one."""
    from lepton_kit.training.routes import is_own

    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None or not optimizer.built or is_own(model, "train_step") or not model.built:
        return
    known = {id(variable) for variable in optimizer._trainable_variables}
    now = {id(variable) for variable in model.trainable_variables}
    if changed := [v for v in model.variables if (id(v) in known) != (id(v) in now)]:
        word = "frozen" if id(changed[0]) in known else "set free"
        raise ModelError(
            f"model {model.name!r}: {changed[0].path!r} was {word} after the optimizer was built, which Keras' fit does "
            "not follow: call model.compile again"
        )


def _is_keras(model: Any) -> bool:
    names = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(model).__mro__}
    return "keras.Model" in names


def own_compile(model: Any) -> tuple[str, ...] | None:
    """The parameters of a model's own ``compile``; None if it has Keras'."""
    if not _is_keras(model):
        return None
    import keras

    if type(model).compile is keras.Model.compile:
        return None
    return tuple(inspect.signature(type(model).compile).parameters)[1:]


def check_own_compile(model: Any, asked: Asked) -> None:
    """Refuse, by name, options that would go around a model's own ``compile``."""
    takes = own_compile(model)
    if takes is None:
        return
    for name in COMPILED:
        if name in asked.given and not (name == "learning_rate" and "optimizer" in takes):
            given = asked.compiled.get(name, getattr(asked.settings.training, name, None))
            raise ConfigError(
                name,
                given=given if isinstance(given, str | int | float | tuple) else type(given).__name__,
                rule=f"no {name}: {type(model).__name__} has its own compile({', '.join(takes)}); give it there",
            )


def rate_decided_by(model: Any) -> str | None:
    """What sets the learning rate of a model, in words, where no number can: a schedule, or its own ``compile``."""
    takes = own_compile(model)
    if takes is not None and "optimizer" not in takes:
        return f"set in {type(model).__name__}.compile({', '.join(takes)})"
    return schedule_of(model)


def check_inputs(model: Any, prepared: PreparedData) -> None:
    """Match a list of arrays to the model's inputs, in order. Raises `ModelError` that names the input."""
    shapes, inputs = prepared.sample_shape, getattr(model, "inputs", None)
    if not isinstance(prepared.train.x, tuple) or not inputs:
        return
    if len(inputs) != len(shapes):
        names = ", ".join(tensor.name for tensor in inputs)
        raise ModelError(f"the model has {len(inputs)} inputs ({names}); the data have {len(shapes)}")
    for tensor, shape in zip(inputs, shapes, strict=True):
        expected = tuple(tensor.shape[1:])
        # Keras adds or drops a last axis of length 1.
        given = next((one for one in (shape, (*shape, 1), shape[:-1]) if len(one) == len(expected)), shape)
        dropped = len(given) < len(shape) and shape[-1] != 1
        if (
            dropped
            or len(given) != len(expected)
            or any(a is not None and a != b for a, b in zip(expected, given, strict=True))
        ):
            raise ModelError(
                f"input {tensor.name!r}: the model expects samples of shape {expected}; the data have {shape}"
            )


def compiled(model: Any, asked: Asked, prepared: PreparedData) -> Any:
    """The model with the given objects compiled into it: a copy, so that the user's own stays as it is.

    ``model`` is a Keras model, or a LeptonModel that is fitted to its data. What is not given stays as it was
    compiled, or suits the data. Names in the settings are compiled in too, see `IN_THE_MODEL`.
    """
    if not asked.compiled:
        return model
    import keras

    from lepton_kit.models import objects
    from lepton_kit.training.job import DEFAULT_LEARNING_RATE, compilation

    if isinstance(model, models.LeptonModel) and not model.built:
        copy = models.build(model.spec(), ".", asked.settings.seed)
    else:
        copy = objects.loads(objects.dumps(getattr(model, "network", model)))
    training, given = asked.settings.training, dict(asked.compiled)
    schedule = given.pop("learning_rate", None)
    own = compilation(copy)
    named: dict[str, Any] = {"optimizer": training.optimizer, "loss": training.loss}
    named |= {name: _list(getattr(training, name)) for name in ("metrics", "weighted_metrics")}
    settings = {**(own or {}), **{name: value for name, value in named.items() if value is not None}, **given}
    if own is None and settings.get("loss") is None:
        settings["loss"], metrics, _ = models.compile_defaults(copy, prepared)
        settings.setdefault("metrics", metrics)
    _check_new(given.get("optimizer"), model)
    if schedule is not None and "optimizer" in given:
        raise ConfigError(
            "learning_rate",
            given=type(schedule).__name__,
            rule="no schedule beside an optimizer object; give it to the optimizer",
        )
    if not isinstance(settings.get("optimizer"), keras.optimizers.Optimizer):
        settings["optimizer"] = keras.optimizers.get(settings.get("optimizer") or "adam")
        settings["optimizer"].learning_rate = training.learning_rate or DEFAULT_LEARNING_RATE
    if schedule is not None:
        settings["optimizer"].learning_rate = schedule
    copy.compile(**settings)
    return copy


IN_THE_MODEL = dict.fromkeys(("optimizer", "loss", "metrics", "weighted_metrics"))
"""What the settings say of these once `compiled` has put them all into the model."""


def _list(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _check_new(optimizer: Any, model: Any) -> None:
    """An optimizer that has trained another model holds its variables, and Keras would refuse it in the worker."""
    if optimizer is None or not optimizer.built or optimizer is getattr(model, "optimizer", None):
        return
    name = type(optimizer).__name__
    raise ConfigError(
        "optimizer",
        given=name,
        rule=f"a new one, since this one has trained a model: {name}.from_config(optimizer.get_config())",
    )


def schedule_of(model: Any) -> str | None:
    """The learning rate schedule that the model is compiled with, in words; None for a plain number."""
    if model is None or isinstance(model, models.LeptonModel):
        return None
    from lepton_kit.training import job

    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or job.schedule_of(optimizer) is None:
        return None
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    try:
        settings = rate.get_config()
    except NotImplementedError:
        settings = {}
    return _in_words(type(rate).__name__, settings)


def schedule_in_file(path: Path) -> str | None:
    """The same for a ``.keras`` file, read without loading Keras."""
    from lepton_kit.models.description import read_config

    optimizer = (read_config(path).get("compile_config") or {}).get("optimizer")
    while isinstance(optimizer, dict):
        settings = optimizer.get("config") or {}
        rate = settings.get("learning_rate")
        if isinstance(rate, dict):
            return _in_words(str(rate.get("class_name")), rate.get("config") or {})
        optimizer = settings.get("inner_optimizer")
    return None


def _in_words(name: str, settings: Mapping[str, Any]) -> str:
    shown = [
        f"{option}={value:g}" if isinstance(value, float) else f"{option}={value}"
        for option, value in settings.items()
        if option != "name" and isinstance(value, int | float | list) and not isinstance(value, bool)
    ]
    return f"{name}({', '.join(shown)})"


def check_rate(training: TrainingConfig, schedule: str | None) -> None:
    """Refuse a number where a schedule decides."""
    if schedule is not None and training.learning_rate is not None and training.optimizer is None:
        raise ConfigError(
            "learning_rate",
            given=training.learning_rate,
            rule=f"none: the model's optimizer has a schedule, {schedule}; compile it with a number, or give a new optimizer",
        )


def check_quantity(best: str, model: Any, training: TrainingConfig, prepared: PreparedData) -> None:
    """Refuse to keep the best epoch by a quantity that the run will not have."""
    quantity = best.partition(":")[0]
    name = quantity.removeprefix("val_")
    if quantity != name and prepared.validation is None:
        raise ConfigError(
            "keep_best",
            given=quantity,
            rule="a quantity of training, since nothing is held out for validation",
        )
    known = _quantities(model, training)
    if known is not None and name not in known:
        prefixes = ("", "val_") if prepared.validation is not None else ("",)
        shown = [prefix + one for one in known for prefix in prefixes]
        close = difflib.get_close_matches(quantity, shown, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError("keep_best", given=quantity, rule=f"one of {', '.join(shown)}{hint}")


def _quantities(model: Any, training: TrainingConfig) -> list[str] | None:
    """Names of the loss and the metrics of a model with one output; None where only Keras could tell."""
    if isinstance(model, models.LeptonModel) and not model.built:
        default = "accuracy" if model.task == "classification" else "mae"
        named = [
            *(training.metrics or ([] if training.loss else [default])),
            *(training.weighted_metrics or ()),
        ]
        return ["loss", *named]
    if len(getattr(model, "outputs", None) or ()) != 1 or not getattr(model, "compiled", False):
        return None
    from lepton_kit.training.job import compilation

    own = compilation(model) or {}
    found = ["loss"]
    for option in ("metrics", "weighted_metrics"):
        asked = getattr(training, option)
        for metric in asked if asked is not None else own.get(option) or ():
            if not isinstance(metric, str) and not hasattr(metric, "name"):
                return None
            found.append(metric if isinstance(metric, str) else metric.name)
    return found


def as_configured(model: Any, settings: Any, prepared: PreparedData) -> Any:
    """The model compiled as a worker does it."""
    import keras

    from lepton_kit.training import job

    return job.compile_model(model, settings, prepared, keras)
