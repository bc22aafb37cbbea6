"""Which losses and metrics add up from the ranks' means, and which need the predictions of all ranks."""

import keras
import numpy as np
import pytest

from lepton_kit.models.loss_names import LOSSES, MEAN_FUNCTIONS, MEANS, OF_A_BATCH, SHORT, UNNAMED
from lepton_kit.training.inputs import Inputs
from lepton_kit.training.routes import is_own, losses_of, metrics_of, why_gathered

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
K = keras.ops


def built(loss="mse", metrics=None, y=None, model=None, **more):
    if model is None:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile("sgd", loss, metrics=metrics, **more)
    Inputs(model, (X, X if y is None else y, None)).build(model)
    return model


def own_loss(y, p):
    return K.mean(K.square(y - p), axis=-1)


class OwnMean(keras.metrics.MeanSquaredError):
    """A class of the user's, whatever it does."""


class OwnLoss(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(4)

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return K.sum(y_pred)


@pytest.mark.parametrize("loss", ["mse", "mae", keras.losses.Huber(), keras.losses.CosineSimilarity()])
def test_keras_means_add_up(loss):
    model = built(loss, metrics=["mae", keras.metrics.MeanSquaredError(), "cosine_similarity"])
    assert why_gathered(model, masked=False, weighted=False) is None
    assert why_gathered(model, masked=False, weighted=True) is None


@pytest.mark.parametrize(
    ("loss", "metrics", "word"),
    [
        (keras.losses.MeanSquaredError(reduction="sum"), None, "mean_squared_error"),
        (keras.losses.MeanSquaredError(reduction="none"), None, "mean_squared_error"),
        (keras.losses.Dice(), None, "dice"),
        (keras.losses.Tversky(), None, "tversky"),
        (own_loss, None, "own_loss"),
        ("mse", [own_loss], "own_loss"),
        ("mse", [OwnMean(name="mine")], "mine"),
    ],
)
def test_whatever_is_not_known_to_add_up_is_gathered_and_named(loss, metrics, word):
    assert word in why_gathered(built(loss, metrics), masked=False, weighted=False)


def test_an_ignored_class_is_gathered():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
    assert why_gathered(built(loss, y=np.zeros(2, np.int32)), masked=False, weighted=False)


def test_a_mask_and_a_mean_over_weights_are_gathered():
    assert "mask" in why_gathered(built(), masked=True, weighted=False)
    model = built(keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"))
    assert why_gathered(model, masked=False, weighted=False) is None
    assert why_gathered(model, masked=False, weighted=True)


def test_an_own_compute_loss_is_gathered_and_named():
    model = OwnLoss()
    model(X)
    assert "OwnLoss.compute_loss" in why_gathered(built(model=model), masked=False, weighted=False)
    assert is_own(model, "compute_loss")
    assert not is_own(model, "train_step")


def test_losses_and_metrics_are_found_one_by_one():
    model = built("mse", metrics=["mae", "mse"])
    assert [loss.name for loss in losses_of(model)] == ["mse"]
    assert len(list(metrics_of(model))) >= 2


def test_the_lists_name_things_that_keras_has():
    for name in MEANS:
        assert issubclass(getattr(keras.losses, name), keras.losses.Loss)
    for name in MEAN_FUNCTIONS:
        assert callable(getattr(keras.losses, name))
    for name in MEANS - UNNAMED:
        assert keras.losses.get(name).fn.__name__ in MEAN_FUNCTIONS


def test_a_loss_is_either_a_mean_over_samples_or_one_of_the_batch():
    assert not (MEANS | MEAN_FUNCTIONS) & OF_A_BATCH
    assert LOSSES == (MEANS - UNNAMED) | MEAN_FUNCTIONS | OF_A_BATCH | SHORT
