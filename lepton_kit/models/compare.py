"""Whether a stored model, loaded again, computes what the user's own object computes; and building unbuilt ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.errors import ModelError
from lepton_kit.models.description import symbolic
from lepton_kit.models.lepton import LeptonModel

ROWS = 3
TOLERANCE = 1e-5  # of float32 rounding: the same operations on the same values, in the same process
STEPS = (0, 1, 10, 1000)  # where learning rate schedules are compared, counted from the optimizer's own step


def ready(model: Any, prepared: Any) -> Any:
    """The model, with the weights that it lacks built from the shapes of a batch, as `fit` would; never trained.

    Raises `ModelError` where the model can't be called on the data.
    """
    if isinstance(model, LeptonModel) or not hasattr(model, "_flatten_layers"):
        return model
    if _built(model):
        return model
    import keras

    x = prepared.train.rows(np.arange(min(2, len(prepared.train))))[0]
    try:
        with contextlib.suppress(NotImplementedError, ValueError, TypeError):
            keras.src.backend.compute_output_spec(model, symbolic(x), training=False)
        if not _built(model):
            model(x, training=False)  # a layer that does not say its output's shape is built by calling it
    except Exception as failure:
        raise ModelError(
            f"model {model.name!r} has no weights yet and cannot be built from samples of shape "
            f"{prepared.sample_shape}: {_line(failure)}"
        ) from failure
    return model


def _built(model: Any) -> bool:
    return bool(model.built) and all(layer.built for layer in model._flatten_layers())


def verify(model: Any, spec: Mapping[str, Any], base: str | Path, prepared: Any) -> None:
    """Load what `store` wrote and compare it with the user's object on a few rows; see `same`.

    A model of Keras' own classes was compared when it was stored.
    """
    if spec.get("kind") != "object":
        return
    from lepton_kit.models.payload import build

    same(model, build(spec, base, 0), prepared.train.rows(np.arange(min(ROWS, len(prepared.train)))))


def same(model: Any, copy: Any, rows: tuple[Any, Any, Any]) -> None:
    """Raise `ModelError` that names what differs between a compiled model and its stored copy on ``(x, y, w)``.

    Compared are predictions, each output's loss, its gradient, metrics after one update and the optimizer. Nothing
    of the model changes. What the model itself does not repeat, as a draw of TensorFlow's, is left out.
    """
    model = model.network if isinstance(model, LeptonModel) else model
    _same_optimizer(model, copy)
    with _unchanged(model):
        here, there = _computed(model, rows), _computed(copy, rows)
        if here.keys() != there.keys():
            lost = sorted(here.keys() ^ there.keys())
            raise ModelError(f"model {model.name!r}: {lost[0]} is not in both the model and its stored copy")
        for name, value in here.items():
            if not _close(value, there[name]) and _close(value, _computed(model, rows).get(name)):
                raise ModelError(
                    f"model {model.name!r}: {name} gives {_text(there[name], value)} in the stored copy and "
                    f"{_text(value, there[name])} in the model; it cannot be sent to other processes as it is"
                )


def _computed(model: Any, rows: tuple[Any, Any, Any]) -> dict[str, Any]:
    """Name of a quantity -> its value, or the sentence with which computing it failed."""
    import tensorflow as tf
    from keras import StatelessScope

    x, y, w = (
        tf.nest.map_structure(tf.convert_to_tensor, part) if part is not None else None for part in rows
    )
    found: dict[str, Any] = {}
    with StatelessScope(collect_losses=True):
        found["the prediction"] = _try(lambda: model(x, training=False))
        if not model.compiled:
            return found
        with tf.GradientTape() as tape:
            outputs = _try(lambda: model(x, training=True) if _trains(model) else model(x))
            if isinstance(outputs, Failure):
                return found
            loss = _try(lambda: model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=w))
        found[_loss_name(model)] = loss
        if not isinstance(loss, Failure):
            found["the gradient of the loss"] = _try(lambda: tape.gradient(loss, model.trainable_weights))
        results = _try(lambda: model.compute_metrics(x, y, outputs, w))
    if isinstance(results, dict):
        results.pop("loss", None)
        found.update({f"the metric {name!r}": value for name, value in results.items()})
    return found


class Failure(str):
    """The sentence of an error: what fails in the model must fail in its copy."""


def _try(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except Exception as failure:
        return Failure(_line(failure))


def _trains(model: Any) -> bool:
    return bool(getattr(model, "_call_has_training_arg", True))


def _loss_name(model: Any) -> str:
    loss = getattr(model, "loss", None)
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", None)
    return f"the loss {name!r}" if isinstance(name, str) else "the loss"


@contextlib.contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Put back what calling a model builds in its compiled losses and metrics."""
    parts = [getattr(model, name, None) for name in ("_compile_loss", "_compile_metrics")]
    kept = []
    for part in parts:
        if part is not None:
            lists = [(value, list(value)) for value in vars(part).values() if isinstance(value, list)]
            kept.append((part, dict(vars(part)), lists))
    try:
        yield
    finally:
        for part, attributes, lists in kept:
            for value, content in lists:
                list.__setitem__(value, slice(None), content)
            vars(part).clear()
            vars(part).update(attributes)
            tracker = attributes.get("_tracker")
            if tracker is not None:
                tracker.stored_ids = {
                    name: {id(one) for one in store} for name, (_, store) in tracker.config.items()
                }


