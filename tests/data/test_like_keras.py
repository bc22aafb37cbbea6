"""Inputs that people bring to `fit`: the prepared arrays are those that Keras' own adapters would feed."""

import os

import numpy as np
import pandas as pd
import pytest

from lepton_kit import data
from lepton_kit.data.structure import items
from lepton_kit.errors import ConfigError, DataError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
from keras.src.trainers import data_adapters  # noqa: E402  # after the check that Keras is there

N = 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3)).astype(np.float32)
IMAGE = RNG.integers(0, 255, (N, 4, 4, 1)).astype(np.uint8)
LABEL = RNG.integers(0, 3, N)
ONE_HOT = np.eye(3, dtype=np.float32)[LABEL]
STEPS = RNG.integers(0, 5, (N, 6))
W = RNG.random(N)
TEXT = np.array(["a", "bc", "def"], object)[LABEL]
FRAME = pd.DataFrame({"a": X[:, 0], "b": np.arange(N), "c": X[:, 1]})
RAGGED = tf.RaggedTensor.from_row_lengths(np.arange(1, 31), [1, 2, 3, 4, 2, 3, 1, 4, 2, 3, 1, 4])

# (name, arguments of fit): each has to come out as Keras feeds it.
SAME = {
    "float32 and labels": (X, LABEL),
    "float64": (X.astype(np.float64), LABEL),
    "float16": (X.astype(np.float16), LABEL),
    "bytes of images": (IMAGE, LABEL),
    "bool inputs": (X > 0, LABEL),
    "int64 tokens": (STEPS, LABEL),
    "uint16 inputs": (STEPS.astype(np.uint16), LABEL),
    "labels int8": (X, LABEL.astype(np.int8)),
    "labels uint8": (X, LABEL.astype(np.uint8)),
    "labels in a column": (X, LABEL[:, None]),
    "labels of one class": (X, np.zeros(N, int)),
    "labels -1 and 1": (X, LABEL % 2 * 2 - 1),
    "labels bool": (X, LABEL == 1),
    "next tokens of a large vocabulary": (STEPS, STEPS * 10**4),
    "whole numbers beyond 32 bits": (X, LABEL * 2**40),
    "whole numbers as a regression": (X, np.arange(N) * 1000),
    "one-hot float": (X, ONE_HOT),
    "one-hot whole": (X, ONE_HOT.astype(int)),
    "several labels a sample": (X, (X > 0).astype(int)),
    "label maps": (IMAGE, IMAGE[..., 0] % 3),
    "regression float64": (X, X[:, :1].astype(np.float64)),
    "x alone": (X,),
    "x as target": (X, X),
    "list of inputs": ([X, IMAGE], LABEL),
    "list of one input": ([X], LABEL),
    "tuple of inputs": ((X, STEPS), LABEL),
    "dictionary of inputs": ({"a": X, "b": STEPS}, LABEL),
    "list of targets": (X, [LABEL, X]),
    "dictionary of targets": (X, {"p": LABEL, "q": X}),
    "lists as inputs and targets": ([X, X], [LABEL, LABEL]),
    "weights": (X, LABEL, W),
    "weights in a column": (X, LABEL, W[:, None]),
    "weights of steps": (STEPS, STEPS, RNG.random((N, 6))),
    "weights of pixels": (IMAGE, IMAGE[..., 0] % 3, RNG.random((N, 4, 4))),
    "one weight for several outputs": (X, {"p": LABEL, "q": X}, W),
    "weights of each output, dictionary": (X, {"p": LABEL, "q": STEPS}, {"p": W, "q": RNG.random((N, 6))}),
    "weights of each output, list": (X, [LABEL, X], [W, 1 - W]),
    "tensors": (tf.constant(X), tf.constant(LABEL)),
    "tensors bfloat16": (tf.cast(X, tf.bfloat16), LABEL),
    "frame": (FRAME, LABEL),
    "frame of whole numbers": (FRAME[["b"]], LABEL),
    "series": (FRAME["a"], FRAME["b"]),
    "dictionary of series": (dict(FRAME), LABEL),
    "text, objects": (TEXT, LABEL),
    "text, tensor": (tf.constant(TEXT.astype(str)), LABEL),
    "ragged tensor": (RAGGED, LABEL),
    "class weights": (X, LABEL, None, {0: 2.0, 2: 0.5}),
    "class weights of one-hot": (X, ONE_HOT, None, {0: 2.0}),
    "class weights in a column": (X, LABEL[:, None], None, {1: 3.0}),
}
# (arguments, what is said): not what Keras would feed, so refused.
REFUSED = {
    "nan in the inputs": ((np.where(X > 2, np.nan, X) * np.nan, LABEL), "row 0, position 0 is nan"),
    "rows of other lengths": ((X, LABEL[:4]), "x has 12 rows but y has 4"),
    "complex": ((X.astype(complex), LABEL), "type complex128"),
    "nested": (({"a": {"b": X}}, LABEL), "a dictionary inside a dictionary"),
    "two kinds of weights": ((X, LABEL, W, {0: 1.0}), "got both"),
    "class weights of two outputs": ((X, [LABEL, X], None, {0: 1.0}), "class weights need one output"),
    "mixed frame": ((pd.DataFrame({"a": [1.0] * N, "t": TEXT}), LABEL), "'t' hold text beside numbers"),
    "a function": ((lambda: X,), "call it, so that it gives data"),
}


