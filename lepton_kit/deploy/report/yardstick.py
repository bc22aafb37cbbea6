"""What a model is judged by: its loss and its head say how outputs read and what does not count; one metric may be named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.structure import items
from lepton_kit.deploy import overlaps
from lepton_kit.deploy.report.scoring import METRICS, Score, check_finite, score
from lepton_kit.errors import CompressionError, ModelError
from lepton_kit.models.answers import Answer, answers
from lepton_kit.models.description import description, read_config
from lepton_kit.models.targets import default_loss, pair
from lepton_kit.processes.isolated import Call

OWN_RESAMPLES = 100
"""A compiled metric is computed by Keras on so many resampled sets: the ends of its interval are rough."""
DOWN = ("loss", "error", "mae", "mse", "crossentropy", "entropy", "divergence", "hinge", "poisson", "false")
"""In the name of a metric of the user's own: the lower it is, the better."""


@dataclass(frozen=True)
class Part:
    """One output that has targets: its place, how it reads, which of the targets are its own, which class is ignored."""

    name: str | None
    place: int
    answer: Answer
    key: Any
    ignore: int | None
    target: Target


@dataclass(frozen=True)
class Yardstick:
    """What a model is judged by. ``own`` is the name of a metric that it was compiled with, where that is the score."""

    parts: tuple[Part, ...]
    metric: str = "auto"
    own: str | None = None

    def score(
        self, outputs: Sequence[np.ndarray], y: Any, counted: Sequence[np.ndarray | None] = (), w: Any = None
    ) -> Score:
        """The score of all outputs, in the model's order, against targets; of several outputs that of the first.

        ``counted``: for each output where the model's own mask says that a place counts. ``w``: weights in the form of
        the targets; what weighs 0 doesn't count, as in the loss.
        """
        return self._of(self.parts[0], outputs, y, counted, w)

    def others(
        self, outputs: Sequence[np.ndarray], y: Any, counted: Sequence[np.ndarray | None] = (), w: Any = None
    ) -> dict[str, Score]:
        """The scores of the other outputs, by name."""
        return {str(part.name): self._of(part, outputs, y, counted, w) for part in self.parts[1:]}

    def _of(self, part: Part, outputs: Sequence[np.ndarray], y: Any, counted: Sequence[Any], w: Any) -> Score:
        found = score(
            outputs[part.place],
            np.asarray(dict(items(y))[part.key]),
            part.answer,
            self.metric,
            ignore=part.ignore,
            counted=counted[part.place] if counted else None,
            weights=dict(items(w)).get(part.key),
            target=part.target,
        )
        return replace(found, metric=f"{found.metric} of {part.name}") if len(self.parts) > 1 else found


def yardstick(model: Path, data: PreparedData, metric: str = "auto") -> Yardstick:
    """Of a ``.keras`` file and its data, without TensorFlow. Raises `CompressionError` for an unknown metric.

    A model that is not compiled is judged by the loss that training would use for it.
    """
    described = description({"kind": "keras", "path": model.name}, model.parent)
    target, y = preprocessing_of(data).target, data.train.y
    try:
        paired = pair(described, y)
        if not described["compiled"]:
            paired = [replace(one, loss=default_loss(one)) for one in paired]
    except ModelError as failure:
        raise CompressionError(f"data: {failure}") from None
    losses = [one.loss for one in paired]
    one_loss = losses[0] if len(losses) == 1 else losses
    read = answers(described, target, y, one_loss if not described["compiled"] else None)
    keys: list[Any] = [key for key, _ in items(y)]
    alone = len(read) == 1
    found = []
    for place, (answer, one) in enumerate(zip(read, paired or repeat(None, len(read)), strict=True)):
        if one is not None and (one.y is None or (one.loss is None and not alone)):
            continue
        key = next((key for key, part in items(y) if one is not None and part is one.y), keys[0])
        ignore = one.loss["ignore"] if one is not None and one.loss is not None else None
        found.append(Part(answer.name, place, answer, key, ignore, target if alone else Target()))
    names = compiled_metrics(model)
    outputs = [part.name for part in found if part.name is not None]
    if metric in outputs and not alone:
        found.sort(key=lambda part: part.name != metric)
        return Yardstick(tuple(found))
    if metric in METRICS:
        return Yardstick(tuple(found), metric)
    if metric not in names:
        known = ", ".join([*METRICS, *names, *(outputs if not alone else [])])
        raise CompressionError(
            f"metric: got {metric!r}; expected one of {known} (metrics that the model was compiled with may be named)"
        )
    return Yardstick(tuple(found), own=metric)


