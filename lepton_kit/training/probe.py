"""Tries a model on a few samples before it is launched: do two ranks compute what one process computes?

No list of layers: one batch is trained whole by plain Keras and cut in two by the kit's own step, and the updates
must agree. Where they do not, the layer that mixes samples is looked for, so that it can be named.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_kit.errors import LeptonError, ModelError
from lepton_kit.training.inputs import Inputs
from lepton_kit.training.own import OwnStep
from lepton_kit.training.patched import optimizers_of
from lepton_kit.training.scope import call
from lepton_kit.training.step import Block, Step, has_own_step
from lepton_kit.training.variables import is_seed

CUT = (1, 3)
TOLERANCE = 1e-3
"""Of the largest update. What is not a mean over samples is off by a quarter and more for this cut."""
COARSE = 0.1
"""The same where layers compute with 8 or 11 bits of precision."""
PATIENCE_SECONDS = 60.0
OTHER_SEED = 20261126


class MemoryRing:
    """The sums of a collective among threads of one process."""

    def __init__(self, size: int):
        self._barrier = threading.Barrier(size)
        self._parts: dict[int, list[np.ndarray]] = {}
        self._lock = threading.Lock()

    def sum(
        self, means: Sequence[Any], totals: Sequence[Any], scale: Any, gradients: Sequence[Any] = ()
    ) -> list[Any]:
        """Sum over the threads that play ranks, as workers would."""
        import tensorflow as tf

        share = float(scale)
        mine = [share * np.asarray(value, np.float32) for value in means]
        mine += [np.asarray(value, np.float32) for value in (*totals, *gradients)]
        with self._lock:
            self._parts[threading.get_ident()] = mine
        self._barrier.wait(PATIENCE_SECONDS)
        found = [np.sum(parts, axis=0) for parts in zip(*self._parts.values(), strict=True)]
        self._barrier.wait(PATIENCE_SECONDS)
        with self._lock:
            self._parts.pop(threading.get_ident())
        self._barrier.wait(PATIENCE_SECONDS)
        return [tf.convert_to_tensor(value) for value in found]

    def agree(self, vector: np.ndarray) -> np.ndarray:
        """The same vector summed over ranks."""
        return np.asarray(self.sum([], [vector], 1.0)[0])

    def abort(self) -> None:
        """Wake the ranks that wait for one another."""
        self._barrier.abort()


def findings(load: Callable[[], Any], rows: tuple[Any, Any, Any]) -> list[str]:
    """What two ranks would compute otherwise, in sentences; empty if nothing.

    ``load`` gives a fresh copy of the compiled model, ``rows`` are four samples as (x, y, weights). Raises
    `ModelError` for a `train_step` of the user's whose update can't be put together from parts.
    """
    import tensorflow as tf

    reference = load()
    seeds, common = _seeds(reference), _common_seed()
    whole = _update_of_keras(reference, rows)
    if _common_seed() != common:
        noise = f"model {reference.name!r} draws random numbers without a seed of its own, other ones on each worker"
        return [noise, *_mixing(load(), rows, training=False)]
    if any(not np.array_equal(before, after) for before, after in zip(seeds, _seeds(reference), strict=True)):
        # It draws random numbers, which is said of its layers; what they mix can be seen without the noise alone.
        return _mixing(load(), rows, training=False)
    coarse = any(layer.compute_dtype in ("float16", "bfloat16") for layer in reference._flatten_layers())
    tolerance = COARSE if coarse else TOLERANCE
    other = load()
    tf.random.set_seed(OTHER_SEED)  # what draws past Keras' generators draws otherwise now
    if _differ(_update_of_keras(other, rows), whole, tolerance):
        return [f"model {reference.name!r} draws random numbers: no two trainings of it are equal"]
    parts = _update_of_ranks([load(), load()], rows)
    worst = _differ(parts, whole, tolerance)
    if not worst:
        return []
    mixing = _mixing(load(), rows, training=True)
    if mixing:
        return mixing
    if has_own_step(reference):
        raise ModelError(
            f"model {reference.name!r}: its own train_step does not train the mean over the samples of its batch (the "
            f"update of {worst} from two parts differs from that of the whole): take means over samples, and reach the "
            "optimizer through optimizer.apply or apply_gradients"
        )
    added = "a loss that a layer adds" if reference.losses else "the loss"
    return [f"model {reference.name!r}: {added} is neither a mean nor a sum over the samples of a batch"]


def _update_of_keras(model: Any, rows: tuple[Any, Any, Any]) -> dict[str, np.ndarray]:
    import keras

    before = _plain_descent(model)
    inputs = Inputs(model, rows)
    try:
        model.train_step(keras.utils.pack_x_y_sample_weight(*inputs.unpack(inputs.sample(len(inputs)))))
    except Exception as failure:
        raise _cannot_train(model, rows, failure) from failure
    return _moved(model, before)


def check_loss(model: Any, rows: tuple[Any, Any, Any]) -> None:
    """Compute the compiled loss of a few samples. Raises `ModelError` with Keras' own words where that fails.

    Nothing of the model changes but that Keras builds its loss on the first batch, as `fit` does.
    """
    import keras

    if not model.compiled or has_own_step(model):
        return
    inputs = Inputs(model, rows)
    x, y, w = inputs.unpack(inputs.sample(len(inputs)))
    mapping = [(v, v.value) for v in model.trainable_variables]
    try:
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            predicted = call(model, x, training=False)
            model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=w, training=False)
    except Exception as failure:
        raise _cannot_train(model, rows, failure) from failure


def _cannot_train(model: Any, rows: tuple[Any, Any, Any], failure: Exception) -> ModelError:
    import tensorflow as tf

    weighted = " with the given sample_weight" if rows[2] is not None else ""
    if any(np.asarray(part).dtype.kind in "SUO" for part in tf.nest.flatten(rows[0])):
        weighted = ", which are text"
    return ModelError(
        f"model {model.name!r} cannot be trained on these data{weighted}; plain Keras says: {_line(failure)}"
    )


def _line(failure: BaseException) -> str:
    """The first line of an error that says something, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(failure))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception encountered", "Arguments received"))]
    return (said or lines or [type(failure).__name__])[0][:300]


