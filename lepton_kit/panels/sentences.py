"""What the curves of a run show now, in sentences: for screen readers, beside plots, and as the text of still pictures."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from lepton_kit.planning.estimates import digits
from lepton_kit.rundir.predictions import Predictions
from lepton_kit.rundir.view import RunView, main_metric

CONFUSIONS = 3
UNITS = {"classes": "validation samples", "places": "places of the validation samples", "labels": "labels"}


def sentence(view: RunView, run_id: str, state: str | None = None) -> str:
    """A run in one line: its state, how far it is, and what its curves show."""
    total = f" of {view.total_steps:,}" if view.total_steps else ""
    return f"Run {run_id}, {state or view.status}, step {view.step:,}{total}. {curves_told(view)}".strip()


def curves_told(view: RunView) -> str:
    """What the curves show now: where each began, where it stands, and its best; empty before the first step."""
    metric = main_metric(list(view.metrics))
    told = [_moved("Training loss", view.loss, lowest=True)]
    told.append(_held_out("Validation loss", [row.get("val_loss") for row in view.epochs], lowest=True))
    if metric is not None:
        name = metric.replace("_", " ")
        told.append(_moved(f"Training {name}", view.metrics[metric], lowest=_better_low(metric)))
        values = [row.get(f"val_{metric}") for row in view.epochs]
        told.append(_held_out(f"Validation {name}", values, lowest=_better_low(metric)))
    if view.total_sparsity is not None:
        told.append(f"{view.total_sparsity:.1%} of the weights are zero.")
    told += [_speed(view), _workers(view)]
    told += [predictions_told(seen) for seen in [*view.predictions][-1:] if seen.form != "none"]
    return " ".join(one for one in told if one)


def words_beside(view: RunView) -> str:
    """`curves_told` as HTML that opens below the plots; empty before the first step."""
    told = html.escape(curves_told(view))
    return f'<details class="lk-words"><summary>The plots in words</summary>{told}</details>' if told else ""


def announced(view: RunView, run_id: str, state: str | None = None) -> str:
    """What a screen reader says by itself: the state, the epochs that are done, who trains; it changes with these alone."""
    told = [f"Run {run_id}: {state or view.status}"]
    told += [said for said in (view.in_line and view.in_line.partition(", about")[0], view.cause) if said]
    if view.epochs:
        last = {
            name: value
            for name, value in view.epochs[-1].items()
            if name.startswith("val_") and value is not None
        }
        figures = ", ".join(
            f"{name.replace('val_', 'validation ').replace('_', ' ')} {value:.3g}"
            for name, value in last.items()
        )
        told.append(f"epoch {len(view.epochs)} done" + (f", {figures}" if figures else ""))
    if view.world_size:
        told.append(f"{view.world_size} worker{'s' * (view.world_size != 1)} training")
    if view.incidents:
        told.append(
            f"{len(view.incidents)} incident{'s' * (len(view.incidents) != 1)}: {view.incidents[-1]['what']}"
        )
    return "; ".join(told)


def predictions_told(seen: Predictions) -> str:
    """What the model said of the validation split: how much of it was right, and which classes it confuses."""
    begin = f"After epoch {seen.epoch + 1}"
    if seen.form == "none":
        return f"{begin} no predictions are shown: {seen.why}."
    if seen.form == "values":
        parts = [_value(name, *pair) for name, pair in zip(seen.names, seen.points, strict=False)]
        return f"{begin}, of {seen.counted:,} validation samples: " + "; ".join(parts) + "."
    share = f" ({seen.right / seen.counted:.1%})" if seen.counted else ""
    told = f"{begin}: {seen.right:,} of {seen.counted:,} {UNITS.get(seen.form, 'samples')} right{share}."
    pairs = confused(seen)
    how = "wrong" if seen.form == "labels" else "confused"
    return told + (f" Most often {how}: {', '.join(pairs)}." if pairs else "")


def confused(seen: Predictions) -> list[str]:
    """The pairs of named classes that are confused most, in words; of labels those missed or said wrongly most."""
    names = seen.names
    if seen.form == "labels":
        errors = seen.counts[:, 1] + seen.counts[:, 2] - 2 * seen.counts[:, 0]
        order = np.argsort(-errors, kind="stable")[:CONFUSIONS]
        return [f"{names[k]} ({times(errors[k])})" for k in order if errors[k]]
    wrong = seen.counts[: len(names), : len(names)].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [
        f"{names[true]} taken for {names[said]} ({times(wrong[true, said])})"
        for true, said in pairs
        if wrong[true, said]
    ]


def times(count: int) -> str:
    """How often.

    >>> times(1), times(1200)
    ('once', '1,200 times')
    """
    return "once" if count == 1 else f"{count:,} times"


def short(count: int) -> str:
    """A count in at most four letters or so.

    >>> short(812), short(12_400), short(3_450_000)
    ('812', '12k', '3.5M')
    """
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= 10 * size or (size > 10**3 and count >= size):
            return f"{count / size:.0f}{unit}" if count >= 10 * size else f"{count / size:.1f}{unit}"
    return str(count)


def _value(name: str, true: np.ndarray, said: np.ndarray) -> str:
    known = np.isfinite(true) & np.isfinite(said)
    true, said = true[known], said[known]
    if not len(true):
        return f"{name} is not finite"
    error = f"{name} is off by {np.abs(said - true).mean():.3g} on average of {len(true)} points"
    spread = ((true - true.mean()) ** 2).sum()
    return error + (f", R² {1 - ((said - true) ** 2).sum() / spread:.3f}" if spread else "")


def _better_low(metric: str) -> bool:
    return not any(
        word in metric.lower() for word in ("acc", "auc", "precision", "recall", "iou", "dice", "r2")
    )


def _moved(name: str, values: np.ndarray, lowest: bool) -> str:
    """From where to where a curve went.

    >>> _moved("Training loss", np.array([2.0, 0.4, 0.5]), lowest=True)
    'Training loss fell from 2 to 0.5, lowest 0.4.'
    """
    known = values[np.isfinite(values)]
    broken = "; it is not finite any more" if len(values) and not math.isfinite(values[-1]) else ""
    if not len(known):
        return f"{name} is not finite." if broken else ""
    first, last = float(known[0]), float(known[-1])
    if len(known) == 1:
        return f"{name} is {digits(last)}{broken}."
    way = "fell" if last < first else "rose" if last > first else "stayed"
    path = f"at {digits(last)}" if way == "stayed" else f"from {digits(first)} to {digits(last)}"
    best = float(known.min() if lowest else known.max())
    extreme = f", {'lowest' if lowest else 'highest'} {digits(best)}" if digits(best) != digits(last) else ""
    return f"{name} {way} {path}{extreme}{broken}."


def _held_out(name: str, values: Sequence[float | None], lowest: bool) -> str:
    """The last value of each epoch's, and in which epoch the best was.

    >>> _held_out("Validation accuracy", [0.5, 0.9, 0.8], lowest=False)
    'Validation accuracy is 0.8 after epoch 3, best 0.9 after epoch 2.'
    """
    known = [
        (epoch, value) for epoch, value in enumerate(values, 1) if value is not None and math.isfinite(value)
    ]
    if not known:
        return ""
    epoch, last = known[-1]
    at, best = min(known, key=lambda one: one[1] if lowest else -one[1])
    extreme = "" if best == last else f", best {digits(best)} after epoch {at}"
    return f"{name} is {digits(last)} after epoch {epoch}{extreme}."


def _speed(view: RunView) -> str:
    rates = view.throughput[np.isfinite(view.throughput)]
    if not len(rates):
        return ""
    return f"Throughput is {rates[-1]:,.0f} samples/s, median {float(np.median(rates)):,.0f}."


def _workers(view: RunView) -> str:
    sizes = [int(one) for one in view.report_world_size.array]
    if not sizes:
        return ""
    steps = [size for place, size in enumerate(sizes) if place == 0 or size != sizes[place - 1]]
    if len(steps) == 1:
        return f"{steps[0]} worker{'s' * (steps[0] != 1)} trained throughout."
    path = ", then ".join(map(str, steps[:6])) + (", …" if len(steps) > 6 else "")
    return f"Workers: {path}."
