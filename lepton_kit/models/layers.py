"""Batch normalization whose statistics span the global batch, over all ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras

from lepton_kit.errors import ModelError
from lepton_kit.models.copying import give_weights

_counted: ContextVar[tuple[Any, bool, Any]] = ContextVar("counted", default=(None, False, None))


@contextlib.contextmanager
def counting(counted: Any, scaled: bool = False, collective: Any = None) -> Iterator[None]:
    """While a model is called: whether its samples count (1) or stand in for a rank that has none (0), a tensor.

    ``scaled``: gradients are taken of a loss that is multiplied by the rank's share already, not multiplied after.
    ``collective`` sums over the ranks; without one Horovod does, if it is initialised.
    """
    token = _counted.set((counted, scaled, collective))
    try:
        yield
    finally:
        _counted.reset(token)


@keras.saving.register_keras_serializable(package="lepton_kit")
class SyncBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the global batch: sums and counts are added up over the ranks.

    The step of a run does that as it sums gradients; elsewhere Horovod does. Where it is not initialised, or the world
    size is 1, it is the plain layer. Its gradients suit a
    training step that sums over ranks and weighs each rank's mean loss by ``b_r / B``, before it takes gradients
    (see `counting`) or after, so per-rank batches may differ. Moving statistics are equal on all ranks.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.supports_jit = False

    def _moments(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
        counted, scaled, collective = _counted.get()
        add = _addition(collective)
        if add is None:
            result: tuple[Any, Any] = super()._moments(inputs, mask)
            return result
        import tensorflow as tf

        counted = tf.ones((), inputs.dtype) if counted is None else tf.cast(counted, inputs.dtype)
        rows = counted if scaled else tf.cast(tf.shape(inputs)[0], inputs.dtype) * counted
        weight = tf.ones_like(inputs[..., :1]) if self._last_axis(inputs) else tf.ones_like(inputs)
        if mask is not None:
            weight = tf.broadcast_to(tf.cast(mask, inputs.dtype)[..., tf.newaxis], tf.shape(inputs))
        weight *= counted
        counts = tf.broadcast_to(tf.reduce_sum(weight, self._reduction_axes), (inputs.shape[self.axis],))
        first = tf.stack([tf.reduce_sum(inputs * weight, self._reduction_axes), counts])
        total = _sum_over_ranks(add, first, rows, f"{self.name}_mean")
        count = tf.maximum(tf.stop_gradient(total[1]), 1.0)
        mean = total[0] / count
        shape = [1] * len(inputs.shape)
        shape[self.axis] = -1
        squares = tf.reduce_sum(tf.square(inputs - tf.reshape(mean, shape)) * weight, self._reduction_axes)
        variance = _sum_over_ranks(add, squares, rows, f"{self.name}_variance") / count
        return mean, variance

    def _last_axis(self, inputs: Any) -> bool:
        return self.axis in (-1, len(inputs.shape) - 1)


def synchronize_batch_normalization(model: Any) -> Any:
    """A copy of a model with every BatchNormalization synchronized; weights and compile settings are kept.

    A model without such a layer is returned as it is. Raises `ModelError` for a subclassed model, whose layers
    only its own code can replace.
    """
    from lepton_kit.models.lepton import LeptonModel

    network = model.network if isinstance(model, LeptonModel) else model
    if not any(_plain(layer) for layer in network._flatten_layers()):
        return model

    def swap(layer: Any) -> Any:
        kind = SyncBatchNormalization if _plain(layer) else type(layer)
        return kind.from_config(layer.get_config())

    try:
        copy = keras.models.clone_model(network, clone_function=swap, recursive=True)
    except ValueError as failure:
        raise ModelError(
            f"model {network.name!r} ({type(network).__name__}): only functional and sequential models can be "
            "changed; use lepton_kit.models.layers.SyncBatchNormalization in the model's own code"
        ) from failure
    give_weights(copy, network.get_weights())
    if network.compiled:
        copy.compile_from_config(network.get_compile_config())
    return copy


def _plain(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and not isinstance(
        layer, SyncBatchNormalization
    )


Addition = Callable[[Any, str], Any]
"""The sum over ranks of a tensor, under a name."""


def _addition(collective: Any) -> Addition | None:
    """How tensors are summed over ranks; None where Horovod is not installed and nothing else does it."""
    import tensorflow as tf

    if collective is not None:

        def together(tensor: Any, name: str) -> Any:
            (total,) = collective.sum([], [tf.cast(tensor, tf.float32)], tf.constant(1.0))
            return tf.cast(total, tensor.dtype)

        return together
    try:
        import horovod.tensorflow as hvd
        from horovod.tensorflow import mpi_ops
    except ImportError:
        return None

    def allreduce(tensor: Any, name: str) -> Any:
        # The public hvd.allreduce asks for the world size while tracing, which may come before hvd.init().
        # Asked when the graph runs, not when it is traced: the world size may change between two steps.
        size = tf.numpy_function(lambda: hvd.size() if hvd.is_initialized() else 1, [], tf.int64)
        return tf.cond(
            size > 1,
            lambda: mpi_ops._allreduce(tensor, name=name, op=hvd.Sum),
            lambda: tf.identity(tensor),
        )

    return allreduce


def _sum_over_ranks(add: Addition, value: Any, rows: Any, name: str) -> Any:
    """Sum over ranks. A rank's gradient is that of the global mean loss, with the factor ``rows`` taken out again.

    ``rows`` is what the step multiplies its gradients by afterwards, up to the batch's size: 1 where it has scaled
    its loss before, 0 for a rank without samples.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def total(local: Any, count: Any) -> tuple[Any, Any]:
        def backward(upstream: Any) -> tuple[Any, Any]:
            # A rank with no samples has an undefined mean loss (0 / 0): it must count for nothing.
            weighted = tf.math.multiply_no_nan(upstream, tf.broadcast_to(count, tf.shape(upstream)))
            return add(weighted, f"{name}_gradient") / tf.maximum(count, 1.0), tf.zeros_like(count)

        return add(local, name), backward

    return total(value, rows)
