"""What trains is the object that was compiled: closures, lambdas, classes without get_config, own steps."""

from __future__ import annotations

import functools
import threading

import keras

from tests.conformance import own, steps
from tests.conformance.makers import (
    ALONE,
    CLASSES,
    FEATURES,
    LABELS,
    SELF,
    VALUES,
    K,
    L,
    O,
    ce,
    compiled,
    mlp,
    regressor,
    stack,
)
from tests.conformance.table import Data, exact, explained, refused

TITLE = "Own objects and own steps"
N = keras.losses
HEADS = Data(FEATURES[0], {"a": VALUES.y, "b": VALUES.y}, vx=FEATURES[1], vy={"a": VALUES.vy, "b": VALUES.vy})
ENDS = Data(
    FEATURES[0],
    {"classes": LABELS[0], "size": VALUES.y},
    vx=FEATURES[1],
    vy={"classes": LABELS[1], "size": VALUES.vy},
)


class Bound:
    """A loss that is a method of some object."""

    def __init__(self, weight):
        self.weight = weight

    def loss(self, y, p):
        return self.weight * K.mean(K.square(y - p), axis=-1)


def powered(y, p, power):
    return K.mean(K.power(K.abs(y - p), power), axis=-1)


def clashing():
    first, second = own.clash()
    return stack(first(), L.Dense(8, activation="tanh"), second(), L.Dense(3))


def initialized():
    return stack(L.Dense(3, kernel_initializer=lambda shape, dtype=None: K.ones(shape, dtype) * 0.1))


def unbuilt():
    return compiled(keras.Sequential([L.Dense(8, activation="tanh"), L.Dense(3)]), ce(), metrics=["accuracy"])


def locked():
    layer = own.Scale(2.0)
    layer.guard = threading.Lock()
    return stack(layer, L.Dense(3))


def with_list():
    """A subclassed model that keeps plain Python state."""
    model = own.Subclassed()
    model.notes = {"lr": [1, 2, 3]}
    return own.built(model, ce())


