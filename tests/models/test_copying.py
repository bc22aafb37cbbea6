"""Weights that go into a copy count there: also those from which Keras derives more while it reads a file."""

import keras
import numpy as np

from lepton_kit.models.copying import give_weights
from lepton_kit.models.layers import synchronize_batch_normalization


def test_an_adapted_normalization_is_the_same_in_a_copy():
    norm = keras.layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(5, 3, (100, 4)).astype("f4"))
    inner = keras.Sequential([keras.Input((4,)), norm])
    model = keras.Sequential(
        [keras.Input((4,)), inner, keras.layers.Dense(3), keras.layers.BatchNormalization()]
    )
    x = np.random.default_rng(1).normal(5, 3, (8, 4)).astype("f4")
    copy = keras.models.clone_model(model)
    give_weights(copy, model.get_weights())
    np.testing.assert_array_equal(copy(x), model(x))
    np.testing.assert_allclose(synchronize_batch_normalization(model)(x), model(x), atol=1e-6)
