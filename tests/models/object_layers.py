"""More cases of the table of models: layers, structures and what is put on objects."""

import keras
import numpy as np
import tensorflow as tf

from tests.models.object_parts import (
    LABELS,
    AddLoss,
    Bound,
    Count,
    Focal,
    Held,
    K,
    L,
    Penalty,
    Scale,
    X,
    Y,
    case,
    net,
    scaled_loss,
)


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
