"""The pruning hook: in-graph masks, equal on equal ranks, kept over resume, exact at the end."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
import tensorflow as tf  # noqa: E402

from lepton_kit.compression.pruning import PruningHook, find_kernels, sparsity_report  # noqa: E402
from lepton_kit.config import PruningConfig  # noqa: E402
from lepton_kit.errors import CompressionError  # noqa: E402


def small(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="out"),
        ]
    )


def block_step(model, optimizer, loss):
    """The shape of the distributed loop: a while loop over steps in one graph, gradients, optimizer.apply."""

    @tf.function
    def block(x, y, first, last):
        step = first
        while step < last:
            with tf.GradientTape() as tape:
                values, _ = model.stateless_call(
                    [v.value for v in model.trainable_variables],
                    [v.value for v in model.non_trainable_variables],
                    x,
                    training=True,
                )
                cost = loss(y, values)
            gradients = tape.gradient(cost, [v.value for v in model.trainable_variables])
            optimizer.apply(gradients, model.trainable_variables)
            step += 1
        return step

    return block


def train(model, hook, digits, steps, first=0, log=None):
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    block = block_step(model, optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = (tf.constant(part[:128]) for part in digits[:2])
    step = first
    while step < steps:
        if hook.next_boundary(step) == step:
            report = hook.update(step)
            if log is not None:
                log.append((step, report["total"]))
        end = hook.next_boundary(step + 1)
        end = steps if end is None else min(end, steps)
        step = int(block(x, y, tf.constant(step), tf.constant(end)))
    if hook.next_boundary(step) == step:
        hook.update(step)
    return block


def test_masks_hold_between_updates_inside_the_graph(digits):
    model, log = small(), []
    hook = PruningHook(PruningConfig(sparsity=0.75, frequency=7, initial_sparsity=0.25), 40)
    hook.attach(model)
    block = train(model, hook, digits, 40, log=log)
    assert [step for step, _ in log] == [0, 7, 14, 21, 28, 30]
    assert [round(total, 2) for _, total in log][0] == 0.25
    report = sparsity_report(model)
    for kernel in find_kernels(model):
        size = int(np.prod(kernel.variable.shape))
        assert np.count_nonzero(np.asarray(kernel.variable.value) == 0) == round(0.75 * size)
    assert report["total"] == pytest.approx(0.75, abs=0.01)
    assert block.experimental_get_tracing_count() == 1
