"""How the ranks' parts become one batch: means that add up where Keras' losses and metrics are such, else gathering.

A loss of a known class is a mean over samples, so ranks' means add up with weight ``b_r / B``. Everything else (own
losses and metrics, masks, sums, Dice …) is computed on every rank from the predictions of all ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lepton_kit.models.loss_names import MEAN_FUNCTIONS, MEANS

MEAN_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
OVERRIDABLE = ("compute_loss", "compute_metrics")


def why_gathered(model: Any, *, masked: bool, weighted: bool) -> str | None:
    """Why this built, compiled model needs the predictions of all ranks; None where means add up.

    ``masked``: an output carries a mask; ``weighted``: the samples have weights.
    """
    for name in OVERRIDABLE:
        if is_own(model, name):
            return f"{type(model).__name__}.{name} is the model's own"
    if masked:
        return "an output has a mask, and Keras divides by the entries that it leaves"
    for loss in losses_of(model):
        if not _is_mean(loss, weighted):
            return f"the loss {loss.name!r} is not known to be a mean over samples"
    for metric in metrics_of(model):
        if not _adds_up(metric):
            return f"the metric {metric.name!r} is not known to add up over samples"
    return None


def is_own(model: Any, method: str) -> bool:
    """Whether a class of the user overrides this method of `keras.Model`."""
    import keras

    return getattr(type(model), method) is not getattr(keras.Model, method)


def losses_of(model: Any) -> Iterator[Any]:
    """The compiled loss objects, one for each output that has one."""
    compiled = getattr(model, "_compile_loss", None)
    for entry in getattr(compiled, "_flat_losses", None) or []:
        if entry.loss is not None:
            yield entry.loss


def metrics_of(model: Any) -> Iterator[Any]:
    """All metric objects of a built model, compiled ones in place of their container, without the loss tracker."""
    for metric in model.metrics:
        inner = getattr(metric, "metrics", None)
        if type(metric).__name__ == "CompileMetrics":
            yield from inner or []
        elif metric is not getattr(model, "_loss_tracker", None):
            yield metric


def losses_by_output(model: Any) -> list[Any]:
    """The trackers of each output's loss, which a model with several outputs has."""
    return list(getattr(getattr(model, "_compile_loss", None), "metrics", None) or [])


def _is_mean(loss: Any, weighted: bool) -> bool:
    if loss.reduction not in MEAN_REDUCTIONS or getattr(loss, "ignore_class", None) is not None:
        return False
    if weighted and loss.reduction == "mean_with_sample_weight":
        return False
    if type(loss).__name__ == "LossFunctionWrapper" and _of_keras(type(loss)):
        return (
            _of_keras(loss.fn)
            and loss.fn.__name__ in MEAN_FUNCTIONS
            and not loss._fn_kwargs.get("ignore_class")
        )
    return _of_keras(type(loss)) and type(loss).__name__ in MEANS


def _adds_up(metric: Any) -> bool:
    from lepton_kit.models.metrics import BalancedAccuracy

    if type(metric) is BalancedAccuracy:  # it keeps sums
        return True
    function = getattr(metric, "_fn", None)
    return _of_keras(type(metric)) and (function is None or _of_keras(function))


def _of_keras(thing: Any) -> bool:
    return getattr(thing, "__module__", "").split(".")[0] == "keras"
