"""Structured pruning: removing channels whose weights are zero changes nothing, in any architecture that is rewired."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from lepton_kit.compression.pruning.graph import trace
from lepton_kit.compression.pruning.structured import remove_channels
from lepton_kit.errors import CompressionError


def mlp():
    return keras.Sequential(
        [
            keras.Input((12,)),
            kl.Dense(16, "relu", name="a"),
            kl.Dropout(0.1),
            kl.Dense(8, "tanh"),
            kl.Dense(3),
        ]
    )


def cnn():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            kl.Conv2D(8, 3, use_bias=False),
            kl.BatchNormalization(),
            kl.ReLU(),
            kl.MaxPooling2D(2),
            kl.Conv2D(6, 2, activation="gelu"),
            kl.Flatten(),
            kl.Dense(10, "relu"),
            kl.Dense(4, "softmax"),
        ]
    )


def residual():
    x = keras.Input((8, 8, 2))
    a = kl.Conv2D(8, 3, padding="same", name="stem")(x)
    b = kl.Conv2D(12, 3, padding="same", activation="relu", name="inner")(a)
    b = kl.Conv2D(8, 3, padding="same", name="branch")(b)
    c = kl.ReLU()(kl.Add(name="join")([a, b]))
    d = kl.Conv2D(16, 1, strides=2, name="shortcut")(c)
    e = kl.Conv2D(16, 3, strides=2, padding="same", name="down")(c)
    f = keras.ops.relu(d + e)
    return keras.Model(x, kl.Dense(5, name="out")(kl.GlobalAveragePooling2D()(f)))


def inception():
    x = keras.Input((8, 8, 1))
    a = kl.Conv2D(6, 1, name="a")(x)
    b = kl.Conv2D(10, 3, padding="same", name="b")(x)
    c = kl.Concatenate()([a, b])
    d = kl.Conv2D(16, 3, padding="same", name="c")(c)
    e = kl.Flatten()(kl.AveragePooling2D(4)(kl.Add()([c, d])))
    return keras.Model(x, kl.Dense(3)(e))


def separable():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            kl.SeparableConv2D(8, 3, depth_multiplier=2, activation="relu"),
            kl.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
            kl.BatchNormalization(),
            kl.Conv2D(12, 1),
            kl.GlobalMaxPooling2D(),
            kl.Dense(2),
        ]
    )


def recurrent():
    return keras.Sequential(
        [
            keras.Input((10, 3)),
            kl.Conv1D(8, 3, activation="relu"),
            kl.SeparableConv1D(6, 3),
            kl.GRU(12, return_sequences=True),
            kl.LSTM(8, return_sequences=True),
            kl.SimpleRNN(6),
            kl.Dense(2),
        ]
    )


def encoder_decoder():
    x, y = keras.Input((5, 3)), keras.Input((4, 2))
    _, h, c = kl.LSTM(8, return_state=True, name="encoder")(x)
    out = kl.LSTM(8, return_sequences=True, name="decoder")(y, initial_state=[h, c])
    return keras.Model([x, y], kl.Dense(3)(out))


def decoder():
    return keras.Sequential(
        [
            keras.Input((6,)),
            kl.Dense(4 * 4 * 8, "relu", name="grow"),
            kl.Reshape((4, 4, 8)),
            kl.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu"),
            kl.UpSampling2D(2),
            kl.Conv2D(1, 3, padding="same"),
        ]
    )


def nested():
    inside = keras.Input((6, 6, 8))
    block = keras.Model(
        inside, kl.Conv2D(8, 3, padding="same", activation="relu", name="mid")(inside), name="block"
    )
    tail = keras.Sequential([kl.Input((288,)), kl.Dense(8, "relu", name="fc"), kl.Dense(3)], name="tail")
    x = keras.Input((8, 8, 1))
    y = kl.Conv2D(8, 3, name="first")(x)
    return keras.Model(x, tail(kl.Flatten()(block(y))))


def shared():
    one, two = keras.Input((6,)), keras.Input((6,))
    dense, wide = kl.Dense(8, "relu", name="twin"), kl.Dense(8, name="wide")
    a, b = wide(dense(one)), wide(dense(two))
    return keras.Model([one, two], [kl.Dense(2)(kl.Subtract()([a, b])), kl.Dense(1)(a)])


def gate():
    x = keras.Input((8, 8, 2))
    y = kl.Conv2D(8, 3, activation="relu", name="body")(x)
    s = kl.Dense(4, "relu", name="squeeze")(kl.GlobalAveragePooling2D(keepdims=True)(y))
    s = kl.Dense(8, "sigmoid", name="excite")(s)
    return keras.Model(x, kl.Dense(3)(kl.GlobalAveragePooling2D()(kl.Multiply()([y, s]))))


def text():
    return keras.Sequential(
        [
            keras.Input((9,), dtype="int32"),
            kl.Embedding(20, 8),
            kl.Conv1D(10, 3, activation="relu"),
            kl.GlobalMaxPooling1D(),
            kl.Dense(4),
        ]
    )


def masked():
    """Masks travel along with what they mask, to the two calls of a shared layer, of which one has none, as well."""
    ids, plain = keras.Input((7,), dtype="int32"), keras.Input((7, 10))
    a = kl.Embedding(20, 12, mask_zero=True, name="words")(ids)
    a = kl.LayerNormalization()(kl.GRU(10, return_sequences=True, name="first")(a))
    again = kl.LSTM(8, name="again")
    both = kl.Concatenate()([again(a), again(plain), kl.GlobalAveragePooling1D()(a)])
    return keras.Model([ids, plain], kl.Dense(3)(kl.Dense(6, "relu")(both)))


def channel_by_channel():
    """A block of keras.applications.ConvNeXt: a convolution in as many groups as channels, a scale for each, dropped paths."""
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    x = keras.Input((8, 8, 2))
    y = kl.Conv2D(8, 3, padding="same", name="stem")(x)
    z = kl.Conv2D(16, 3, groups=8, padding="same", name="depthwise_in_groups")(y)
    z = LayerScale(0.5, 8)(kl.Dense(8, name="narrow")(kl.Dense(12, "relu", name="wide")(z)))
    y = kl.Add()([y, StochasticDepth(0.1)(z)])
    return keras.Model(x, kl.Dense(3)(kl.GlobalAveragePooling2D()(y)))


ARCHITECTURES = [
    mlp, cnn, residual, inception, separable, recurrent, encoder_decoder, decoder, nested, shared, gate, text,
    masked, channel_by_channel,
]  # fmt: skip


def randomize(model, seed=0):
    """Random weights everywhere, but normalisation keeps zero at zero, so that a zero channel stays zero."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name in ("beta", "moving_mean") or (
            variable.name == "bias" and "depthwise" in variable.path
        ):
            continue
        values = rng.normal(0, 0.5, variable.shape)
        variable.assign(np.abs(values) + 0.5 if variable.name == "moving_variance" else values)


