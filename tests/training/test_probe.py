"""A model is tried on two ranks in threads: what is exact passes, what is not is named, an own step that can't is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.errors import ModelError
from lepton_kit.training import probe

L, K = keras.layers, keras.ops
GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.normal(size=(4, 8)).astype(np.float32), GENERATOR.integers(0, 3, 4)


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Centre(L.Layer):
    """Subtracts the batch's mean."""

    def call(self, x):
        return x - K.mean(x, axis=0, keepdims=True)


class AddSum(L.Layer):
    def call(self, x):
        self.add_loss(0.1 * K.sum(K.square(x)))
        return x


class AddMean(L.Layer):
    def call(self, x):
        self.add_loss(0.1 * K.mean(K.square(x)))
        return x


class AddLargest(L.Layer):
    def call(self, x):
        self.add_loss(0.1 * K.max(x))
        return x


class Noise(L.Layer):
    """Draws from TensorFlow, past Keras' generators."""

    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class OwnStep(keras.Model):
    def __init__(self, loss):
        super().__init__()
        self.dense, self.how = L.Dense(3), loss

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x, y, predicted) if self.how == "mean" else tf.reduce_sum(predicted**2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def stack(*layers, loss=None):
    def load():
        keras.utils.set_random_seed(1)
        inside = [layer() for layer in layers]
        model = keras.Sequential(
            [keras.Input((8,)), L.Dense(8, activation="tanh"), *inside, L.Dense(3, name="out")]
        )
        model.compile("adam", loss or cross_entropy(), metrics=["accuracy"])
        return model

    return load


def own(loss):
    def load():
        keras.utils.set_random_seed(1)
        model = OwnStep(loss)
        model(X[:1])
        model.compile("adam", cross_entropy())
        return model

    return load


def squared_batch(y, p):
    return K.mean(keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)) ** 2


@pytest.mark.parametrize(
    "load",
    [
        stack(),
        stack(AddSum),
        stack(AddMean),
        stack(loss=squared_batch),
        own("mean"),
        stack(lambda: L.Dropout(0.5)),
    ],
    ids=["plain", "a sum", "a mean", "a loss of the batch", "an own step", "dropout"],
)
def test_what_parts_give_like_the_whole_passes(load):
    assert probe.findings(load, (X, Y, None)) == []


@pytest.mark.parametrize(
    ("load", "word"),
    [
        (stack(Centre), "centre"),
        (stack(L.BatchNormalization), "batch_normalization"),
        (stack(lambda: L.Dropout(0.5), Centre), "centre"),
        (stack(AddLargest), "adds"),
        (stack(Noise), "random"),
    ],
    ids=["own layer", "batch normalization", "beside dropout", "largest", "noise"],
)
def test_what_parts_can_not_give_is_named(load, word):
    (sentence,) = probe.findings(load, (X, Y, None))
    assert word in sentence.lower()


def test_an_own_step_that_trains_no_mean_is_refused():
    with pytest.raises(ModelError, match="its own train_step does not train the mean"):
        probe.findings(own("sum"), (X, Y, None))


def test_weights_that_keras_can_not_use_are_refused_in_its_words():
    with pytest.raises(ModelError, match="with the given sample_weight; plain Keras says"):
        probe.check_loss(stack()(), (X, Y, np.ones((4, 5), np.float32)))


def test_a_loss_that_can_be_computed_changes_nothing():
    model = stack()()
    before = model.get_weights()
    probe.check_loss(model, (X, Y, None))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_uncompiled_model_is_not_asked_for_its_loss():
    probe.check_loss(keras.Sequential([keras.Input((8,)), L.Dense(3)]), (X, Y, None))
