"""The pruning hook: in-graph masks, equal on equal ranks, kept over resume, exact at the end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.compression.pruning.callback import PruningCallback
from lepton_kit.compression.pruning.magnitude import PruningHook, find_kernels, sparsity_report
from lepton_kit.config import PruningConfig
from lepton_kit.errors import CompressionError


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
    assert next(round(total, 2) for _, total in log) == 0.25
    report = sparsity_report(model)
    for kernel in find_kernels(model):
        size = int(np.prod(kernel.variable.shape))
        assert np.count_nonzero(np.asarray(kernel.variable.value) == 0) == round(0.75 * size)
    assert report["total"] == pytest.approx(0.75, abs=0.01)
    assert block.experimental_get_tracing_count() == 1


def wide():
    x = keras.Input((12, 6), name="signal")
    inner = keras.Sequential([keras.Input((12, 6)), keras.layers.Conv1D(8, 3, name="deep")], name="encoder")
    y = keras.layers.SeparableConv1D(12, 3, name="separable")(inner(x))
    y = keras.layers.Bidirectional(keras.layers.GRU(4), name="both")(y)
    return keras.Model(x, keras.layers.Dense(3, name="out")(y))


def test_every_kernel_is_found_under_the_name_a_user_knows():
    found = [(kernel.layer, kernel.variable.name) for kernel in find_kernels(wide())]
    assert found[:3] == [
        ("encoder/deep", "kernel"),
        ("separable", "depthwise_kernel"),
        ("separable", "pointwise_kernel"),
    ]
    assert [name for _, name in found[3:7]] == ["kernel", "recurrent_kernel"] * 2
    assert all(layer.startswith("both/") for layer, _ in found[3:7])
    words = keras.Sequential([keras.Input((6,)), keras.layers.Embedding(5, 4, name="words")])
    assert [kernel.layer for kernel in find_kernels(words, embeddings=True)] == ["words"]


def test_masks_of_equal_ranks_are_equal_and_survive_a_resume(digits):
    config = PruningConfig(sparsity=0.8, frequency=5, end_step=20, scope="global")
    model, hook = small(), PruningHook(config, 40)
    hook.attach(model)
    train(model, hook, digits, 12)

    twin, joined = small(seed=9), PruningHook(config, 40)  # a process that joins later
    joined.attach(twin)
    assert len(joined.state_variables) == len(hook.state_variables) == 3
    for theirs, mine in zip(
        [*twin.variables, *joined.state_variables], [*model.variables, *hook.state_variables], strict=True
    ):
        theirs.assign(mine.value)
    assert hook.update(15) == joined.update(15)
    for theirs, mine in zip(joined.state_variables, hook.state_variables, strict=True):
        np.testing.assert_array_equal(theirs.value, mine.value)
    train(twin, joined, digits, 40, first=16)
    joined.finish()
    assert sparsity_report(twin)["total"] == pytest.approx(0.8, abs=0.001)


def test_own_constraints_work_on_and_come_back(digits):
    model = small()
    norm = keras.constraints.MaxNorm(0.5)
    model.get_layer("hidden").kernel.constraint = norm
    hook = PruningHook(PruningConfig(sparsity=0.5, frequency=5), 10)
    hook.attach(model)
    train(model, hook, digits, 10)
    hook.finish()
    kernel = np.asarray(model.get_layer("hidden").kernel.value)
    assert np.linalg.norm(kernel, axis=0).max() <= 0.501
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)
    assert model.get_layer("hidden").kernel.constraint is norm
    assert model.get_layer("conv").kernel.constraint is None
    assert hook.state_variables == []


def test_skipped_frozen_and_unfit_layers_stay_dense_and_are_named():
    model = small()
    model.get_layer("hidden").trainable = False
    hook = PruningHook(PruningConfig(sparsity=0.5, pattern="2:4", skip=("out",)), 10)
    with pytest.raises(
        CompressionError, match=r"every kernel.*conv: its reduction size 9 is no multiple of 4"
    ):
        hook.attach(model)
    hook = PruningHook(PruningConfig(sparsity=0.5, skip=("out",)), 10)
    hook.attach(model)
    assert hook.left_dense == {"hidden": "not trainable", "out": "named in pruning.skip"}
    report = hook.update(8)
    assert report["sparsity"] == {"conv": 0.5, "hidden": 0, "out": 0}


def test_two_of_four_in_a_model(digits):
    model = small()
    hook = PruningHook(PruningConfig(pattern="2:4", frequency=5), 20)
    hook.attach(model)
    assert list(hook.left_dense) == ["conv"]
    train(model, hook, digits, 20)
    hook.finish()
    kernel = np.asarray(model.get_layer("hidden").kernel.value)
    assert np.all(np.count_nonzero(kernel.reshape(-1, 4, kernel.shape[1]) == 0, axis=1) == 2)


def test_callback_prunes_in_fit_and_leaves_the_model_free(digits):
    model = small()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    callback = PruningCallback(PruningConfig(sparsity=0.7, frequency=10))
    model.fit(digits[0][:640], digits[1][:640], batch_size=32, epochs=3, verbose=0, callbacks=[callback])
    assert [entry["step"] for entry in callback.history] == [0, 10, 20, 30, 40, 45]
    assert callback.history[-1]["total"] == pytest.approx(0.7, abs=0.01)
    assert sparsity_report(model)["total"] == pytest.approx(0.7, abs=0.01)
    assert model.evaluate(digits[2], digits[3], verbose=0)[1] > 0.3  # guessing gives 0.1
    model.fit(digits[0][:64], digits[1][:64], verbose=0)
    assert sparsity_report(model)["total"] < 0.1  # nothing masks any more


def test_refusals():
    with pytest.raises(CompressionError, match=r"pruning.skip: no layer 'hiden'.*did you mean 'hidden'"):
        PruningHook(PruningConfig(skip=("hiden",)), 10).attach(small())
    with pytest.raises(CompressionError, match="not built"):
        PruningHook(PruningConfig(), 10).attach(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(CompressionError, match="no kernel"):
        sparsity_report(keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]))
    hook = PruningHook(PruningConfig(), 10)
    with pytest.raises(CompressionError, match=r"call attach\(model\) first"):
        hook.update(0)
    hook.attach(small())
    with pytest.raises(CompressionError, match="attached already"):
        hook.attach(small())
    callback = PruningCallback(PruningConfig())
    callback.set_params({"epochs": 2, "steps": None})
    with pytest.raises(CompressionError, match="total_steps: got None"):
        callback.on_train_begin()
