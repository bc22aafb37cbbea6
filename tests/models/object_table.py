"""Models as notebooks hold them, most of them more than Keras' own formats carry: a table of builders by name."""

import functools
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


@case
def stock():
    return net(L.Dense(3, activation="relu")), X, Y


@case
def loss_class_without_config():
    return net(loss=Focal(3.0)), X, Y


@case
def layer_without_config():
    return net(Scale(5.0)), X, Y


@case
def layer_with_own_build():
    return net(Own(3, {"factor": np.float32(2.0)})), X, Y


@case
def metric_without_config():
    return net(metrics=[Count(2.0), "mae"]), X, Y


def two_heads(first, second):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"a": L.Dense(1, name="a")(inputs), "b": L.Dense(1, name="b")(inputs)})
    model.compile(optimizers.SGD(0.05), {"a": first, "b": second}, loss_weights={"a": 1.0, "b": 0.5})
    return model


@case
def closures_in_a_dictionary():
    return two_heads(scaled_loss(1.0), scaled_loss(10.0)), X, {"a": Y, "b": Y}


@case
def metric_closures_that_share_a_name():
    return net(metrics=[near(0.1), near(1.0)]), X, Y


@case
def lambda_loss():
    return net(loss=lambda y, p: K.mean(K.abs(y - p), axis=-1)), X, Y


@case
def lambda_activation():
    return net(L.Dense(4, activation=lambda x: K.tanh(x) * 2)), X, Y


@case
def lambda_layer():
    return net(L.Lambda(lambda x: x / 2.0)), X, Y


@case
def partial_activation():
    return net(L.Dense(4, activation=functools.partial(K.leaky_relu, negative_slope=0.3))), X, Y


@case
def tensorflow_activation():
    return net(L.Dense(4, activation=tf.math.sin)), X, Y


@case
def nested_models():
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3), Scale(2.0)])
    outer = keras.Sequential([keras.Input((4,)), L.Dense(4), inner])
    return net(outer), X, Y


@case
def frozen_inside():
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(3)])
    inner.trainable = False
    inner.layers[1].trainable = True
    return net(inner), X, Y


@case
def shared_layers():
    shared, one, two = L.Dense(3), keras.Input((4,)), keras.Input((4,))
    model = keras.Model([one, two], L.Dense(1)(L.Add()([shared(one), shared(two), shared(one)])))
    model.compile("sgd", "mse")
    return model, [X, X + 1], Y


@case
def subclassed_with_dictionary_outputs():
    model = Net(3, lambda x: K.relu(x) + 0.1)
    model(X)
    model.compile("sgd", {"a": "mse", "b": scaled_loss(2.0)})
    return model, X, {"a": Y, "b": Y}


@case
def text_vectorization():
    layer = L.TextVectorization(output_sequence_length=3)
    layer.adapt(["the cat sat", "the dog"])
    model = keras.Sequential(
        [keras.Input((), dtype="string"), layer, L.Embedding(9, 2), L.Flatten(), L.Dense(1)]
    )
    model.compile("sgd", scaled_loss(2.0))
    return model, tf.constant(["the cat", "dog sat", "a", "the", "sat sat sat", ""]), Y


@case
def string_lookup_of_a_fixed_vocabulary():
    layer = L.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    model = keras.Sequential([keras.Input((1,), dtype="string"), layer, L.Dense(1)])
    model.compile("sgd", scaled_loss(2.0))
    return model, tf.constant([["a"], ["b"], ["c"], ["a"], ["b"], ["c"]]), Y


@case
def integer_lookup():
    layer = L.IntegerLookup(vocabulary=[3, 5], output_mode="multi_hot")
    model = keras.Sequential([keras.Input((2,), dtype="int64"), layer, L.Dense(1)])
    model.compile("sgd", scaled_loss(2.0))
    return model, np.array([[3, 5], [4, 4], [5, 3]] * 2), Y


@case
def normalization():
    layer = L.Normalization()
    layer.adapt(X * 3 + 1)
    return net(layer, Scale(1.5)), X, Y