def fed(x, y=None, w=None, class_weight=None):
    """(x, y, weights) of the one batch that Keras feeds."""
    adapter = data_adapters.get_data_adapter(
        x, y, sample_weight=w, class_weight=class_weight, batch_size=N, shuffle=False
    )
    (batch,) = list(adapter.get_tf_dataset())
    return keras.utils.unpack_x_y_sample_weight(batch)


def plain(tensor):
    return np.asarray(tensor.to_tensor() if isinstance(tensor, tf.RaggedTensor) else tensor)


def equal(mine, theirs):
    assert [key for key, _ in items(mine)] == [key for key, _ in items(theirs)]
    for (key, one), (_, two) in zip(items(mine), items(theirs), strict=True):
        two = plain(two)
        if two.dtype == object:
            assert list(one.reshape(-1)) == list(two.reshape(-1)), key
            assert one.shape == two.shape
            continue
        if two.dtype == np.float64:  # Keras leaves these alone in a frame; a model casts them to float32
            two = two.astype(np.float32)
        assert one.dtype == two.dtype, key
        assert np.array_equal(one, two), key


def of(x, y=None, w=None, class_weight=None, **options):
    return data.of(x, y, sample_weight=w, class_weight=class_weight, **options).prepare()


@pytest.mark.parametrize("name", SAME)
def test_arrays_are_what_keras_feeds(name, tmp_path):
    arguments = SAME[name]
    source = data.of(
        *arguments[:2],
        sample_weight=arguments[2] if len(arguments) > 2 else None,
        class_weight=arguments[3] if len(arguments) > 3 else None,
    )
    theirs = fed(*arguments)
    spec = source.store(tmp_path / "data")
    for prepared in (source.prepare(), data.Dataset.from_spec(spec, tmp_path).prepare()):
        mine = prepared.train.rows(np.arange(N))
        for one, two in zip(mine, theirs, strict=True):
            equal(one, two)
        # What a step hands to the model is a tensor of the same type.
        for (_, one), (_, two) in zip(items(mine[0]), items(theirs[0]), strict=True):
            assert tf.as_dtype(tf.convert_to_tensor(one).dtype) == two.dtype or two.dtype == tf.float64


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_refused(name):
    arguments, said = REFUSED[name]
    with pytest.raises(DataError) as caught:
        of(*arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.5])
