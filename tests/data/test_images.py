"""Images in class folders and zip files."""

import io
import os
import shutil
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.data import cache
from lepton_kit.errors import ConfigError, DataError


def test_a_folder_is_split_by_class_and_keeps_its_bytes(two_classes):
    prepared = data.image_folder(two_classes, seed=3).prepare()
    assert prepared.class_names == ("cat", "dog")
    assert prepared.num_classes == 2
    assert prepared.task == "classification"
    assert prepared.value_range == (0.0, 255.0)
    assert prepared.sample_shape == (4, 5, 1)
    assert prepared.sample_dtype == "uint8"
    assert np.bincount(prepared.train.y).tolist() == [8, 8]
    assert np.bincount(prepared.validation.y).tolist() == [2, 2]
    for split in (prepared.train, prepared.validation):
        assert np.array_equal(split.x[:, 0, 0, 0] >= 100, split.y == 1)
    values = np.concatenate([prepared.train.x[:, 0, 0, 0], prepared.validation.x[:, 0, 0, 0]])
    assert sorted(values) == [*range(10), *range(100, 110)]


def test_take_gives_real_arrays_in_the_asked_order(two_classes):
    train = data.image_folder(two_classes).prepare().train
    x, y = train.take(np.array([15, 0, 15]))
    assert type(x) is np.ndarray
    assert x.dtype == np.uint8
    assert x.shape == (3, 4, 5, 1)
    assert y.tolist() == [train.y[15], train.y[0], train.y[15]]


def test_the_split_depends_on_the_seed_alone(two_classes, tmp_path):
    one = data.image_folder(two_classes, seed=1).prepare(tmp_path / "a")
    two = data.image_folder(two_classes, seed=1).prepare(tmp_path / "b")
    other = data.image_folder(two_classes, seed=2).prepare(tmp_path / "a")
    assert np.array_equal(one.validation.x, two.validation.x)
    assert one.fingerprint == two.fingerprint
    assert not np.array_equal(one.validation.x, other.validation.x)
    assert one.fingerprint != other.fingerprint


def test_the_second_time_nothing_is_decoded(two_classes, monkeypatch):
    first = data.image_folder(two_classes).prepare()
    monkeypatch.setattr(Image, "open", None)
    second = data.image_folder(two_classes).prepare()
    assert isinstance(second.train.x, np.memmap)
    assert np.array_equal(first.train.x, second.train.x)
    assert cache.cache_root().stat().st_mode & 0o777 == 0o700
    assert [p.name for p in cache.cache_root().iterdir()] == [second.fingerprint]


def test_a_broken_cache_is_made_anew(two_classes):
    prepared = data.image_folder(two_classes).prepare()
    (cache.cache_root() / prepared.fingerprint / "train.x.0.npy").write_bytes(b"torn")
    assert len(data.image_folder(two_classes).prepare().train) == 16


def test_a_changed_file_is_read_again(two_classes, draw):
    data.image_folder(two_classes).prepare()
    draw("cat/10.png")
    prepared = data.image_folder(two_classes).prepare()
    assert len(prepared.train) + len(prepared.validation) == 21


def test_given_split_and_wrapping_folder_in_a_zip(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train", 4), ("val", 2)):
            for label in "ab":
                for i in range(count):
                    content = io.BytesIO()
                    Image.fromarray(np.full((3, 3), i, np.uint8)).save(content, "png")
                    archive.writestr(f"set/{split}/{label}/{i}.png", content.getvalue())
        archive.writestr("__MACOSX/set/._x.png", b"junk")
        archive.writestr("set/README.txt", b"words")
    prepared = data.image_folder(path).prepare()
    assert len(prepared.train) == 8
    assert len(prepared.validation) == 4
    assert repr(data.image_folder(path)) == "Dataset(image_folder, 'set.zip')"


def test_colour_modes(draw):
    draw("a/1.png", mode="RGB")
    folder = draw("b/1.png", mode="L")
    assert data.image_folder(folder, validation_split=0).prepare().sample_shape == (4, 5, 3)
    assert data.image_folder(folder, color_mode="grayscale").prepare().sample_shape == (4, 5, 1)
    assert data.image_folder(folder, color_mode="rgba").prepare().sample_shape == (4, 5, 4)


def test_image_size_brings_all_to_one_size(draw):
    draw("a/1.png", size=(4, 4), value=9)
    folder = draw("b/1.png", size=(8, 6), value=90)
    prepared = data.image_folder(folder, image_size=(5, 5), validation_split=0).prepare()
    assert prepared.sample_shape == (5, 5, 1)
    assert prepared.train.x[:, 2, 2, 0].tolist() == [9, 90]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: shutil.rmtree(f), "no such file or folder"),
        (lambda f: [shutil.rmtree(f / c) for c in ("cat", "dog")], "no image in it; read are PNG, JPEG, BMP"),
        (lambda f: shutil.rmtree(f / "cat"), "one class only"),
        (lambda f: (f / "dog" / "3.png").write_bytes(b"not an image"), "dog/3.png: not a readable"),
        (lambda f: os.truncate(f / "dog" / "3.png", 50), "dog/3.png"),
        (lambda f: (f / "cow").mkdir(), "cow: an empty class folder"),
        (lambda f: shutil.copy(f / "cat" / "1.png", f / "1.png"), "1.png: lies in no class folder"),
        (lambda f: (f / "cat" / "1.heic").write_bytes(b"ftyp"), "cat/1.heic: .heic images are not read"),
        (lambda f: (f / "cat" / "1.gif").write_bytes(b"GIF"), "cat/1.gif: not a readable image"),
        (lambda f: (f / "cat" / "1.jpg").write_bytes(b""), "cat/1.jpg: an empty file"),
        (lambda f: Image.new("L", (9, 9)).save(f / "cat" / "z.png"), "cat/z.png is 9 x 9 pixels"),
    ],
)
def test_every_error_names_the_file(two_classes, spoil, said):
    source = data.image_folder(two_classes)
    spoil(two_classes)
    with pytest.raises(DataError) as caught:
        source.prepare()
    assert said in str(caught.value)


def test_errors_of_a_given_split(draw):
    draw("test/a/1.png")
    folder = draw("val/a/1.png")
    with pytest.raises(DataError, match="no train folder"):
        data.image_folder(folder).prepare()
    draw("train/a/1.png")
    draw("train/b/1.png")
    draw("val/c/1.png")
    with pytest.raises(DataError, match="class 'c' is held out"):
        data.image_folder(folder).prepare()
    draw("val/1.png")
    with pytest.raises(DataError, match=r"val/1.png: lies in no class folder"):
        data.image_folder(folder).prepare()


def test_a_file_that_is_no_zip(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="not a readable zip file"):
        data.image_folder(tmp_path / "x.zip").prepare()


def test_a_cache_that_cannot_be_written(two_classes, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cache cannot be written"):
        data.image_folder(two_classes).prepare(tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"validation_split": 1.0}, "data.validation_split"),
        ({"validation_split": "a"}, "data.validation_split"),
        ({"seed": -1}, "data.seed"),
        ({"color_mode": "cmyk"}, "data.color_mode"),
        ({"image_size": (0, 4)}, "data.image_size"),
        ({"image_size": 4}, "data.image_size"),
    ],
)
def test_settings_are_checked(tmp_path, options, field):
    with pytest.raises(ConfigError) as caught:
        data.image_folder(tmp_path, **options)
    assert caught.value.field == field


def test_no_tensorflow():
    import subprocess

    code = "import sys, lepton_kit.data; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