# fmt: off
SITUATIONS = [
    exact("Two loss closures of one name", lambda: own.two_heads(own.scaled_error(1.0), own.scaled_error(10.0)), HEADS),
    exact("Loss class without get_config", lambda: own.linear(own.Focal(4.0), optimizer=O.SGD(0.01)), VALUES),
    exact("Layer class without get_config", lambda: stack(own.Scale(5.0), L.Dense(1), loss="mse", optimizer=O.SGD(0.005)), VALUES),
    exact("Layer with its own build()", lambda: stack(own.OwnDense(8), L.Dense(3)), CLASSES),
    exact("Layer of layers with an array as attribute", lambda: stack(own.Nested(K.arange(8, dtype="float32")), L.Dense(3)), CLASSES),
    exact("Two layer classes of one name", clashing, CLASSES),
    exact("Lambda layer", lambda: stack(L.Lambda(lambda x: x / 2.0), L.Dense(1), loss="mse"), VALUES),
    exact("lambda as activation", lambda: stack(L.Dense(4, activation=lambda x: K.tanh(x) * 2), L.Dense(1), loss="mse"), VALUES),
    exact("lambda as loss", lambda: own.linear(lambda y, p: K.mean(K.square(y - p), axis=-1)), VALUES),
    exact("lambda as metric", lambda: own.linear(metrics=[lambda y, p: K.abs(y - p)]), VALUES),
    exact("lambda as initializer", initialized, CLASSES),
    exact("functools.partial as loss", lambda: own.linear(functools.partial(powered, power=4.0), optimizer=O.SGD(1e-3)), VALUES),
    exact("A method as loss", lambda: own.linear(Bound(3.0).loss), VALUES),
    exact("Loss that uses a second model", lambda: stack(L.Dense(8), loss=own.perceptual), SELF),
    exact("Loss with a global tensor", lambda: mlp(own.weighted), CLASSES),
    exact("Keras loss wrapped by hand", lambda: mlp(lambda y, p: 2.0 * N.sparse_categorical_crossentropy(y, p, from_logits=True)), CLASSES),
    exact("Optimizer of one's own", lambda: mlp(optimizer=own.Slow(0.1)), CLASSES),
    exact("Schedule of one's own, without get_config", lambda: mlp(optimizer=O.SGD(own.Sawtooth(0.1))), CLASSES),
    exact("Regularizer of one's own", lambda: stack(L.Dense(8, activation="tanh", kernel_regularizer=own.L05(0.1)), L.Dense(3)), CLASSES),
    exact("Subclassed model", lambda: own.built(own.Subclassed(), ce(), metrics=["accuracy"]), CLASSES),
    exact("Subclassed model with a dictionary of outputs", lambda: own.built(own.TwoEnds(), {"classes": ce(), "size": "mse"}), ENDS),
    exact("Subclassed model with plain Python state", with_list, CLASSES),
    exact("Sequential that is not built yet", unbuilt, CLASSES),
    exact("Subclassed model that is not built yet", lambda: compiled(own.Subclassed(), ce()), CLASSES),
    exact("Own metric classes without get_config", lambda: own.linear(metrics=[own.Count(2.0), own.Largest()]), VALUES),
    exact("Functional model of a subclass", lambda: _functional_subclass(), CLASSES),
    exact("Own train_step around compute_loss", lambda: steps.made(steps.Twice), CLASSES, fast=True),
    exact("Own train_step as in Keras' guide", lambda: steps.made(steps.AsInTheGuide, metrics=["accuracy"]), CLASSES),
    exact("Own train_step with trackers, inputs alone", steps.coder, Data(ALONE.x), word="draws random"),
    exact("Own train_step of a model without call", steps.uncalled, Data(ALONE.x)),
    exact("Own train_step with a moving teacher", lambda: steps.made(steps.Teacher), CLASSES),
    exact("Own train_step under gradient clipping", lambda: _clipped(), CLASSES),
    exact("Own train_step, three workers", lambda: steps.made(steps.Twice), CLASSES, workers=3),
    exact("Own train_step, eagerly", lambda: steps.made(steps.Twice, run_eagerly=True), CLASSES),
    exact("Own test_step", lambda: steps.made(steps.OwnTest, metrics=["accuracy"]), CLASSES),
    exact("Own compute_loss, old signature", lambda: steps.made(steps.OldSignature), CLASSES),
    exact("Own compute_loss, new signature", lambda: steps.made(steps.NewSignature), CLASSES),
    exact("Own compute_loss that looks at the inputs", lambda: steps.made(steps.OfInputs), CLASSES),
    exact("Own compute_metrics", lambda: steps.made(steps.OwnMetrics, metrics=["accuracy"]), CLASSES),
    exact("Two adversaries with an optimizer each", steps.adversaries, Data(ALONE.x)),
    explained("Own train_step that draws random numbers", "random", lambda: steps.coder(1.0), Data(ALONE.x)),
    refused("Own train_step past every optimizer", "train_step", lambda: steps.made(steps.Freely), CLASSES, fast=True),
    refused("Own train_step that adds over samples", "train_step", lambda: steps.made(steps.Added), CLASSES),
    refused("Own make_train_function", "make_train_function", lambda: steps.made(steps.OwnLoop), CLASSES),
    refused("Own fit", "fit", lambda: steps.made(steps.OwnFit), CLASSES),
    exact("A lock inside a layer", locked, CLASSES),
    exact("Autoencoder whose loss is of inputs and outputs", lambda: regressor("mse", 8), SELF),
]
# fmt: on


def _functional_subclass():
    class Named(keras.Model):
        """A subclass that is used as keras.Model is."""

    inputs = keras.Input((8,))
    return compiled(Named(inputs, L.Dense(3)(L.Dense(6, activation="tanh")(inputs))), ce())


def _clipped():
    model = steps.made(steps.Twice)
    model.compile(O.Adam(1e-2, global_clipnorm=0.1), ce())
    return model
