"""Models with a train_step, test_step, compute_loss or compute_metrics of their own."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tests.conformance.makers import K, L, O
from tests.conformance.own import Subclassed, built


class Twice(Subclassed):
    """Optimises something else than the compiled loss."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = 10.0 * self.compute_loss(x, y, p) + tf.reduce_mean(tf.square(p))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


class AsInTheGuide(Subclassed):
    """Keras' own example: metrics updated by the step, and reported by name."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=p)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, p)
        return {metric.name: metric.result() for metric in self.metrics}


class OwnTest(Subclassed):
    """Validates by its own rule."""

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        p = self(x, training=False)
        loss = 0.5 * self.compute_loss(x=x, y=y, y_pred=p, training=False)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=tf.shape(x)[0])
            else:
                metric.update_state(y, p)
        return {metric.name: metric.result() for metric in self.metrics}


class OldSignature(Subclassed):
    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> Any:
        return 2.0 * super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)


class NewSignature(Subclassed):
    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return loss + 0.01 * K.mean(K.square(y_pred))


class OfInputs(Subclassed):
    """A loss that looks at the inputs too."""

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        return K.mean(K.square(K.sum(y_pred, axis=-1) - K.sum(x, axis=-1)))


class OwnMetrics(Subclassed):
    """Adds a number to what Keras reports."""

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        found = super().compute_metrics(x, y, y_pred, sample_weight)
        found["twice"] = 2.0 * found["accuracy"]
        return found


class Coder(keras.Model):
    """A variational autoencoder's step with its own trackers; without noise unless asked."""

    def __init__(self, noise: float = 0.0):
        super().__init__()
        self.encoder, self.decoder, self.noise = L.Dense(8), L.Dense(8), noise
        self.total, self.kl = keras.metrics.Mean(name="loss"), keras.metrics.Mean(name="kl")
        self.seeds = keras.random.SeedGenerator(1)

    @property
    def metrics(self) -> list[Any]:
        return [self.total, self.kl]

    def call(self, x: Any) -> Any:
        mean, _ = tf.split(self.encoder(x), 2, -1)
        return self.decoder(mean)

    def train_step(self, x: Any) -> dict[str, Any]:
        x = x[0] if isinstance(x, tuple) else x
        with tf.GradientTape() as tape:
            mean, logv = tf.split(self.encoder(x), 2, -1)
            z = mean
            if self.noise:
                z += self.noise * tf.exp(0.5 * logv) * keras.random.normal(tf.shape(mean), seed=self.seeds)
            kl = tf.reduce_mean(-0.5 * (1 + logv - mean**2 - tf.exp(logv)))
            loss = tf.reduce_mean((self.decoder(z) - x) ** 2) + kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.total.update_state(loss)
        self.kl.update_state(kl)
        return {"loss": self.total.result(), "kl": self.kl.result()}


class Teacher(Subclassed):
    """A student, and a teacher that follows it by a moving average."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = L.Dense(3, trainable=False)

    def call(self, x: Any) -> Any:
        self.teacher(x)
        return super().call(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = self.compute_loss(x, y, p) + tf.reduce_mean(
                tf.square(p - tf.stop_gradient(self.teacher(x)))
            )
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        self.teacher.bias.assign(0.9 * self.teacher.bias + 0.1 * self.second.bias)
        return {"loss": loss}


class Adversaries(keras.Model):
    """Two networks, two optimizers, two applies a step; the generator's input is the data, so nothing is random."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.Sequential([keras.Input((4,)), L.Dense(8, activation="tanh"), L.Dense(8)])
        self.judge = keras.Sequential([keras.Input((8,)), L.Dense(6, activation="tanh"), L.Dense(1)])

    def call(self, x: Any) -> Any:
        return self.judge(x)

    def compile(self, d_optimizer: Any, g_optimizer: Any, loss_fn: Any) -> None:
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def train_step(self, data: Any) -> dict[str, Any]:
        x = data[0] if isinstance(data, tuple) else data
        with tf.GradientTape() as tape:
            real, fake = self.judge(x), self.judge(self.generator(x[:, :4]))
            d_loss = self.loss_fn(tf.ones_like(real), real) + self.loss_fn(tf.zeros_like(fake), fake)
        weights = self.judge.trainable_weights
        self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)
        with tf.GradientTape() as tape:
            fake = self.judge(self.generator(x[:, :4]))
            g_loss = self.loss_fn(tf.ones_like(fake), fake)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        return {"d_loss": d_loss, "g_loss": g_loss}


class Freely(Subclassed):
    """Moves its weights past any optimizer."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        for variable, gradient in zip(
            self.trainable_variables, tape.gradient(loss, self.trainable_variables), strict=True
        ):
            variable.assign_sub(0.1 * gradient)
        return {"loss": loss}


class Added(Subclassed):
    """A loss that adds over samples instead of meaning: a batch cut in two has not the same gradient."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = tf.reduce_sum(keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class OwnLoop(Subclassed):
    def make_train_function(self, force: bool = False) -> Any:
        self.train_function = lambda iterator: self.train_step(next(iterator))
        return self.train_function


class OwnFit(Subclassed):
    def fit(self, *arguments: Any, **options: Any) -> Any:
        return super().fit(*arguments, **options)


class Uncalled(keras.Model):
    """An autoencoder as published: parts, a train_step, a tracker; no call, nothing compiled but an optimizer."""

    def __init__(self, encoder: Any, decoder: Any):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.total = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.total]

    def train_step(self, x: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            loss = K.mean(K.square(self.decoder(self.encoder(x)) - x))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.total.update_state(loss)
        return {"loss": self.total.result()}


def uncalled() -> Any:
    encoder = keras.Sequential([keras.Input((8,)), L.Dense(4, activation="tanh")])
    decoder = keras.Sequential([keras.Input((4,)), L.Dense(8)])
    model = Uncalled(encoder, decoder)
    model.compile(optimizer=O.Adam(1e-2))
    return model


def made(kind: type, **options: Any) -> Any:
    """A classifier of that class, built and compiled."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return built(kind(), options.pop("loss", loss), **options)


def coder(noise: float = 0.0) -> Any:
    model = Coder(noise)
    model(K.zeros((1, 8)))
    model.compile(O.SGD(0.05))
    return model


def adversaries() -> Any:
    model = Adversaries()
    model(K.zeros((1, 8)))
    model.compile(O.Adam(1e-2), O.SGD(0.05), keras.losses.BinaryCrossentropy(from_logits=True))
    return model
