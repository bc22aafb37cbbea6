"""Which variables get their gradient in slices, so that an embedding trains as in one process."""

from __future__ import annotations

from typing import Any

from lepton_kit.training.gather import LARGEST_INDEX
from lepton_kit.training.scope import call


def slices_per_sample(model: Any, inputs: Any) -> dict[int, int]:
    """Slices a sample in the gradient of each trainable variable, by its place, whose slices must stay apart.

    Found by looking at the gradients of one and of two samples: twice as many, for an embedding of the samples. A
    gradient that has as many for any batch (of positions, say) has no repeated rows, and is summed like the others.
    """
    if _is_linear(model.optimizer) or not _may_have_slices(model):
        return {}
    one, two = (_slices(model, inputs, rows) for rows in (1, 2))
    trained = model.trainable_variables
    return {
        k: count
        for k, count in one.items()
        if two.get(k) == 2 * count and trained[k].shape[0] < LARGEST_INDEX
    }


def _is_linear(optimizer: Any) -> bool:
    """Plain SGD adds gradients up, so that slices may be summed before it."""
    import keras

    clipped = any(getattr(optimizer, name, None) for name in ("clipnorm", "clipvalue", "global_clipnorm"))
    return type(optimizer) is keras.optimizers.SGD and not clipped


def _may_have_slices(model: Any) -> bool:
    import keras

    return any(
        isinstance(layer, keras.layers.Embedding) or type(layer).__module__.split(".")[0] != "keras"
        for layer in model._flatten_layers()
    )


def _slices(model: Any, inputs: Any, rows: int) -> dict[int, int]:
    import keras
    import tensorflow as tf

    x, y, w = inputs.unpack(inputs.sample(rows))
    trained = model.trainable_variables
    weights = [tf.convert_to_tensor(v.value) for v in trained]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        mapping = [*zip(trained, weights, strict=True)]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            predicted = call(model, x, training=True)
            loss = model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=w, training=True)
    found = tape.gradient(loss, weights)
    return {k: int(g.values.shape[0]) for k, g in enumerate(found) if isinstance(g, tf.IndexedSlices)}
