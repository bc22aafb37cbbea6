"""Models as notebooks hold them, most of them more than Keras' own formats carry: a table of builders by name."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tests.models import object_layers  # noqa: F401  adds its cases to the table
from tests.models.object_parts import (
    BFLOAT,
    FEATURES,
    LABELS,
    RAGGED,
    ROWS,
    TABLE,  # noqa: F401  # the table is given on from here
    WEIGHTS,
    Count,
    Decay,
    Focal,
    K,
    L,
    Momentum,
    Net,
    Noise,
    Own,
    OwnStep,
    Scale,
    Sign,
    X,
    Y,
    case,
    near,
    net,
    optimizers,
    scaled_loss,
)


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
