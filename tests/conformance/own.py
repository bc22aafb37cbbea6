"""Losses, metrics, layers and optimizers as people write them in a notebook: mostly without get_config."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tests.conformance.makers import K, L, O, compiled, functional, stack

CLASS_WEIGHTS = tf.constant([1.0, 5.0, 2.0])


def contrastive(y: Any, p: Any) -> Any:
    """NT-Xent: each row against all rows of the batch."""
    p = K.normalize(p, axis=-1)
    s = p @ K.transpose(p) / 0.5
    return K.mean(keras.losses.sparse_categorical_crossentropy(K.arange(K.shape(p)[0]), s, from_logits=True))


def weighted(y: Any, p: Any) -> Any:
    w = tf.gather(CLASS_WEIGHTS, tf.cast(tf.reshape(y, [-1]), tf.int32))
    return w * keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)


def balanced(y: Any, p: Any) -> Any:
    w = tf.gather(CLASS_WEIGHTS, tf.cast(tf.reshape(y, [-1]), tf.int32))
    loss = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
    return tf.reduce_sum(w * loss) / tf.reduce_sum(w)


def soft_dice(y: Any, p: Any) -> Any:
    y = K.cast(y, "float32")
    return 1 - (2 * K.sum(y * p) + 1) / (K.sum(y) + K.sum(p) + 1)


def mean_gap(y: Any, p: Any) -> Any:
    return K.mean(K.square(y - p)) + K.square(K.mean(y) - K.mean(p))


def standardized(y: Any, p: Any) -> Any:
    return K.mean(K.square(y - p)) / (K.var(y) + 0.1)


class Focal(keras.losses.Loss):
    def __init__(self, gamma: float = 2.0, **options: Any):
        super().__init__(**options)
        self.gamma = gamma

    def call(self, y: Any, p: Any) -> Any:
        return K.mean(K.power(K.abs(y - p), self.gamma), axis=-1)


class WholeBatch(keras.losses.Loss):
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return K.sqrt(K.mean(K.square(y_true - y_pred)) + 1e-3)


class SquaredError(keras.losses.Loss):
    def call(self, y: Any, p: Any) -> Any:
        return K.mean(K.square(K.cast(y, p.dtype) - p), axis=-1)


class Divergence(L.Layer):
    """The KL part of a variational autoencoder, without its noise."""

    def __init__(self, reduce: Any = None, **options: Any):
        super().__init__(**options)
        self.reduce = reduce or K.mean

    def call(self, x: Any) -> Any:
        mean, logv = K.split(x, 2, axis=-1)
        self.add_loss(-0.5 * self.reduce(1 + logv - K.square(mean) - K.exp(logv)))
        return mean


class Reconstruction(L.Layer):
    def call(self, a: Any, b: Any) -> Any:
        self.add_loss(K.mean(K.square(a - b)))
        return b


def autoencoder(loss: Any, reconstruct: bool = False, reduce: Any = None, optimizer: Any = None) -> Any:
    inputs = keras.Input((8,))
    outputs = L.Dense(8)(Divergence(reduce)(L.Dense(8)(inputs)))
    if reconstruct:
        outputs = Reconstruction()(inputs, outputs)
    return functional(inputs, outputs, loss, optimizer or O.SGD(0.05))


# ---- closures, lambdas and objects that share a name


def scaled_error(weight: float) -> Any:
    def loss(y: Any, p: Any) -> Any:
        return weight * K.mean(K.square(y - p), axis=-1)

    return loss


def within(limit: float) -> Any:
    def hit(y: Any, p: Any) -> Any:
        return K.cast(K.abs(y - p) < limit, "float32")

    return hit


def two_heads(first: Any, second: Any) -> Any:
    inputs = keras.Input((8,))
    outputs = {"a": L.Dense(1, name="a")(inputs), "b": L.Dense(1, name="b")(inputs)}
    return functional(inputs, outputs, {"a": first, "b": second}, O.SGD(0.02))


def clash() -> tuple[type, type]:
    """Two classes of one name that do different things."""

    def make(factor: float) -> type:
        class Scale(L.Layer):
            def call(self, x: Any) -> Any:
                return x * factor

        return Scale

    return make(2.0), make(0.5)


class Scale(L.Layer):
    def __init__(self, factor: float = 1.0, **options: Any):
        super().__init__(**options)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor


class OwnDense(L.Layer):
    """The usual idiom: weights made in its own build()."""

    def __init__(self, units: int, **options: Any):
        super().__init__(**options)
        self.units = units

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(shape[-1], self.units), initializer="glorot_uniform")
        self.b = self.add_weight(shape=(self.units,), initializer="zeros")

    def call(self, x: Any) -> Any:
        return K.tanh(x @ self.w + self.b)


class Nested(L.Layer):
    """A layer of layers, some in a dictionary, with an attribute that no configuration holds."""

    def __init__(self, table: Any, **options: Any):
        super().__init__(**options)
        self.table = table
        self.parts = {"a": L.Dense(8, activation="tanh"), "b": L.Dense(8, activation="softplus")}

    def call(self, x: Any) -> Any:
        return self.parts["a"](x) * self.table + self.parts["b"](x)


class Noisy(L.Layer):
    """Draws its own random numbers."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x: Any, training: bool = False) -> Any:
        return x + 0.1 * keras.random.normal(K.shape(x), seed=self.seeds) if training else x


