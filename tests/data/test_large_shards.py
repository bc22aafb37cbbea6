"""WebDataset shards and Zarr groups by their index: the samples as written, and errors that name member or rows."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.errors import ConfigError, DataError


def png(value, size=(4, 5), mode="L"):
    out = io.BytesIO()
    Image.new(mode, (size[1], size[0]), value).save(out, "PNG")
    return out.getvalue()


def npy(values):
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def shard(path, samples, mode="w"):
    """A tar file of (name, {ending: content})."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, members in samples:
            for ending, content in members.items():
                info = tarfile.TarInfo(f"{name}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def plain(count=20, **more):
    return [(f"{k:04d}", {"png": png(k), "cls": str(k % 2).encode(), **more}) for k in range(count)]


def everything(split):
    return split.rows(np.arange(len(split)))


def test_the_samples_are_those_of_the_members_and_of_a_decoded_copy(tmp_path):
    shard(tmp_path / "d/0.tar", plain(30))
    shard(tmp_path / "d/1.tar", plain(25))
    prepared = data.webdataset(tmp_path / "d").prepare()
    copied = data.webdataset(tmp_path / "d", cache=True).prepare()
    for one, two in ((prepared.train, copied.train), (prepared.validation, copied.validation)):
        assert all(
            np.array_equal(a, b) for a, b in zip(everything(one)[:2], everything(two)[:2], strict=True)
        )
    whole = data.webdataset(tmp_path / "d", validation_split=0).prepare().train
    x, y, _ = everything(whole)
    assert x.shape == (55, 4, 5, 1)
    assert x[:, 0, 0, 0].tolist() == [*range(30), *range(25)]
    assert y[:4].tolist() == [0, 1, 0, 1]
    whole.prefetch(np.arange(40))
    rows = np.random.default_rng(0).permutation(55)
    assert np.array_equal(whole.rows(rows)[0], x[rows])


def test_long_names_folders_text_labels_json_and_arrays_are_read(tmp_path):
    name = "a folder/" + "ä" * 150
    samples = [
        (
            f"{name}{k}",
            {"npy": npy(np.full((2, 3), k, np.float64)), "json": json.dumps({"kind": "ab"[k % 2]}).encode()},
        )
        for k in range(6)
    ]
    path = shard(tmp_path / "a.tar", samples)
    prepared = data.webdataset(path, target="json.kind", validation_split=0).prepare()
    x, y, _ = everything(prepared.train)
    assert (x.dtype, x.shape) == (np.float32, (6, 2, 3))
    assert x[:, 0, 0].tolist() == list(range(6))
    assert prepared.class_names == ("a", "b")
    assert y.tolist() == [0, 1] * 3


def test_images_of_other_sizes_and_modes_are_brought_to_one(tmp_path):
    samples = [*plain(4), ("x", {"png": png((9, 9, 9), (8, 8), "RGB"), "cls": b"1"})]
    path = shard(tmp_path / "a.tar", samples)
    with pytest.raises(
        DataError, match=r"a.tar/x.png is 8 x 8 pixels, most are 4 x 5; give image_size=\(4, 5\)"
    ):
        data.webdataset(path).prepare()
    prepared = data.webdataset(path, image_size=(4, 4), validation_split=0).prepare()
    assert prepared.sample_shape == (4, 4, 3)
    assert everything(prepared.train)[0][4].max() == 9


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        ([("a", {"txt": b"x", "cls": b"0"})] * 2, {}, "a.tar/a: no member that ends in jpg"),
        (plain(3), {"target": "txt"}, "a.tar/0000: no member that ends in txt; it has png, cls"),
        (plain(3), {"input": "jpg"}, "no member that ends in jpg; it has png, cls"),
        (plain(3), {"target": "json.a"}, "no member that ends in json"),
        (plain(3, json=b"{}"), {"target": "json.a"}, r"0000.json: no JSON with a value 'a'"),
        (plain(3, json=b'{"a": [1]}'), {"target": "json.a"}, "'a' is list; expected a number or a text"),
        ([*plain(2), ("x", {"png": b"no image", "cls": b"0"})], {}, "a.tar/x.png: not a readable image"),
        ([*plain(2), ("x", {"png": png(1), "cls": b"cat"})], {}, "x.png: the target is text in some samples"),
        (
            [("a", {"npy": npy(np.zeros(3)), "cls": b"0"}), ("b", {"npy": npy(np.zeros(4)), "cls": b"1"})],
            {},
            "of shape",
        ),
        ([("a", {"npy": b"\x93NUMPYx", "cls": b"0"})] * 2, {}, "not a readable .npy array"),
        ([("a", {"npy": npy(np.array([{}], object)), "cls": b"0"})] * 2, {}, "not a readable .npy array"),
        ([("a", {"npy": npy(np.array([np.nan])), "cls": b"0"})] * 2, {}, "not finite"),
        (plain(1), {}, "1 samples; expected at least 2"),
    ],
)
def test_what_cannot_be_trained_on_is_named(tmp_path, samples, options, words):
    named = [
        (f"{name}{k if name == 'a' and k else ''}", members) for k, (name, members) in enumerate(samples)
    ]
    path = shard(tmp_path / "a.tar", named)
    with pytest.raises(DataError, match=words):
        data.webdataset(path, **options).prepare()