def load_outputs(path: Path) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """(outputs, for each where the model's mask says that a place counts) as `measure.predict_file` has stored them."""
    with np.load(path) as stored:
        names = sorted(name for name in stored.files if name.startswith("output"))
        masks = [name.replace("output", "mask") for name in names]
        return [stored[name] for name in names], [
            stored[name] if name in stored.files else None for name in masks
        ]


def own_score(call: Call, name: str, model: str, outputs: Path, targets: Sequence[Sequence[Any]]) -> Score:
    """The score by a metric that the model was compiled with, computed by Keras in a child; see `own_metrics`."""
    arrays, _ = load_outputs(outputs)
    for one in arrays:  # NaN is told in words
        check_finite(one)
    found = call(
        "lepton_kit.deploy.report.yardstick:own_metrics",
        model=model,
        outputs=str(outputs),
        targets=targets,
        only=name,
        resamples=OWN_RESAMPLES,
    ).get(name)
    if found is None:
        raise CompressionError(f"metric: Keras has not computed {name!r} of these outputs")
    draws = np.asarray(found["draws"])
    return Score(name, found["higher"], found["value"], *overlaps.interval(draws), draws, len(arrays[0]))


def labels_of(y: Any) -> np.ndarray | None:
    """The targets by whose classes a representative dataset is chosen: of several outputs the first one's."""
    parts = items(y)
    return np.asarray(parts[0][1]) if parts else None


def compiled_metrics(model: Path) -> list[str]:
    """Names of the metrics that the model of a ``.keras`` file was compiled with, as Keras' history has them."""
    compiled = read_config(model).get("compile_config") or {}
    given = [compiled.get("metrics"), compiled.get("weighted_metrics")]
    return list(dict.fromkeys(_names(given)))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        config = value.get("config")
        if isinstance(config, Mapping) and "class_name" in value:
            yield str(config.get("name"))
        elif "class_name" in value:
            yield str(config)
        else:
            for one in value.values():
                yield from _names(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _names(one)


def own_metrics(
    model: str,
    outputs: str,
    targets: Sequence[Sequence[Any]],
    only: str | None = None,
    resamples: int = 0,
) -> dict[str, dict[str, Any]]:
    """The values of the metrics that a model was compiled with, by name, of stored outputs and targets; in a child.

    ``higher`` says which way is better; ``draws`` are the values of ``only`` on so many resampled sets of samples.
    """
    import keras
    import tensorflow as tf

    from lepton_kit.compression.quantization.convert import load_keras

    network = load_keras(model)
    given = getattr(network, "_compile_metrics", None)
    if given is None:
        return {}
    with np.load(outputs) as stored:
        found = [stored[name] for name in sorted(stored.files) if name.startswith("output")]
    truth = [np.load(path) for _, path in targets]
    graph = getattr(network, "_functional", None) or network
    shaped = keras.tree.pack_sequence_as(graph._outputs_struct, found)
    if len(truth) == 1:
        known: Any = truth[0]
    else:
        known = {key: one for (key, _), one in zip(targets, truth, strict=True)}
        known = known if isinstance(targets[0][0], str) else truth

    def measured(rows: np.ndarray | None = None) -> dict[str, float]:
        part = (lambda a: a) if rows is None else (lambda a: a[rows])
        given.reset_state()
        y, y_pred = keras.tree.map_structure(part, known), keras.tree.map_structure(part, shaped)
        tensors = [keras.tree.map_structure(keras.ops.convert_to_tensor, one) for one in (y, y_pred)]
        if rows is None:
            given.update_state(*tensors)  # which also makes the variables
        else:
            update(*tensors)
        return {name: float(np.mean(value)) for name, value in given.result().items()}

    update = tf.function(
        lambda y, y_pred: given.update_state(y, y_pred)
    )  # a graph is much faster, 100 times over

    values = measured()
    better = {metric.name: _higher(metric) for metric in given.metrics}
    results: dict[str, dict[str, Any]] = {
        name: {"value": value, "higher": better.get(name.split("/")[-1], better.get(_last(name), True))}
        for name, value in values.items()
    }
    if only in results and resamples:
        generator, count = np.random.default_rng(0), len(found[0])
        results[only]["draws"] = [
            measured(generator.integers(0, count, count))[only] for _ in range(resamples)
        ]
    return results


def _last(name: str) -> str:
    return name.split("_")[-1]


def _higher(metric: Any) -> bool:
    """Which way is better: Keras' own metrics know it, of others the name has to say."""
    direction = getattr(metric, "_direction", None)
    if direction in ("up", "down"):
        return bool(direction == "up")
    return not any(word in str(metric.name).lower() for word in DOWN)