def inputs(model, seed=1, count=3):
    rng = np.random.default_rng(seed)
    made = [
        rng.integers(0, 20, (count, *t.shape[1:]))
        if "int" in t.dtype
        else rng.normal(size=(count, *t.shape[1:]))
        for t in model.inputs
    ]
    return made if len(made) > 1 else made[0]


def zero_channels(model, kept):
    """Weights and biases of the channels that will go are set to zero."""
    for place in trace(model).producers():
        layer, gone = place.layer, np.setdiff1d(np.arange(place.outputs[0].size), kept[place.path])
        weights, kind = layer.get_weights(), type(layer).__name__
        for number, weight in enumerate(weights):
            if kind in ("GRU", "LSTM", "SimpleRNN"):
                weight.reshape(*weight.shape[:-1], -1, layer.units)[..., gone] = 0
            elif kind.endswith("Transpose") and number == 0:
                weight[..., gone, :] = 0
            elif not (kind.startswith("Separable") and number == 0):
                weight[..., gone] = 0
        layer.set_weights(weights)


def flat(outputs):
    return [np.asarray(part) for part in keras.tree.flatten(outputs)]


@pytest.mark.parametrize("build", ARCHITECTURES, ids=lambda build: build.__name__)
def test_removing_zero_channels_changes_nothing(build):
    model = build()
    randomize(model)
    kept = remove_channels(model, 0.5).kept
    zero_channels(model, kept)
    result = remove_channels(model, 0.5)
    for path, positions in kept.items():
        np.testing.assert_array_equal(positions, result.kept[path], err_msg=path)
    assert result.parameters_after < result.parameters_before
    x = inputs(model)
    for before, after in zip(flat(model(x)), flat(result.model(x)), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)
        assert np.ptp(before) > 1e-3


