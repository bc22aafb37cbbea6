"""What several workers tell of the validation split is what plain Keras predicts, sample by sample."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import lepton_kit as lk

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("gathered", [False, True], ids=["added up", "gathered"])
def test_three_workers_of_unequal_shares_count_as_plain_keras(tmp_path, gathered):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Rescaling(1 / 16),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
    model = keras.Sequential(layers)
    # Keras' sum of cross-entropies is no mean, so that every rank computes it from all predictions.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum") if gathered else loss
    model.compile(keras.optimizers.SGD(1e-4 if gathered else 0.1), loss)
    run = lk.launch(
        model,
        lk.data.sample("digits"),
        workers=3,
        weights=(1.0, 2.0, 5.0),
        epochs=2,
        global_batch=64,
        runs_dir=tmp_path,
    ).wait(240)
    assert run.status == "finished", run.cause
    seen, held = run.predictions(), run.data().prepare().validation
    said = run.model().predict(np.asarray(held.x), verbose=0).argmax(1)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (np.asarray(held.y).ravel(), said), 1)
    np.testing.assert_array_equal(seen.counts, counts)
    assert [one.predicted for one in seen.examples] == [str(said[one.row]) for one in seen.examples]
    assert [one.epoch for one in run.view().predictions] == [0, 1]
