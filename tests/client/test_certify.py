"""The equivalence check on real workers, where it is hardest: ranks without samples, and statistics over all ranks."""

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.models import synchronize_batch_normalization

pytestmark = pytest.mark.processes


def test_synchronized_statistics_stay_exact_when_ranks_run_out_of_samples():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("tanh"),
            layers.Flatten(),
            layers.Dense(3, name="out"),
        ]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    generator = np.random.default_rng(0)
    x = generator.normal(3, 2, (33, 6, 6, 1)).astype(np.float32)
    data = lk.data.arrays(x, generator.integers(0, 3, 33), validation=(x[:3], np.arange(3)))
    found = lk.certify(
        synchronize_batch_normalization(model), data, workers=3, steps=6, global_batch=16, learning_rate=0.05
    )
    assert not found.inexact
    assert found.max_difference < 1e-5, found


def many() -> keras.Model:
    """An embedding, statistics over all ranks, and two outputs, whose losses and metrics differ."""
    layers = keras.layers
    inputs = keras.Input((5,), dtype="int32")
    inner = layers.GlobalAveragePooling1D()(layers.Embedding(12, 6, name="words")(inputs))
    inner = layers.Activation("tanh")(
        layers.BatchNormalization(name="norm")(layers.Dense(7, use_bias=False)(inner))
    )
    model = keras.Model(inputs, [layers.Dense(3, name="kind")(inner), layers.Dense(1, name="size")(inner)])
    model.compile(
        keras.optimizers.Adam(0.01),
        [keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mse"],
        metrics=[["accuracy"], ["mae"]],
    )
    return model


@pytest.mark.parametrize("allreduce", ["shared_memory", "horovod"])
def test_a_rank_that_never_has_a_sample_changes_nothing(allreduce):
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 12, (60, 5)).astype(np.int32)
    y = [generator.integers(0, 3, 60), generator.normal(size=(60, 1)).astype(np.float32)]
    found = lk.certify(
        synchronize_batch_normalization(many()), lk.data.arrays(x, y, validation_split=0.0),
        workers=3, weights=[2, 0, 1], steps=20, global_batch=12, allreduce=allreduce,
    )  # fmt: skip
    assert not found.inexact
    assert found.max_difference < 2e-6, found
