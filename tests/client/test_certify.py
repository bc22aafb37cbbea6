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
