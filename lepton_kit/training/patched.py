"""A model's own training or test step, run on one rank's samples with the effect of the whole batch.

While the step is traced, the model's optimizers sum gradients over ranks, its loss and its metrics see the rows of all
ranks. The rules that follow for a `train_step` of the user's: it reaches its optimizers through `apply` or
`apply_gradients` the same way on every rank, and what it averages itself is a mean over its samples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lepton_kit.training.gather import Cut, gather_structure
from lepton_kit.training.norms import Norms
from lepton_kit.training.routes import is_own


def optimizers_of(model: Any) -> list[Any]:
    """Every Keras optimizer that the model or a model inside it holds as an attribute, each once."""
    import keras

    found: dict[int, Any] = {}
    for one in [model, *(layer for layer in model._flatten_layers() if isinstance(layer, keras.Model))]:
        for value in vars(one).values():
            if isinstance(value, keras.optimizers.Optimizer):
                found[id(value)] = value
    inner = {id(getattr(optimizer, "inner_optimizer", None)) for optimizer in found.values()}
    return [optimizer for key, optimizer in found.items() if key not in inner]


def trained_by(model: Any) -> list[list[int] | None]:
    """Of each of `optimizers_of` the places, among the model's variables, of what it was built for; None if it is not."""
    places = {id(variable): place for place, variable in enumerate(model.variables)}
    found: list[list[int] | None] = []
    for optimizer in optimizers_of(model):
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        known = (
            [places.get(id(variable)) for variable in inner._trainable_variables]
            if optimizer.built
            else [None]
        )
        found.append(None if None in known else [place for place in known if place is not None])
    return found


@contextlib.contextmanager
def over_all_ranks(
    model: Any,
    collective: Any,
    cut: Cut,
    *,
    sums: Sequence[int] = (),
    scalar: bool = False,
    seen: list[tuple[Any, Any]] | None = None,
    norms: Norms | None = None,
) -> Iterator[None]:
    """While a step of the model is traced or run: gradients, losses and metrics are those of the global batch.

    ``sums`` are places among the losses that layers add which are sums over samples; with ``scalar`` a loss that is
    one value a sample is shown as their mean. The targets and predictions of every loss that is computed go to ``seen``,
    the norms of what optimizers apply to ``norms``.
    """
    patches: list[tuple[Any, str, Any]] = []

    def patch(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        patches.append((owner, name, vars(owner).get(name)))
        # Past Keras' own __setattr__, which would track what is put there.
        object.__setattr__(owner, name, make(getattr(owner, name)))

    try:
        for optimizer in optimizers_of(model):
            patch(optimizer, "apply", lambda apply: _summed(apply, collective, cut, norms))
        for metric in model.metrics:
            patch(metric, "update_state", lambda update: _whole_arguments(update, collective, cut))
        needs_x = is_own(model, "compute_loss")
        patch(
            model,
            "compute_loss",
            lambda compute: _whole_loss(compute, collective, cut, needs_x, sums, scalar, seen),
        )
        yield
    finally:
        for owner, name, before in reversed(patches):
            if before is None:
                object.__delattr__(owner, name)
            else:
                object.__setattr__(owner, name, before)


def sum_gradients(
    collective: Any,
    gradients: Sequence[Any],
    scale: Any,
    note: Callable[[Sequence[Any], Sequence[Any]], None] | None = None,
) -> list[Any]:
    """Gradients of the ranks' own means, weighted by the cut and summed over ranks; None stays None.

    ``note`` hears of what this rank brings and of what comes out.
    """
    import tensorflow as tf

    present = [k for k, gradient in enumerate(gradients) if gradient is not None]
    dense = [tf.convert_to_tensor(gradients[k]) for k in present]
    scaled = [tf.math.multiply_no_nan(tf.cast(gradient, tf.float32), scale) for gradient in dense]
    sums = collective.sum([], [], scale, scaled) if dense else []
    if note is not None and dense:
        note(scaled, sums)
    found: list[Any] = [None] * len(gradients)
    for k, gradient, total in zip(present, dense, sums, strict=True):
        found[k] = tf.cast(total, gradient.dtype)
    return found


def mean_of_ranks(collective: Any, cut: Cut, values: Sequence[Any]) -> list[Any]:
    """Scalars (or arrays without a row per sample) that each rank has of its own samples: the mean by the cut."""
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(value) for value in values]
    if not tensors:
        return []
    # What counts samples is added up; all else is a mean.
    means = [tf.cast(tensor, tf.float32) for tensor in tensors if tensor.dtype.is_floating]
    counts = [tf.cast(tensor, tf.float32) for tensor in tensors if not tensor.dtype.is_floating]
    sums = iter(collective.sum(means, counts, cut.scale))
    ordered = [next(sums) if tensor.dtype.is_floating else None for tensor in tensors]
    ordered = [next(sums) if value is None else value for value in ordered]
    return [tf.cast(value, tensor.dtype) for value, tensor in zip(ordered, tensors, strict=True)]


