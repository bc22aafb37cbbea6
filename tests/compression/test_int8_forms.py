"""What takes a layer's place before int8 computes the same function: masked steps, activations, separable convolutions."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from lepton_kit.compression.quantization import deploy_layers
from lepton_kit.compression.quantization.deployable import deployable
from lepton_kit.compression.quantization.folding import (
    fold_batch_norm,
    norms_as_convolutions,
    split_separable,
)
from lepton_kit.compression.quantization.padding import check_masks, filled
from lepton_kit.compression.quantization.scopes import mark_layers
from lepton_kit.errors import CompressionError


@pytest.mark.parametrize("name", ["selu", "softplus", "mish"])
def test_activations_without_large_exponentials_are_keras_own(name):
    x = np.linspace(-40, 40, 4001).astype("float32")
    expected = np.asarray(getattr(keras.activations, name)(x))
    np.testing.assert_allclose(getattr(deploy_layers, name)(x), expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: kl.LSTM(5),
        lambda: kl.GRU(5, return_sequences=True),
        lambda: kl.SimpleRNN(5, go_backwards=True, return_sequences=True),
        lambda: kl.RNN([kl.LSTMCell(4), kl.GRUCell(5)], return_sequences=True, zero_output_for_mask=True),
        lambda: kl.Bidirectional(kl.LSTM(5, return_sequences=True)),
        lambda: kl.Bidirectional(kl.GRU(5), backward_layer=kl.LSTM(5, go_backwards=True)),
    ],
)
def test_steps_behind_a_mask_are_keras_own_also_where_the_first_are_masked(layer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((7, 3)), kl.Masking(), layer()])
    x = np.random.default_rng(0).normal(size=(6, 7, 3)).astype("float32")
    for row, (start, end) in enumerate([(0, 0), (0, 4), (3, 7), (0, 7), (2, 3), (6, 7)]):
        x[row, :start] = x[row, end:] = 0
    made = deployable(model)
    kinds = [type(one).__name__ for one in made.model._flatten_layers()]
    assert any(kind.startswith("MaskedSteps") for kind in kinds)
    np.testing.assert_allclose(made.model(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "channels", "padding"),
    [
        ((3, 3), 1, "valid"),
        ((3, 3), 2, "same"),
        ((5, 5), 1, "valid"),
        ((2, 5), 1, "same"),
        ((1, 7), 2, "same"),
        ((7, 7), 1, "valid"),
    ],
)
def test_two_columns_at_once_are_the_same_convolution(size, channels, padding):
    keras.utils.set_random_seed(2)
    first = kl.Conv2D(3, size, padding=padding, activation="tanh", bias_initializer="uniform", name="first")
    model = keras.Sequential([keras.Input((9, 12, channels)), first, kl.Flatten(), kl.Dense(2)])
    x = np.random.default_rng(0).normal(size=(4, 9, 12, channels)).astype("float32")
    made = deployable(model, paired=True).model
    assert type(made.get_layer("first")).__name__ == "PairedConv2D"
    np.testing.assert_allclose(made(x), model(x), atol=2e-6)
    assert deployable(model).model.count_params() == model.count_params()


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((9, 12, 3), {}),
        ((9, 11, 1), {"padding": "same"}),
        ((9, 12, 1), {"strides": 2}),
        ((9, 12, 1), {"kernel_size": 2}),
        ((9, 12, 1), {"kernel_size": 1}),
        ((9, 12, 1), {"dilation_rate": (1, 2)}),
        ((9, 12, 1), {"activation": None}),
        ((9, 12, 2), {"activation": "softmax"}),
        ((9, None, 1), {}),
        ((9, 12, 2), {"groups": 2}),
    ],
)
def test_other_convolutions_are_not_paired(shape, settings):
    layer = kl.Conv2D(**{"filters": 4, "kernel_size": 3, "activation": "relu", **settings})
    assert keras.Sequential([keras.Input(shape), layer]).built
    assert not deploy_layers.can_pair(layer)


def test_calibration_also_sees_steps_that_no_sample_fills():
    ids = keras.Input((5,), dtype="int32", name="ids")
    other = keras.Input((2,), name="other")
    y = kl.LSTM(3)(kl.Embedding(9, 4, mask_zero=True)(ids))
    model = keras.Model([ids, other], kl.Concatenate()([y, other]))
    given = {
        "ids": np.array([[1, 2, 0, 0, 0], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]], np.int32),
        "other": np.arange(6, dtype=np.float32).reshape(3, 2),
    }
    found = filled(model, given)
    assert found["ids"].tolist() == [*given["ids"].tolist(), [1, 2, 1, 2, 1]]
    assert found["other"].tolist() == [*given["other"].tolist(), [0.0, 1.0]]
    plain = keras.Sequential([keras.Input((5,)), kl.Dense(2)])
    samples = {"x": np.zeros((2, 5))}
    assert filled(plain, samples) is samples


def test_a_masked_value_that_int8_does_not_hold_is_refused_by_name():
    model = keras.Sequential([keras.Input((5, 2)), kl.Masking(-1.0, name="gaps"), kl.LSTM(3)])
    for _ in range(2):
        with pytest.raises(CompressionError, match=r"layer 'gaps' masks the value -1, .* use 'dynamic_int8'"):
            check_masks(model)
        mark_layers(model)  # as the converter finds them
    check_masks(keras.Sequential([keras.Input((5, 2)), kl.Masking(), kl.LSTM(3)]))


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        (
            (9, 9, 3),
            [kl.SeparableConv2D(6, 3, strides=2, padding="same", depth_multiplier=2, use_bias=False)],
        ),
        ((9, 3), [kl.SeparableConv1D(6, 3, dilation_rate=2)]),
        ((9, 9, 3), [kl.Conv2DTranspose(6, 3, strides=2, padding="same")]),
        ((9, 3), [kl.Conv1DTranspose(6, 3)]),
        ((9, 3), [kl.DepthwiseConv1D(3, depth_multiplier=2)]),
    ],
)
def test_separable_and_transposed_convolutions_fold_their_batch_normalization(shape, layers):
    keras.utils.set_random_seed(2)
    norm = kl.BatchNormalization()
    model = keras.Sequential([keras.Input(shape), *layers, norm, kl.ReLU()])
    random = np.random.default_rng(0)
    norm.set_weights([random.uniform(0.5, 1.5, one.shape) for one in norm.get_weights()])
    folded = fold_batch_norm(split_separable(model))
    kinds = [type(layer).__name__ for layer in folded.layers]
    assert "BatchNormalization" not in kinds
    assert not any(kind.startswith("Separable") for kind in kinds)
    x = random.normal(size=(4, *shape)).astype("float32")
    np.testing.assert_allclose(folded(x), model(x), atol=2e-5)


def test_a_separable_convolution_that_is_left_in_float_stays_whole():
    model = keras.Sequential(
        [keras.Input((9, 9, 3)), kl.SeparableConv2D(6, 3, name="whole"), kl.SeparableConv2D(6, 3)]
    )
    kinds = [type(layer).__name__ for layer in split_separable(model, {"whole"}).layers]
    assert kinds[1:] == ["SeparableConv2D", "DepthwiseConv2D", "Conv2D"]


@pytest.mark.parametrize("shape", [(5,), (7, 5), (6, 6, 5)])
@pytest.mark.parametrize("settings", [{}, {"center": False, "scale": False, "axis": 1}])
def test_a_normalization_that_nothing_can_take_over_is_a_convolution_of_size_1(shape, settings):
    norm = kl.BatchNormalization(name="norm", **settings, trainable=False)
    model = keras.Sequential([keras.Input(shape), kl.ReLU(), norm, kl.Dense(2)])
    random = np.random.default_rng(0)
    norm.set_weights([random.uniform(0.5, 1.5, one.shape) for one in norm.get_weights()])
    made = norms_as_convolutions(fold_batch_norm(model))
    stays = "axis" in settings and len(shape) > 1
    assert type(made.get_layer("norm")).__name__.startswith("BatchNorm" if stays else "DepthwiseConv")
    assert not made.get_layer("norm").trainable
    x = random.normal(size=(4, *shape)).astype("float32")
    np.testing.assert_allclose(made(x), model(x), atol=2e-5)
    left = norms_as_convolutions(fold_batch_norm(model), {"norm"})
    assert type(left.get_layer("norm")).__name__ == "BatchNormalization"


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((9, 4), kl.Conv1D(8, 3, groups=4, activation="relu", name="groups")),
        ((9, 9, 4), kl.Conv2D(4, 3, groups=4, strides=2, padding="same", use_bias=False, name="groups")),
    ],
)
def test_as_many_groups_as_channels_are_depthwise(shape, layer):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input(shape), kl.ReLU(), layer])
    made = split_separable(model)
    assert type(made.get_layer("groups")).__name__.startswith("DepthwiseConv")
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    np.testing.assert_allclose(made(x), model(x), atol=2e-5)
    assert type(split_separable(model, {"groups"}).get_layer("groups")) is type(layer)
