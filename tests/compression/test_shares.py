"""Shares of channels that lean towards the layers that work at many places."""

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers as kl

from lepton_kit.compression.pruning.shares import leaning, places
from lepton_kit.compression.pruning.structured import remove_channels
from lepton_kit.errors import CompressionError

LAYERS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(1, 300), st.integers(1, 50_000)), min_size=1
)


@given(LAYERS, st.floats(0, 0.99), st.floats(0, 1))
def test_the_share_of_all_channels_goes_and_who_works_at_more_places_loses_no_less(layers, share, lean):
    widths = {name: width for name, (width, _) in layers.items()}
    at = {name: place for name, (_, place) in layers.items()}
    shares = leaning(widths, at, share, lean)
    gone = sum(widths[name] * one for name, one in shares.items())
    assert gone == pytest.approx(share * sum(widths.values()), abs=1e-6)
    assert all(-1e-9 <= one <= 1 for one in shares.values())
    for one in widths:
        for other in widths:
            if at[one] > at[other]:
                assert shares[one] >= shares[other] - 1e-9


@given(LAYERS, st.floats(0, 0.99))
def test_without_lean_all_lose_the_same_share(layers, share):
    shares = leaning(
        {name: 10 * one[0] for name, one in layers.items()}, dict.fromkeys(layers, 7), share, 0.5
    )
    assert list(shares.values()) == pytest.approx([share] * len(layers))


def test_places_of_every_kind_of_kernel():
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            kl.Conv2D(8, 3, strides=2, padding="same", name="strided"),
            kl.Conv2DTranspose(8, 3, strides=2, padding="same", name="transposed"),
            kl.SeparableConv2D(8, 3, name="separable"),
            kl.Reshape((100, 8)),
            kl.Dense(4, name="every step"),
            kl.GRU(6, name="recurrent"),
            kl.Dense(2, name="head"),
        ]
    )
    found = {layer.name: places(layer) for layer in model.layers if layer.weights}
    assert found == {
        "strided": 36, "transposed": 36, "separable": 100, "every step": 100, "recurrent": 100, "head": 1,
    }  # fmt: skip
    assert places(keras.Sequential([keras.Input((None, 3)), kl.Conv1D(4, 3)]).layers[0]) == 1


def network():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            kl.Conv2D(32, 3, activation="relu", name="first"),
            kl.MaxPooling2D(2),
            kl.Conv2D(64, 3, activation="relu", name="second"),
            kl.Flatten(),
            kl.Dense(128, activation="relu", name="dense"),
            kl.Dense(10, name="head"),
        ]
    )


def test_a_leaning_removal_takes_as_many_channels_and_more_of_them_from_convolutions():
    model = network()
    even, leant = (remove_channels(model, 0.75, lean=lean) for lean in (0, 0.2))
    kept = [{name: len(one) for name, one in result.kept.items()} for result in (even, leant)]
    assert kept[0] == {"first": 8, "second": 16, "dense": 32, "head": 10}
    assert abs(sum(kept[0].values()) - sum(kept[1].values())) <= 2
    assert kept[1]["first"] < 8
    assert kept[1]["second"] < 16
    assert kept[1]["dense"] > 32
    assert leant.model(keras.ops.zeros((2, 28, 28, 1))).shape == (2, 10)


def test_layers_that_cannot_lose_channels_do_not_count():
    model = network()
    all_but = remove_channels(model, 0.5, lean=0.2, skip=("first", "second"))
    assert {name: len(one) for name, one in all_but.kept.items()} == {
        "first": 32, "second": 64, "dense": 64, "head": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lean", "ratio", "told"),
    [
        (-0.1, 0.5, "lean: got -0.1; expected a number from 0 to 1"),
        (True, 0.5, "lean: got True"),
        ("much", 0.5, "lean: got 'much'"),
        (0.1, {"dense": 0.5}, "lean: got 0.1 beside a ratio for each layer"),
    ],
)
def test_a_lean_that_means_nothing_is_refused(lean, ratio, told):
    with pytest.raises(CompressionError, match=told):
        remove_channels(network(), ratio, lean=lean)
