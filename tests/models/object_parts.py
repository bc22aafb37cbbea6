"""Losses, layers, metrics and models as notebooks write them: most have no get_config."""

import threading

import keras
import numpy as np
import tensorflow as tf

K, L, optimizers = keras.ops, keras.layers, keras.optimizers
RANDOM = np.random.default_rng(3)
ROWS = 6
X = RANDOM.normal(size=(ROWS, 4)).astype("float32")
Y = RANDOM.normal(size=(ROWS, 1)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2], "int32")
TABLE = {}


def case(function):
    """Add a builder of (model, x, y) or (model, x, y, w) to the table."""
    TABLE[function.__name__] = function
    return function


def net(*layers, units=1, loss="mse", optimizer=None, **options):
    """A small sequential model, compiled."""
    model = keras.Sequential([keras.Input((4,)), *layers, L.Dense(units)])
    model.compile(optimizer or optimizers.SGD(0.05), loss, **options)
    return model


def scaled_loss(weight):
    """Closures that all have the same name."""

    def loss(y, p):
        return weight * K.mean(K.square(y - p), axis=-1)

    return loss


def near(limit):
    def hit(y, p):
        return K.cast(K.abs(y - p) < limit, "float32")

    return hit


class Focal(keras.losses.Loss):
    """No get_config, as in most notebooks."""

    def __init__(self, gamma=2.0, **options):
        super().__init__(**options)
        self.gamma = gamma

    def call(self, y, p):
        return K.mean(K.power(K.abs(y - p), self.gamma), axis=-1)


class Scale(L.Layer):
    """No get_config."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def compute_output_shape(self, input_shape):
        return input_shape


class Own(L.Layer):
    """The usual idiom: weights in an own build."""

    def __init__(self, units, table):
        super().__init__()
        self.units, self.table = units, table

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.parts = [self.add_weight(shape=(self.units,), name=f"part_{i}") for i in range(2)]
        self.inner = L.Dense(self.units)
        self.inner.build((None, self.units))

    def call(self, x):
        return self.inner(x @ self.kernel + self.parts[0] * self.parts[1]) * self.table["factor"]


class Noise(L.Layer):
    """Draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(4)

    def call(self, x, training=False):
        return x + keras.random.normal(K.shape(x), seed=self.seeds) if training else x


class Decay(optimizers.schedules.LearningRateSchedule):
    """No get_config."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start / (1.0 + K.cast(step, "float32"))


class Sign(optimizers.SGD):
    """An own update rule, with a setting that no config has."""

    strength = 0.5

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, K.sign(gradient) * self.strength * K.cast(learning_rate, variable.dtype))


class Momentum(optimizers.Optimizer):
    """An optimizer from the ground up."""

    def __init__(self, rate, keep):
        super().__init__(learning_rate=rate)
        self.keep = keep

    def build(self, variables):
        super().build(variables)
        self.memory = [self.add_variable_from_reference(v, name="memory") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        memory = self.memory[self._get_variable_index(variable)]
        self.assign(memory, memory * self.keep + gradient)
        self.assign_sub(variable, memory * learning_rate)


class Count(keras.metrics.Metric):
    """No get_config."""

    def __init__(self, limit):
        super().__init__(name="count")
        self.limit = limit
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y, p, sample_weight=None):
        self.total.assign_add(K.sum(K.cast(K.abs(y - p) < self.limit, "float32")))

    def result(self):
        return self.total


class Held(keras.Model):
    """Holds structures of layers, numbers and settings as attributes of every kind."""

    def __init__(self):
        super().__init__()
        self.table = {"one": L.Dense(3), "two": {"three": [L.Dense(2), (L.Dense(2),)]}}
        self.pair = (L.Dense(2), 3.0)
        self.settings = {"scale": [1.0, 2.0], "names": {"a", "b"}}
        self.last = L.Dense(1)

    def call(self, x):
        x = self.table["two"]["three"][1][0](self.table["two"]["three"][0](self.table["one"](x)))
        return self.last(self.pair[0](x) * self.pair[1] + self.settings["scale"][1])


class Net(keras.Model):
    """Subclassed, with outputs in a dictionary."""

    def __init__(self, width, activation):
        super().__init__()
        self.blocks = {"one": L.Dense(width, activation=activation), "two": [L.Dense(width), L.Dense(1)]}
        self.head = L.Dense(1)
        self.guard = threading.Lock()

    def call(self, x):
        x = self.blocks["one"](x)
        return {"a": self.blocks["two"][1](self.blocks["two"][0](x)), "b": self.head(x)}


class OwnStep(keras.Model):
    """An own train_step and an own compile."""

    def __init__(self):
        super().__init__()
        self.generator, self.critic = L.Dense(4), L.Dense(1)

    def call(self, x):
        return self.critic(self.generator(x))

    def compile(self, d_optimizer, g_optimizer, scale):
        super().compile(optimizer=g_optimizer)
        self.d_optimizer, self.scale = d_optimizer, scale

    def train_step(self, data):
        x, y = data[:2]
        for layer, optimizer in ((self.generator, self.optimizer), (self.critic, self.d_optimizer)):
            with tf.GradientTape() as tape:
                loss = self.scale(K.mean(K.square(self(x) - y)))
            optimizer.apply(tape.gradient(loss, layer.trainable_weights), layer.trainable_weights)
        return {"loss": loss}


class Penalty(keras.regularizers.Regularizer):
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, x):
        return self.strength * K.sum(K.abs(x))


class Bound(keras.constraints.Constraint):
    def __init__(self, limit):
        self.limit = limit

    def __call__(self, w):
        return K.clip(w, -self.limit, self.limit)


class AddLoss(L.Layer):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def call(self, x):
        self.add_loss(self.rate * K.mean(K.square(x)))
        return x


WEIGHTS = tf.constant([1.0, 5.0, 2.0])
FEATURES = keras.Sequential([keras.Input((4,)), L.Dense(3)], name="features")
BFLOAT = tf.constant([1.0, 2.5], tf.bfloat16)
RAGGED = tf.ragged.constant([[1.0], [2.0, 3.0]])
