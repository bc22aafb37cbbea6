"""TFRecord files by their index: what TensorFlow writes is read without it, and damage is named by file and record."""

import contextlib
import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lepton_kit import data
from lepton_kit.data.large.examples import columns_of, features_of
from lepton_kit.errors import ConfigError, DataError

tf = pytest.importorskip("tensorflow")


def example(**features):
    made = {}
    for name, value in features.items():
        value = value if isinstance(value, list | np.ndarray) else [value]
        if isinstance(value[0], bytes | str):
            encoded = [one.encode() if isinstance(one, str) else one for one in value]
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
        elif isinstance(value[0], float | np.floating):
            made[name] = tf.train.Feature(float_list=tf.train.FloatList(value=value))
        else:
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def write(path, examples, options=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for one in examples:
            writer.write(one)
    return path


def everything(split):
    return split.rows(np.arange(len(split)))


def png(value, size=(4, 5), mode="L"):
    out = io.BytesIO()
    Image.new(mode, (size[1], size[0]), value).save(out, "PNG")
    return out.getvalue()


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=4),
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9)
        | st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9)
        | st.lists(st.binary(max_size=9), min_size=1, max_size=3),
        max_size=4,
    )
)
def test_examples_are_parsed_as_tensorflow_does(features):
    found = features_of(example(**features))
    assert found.keys() == features.keys()
    for name, values in features.items():
        assert list(found[name]) == list(values)


FEATURES = st.fixed_dictionaries(
    {"a": st.lists(st.integers(-1, 300), min_size=1, max_size=3)},
    optional={
        "b": st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=3),
        "c": st.lists(st.binary(max_size=2), min_size=1, max_size=2),
    },
)


@settings(max_examples=120)
@given(st.lists(FEATURES, min_size=1, max_size=5))
def test_many_examples_are_read_as_each_one_alone(several):
    contents = [example(**one) for one in several]
    columns = columns_of(contents)
    alone = [features_of(content) for content in contents]
    assert columns.keys() == set().union(*alone)
    for name, column in columns.items():
        assert [None if one is None else list(one) for one in column] == [
            list(one[name]) if name in one else None for one in alone
        ]


def test_examples_of_one_writer_become_one_array():
    contents = [example(x=[float(k), 2.0, -k / 3], ids=[k, 900 - k], y=k % 2) for k in range(300)]
    columns = columns_of(contents)
    assert {name: column.shape for name, column in columns.items()} == {
        "x": (300, 3),
        "ids": (300, 2),
        "y": (300, 1),
    }
    assert columns["ids"][299].tolist() == [299, 601]
    assert columns["x"].dtype == np.float32


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_bytes_that_are_no_examples_are_an_error_together_too(contents):
    with contextlib.suppress(ValueError):
        columns_of(contents)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_example_are_an_error_and_no_crash(content):
    with contextlib.suppress(ValueError):
        features_of(content)


def test_the_samples_are_those_that_were_written(tmp_path):
    x = np.random.default_rng(0).normal(size=(2500, 6)).astype(np.float32)
    for number, rows in enumerate(np.split(np.arange(2500), [900])):
        write(tmp_path / f"d/{number}.tfrecord", [example(x=x[row], label=int(row % 3)) for row in rows])
    prepared = data.tfrecord(tmp_path / "d", target="label").prepare()
    copied = data.tfrecord(tmp_path / "d", target="label", cache=True).prepare()
    for one, two in ((prepared.train, copied.train), (prepared.validation, copied.validation)):
        assert all(
            np.array_equal(a, b) for a, b in zip(everything(one)[:2], everything(two)[:2], strict=True)
        )
    whole = data.tfrecord(tmp_path / "d", target="label", validation_split=0).prepare()
    assert np.array_equal(everything(whole.train)[0], x)
    assert everything(whole.train)[1].tolist() == [row % 3 for row in range(2500)]
    assert (prepared.task, prepared.num_classes, len(prepared.validation)) == ("classification", 3, 500)


def test_what_was_read_ahead_is_what_is_read_now(tmp_path):
    path = write(tmp_path / "a.tfrecord", [example(x=[float(k), 1.0], y=k % 2) for k in range(300)])
    split = data.tfrecord(path, target="y", validation_split=0).prepare().train
    split.prefetch(np.arange(100, 200))
    rows = np.random.default_rng(0).permutation(300)
    assert np.array_equal(split.rows(rows)[0][:, 0], rows)
    split.prefetch(np.arange(64))
    split.source._store._limit = 64
    split.prefetch(np.arange(200, 300))
    assert len(split.source._store._ahead) <= 64
    assert np.array_equal(split.rows(rows)[0][:, 0], rows)


def test_images_bytes_numbers_and_text_labels_are_read(tmp_path):
    raw = np.arange(6, dtype=np.float32)
    examples = [
        example(image=png(k), raw=raw.tobytes(), ids=[k, -k], name="cat" if k % 2 else "dog")
        for k in range(10)
    ]
    path = write(tmp_path / "a.tfrecord", examples)
    shapes = {"image": [4, 5, 1], "raw": [2, 3], "ids": [2]}
    prepared = data.tfrecord(path, target="name", features=shapes, validation_split=0).prepare()
    x, y, _ = everything(prepared.train)
    assert x["image"].shape == (10, 4, 5, 1)
    assert x["image"][7, 0, 0, 0] == 7
    assert x["raw"][3].tolist() == raw.reshape(2, 3).tolist()
    assert x["ids"][4].tolist() == [4, -4]
    assert prepared.class_names == ("cat", "dog")
    assert y.tolist() == [1, 0] * 5
    assert prepared.sample_shape == {"image": (4, 5, 1), "raw": (2, 3), "ids": (2,)}


