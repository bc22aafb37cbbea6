"""Trains a situation on real workers and in plain Keras, and says how far the two are apart."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import lepton_kit as lk
from lepton_kit.config import RunConfig
from lepton_kit.data import sharding
from tests.conformance.table import Data, Situation, parts, take
from tests.conftest import SESSION, left_behind

SEED = 7
FACTOR = 4
WAIT_SECONDS = 240
"""A net against a run that hangs, not a measure of anything."""
PLACE = "LEPTON_CONFORMANCE_PLACE"
"""The environment variable that says where all workers sit: "gpu:0", say."""
if os.environ.get(PLACE):
    tf.config.experimental.enable_tensor_float_32_execution(
        False
    )  # which rounds in graphs, and not in what XLA compiles for fit


@dataclass
class Outcome:
    """What training left behind: weights by path, values by epoch, and the optimizer's variables where they are known."""

    weights: dict[str, np.ndarray]
    start: dict[str, np.ndarray]
    history: dict[str, list[float]]
    optimizer: list[np.ndarray] | None = None
    after: Any = None
    warnings: list[str] = field(default_factory=list)


class Batches(keras.utils.PyDataset):
    """The global batches in the order that the kit documents, with the rows inside each permuted if asked."""

    def __init__(self, data: Data, config: RunConfig, *, shuffle: bool, epoch: int, permuted: bool):
        super().__init__()
        training = config.training
        self.data, self.seed, self.batch, self.shuffle = data, config.seed, training.global_batch, shuffle
        self.steps = training.steps_per_epoch or sharding.steps_per_epoch(len(data), self.batch)
        self.epoch, self.permuted = epoch - 1, permuted

    def __len__(self) -> int:
        return self.steps

    def on_epoch_begin(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        step = max(self.epoch, 0) * self.steps + index
        pass_over, within = sharding.position(step, len(self.data), self.batch)
        order = (
            sharding.epoch_order(self.seed, pass_over, len(self.data))
            if self.shuffle
            else np.arange(len(self.data))
        )
        rows = np.array(order[within * self.batch : (within + 1) * self.batch])
        if self.permuted:
            rows = np.random.default_rng(step).permutation(rows)
        return parts(*(_tensors(take(part, rows)) for part in (self.data.x, self.data.y, self.data.w)))


def _tensors(value: Any) -> Any:
    """Rows in the types that Keras' adapter for arrays makes of them."""
    if isinstance(value, dict):
        return {name: _tensors(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_tensors(part) for part in value)
    if value is None or value.dtype.kind not in "fUSO":
        return value
    return tf.constant(value) if value.dtype.kind in "USO" else value.astype(keras.config.floatx())


def reference(situation: Situation, config: RunConfig, folder: Path, *, permuted: bool) -> Outcome:
    """The user's own object in plain `model.fit`, one call, in this process."""
    with made(situation, (situation.reference or situation.make)) as model:
        folder.mkdir()
        known = dict(situation.fit)
        data = (
            situation.data.split(known.pop("validation_split", 0.0))
            if "validation_split" in known
            else situation.data
        )
        known.pop("steps_per_epoch", None)  # the batches below know how many there are
        shuffle = situation.shuffle and known.pop("shuffle", True)
        callbacks = situation.callbacks(folder) if situation.callbacks else []
        start = weights(model)
        batches = Batches(
            data, config, shuffle=shuffle, epoch=known.get("initial_epoch", 0), permuted=permuted
        )
        validation = data.validation
        history = model.fit(
            batches,
            epochs=situation.epochs,
            validation_data=tuple(as_keras(part) for part in validation) if validation else None,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
            **{"validation_batch_size": situation.batch, **known},
        )
        return Outcome(
            weights(model),
            start,
            numbers(history.history),
            optimizer(model),
            situation.after(callbacks, folder) if situation.after else None,
        )


def as_keras(value: Any) -> Any:
    """Arrays as plain `fit` takes them: text as tensors, lists as tuples."""
    if isinstance(value, dict):
        return {name: as_keras(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(as_keras(part) for part in value)
    return tf.constant(value) if value is not None and value.dtype.kind in "USO" else value


def trained(situation: Situation, folder: Path) -> tuple[Outcome, RunConfig]:
    """The same object trained by workers."""
    with made(situation, situation.make) as model:
        start = weights(model)
        run, history, callbacks = begin(situation, model, folder)
        if history is None:
            assert untouched(weights(model), start), "launch changed the user's own model"
            run.wait(WAIT_SECONDS)
            model = run.model()
            history = {
                name: list(values)
                for name, values in run.epochs.items()
                if name not in ("epoch", "step", "seconds")
            }
        assert run.status == "finished", f"{run.status}: {run.cause}"
        return Outcome(
            weights(model),
            start,
            numbers(history),
            optimizer(model) if situation.via == "fit" else None,
            situation.after(callbacks, folder) if situation.after else None,
            warnings(run),
        ), run.config


def begin(situation: Situation, model: Any, folder: Path) -> tuple[lk.Run, dict[str, Any] | None, list[Any]]:
    """Start (`launch`) or do (`lk.fit`) what a situation asks for: the run, the history if it is over, the callbacks."""
    folder.mkdir(exist_ok=True)
    data = situation.data
    options: dict[str, Any] = {
        "workers": situation.workers,
        "epochs": situation.epochs,
        "threads": 1,
        "seed": SEED,
    }
    options["runs_dir"] = folder / "runs"
    if place := os.environ.get(PLACE):
        options["places"] = [place] * situation.workers
    callbacks = situation.callbacks(folder) if situation.callbacks else []
    if callbacks:
        options["callbacks"] = callbacks
    known = dict(situation.fit)
    if situation.via == "fit":
        arguments, more = situation.given(data) if situation.given else ((data.x, data.y), {})
        if situation.given is None:
            more = {"sample_weight": data.w, "batch_size": situation.batch}
        if data.validation and "validation_data" not in more:
            more["validation_data"] = data.validation
        history = lk.fit(model, *arguments, **{**options, "verbose": 0, **more, **known, **situation.options})
        return history.run, history.history, callbacks
    extra = {"sample_weight": data.w} if data.w is not None else {}
    if "class_weight" in known:
        extra["class_weight"] = known.pop("class_weight")
    source = lk.data.arrays(data.x, data.y, validation=data.validation, validation_split=0.0, **extra)
    if "batch_size" not in situation.options:
        options["global_batch"] = situation.batch
    return lk.launch(model, source, **{**options, **known, **situation.options}), None, callbacks


@contextlib.contextmanager
def made(situation: Situation, make: Any) -> Iterator[Any]:
    """The model of a situation from a known seed, under its dtype policy; nothing of it stays in Keras' state."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(situation.policy or "float32")
    try:
        yield make()
    finally:
        keras.config.set_dtype_policy(before)


def weights(model: Any) -> dict[str, np.ndarray]:
    """Every weight by its path (numbered, as paths need not be unique)."""
    model = getattr(model, "network", model)
    return {f"{k} {variable.path}": variable.numpy() for k, variable in enumerate(model.weights)}


def optimizer(model: Any) -> list[np.ndarray] | None:
    """The variables of the model's optimizer in order."""
    known = getattr(getattr(model, "network", model), "optimizer", None)
    return None if known is None else [variable.numpy() for variable in known.variables]


def warnings(run: lk.Run) -> list[str]:
    """What the run's log warns of."""
    with run.paths.events.open(encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    return [event["text"] for event in events if event["kind"] == "warning"]


def processes() -> set[int]:
    """What this session has started and what still lives."""
    return {process.pid for process in left_behind(SESSION)}


def untouched(found: dict[str, np.ndarray], start: dict[str, np.ndarray]) -> bool:
    """Whether a model's weights are what they were; a model that was not built had none."""
    return not start or all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(found.values(), start.values(), strict=True)
    )


def compare(found: Outcome, plain: Outcome, permuted: Outcome, situation: Situation) -> list[str]:
    """One line for each quantity that is farther from plain Keras than plain Keras is from itself; empty if none."""
    wrong = []

    def check(what: str, mine: Any, theirs: Any, other: Any) -> None:
        mine, theirs, other = (np.asarray(value, np.float64) for value in (mine, theirs, other))
        if mine.shape != theirs.shape:
            wrong.append(f"{what}: {mine.tolist()!s:.200} where plain Keras has {theirs.tolist()!s:.200}")
            return
        size = max(1.0, float(np.max(np.abs(theirs), initial=0.0, where=np.isfinite(theirs))))
        noise, distance = largest(theirs, other), largest(theirs, mine)
        if not noise <= situation.ceiling * size:
            wrong.append(
                f"{what}: plain Keras differs from itself by {noise:.1e}: this situation can tell nothing"
            )
        elif not distance <= max(situation.floor * size, FACTOR * noise):
            wrong.append(
                f"{what}: {distance:.1e} apart; plain Keras from itself {noise:.1e}; {_short(theirs)}, not {_short(mine)}"
            )

    check(
        "weights",
        *(
            np.concatenate([value.ravel() for value in one.weights.values()] or [[]])
            for one in (found, plain, permuted)
        ),
    )
    for name in plain.history:
        if name not in found.history:
            wrong.append(f"history lacks {name}; it has {', '.join(found.history)}")
        else:
            check(
                f"history of {name}",
                known(found.history[name], plain.history[name]),
                plain.history[name],
                permuted.history[name],
            )
    if found.optimizer is not None and plain.optimizer is not None:
        if [value.shape for value in found.optimizer] != [value.shape for value in plain.optimizer]:
            wrong.append("the optimizer's variables are others")
        else:
            check(
                "optimizer",
                *(
                    np.concatenate([value.ravel() for value in one.optimizer or []])
                    for one in (found, plain, permuted)
                ),
            )
        for name in sorted(set(found.history) - set(plain.history)):
            wrong.append(f"history has {name}, which plain Keras has not")
    if situation.after is not None:
        numbers = [np.array(_flat(one.after), np.float64) for one in (found, plain, permuted)]
        check("callbacks", *numbers)
        if _texts(found.after) != _texts(plain.after):
            wrong.append(f"callbacks: {_texts(found.after)} where plain Keras has {_texts(plain.after)}")
    return wrong


def known(values: list[float], expected: list[float]) -> list[float]:
    """Without the epochs that were not validated, which `run.epochs` holds as gaps and a History leaves out."""
    return values if len(values) == len(expected) else [value for value in values if not np.isnan(value)]


def largest(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; equal infinities and two NaN are no difference."""
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.max(np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)), initial=0.0))


def moved(outcome: Outcome) -> float:
    """How far training went from where it began; without end where the model was built on the way."""
    if not outcome.start:
        return float("inf")
    pairs = zip(outcome.start.values(), outcome.weights.values(), strict=True)
    return max((largest(a, b) for a, b in pairs), default=0.0)


def numbers(history: dict[str, list[Any]]) -> dict[str, list[float]]:
    """A history in numbers: a gap is NaN, a vector is one quantity for each of its places."""
    found: dict[str, list[float]] = {}
    for name, values in history.items():
        rows = [np.asarray(np.nan if value is None else value, np.float64) for value in values]
        for place in range(max((row.size for row in rows), default=1)):
            vector = any(row.ndim for row in rows)
            found[f"{name}_{place}" if vector else name] = [float(row.ravel()[place]) for row in rows]
    return found


def _short(values: np.ndarray) -> str:
    return str(np.round(values, 7).tolist()) if values.size <= 6 else f"{values.size} values"


def _flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for part in value for number in _flat(part)]
    return [] if isinstance(value, str) or value is None else [float(number) for number in np.ravel(value)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = [*map(str, value), *value.values()]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else ["None"] if value is None else []