def test_channels_that_meet_are_chosen_together():
    model = residual()
    randomize(model)
    result = remove_channels(model, 0.5)
    np.testing.assert_array_equal(result.kept["stem"], result.kept["branch"])
    np.testing.assert_array_equal(result.kept["shortcut"], result.kept["down"])
    assert [len(result.kept[name]) for name in ("stem", "inner", "down")] == [4, 6, 8]
    scores = sum(
        (lambda kernel: np.abs(kernel).sum((0, 1, 2)) / np.abs(kernel).sum((0, 1, 2)).mean())(
            model.get_layer(name).get_weights()[0]
        )
        for name in ("stem", "branch")
    )
    assert set(result.kept["stem"]) == set(np.argsort(-scores)[:4])
    assert result.left_alone == {"out": "its channels are an output of the model"}


def test_dictionary_skip_and_divisor():
    model = cnn()
    first, second = (layer.name for layer in model.layers if "Conv" in type(layer).__name__)
    only = remove_channels(model, {first: 0.5})
    assert (len(only.kept[first]), len(only.kept[second])) == (4, 6)
    assert only.left_alone == {}
    skipped = remove_channels(model, 0.5, skip=[first], divisor=4)
    assert (len(skipped.kept[first]), len(skipped.kept[second])) == (8, 4)
    assert (
        remove_channels(model, 0.5, divisor=16).left_alone[first].startswith("with 8 channels and divisor 16")
    )
    assert "rounds to none" in remove_channels(model, 0.01).left_alone[first]
    joined = remove_channels(residual(), 0.5, skip="stem")
    assert joined.left_alone["branch"] == "its channels are joined with those of stem, which is skipped"
    assert (len(joined.kept["branch"]), len(joined.kept["inner"])) == (8, 6)


def test_what_cannot_be_rewired_is_named_and_left_alone():
    x = keras.Input((8, 6))
    a = kl.Dense(6, name="projection")(x)
    b = kl.Add()([x, a])
    c = kl.Dense(8, name="tokens")(b)
    d = kl.MultiHeadAttention(2, 4, name="attention")(c, c)
    e = kl.Conv1D(8, 3, groups=2, name="groups")(d)
    e = kl.GroupNormalization(2, name="norm")(kl.Dense(6, name="normed")(e))
    f = kl.Dense(8, "softmax", name="mixer")(e)
    g = kl.Dense(12, name="free")(kl.Flatten()(f))
    model = keras.Model(x, kl.Dense(2, name="out")(g))
    result = remove_channels(model, 0.5)
    assert result.left_alone == {
        "projection": "joined with an input of the model",
        "tokens": "it meets attention (MultiHeadAttention), which is of a kind that can't be rewired",
        "attention": "it is of a kind that can't be rewired",
        "groups": "it convolves in groups",
        "normed": "it meets norm (GroupNormalization), which normalises in groups",
        "mixer": "its activation softmax mixes the channels",
        "out": "its channels are an output of the model",
    }
    assert len(result.kept["free"]) == 6
    assert result.model.output_shape == model.output_shape
    assert np.all(np.isfinite(result.model(inputs(model))))