def _same_optimizer(model: Any, copy: Any) -> None:
    one, two = getattr(model, "optimizer", None), getattr(copy, "optimizer", None)
    if one is None and two is None:
        return
    if one is None or two is None or type(one).__name__ != type(two).__name__:
        raise ModelError(
            f"model {model.name!r}: the optimizer is {type(two).__name__} in the stored copy and "
            f"{type(one).__name__} in the model"
        )
    for step in STEPS:
        here, there = _rate(one, step), _rate(two, step)
        if not _close(here, there):
            raise ModelError(
                f"model {model.name!r}: the learning rate {step} steps on is {there} in the stored copy and {here} "
                "in the model"
            )
    if len(one.variables) != len(two.variables) or not all(
        _close(a, b) for a, b in zip(one.variables, two.variables, strict=True)
    ):
        raise ModelError(f"model {model.name!r}: the optimizer's variables differ in the stored copy")


def _rate(optimizer: Any, step: int) -> Any:
    rate = getattr(optimizer, "_learning_rate", None)
    if callable(rate) and not hasattr(rate, "assign"):
        return _try(lambda: np.asarray(rate(optimizer.iterations + step)))
    return _try(lambda: np.asarray(optimizer.learning_rate))


def _flat(value: Any) -> list[Any]:
    import tensorflow as tf

    parts = [one for one in tf.nest.flatten(value) if one is not None]
    return [one if isinstance(one, str) else np.asarray(tf.convert_to_tensor(one)) for one in parts]


def _close(one: Any, two: Any) -> bool:
    first, second = _flat(one), _flat(two)
    return len(first) == len(second) and all(map(_close_arrays, first, second))


def _close_arrays(one: Any, two: Any) -> bool:
    if isinstance(one, str) or isinstance(two, str):
        return isinstance(one, str) == isinstance(two, str)
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if one.dtype.kind in "OSU":
        return bool(np.array_equal(one, two))
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    scale = float(np.max(np.abs(one), initial=0.0, where=np.isfinite(one)))
    return bool(np.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True))


def _text(value: Any, other: Any) -> str:
    """The number at the place where two values differ most."""
    for one, two in zip(_flat(value), _flat(other), strict=False):
        if not _close_arrays(one, two):
            if isinstance(one, str) or isinstance(two, str) or one.shape != two.shape or not one.size:
                return str(one) if isinstance(one, str) else f"shape {one.shape}"
            away = np.abs(np.asarray(one, np.float64) - np.asarray(two, np.float64)).ravel()
            return f"{one.ravel()[int(np.argmax(np.nan_to_num(away, nan=np.inf)))]:.6g}"
    return "the same"


def _line(failure: BaseException) -> str:
    lines = [line for line in str(failure).splitlines() if line.strip()]
    return (lines[0] if lines else type(failure).__name__)[:300]