def test_files_that_are_no_plain_tar_are_named(tmp_path):
    path = shard(tmp_path / "a.tar", plain(3), "w:gz")
    with pytest.raises(DataError, match=r"a.tar: compressed by gzip"):
        data.webdataset(path).prepare()
    path.write_bytes(b"no tar file" * 100)
    with pytest.raises(DataError, match=r"a.tar: not a readable tar file"):
        data.webdataset(path).prepare()
    shard(path, plain(3))
    path.write_bytes(path.read_bytes()[: 512 * 5 + 5])
    with pytest.raises(DataError, match=r"a.tar: not a readable tar file|the file ends inside it"):
        data.webdataset(path).prepare()


def test_an_exchanged_member_is_found_by_its_checksum(tmp_path):
    path = shard(tmp_path / "a.tar", plain(6))
    prepared = data.webdataset(path).prepare()
    stat = path.stat()
    shard(path, [(f"{k:04d}", {"png": png(99), "cls": b"1"}) for k in range(6)])
    if path.stat().st_size == stat.st_size:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match=r"have changed|has changed"):
        everything(prepared.train)


@pytest.mark.parametrize("options", [{"input": "exe"}, {"image_size": (0, 3)}, {"target": ""}])
def test_a_wrong_option_is_named(options):
    with pytest.raises(ConfigError, match=rf"data.{next(iter(options))}"):
        data.webdataset("nowhere", **options)


# ---------------------------------------------------------------------- Zarr


@pytest.fixture
def group(tmp_path):
    library = pytest.importorskip("zarr")
    made = library.open_group(str(tmp_path / "g.zarr"), mode="w")
    x = np.random.default_rng(0).normal(size=(500, 4, 3))
    made.create_array("x", data=x, chunks=(40, 4, 3))
    made.create_array("y", data=np.arange(500) % 3)
    made.create_array("map", data=np.arange(1000).reshape(500, 2).astype(np.int32), chunks=(7, 2))
    return tmp_path / "g.zarr", x, made


def test_zarr_samples_are_those_of_the_arrays_and_of_a_decoded_copy(group, monkeypatch):
    monkeypatch.setattr("lepton_kit.data.large.zarrays.BLOCK_BYTES", 1)
    path, x, _ = group
    prepared = data.zarr(path).prepare()
    copied = data.zarr(path, cache=True).prepare()
    for one, two in ((prepared.train, copied.train), (prepared.validation, copied.validation)):
        assert all(
            np.array_equal(a, b) for a, b in zip(everything(one)[:2], everything(two)[:2], strict=True)
        )
    whole = data.zarr(path, validation_split=0).prepare()
    assert np.array_equal(everything(whole.train)[0], x.astype(np.float32))
    assert whole.train.order.blocks == 40
    assert whole.class_names == ("0", "1", "2")


def test_zarr_targets_that_are_arrays_come_with_the_samples(group):
    path, _, _ = group
    prepared = data.zarr(path, y="map").prepare()
    x, y, _ = everything(prepared.train)
    assert y.shape == (400, 2)
    assert prepared.task == "other"
    assert prepared.train.rows(np.array([[3, 1]]))[1].shape == (1, 2, 2)
    assert (y[:, 1] == y[:, 0] + 1).all()
    assert len(x) == 400


def test_a_zarr_chunk_that_is_lost_is_not_read_as_zeros(group, monkeypatch):
    monkeypatch.setattr("lepton_kit.data.large.zarrays.BLOCK_BYTES", 1)
    path, _, _ = group
    prepared = data.zarr(path).prepare()
    (path / "x" / "c" / "3" / "0" / "0").unlink()
    with pytest.raises(DataError, match=r"g.zarr: rows 120 to 159 have changed, or are lost"):
        everything(prepared.train)


@pytest.mark.filterwarnings("ignore:The data type .FixedLengthUTF32")
def test_zarr_mistakes_are_named(group):
    path, x, made = group
    for options, words in (
        ({"x": "z"}, r"no array 'z'; it has map, x, y"),
        ({"y": "short"}, r"'x' has 500 rows but 'short' has 3"),
        ({"x": "bad"}, r"'bad', row 7: a number that is not finite"),
        ({"x": "one"}, r"'one' is a single number"),
        ({"x": "words"}, r"'words' is of type"),
        ({"x": "few", "y": "few"}, r"1 rows; expected at least 2"),
    ):
        if "short" in options.values():
            made.create_array("short", data=np.arange(3))
            made.create_array("few", data=np.arange(1))
            made.create_array("one", data=np.array(1.0))
            made.create_array("words", data=np.array(["a"] * 500))
            spoilt = x.copy()
            spoilt[7, 0, 0] = np.inf
            made.create_array("bad", data=spoilt)
        with pytest.raises(DataError, match=words):
            data.zarr(path, **options).prepare()
    (path.parent / "file.zarr").write_bytes(b"x")
    with pytest.raises(DataError, match="not a readable Zarr group"):
        data.zarr(path.parent / "file.zarr").prepare()