class Counted(L.Layer):
    """Counts its own calls in a variable that nobody trains, and uses it."""

    def build(self, shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            self.calls.assign_add(1.0)
        return x / (1.0 + 0.1 * self.calls)


class BatchMean(L.Layer):
    """Takes away the mean of the batch: every row's result depends on all rows."""

    def call(self, x: Any) -> Any:
        return x - K.mean(x, axis=0, keepdims=True)


class Subclassed(keras.Model):
    def __init__(self, **options: Any):
        super().__init__(**options)
        self.first, self.second = L.Dense(12, activation="tanh"), L.Dense(3)

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))


class TwoEnds(Subclassed):
    def build(self, shape: Any) -> None:
        self.first.build(shape)
        self.second.build((None, 12))

    def call(self, x: Any) -> Any:
        hidden = self.first(x)
        return {"classes": self.second(hidden), "size": K.mean(K.square(hidden), axis=-1, keepdims=True)}


FEATURE_NET = keras.Sequential([keras.Input((8,)), L.Dense(4, activation="tanh")], name="frozen_features")


def perceptual(y: Any, p: Any) -> Any:
    return K.mean(K.square(FEATURE_NET(y) - FEATURE_NET(p)), axis=-1)


class Slow(O.SGD):
    """An optimizer of one's own."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.assign_sub(variable, K.cast(learning_rate, variable.dtype) * K.tanh(gradient) * 0.5)


class Sawtooth(O.schedules.LearningRateSchedule):
    def __init__(self, high: float):
        self.high = high

    def __call__(self, step: Any) -> Any:
        return self.high / (1.0 + K.cast(K.mod(step, 3), "float32"))


class L05(keras.regularizers.Regularizer):
    def __init__(self, strength: float):
        self.strength = strength

    def __call__(self, x: Any) -> Any:
        return self.strength * K.sum(K.sqrt(K.abs(x) + 1e-2))


# ---- metrics


class Count(keras.metrics.Metric):
    """How many rows are nearer than a limit."""

    def __init__(self, limit: float = 0.5, name: str = "count", **options: Any):
        super().__init__(name=name, **options)
        self.limit = limit
        self.n = self.add_weight(name="n", initializer="zeros")

    def update_state(self, y: Any, p: Any, sample_weight: Any = None) -> None:
        self.n.assign_add(K.sum(K.cast(K.abs(y - p) < self.limit, "float32")))

    def result(self) -> Any:
        return (
            self.n + 0.0
        )  # Keras shows a variable that is handed out with the value that validation gives it

    def reset_state(self) -> None:
        self.n.assign(0.0)


class Largest(keras.metrics.Metric):
    """The largest error: a state that does not add up."""

    def __init__(self, name: str = "largest", **options: Any):
        super().__init__(name=name, **options)
        self.m = self.add_weight(name="m", initializer="zeros")

    def update_state(self, y: Any, p: Any, sample_weight: Any = None) -> None:
        self.m.assign(K.maximum(self.m, K.max(K.abs(y - p))))

    def result(self) -> Any:
        return self.m + 0.0  # as above


class BatchRoot(keras.metrics.Mean):
    """Mean over batches of each batch's root mean square: not a mean over samples."""

    def __init__(self, name: str = "batch_root", **options: Any):
        super().__init__(name=name, **options)

    def update_state(self, y: Any, p: Any, sample_weight: Any = None) -> None:
        super().update_state(K.sqrt(K.mean(K.square(y - p))))


class Several(Count):
    """A metric whose result is a dictionary."""

    def result(self) -> Any:
        return {"near": self.n + 0.0, "twice": 2.0 * self.n}


def batch_correlation(y: Any, p: Any) -> Any:
    """A metric function over the whole batch."""
    a, b = y - K.mean(y), p - K.mean(p)
    return K.sum(a * b) / (K.sqrt(K.sum(a * a) * K.sum(b * b)) + 1e-6)


def linear(loss: Any = "mse", out: int = 1, **options: Any) -> Any:
    return stack(L.Dense(out), loss=loss, **{"optimizer": O.SGD(0.05), **options})


def built(model: Any, loss: Any, shape: tuple[int, ...] = (1, 8), **options: Any) -> Any:
    """A subclassed model after one call."""
    model(K.zeros(shape))
    return compiled(model, loss, O.SGD(0.05), **options)


def knobbed(optimizer):
    """A loss that reads a variable which the model does not track."""
    import tensorflow as tf

    knob = tf.Variable(1.0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    model.compile(optimizer, lambda y, p: knob * keras.losses.mean_squared_error(y, p))
    model.knob = knob
    return model


class Strong(keras.Model):
    """Reads a plain number of its own in each step."""

    strength = 1.0

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.strength * super().compute_loss(x, y, y_pred, sample_weight, training)


def strong(optimizer):
    inputs = keras.Input((8,))
    model = Strong(inputs, keras.layers.Dense(1)(keras.layers.Dense(16, "tanh")(inputs)))
    model.compile(optimizer, "mse", run_eagerly=True)
    return model