@case
def optimizer_subclass():
    optimizer = Sign(0.1)
    optimizer.strength = 0.25
    return net(optimizer=optimizer), X, Y


@case
def optimizer_of_ones_own():
    model = net(optimizer=Momentum(0.05, 0.8))
    model.train_on_batch(X, Y)
    return model, X, Y


@case
def schedule_subclass():
    model = net(optimizer=optimizers.Adam(Decay(0.1)))
    model.train_on_batch(X, Y)
    return model, X, Y


@case
def loss_that_uses_a_second_model():
    def perceptual(y, p):
        return K.mean(K.square(FEATURES(y) - FEATURES(p)), axis=-1)

    return net(units=4, loss=perceptual), X, X


@case
def loss_with_a_global_tensor():
    def weighted(y, p):
        w = tf.gather(WEIGHTS, tf.cast(tf.reshape(y, [-1]), tf.int32))
        return w * keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)

    return net(units=3, loss=weighted), X, LABELS


@case
def constants_of_other_kinds():
    def odd(y, p):
        return K.mean(K.square(y - p)) * tf.cast(BFLOAT[1], "float32") + tf.reduce_sum(RAGGED)

    return net(loss=odd), X, Y


@case
def traced_loss():
    @tf.function
    def traced(y, p):
        return tf.reduce_mean(tf.abs(y - p), axis=-1)

    return net(loss=traced), X, Y


@case
def own_train_step_and_compile():
    model = OwnStep()
    model(X)
    model.compile(optimizers.Adam(0.01), optimizers.SGD(0.1), scale=lambda loss: loss * 3.0)
    model.train_on_batch(X, Y)
    return model, X, Y


@case
def own_train_step_that_never_ran():
    model = OwnStep()
    model(X)
    model.compile(optimizers.Adam(0.01), optimizers.SGD(0.1), scale=lambda loss: loss * 3.0)
    return model, X, Y


@case
def mixed_precision_with_loss_scale():
    policy = keras.DTypePolicy("mixed_float16")
    model = net(
        L.Dense(4, dtype=policy),
        Scale(2.0),
        optimizer=optimizers.LossScaleOptimizer(optimizers.Adam(0.01), 8.0),
    )
    model.train_on_batch(X, Y)
    return model, X, Y


@case
def average_of_weights():
    model = net(Scale(2.0), optimizer=optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5))
    for _ in range(3):
        model.train_on_batch(X, Y)
    return model, X, Y


@case
def accumulated_gradients():
    model = net(Scale(2.0), optimizer=optimizers.Adam(0.01, gradient_accumulation_steps=2))
    model.train_on_batch(X, Y)
    return model, X, Y


@case
def trained_optimizer():
    model = net(Scale(2.0), optimizer=optimizers.RMSprop(0.01))
    for _ in range(3):
        model.train_on_batch(X, Y)
    model.optimizer.learning_rate = 0.002
    return model, X, Y


@case
def trained_stock_with_metrics():
    model = net(
        L.Dense(4), units=3, loss=keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"]
    )
    model.fit(X, LABELS, verbose=0)
    return model, X, LABELS


@case
def weighted_metrics_and_weights():
    model = net(loss=scaled_loss(2.0), weighted_metrics=[keras.metrics.MeanSquaredError(), near(1.0)])
    return model, X, Y, np.arange(ROWS, dtype="float32")


@case
def dropout_and_own_noise():
    return net(L.Dense(4), L.Dropout(0.5, seed=3), Noise()), X, Y


@case
def batch_normalization():
    model = net(L.Dense(4), L.BatchNormalization(), Scale(1.0))
    model.train_on_batch(X, Y)
    return model, X, Y


@case
def recurrent_and_bidirectional():
    layers = [L.Reshape((2, 2)), L.Bidirectional(L.LSTM(2, return_sequences=True)), L.GRU(2), Scale(2.0)]
    return net(*layers), X, Y