def test_a_regression_keeps_its_unit(tmp_path):
    path = write(tmp_path / "a.tfrecord", [example(x=[1.0], y=100.5 + k) for k in range(30)])
    prepared = data.tfrecord(path, target="y", validation_split=0).prepare()
    assert prepared.task == "regression"
    assert everything(prepared.train)[1][0] == np.float32(100.5)


def spoilt(path, place, value):
    content = bytearray(path.read_bytes())
    content[place] ^= value
    path.write_bytes(bytes(content))


def two(tmp_path, **more):
    return write(tmp_path / "a.tfrecord", [example(x=[1.0, 2.0], y=k % 2, **more) for k in range(4)])


def test_damage_is_found_by_its_checksum(tmp_path):
    path = two(tmp_path)
    spoilt(path, 20, 1)
    with pytest.raises(DataError, match=r"a.tfrecord, record 0: damaged \(its checksum is wrong\)"):
        data.tfrecord(path, target="y").prepare()
    path = two(tmp_path)
    spoilt(path, 0, 1)
    with pytest.raises(DataError, match=r"record 0: not a TFRecord file, or damaged"):
        data.tfrecord(path, target="y").prepare()


def test_a_file_that_ends_inside_a_record_is_named(tmp_path):
    path = two(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"a.tfrecord, record 3: the file ends inside it"):
        data.tfrecord(path, target="y").prepare()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="the file ends inside it"):
        data.tfrecord(path, target="y").prepare()


def test_compressed_files_are_refused_by_name(tmp_path):
    write(
        tmp_path / "a.tfrecord", [example(x=[1.0], y=0)] * 3, tf.io.TFRecordOptions(compression_type="GZIP")
    )
    with pytest.raises(DataError, match=r"a.tfrecord: compressed records can't be read by index"):
        data.tfrecord(tmp_path, target="y").prepare()


def test_a_record_that_was_exchanged_is_found(tmp_path):
    path = two(tmp_path)
    prepared = data.tfrecord(path, target="y").prepare()
    stat = path.stat()
    write(path, [example(x=[9.0, 2.0], y=k % 2) for k in range(4)])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match="its contents have changed"):
        everything(prepared.train)


@pytest.mark.parametrize(
    ("examples", "options", "words"),
    [
        ([{"x": [1.0]}] * 2, {}, "no feature 'y'; it has x"),
        ([{"x": [1.0], "y": 0}] * 2, {"features": {"z": [1]}}, "no feature 'z'"),
        ([{"x": [1.0], "y": 0}] * 2, {"features": {"y": [1]}}, "is among the features"),
        ([{"y": 0}] * 2, {}, "no feature beside the target"),
        ([{"x": [1.0], "y": 0}, {"x": [1.0, 2.0], "y": 1}], {}, "record 1, 'x': 2 numbers; expected 1"),
        ([{"x": [1.0], "y": 0}, {"x": [1], "y": 1}], {}, "expected 1 of type float32"),
        ([{"x": [1.0], "y": 0}, {"y": 1}], {}, "record 1, 'x': missing"),
        ([{"x": [1.0], "y": 0}, {"x": [float("nan")], "y": 1}], {}, "record 1: a number that is not finite"),
        ([{"x": [1.0], "y": 0}, {"x": [1.0], "y": [1, 2]}], {}, "record 1: the target 'y' has 2 values"),
        ([{"x": [1.0], "y": 0}, {"x": [1.0], "y": "a"}], {}, "text in some records and a number in others"),
        ([{"x": b"abc", "y": 0}] * 2, {}, "3 bytes that are no image; give its shape"),
        ([{"x": b"abc", "y": 0}] * 2, {"features": {"x": [2]}}, "3 bytes; the shape"),
        (
            [{"x": b"abc", "y": 0}, {"x": b"ab", "y": 1}],
            {"features": {"x": [3]}},
            "record 1, 'x': 2 bytes; expected 3",
        ),
        ([{"x": [b"a", b"b"], "y": 0}] * 2, {}, "2 texts; expected one image"),
        ([{"x": png(1), "y": 0}] * 2, {"features": {"x": [4, 5]}}, "an image; its shape is"),
        ([{"x": png(1), "y": 0}, {"x": b"\x89PNG", "y": 1}], {}, "record 1, 'x': not a readable image"),
        ([{"x": [1.0], "y": 0}], {}, "1 records; expected at least 2"),
    ],
)
def test_what_cannot_be_trained_on_is_named(tmp_path, examples, options, words):
    path = write(tmp_path / "a.tfrecord", [example(**one) for one in examples])
    with pytest.raises(DataError, match=words):
        data.tfrecord(path, **{"target": "y", "validation_split": 0, **options}).prepare()


@pytest.mark.parametrize("features", [[], {}, {"x": "abc"}, {"x": [0]}])
def test_a_wrong_shape_is_named(features):
    with pytest.raises(ConfigError, match=r"data.features"):
        data.tfrecord("nowhere", target="y", features=features)