def shared_logs(collective: Any, cut: Cut, logs: Any) -> Any:
    """What a step has returned, as plain tensors, equal on every rank."""
    import tensorflow as tf

    kept = (
        {name: value for name, value in logs.items() if value is not None} if isinstance(logs, dict) else logs
    )
    leaves = [tf.cast(tf.convert_to_tensor(leaf), tf.float32) for leaf in tf.nest.flatten(kept)]
    return tf.nest.pack_sequence_as(kept, mean_of_ranks(collective, cut, leaves))


def _summed(apply: Callable[..., Any], collective: Any, cut: Cut, norms: Norms | None) -> Callable[..., Any]:
    optimizer = getattr(apply, "__self__", None)

    def note(own: Sequence[Any], sums: Sequence[Any]) -> None:
        if norms is not None:
            norms.note([] if cut.idle else own, sums, cut.scale, optimizer, steps=0.0)

    def summed(grads: Any, trainable_variables: Any = None) -> Any:
        return apply(sum_gradients(collective, list(grads), cut.scale, note), trainable_variables)

    return summed


def _whole_loss(
    compute: Callable[..., Any],
    collective: Any,
    cut: Cut,
    needs_x: bool,
    sums: Sequence[int],
    scalar: bool,
    seen: list[tuple[Any, Any]] | None,
) -> Callable[..., Any]:
    import tensorflow as tf

    model: Any = getattr(compute, "__self__", None)

    def whole(
        x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **more: Any
    ) -> Any:
        parts = [gather_structure(collective, cut, part) for part in (y, y_pred, sample_weight)]
        parts.insert(0, gather_structure(collective, cut, x) if needs_x else None)
        if seen is not None:
            seen.append((parts[1], parts[2]))
        loss = compute(x=parts[0], y=parts[1], y_pred=parts[2], sample_weight=parts[3], **more)
        added = [one for layer in model._flatten_layers() for one in layer._losses] if sums else []
        for k in sums:
            loss += added[k] * (tf.math.divide_no_nan(1.0, cut.scale) - 1.0)
        return tf.reduce_mean(loss) if scalar else loss

    return whole


def _whole_arguments(update: Callable[..., Any], collective: Any, cut: Cut) -> Callable[..., Any]:
    """An `update_state` that sees the rows of all ranks, or the mean over ranks of what has no rows."""
    import tensorflow as tf

    def with_all(*arguments: Any, **named: Any) -> Any:
        leaves = tf.nest.flatten([arguments, named])
        tensors = [leaf if leaf is None else tf.convert_to_tensor(leaf) for leaf in leaves]
        rows = [k for k, t in enumerate(tensors) if t is not None and _has_rows(t, cut)]
        rest = [k for k, t in enumerate(tensors) if t is not None and k not in rows]
        found: list[Any] = [None] * len(leaves)
        wholes = [gather_structure(collective, cut, _masked(leaves[k], tensors[k])) for k in rows]
        means = mean_of_ranks(collective, cut, [tensors[k] for k in rest])
        for k, value in [*zip(rows, wholes, strict=True), *zip(rest, means, strict=True)]:
            found[k] = value
        arguments, named = tf.nest.pack_sequence_as([arguments, named], found)
        return update(*arguments, **named)

    return with_all


def _masked(leaf: Any, tensor: Any) -> Any:
    """The tensor of a leaf with the mask that Keras has hung on it."""
    from keras.src import backend

    mask = backend.get_keras_mask(leaf)
    if mask is not None and tensor is not leaf:
        backend.set_keras_mask(tensor, mask)
    return tensor


def _has_rows(tensor: Any, cut: Cut) -> bool:
    """Whether the first axis is that of the samples: open in a graph, as long as the rank's part without one."""
    import tensorflow as tf

    if not tensor.shape.rank:
        return False
    return tensor.shape[0] == max(1, int(cut.rows)) if tf.executing_eagerly() else tensor.shape[0] is None