def test_layers_inside_wrappers_and_of_other_kinds_are_named():
    x = keras.Input((6, 4))
    y = kl.TimeDistributed(kl.Dense(8, name="each"), name="steps")(x)
    y = kl.Bidirectional(kl.LSTM(4, return_sequences=True, name="memory"), name="both")(y)
    y = kl.RNN(kl.GRUCell(4), name="cells")(y)
    y = kl.PReLU(name="bent")(kl.Dense(8, name="free")(y))
    model = keras.Model(x, kl.Dense(2, name="out")(y))
    wrapped = "which is of a kind that can't be rewired"
    expected = {
        "steps/each": f"it is inside steps (TimeDistributed), {wrapped}",
        "both/forward_memory": f"it is inside both (Bidirectional), {wrapped}",
        "both/backward_memory": f"it is inside both (Bidirectional), {wrapped}",
        "cells": "it is of a kind that can't be rewired",
        "out": "its channels are an output of the model",
    }
    assert remove_channels(model, 0.5).left_alone == expected
    fewer = remove_channels(model, 0.5, skip=["both", "cells"]).left_alone
    assert fewer.keys() == {"steps/each", "out"}
    assert remove_channels(model, {"free": 0.5}).left_alone == {}
    assert remove_channels(model, 0.0).left_alone == {}


def test_taylor_finds_the_channels_that_the_data_use(digits):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), kl.Flatten(), kl.Dense(12, "relu", name="hidden"), kl.Dense(10, name="out")]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    kernel, bias = model.get_layer("hidden").get_weights()
    bias[3:6] = -1e3  # units that never fire, however large their weights
    kernel[:, 3:6] *= 10
    model.get_layer("hidden").set_weights([kernel, bias])
    by_weight = remove_channels(model, {"hidden": 0.25}).kept["hidden"]
    by_data = remove_channels(model, {"hidden": 0.25}, saliency="taylor", data=digits[:2]).kept["hidden"]
    assert {3, 4, 5} <= set(by_weight)
    assert not {3, 4, 5} & set(by_data)


def fit(model, digits, epochs):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
    model.fit(digits[0], digits[1], batch_size=64, epochs=epochs, verbose=0)


def test_fine_tuning_recovers_and_the_result_can_be_stored(digits, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            kl.Conv2D(16, 3, activation="relu"),
            kl.Flatten(),
            kl.Dense(32, "relu"),
            kl.Dense(10),
        ]
    )
    fit(model, digits, 6)
    before = model.evaluate(digits[2], digits[3], verbose=0)[1]
    result = remove_channels(model, 0.5)
    fit(result.model, digits, 4)
    after = result.model.evaluate(digits[2], digits[3], verbose=0)[1]
    assert result.parameters_after < 0.35 * result.parameters_before
    assert after > before - 0.05
    result.model.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(again(digits[2]), result.model(digits[2]), atol=1e-6)
    assert f"{result.parameters_after:,}" in repr(result)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = kl.Dense(4)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: remove_channels(mlp(), 1.0), "ratio: got 1.0; expected at least 0 and below 1"),
        (lambda: remove_channels(mlp(), {"a": -0.5}), r"ratio\['a'\]: got -0.5"),
        (lambda: remove_channels(mlp(), {"b": 0.5}), "ratio: no layer 'b'; expected one of a,"),
        (lambda: remove_channels(mlp(), 0.5, skip=["b"]), "skip: no layer 'b'"),
        (lambda: remove_channels(mlp(), 0.5, divisor=0), "divisor: got 0"),
        (
            lambda: remove_channels(mlp(), 0.5, saliency="l2"),
            "saliency: got 'l2'; expected one of l1, taylor",
        ),
        (lambda: remove_channels(mlp(), 0.5, saliency="taylor"), "data: got None; saliency 'taylor'"),
        (lambda: remove_channels(mlp(), 0.5, saliency="taylor", data=(0, 0)), "is not compiled"),
        (lambda: remove_channels(Own(), 0.5), r"\(Own\) is neither Sequential nor functional"),
        (lambda: remove_channels(keras.Sequential([kl.Dense(3)]), 0.5), "without a known input shape"),
    ],
)
def test_refusals_say_what_is_allowed(call, match):
    with pytest.raises(CompressionError, match=match):
        call()