def test_validation_split_holds_out_what_keras_does(share):
    from keras.src.trainers.data_adapters import array_slicing

    (x, y, w), (held_x, held_y, held_w) = array_slicing.train_validation_split((X, LABEL, W), share)
    prepared = of(X, LABEL, W, validation_split=share)
    for split, theirs in ((prepared.train, (x, y, w)), (prepared.validation, (held_x, held_y, held_w))):
        for one, two in zip((split.x, split.y, split.w), theirs, strict=True):
            assert np.array_equal(one, np.asarray(two))


def stream_of(kind):
    tensors = tf.data.Dataset.from_tensor_slices((X, LABEL)).batch(5)
    if kind == "tf.data":
        return tensors
    if kind == "generator":
        return ((x.numpy(), y.numpy()) for x, y in tensors)

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, place):
            return X[place * 5 : place * 5 + 5], LABEL[place * 5 : place * 5 + 5]

    return Sequence()


@pytest.mark.parametrize("kind", ["tf.data", "generator", "PyDataset"])
@pytest.mark.parametrize("class_weight", [None, {2: 4.0}])
def test_streams_are_what_keras_feeds(kind, class_weight):
    mine = of(stream_of(kind), class_weight=class_weight).train
    adapter = data_adapters.get_data_adapter(
        stream_of(kind), class_weight=None if kind == "generator" else class_weight
    )
    batches = [keras.utils.unpack_x_y_sample_weight(batch) for batch in adapter.get_tf_dataset()]
    assert np.array_equal(mine.x, np.concatenate([np.asarray(batch[0]) for batch in batches]))
    assert np.array_equal(mine.y, np.concatenate([np.asarray(batch[1]) for batch in batches]))
    if class_weight is not None and kind != "generator":
        assert np.array_equal(mine.w, np.concatenate([np.asarray(batch[2]) for batch in batches]))


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (lambda: data.arrays(X, LABEL), {"y": LABEL}, "y: got ndarray beside x; a lepton_kit Dataset holds"),
        (lambda: data.arrays(X, LABEL), {"validation_split": 0.1}, "validation_split: got float beside x"),
        (lambda: stream_of("tf.data"), {"y": LABEL}, "y: got ndarray beside x; the elements of x hold it"),
        (lambda: stream_of("tf.data"), {"sample_weight": W}, "sample_weight: got ndarray beside x"),
        (lambda: stream_of("tf.data"), {"validation_split": 0.1}, "give validation_data instead"),
        (lambda: X, {"y": LABEL, "sample_weight": W, "class_weight": {0: 1}}, "got both"),
    ],
)
def test_arguments_that_do_not_go_together(x, options, said):
    with pytest.raises(DataError) as caught:
        data.of(x(), **options)
    assert said in str(caught.value)


def test_what_is_data_already_stays():
    source = data.arrays(X, LABEL)
    assert data.of(source) is source
    assert data.of(source.prepare()).prepare() is source.prepare()


def test_validation_steps_leave_the_first_batches():
    prepared = of(X, LABEL, validation_data=(X, LABEL), validation_steps=2, validation_batch_size=4)
    assert np.array_equal(prepared.validation.x, X[:8])
    assert len(of(X, LABEL, validation_split=0.5, validation_steps=1).validation) == 6
    beside = of(stream_of("tf.data"), validation_data=(X, LABEL), validation_steps=1, validation_batch_size=4)
    assert len(beside.validation) == 4
    assert len(of(X, LABEL, validation_data=stream_of("tf.data"), validation_steps=2).validation) == 10


def test_another_float_type_of_keras_is_refused():
    keras.config.set_floatx("float64")
    try:
        for x in (X, stream_of("tf.data")):
            with pytest.raises(ConfigError, match=r"keras\.config\.floatx: got 'float64'; expected float32"):
                data.of(x)
    finally:
        keras.config.set_floatx("float32")