def _update_of_ranks(copies: list[Any], rows: tuple[Any, Any, Any]) -> dict[str, np.ndarray]:
    ring, failures, total = MemoryRing(len(copies)), [], sum(CUT)
    befores = [_plain_descent(model) for model in copies]

    def train(rank: int) -> None:
        try:
            model, offset = copies[rank], sum(CUT[:rank])
            own = slice(offset, offset + CUT[rank])
            if has_own_step(model):
                model.run_eagerly = True
            step = (OwnStep if has_own_step(model) else Step)(
                model, ring, _rows(rows, slice(0, 2)), batch=total
            )
            step.try_once(_block(rows, own, rank, offset, CUT[rank], total))
        except BaseException as failure:
            failures.append(failure)
            ring.abort()

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(len(copies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [one for one in failures if not isinstance(one, threading.BrokenBarrierError)]
    if told and isinstance(told[0], LeptonError):
        raise told[0]
    if told:
        raise ModelError(
            f"model {copies[0].name!r}: its step cannot be put together from the parts of a batch that two workers have "
            f"({_line(told[0])}); what it adds up must have one shape for any number of samples"
        ) from told[0]
    return _moved(copies[0], befores[0])


def _block(rows: Any, own: slice, rank: int, offset: int, count: int, total: int) -> Block:
    import tensorflow as tf

    def lead(part: Any) -> Any:
        return None if part is None else tf.nest.map_structure(lambda a: a[None], part)

    x, y, w = (lead(part) for part in _rows(rows, own))
    whole = (lead(rows[0]), lead(rows[1]), lead(rows[2]))
    return Block(x, y, w, whole, np.zeros((1, 6), np.float32), rank, offset, count, total)


def _plain_descent(model: Any) -> list[np.ndarray]:
    """Give the model optimizers whose update is the gradient; returns the weights before it."""
    import keras

    for optimizer in optimizers_of(model):
        plain = keras.optimizers.SGD(1.0)
        for name, value in list(vars(model).items()):
            if value is optimizer:
                setattr(model, name, plain)
    return [np.array(v.numpy()) for v in model.trainable_variables]


def _moved(model: Any, before: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The updates, by place and name: copies of one model may call their variables otherwise."""
    pairs = zip(model.trainable_variables, before, strict=True)
    return {f"{k}: {v.name}": v.numpy() - was for k, (v, was) in enumerate(pairs)}


def _differ(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance: float) -> str | None:
    """The variable whose updates differ most; None if all agree."""
    largest = max((float(np.max(np.abs(value), initial=0)) for value in other.values()), default=0.0)
    worst, most = None, tolerance * largest + 1e-7
    for (name, value), mine in zip(other.items(), one.values(), strict=True):
        difference = float(np.max(np.abs(mine.astype(np.float64) - value), initial=0))
        if not difference <= most:
            worst, most = name, difference
    return worst


def _mixing(model: Any, rows: tuple[Any, Any, Any], training: bool) -> list[str]:
    """The first layer, in the order of calls, whose outputs for the whole batch are not those for its parts."""
    import keras
    import tensorflow as tf

    seen: list[tuple[Any, list[Any]]] = []

    def watch(layer: Any) -> None:
        inner = layer.call

        def watched(*arguments: Any, **named: Any) -> Any:
            result = inner(*arguments, **named)
            seen.append((layer, [t for t in tf.nest.flatten(result) if tf.is_tensor(t) and t.shape.rank]))
            return result

        object.__setattr__(layer, "call", watched)

    layers = [
        layer for layer in model._flatten_layers(include_self=False) if not getattr(layer, "_layers", None)
    ]
    for layer in layers:
        watch(layer)
    found = []
    for part in (slice(0, 4), slice(0, 4), slice(0, 1), slice(1, 4)):
        seen.clear()
        x, _, _ = _rows(rows, part)
        try:
            with keras.StatelessScope():
                call(model, Inputs(model, rows).cast(x), training=training)
        except Exception:
            return []  # a model that only its own train_step knows how to use, as a GAN
        found.append(list(seen))
    for (layer, whole), (_, again), (_, first), (_, rest) in zip(*found, strict=False):
        named = f"layer {layer.name!r} ({type(layer).__name__})"
        for a, a2, b, c in zip(whole, again, first, rest, strict=False):
            if a.shape[0] != 4 or not a.dtype.is_floating:
                continue
            if not np.allclose(a, a2, rtol=1e-3, atol=1e-5, equal_nan=True):
                return [f"{named} draws random numbers, other ones on each worker"]
            if not np.allclose(a, tf.concat([b, c], 0), rtol=1e-3, atol=1e-5, equal_nan=True):
                return [
                    f"{named} looks at several samples of a batch together: on several workers it sees those of its own "
                    "rank alone"
                ]
    return []


def _common_seed() -> list[int] | None:
    """The state of the generator that Keras' functions draw from where they are given no seed; None if none has."""
    from keras.src.backend.common import global_state

    generator = global_state.get_global_attribute("global_seed_generator")
    return None if generator is None else np.asarray(generator.state).tolist()


def _seeds(model: Any) -> list[np.ndarray]:
    return [v.numpy() for v in model.non_trainable_variables if is_seed(v)]


def _rows(rows: tuple[Any, Any, Any], part: slice) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    x, y, w = (None if one is None else tf.nest.map_structure(lambda a: a[part], one) for one in rows)
    return x, y, w