@case
def own_recurrent_cell():
    class Cell(L.Layer):
        def __init__(self, units):
            super().__init__()
            self.units = self.state_size = units

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], self.units))

        def call(self, x, states):
            out = K.tanh(x @ self.kernel + states[0])
            return out, [out]

    return net(L.Reshape((2, 2)), L.RNN(Cell(3))), X, Y


@case
def attention_with_operations():
    inputs = keras.Input((4,))
    x = K.reshape(L.Dense(8)(inputs), (-1, 2, 4))
    x = L.MultiHeadAttention(2, 2)(x, x) * 0.5 + K.mean(x, axis=1, keepdims=True)
    model = keras.Model(inputs, L.Dense(1)(L.Flatten()(x)))
    model.compile("adam", scaled_loss(2.0))
    return model, X, Y


@case
def masked_embedding():
    model = keras.Sequential([keras.Input((4,)), L.Embedding(9, 3, mask_zero=True), L.LSTM(2), L.Dense(1)])
    model.compile("adam", scaled_loss(2.0))
    return model, np.arange(24).reshape(6, 4) % 9, Y


@case
def own_regularizer_and_constraint():
    layer = L.Dense(4, kernel_regularizer=Penalty(0.1), bias_constraint=Bound(0.01))
    return net(layer, AddLoss(0.2), L.ActivityRegularization(l2=0.1)), X, Y


@case
def own_initializer_and_wrapper():
    layer = L.SpectralNormalization(
        L.Dense(4, kernel_initializer=lambda shape, dtype=None: K.ones(shape, dtype) / 3)
    )
    return net(layer), X, Y


@case
def time_distributed_own_layer():
    return net(L.Reshape((2, 2)), L.TimeDistributed(Scale(3.0)), L.Flatten()), X, Y


@case
def method_put_on_an_object():
    model = net(L.Dense(3))
    layer = model.layers[0]
    layer.call = lambda x, training=False: K.sin(x @ layer.kernel)
    return model, X, Y


@case
def list_of_losses():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [L.Dense(1)(inputs), L.Dense(3)(inputs)])
    model.compile(
        "sgd", [Focal(3.0), "sparse_categorical_crossentropy"], metrics=[[Count(1.0)], ["accuracy"]]
    )
    return model, X, [Y, LABELS]


@case
def metric_object_and_layer_metric():
    class Measured(L.Layer):
        def __init__(self):
            super().__init__()
            self.size = keras.metrics.Mean(name="size")

        def call(self, x):
            self.size.update_state(K.mean(K.abs(x)))
            return x

    return net(Measured(), metrics=[keras.metrics.R2Score()]), X, Y


@case
def deep():
    return net(*[L.Dense(4, activation="tanh") for _ in range(150)], Scale(1.0)), X, Y


@case
def convolutional():
    model = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            L.Conv2D(3, 2, padding="same"),
            L.GlobalAveragePooling2D(),
            Scale(2.0),
            L.Dense(1),
        ]
    )
    model.compile("nadam", "huber", jit_compile=False)
    return model, X.reshape(6, 2, 2, 1), Y


@case
def lookup_inside_a_loss():
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1, 2]), tf.constant([0.5, 2.0, 1.0])), -1.0
    )
    other = tf.lookup.experimental.MutableHashTable(tf.int32, tf.float32, 1.0)
    other.insert(tf.constant([1]), tf.constant([3.0]))

    def looked(y, p):
        label = tf.cast(tf.reshape(y, [-1]), tf.int32)
        entropy = keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
        return table.lookup(label) * other.lookup(label) * entropy

    return net(units=3, loss=looked), X, LABELS


@case
def variable_of_tensorflow():
    class Raw(L.Layer):
        def __init__(self):
            super().__init__()
            self.raw = tf.Variable(2.0, name="raw")

        def call(self, x):
            return x * self.raw

    return net(Raw()), X, Y


@case
def structures_as_attributes():
    model = Held()
    model(X)
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    return model, X, Y


@case
def uncompiled():
    return keras.Sequential([keras.Input((4,)), Scale(3.0), L.Dense(2)]), X
