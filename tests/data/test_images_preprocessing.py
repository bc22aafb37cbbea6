"""New images become, bit for bit, what they would have become in training; what is unlike training is said."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.data.images.preprocessing import ImagePreprocessing
from lepton_kit.data.preprocessing import load, parse
from lepton_kit.errors import DataError

RNG = np.random.default_rng(8)


def made(folder, draw, count=4, classes=("a", "b"), extension="png"):
    for label in classes:
        (folder / label).mkdir(parents=True)
        for i in range(count):
            image = draw()
            if not isinstance(image, Image.Image):
                image = Image.fromarray(image)
            image.save(folder / label / f"{i}.{extension}")
    return folder


def photo():
    return RNG.integers(0, 256, (12, 16, 3), np.uint8)


def turned():
    return Image.fromarray(np.repeat(np.repeat(RNG.integers(0, 256, (9, 7, 3), np.uint8), 3, 0), 3, 1))


def drawing():
    return RNG.integers(0, 256, (12, 16, 4), np.uint8)


def deep():
    return RNG.integers(300, 4096, (12, 16)).astype(np.uint16)


@pytest.mark.parametrize("draw", [photo, turned, drawing, deep])
@pytest.mark.parametrize("size", [(12, 16), (5, 9)])
@pytest.mark.parametrize("color_mode", ["auto", "grayscale", "rgba"])
def test_new_images_are_encoded_as_training_images_were(tmp_path, draw, size, color_mode):
    folder = made(tmp_path / "set", draw)
    prepared = data.image_folder(folder, image_size=size, color_mode=color_mode, validation_split=0).prepare()
    stored = tmp_path / "preprocessing.json"
    stored.write_text(prepared.preprocessing.to_json())
    for way in (folder, [str(p) for p in sorted(folder.rglob("*.png"))]):
        found = load(stored).encode(way)
        assert found.x.dtype == prepared.train.x.dtype
        assert np.array_equal(found.x, prepared.train.x)
        assert not found.problems
        assert not found.notes
    assert prepared.preprocessing.target.class_names == prepared.class_names == ("a", "b")


def test_validation_images_too(tmp_path):
    folder = made(tmp_path / "set", deep, count=10)
    prepared = data.image_folder(folder, validation_split=0.3).prepare()
    all_rows = {row.tobytes() for row in prepared.preprocessing.encode(folder).x}
    for split in (prepared.train, prepared.validation):
        assert {row.tobytes() for row in np.asarray(split.x)} <= all_rows


def test_deep_images_are_scaled_by_the_range_of_the_training_images(tmp_path):
    for label, values in (("a", [1000, 1200]), ("b", [1100, 2000])):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i, value in enumerate(values):
            Image.fromarray(np.full((2, 2), value, np.uint16)).save(tmp_path / "set" / label / f"{i}.png")
    prepared = data.image_folder(tmp_path / "set", validation_split=0).prepare()
    assert prepared.sample_dtype == "float32"
    assert prepared.train.x[:, 0, 0, 0].tolist() == pytest.approx([0.0, 51.0, 25.5, 255.0])
    assert "1000 to 2000 (the training images' range) became 0 to 255" in prepared.notes[0]
    stated = data.image_folder(tmp_path / "set", validation_split=0, intensity_range=(0, 4000)).prepare()
    assert stated.train.x[:, 0, 0, 0].tolist() == pytest.approx([63.75, 76.5, 70.125, 127.5])
    new = prepared.preprocessing.encode(np.full((1, 2, 2), 3000, np.uint16))
    assert new.x.max() == 255.0
    assert list(new.notes) == ["values outside of the training images' 1000 to 2000; cut to these"]
    eight = prepared.preprocessing.encode(np.full((2, 2), 7, np.uint8))
    assert eight.x.max() == 7.0
    assert "8 bits a channel, training images had more; taken as 0 to 255" in eight.notes


def test_the_range_comes_from_training_rows_alone(tmp_path):
    made(tmp_path / "set" / "train", lambda: np.full((2, 2), 500, np.uint16))
    made(tmp_path / "set" / "val", lambda: np.full((2, 2), 60000, np.uint16))
    prepared = data.image_folder(tmp_path / "set").prepare()
    assert prepared.preprocessing.intensity_range == (500.0, 501.0)
    assert prepared.validation.x.max() == 255.0


def test_a_broken_file_is_a_problem_and_keeps_its_place(tmp_path):
    folder = made(tmp_path / "set", photo)
    plain = data.image_folder(folder).prepare().preprocessing
    new = tmp_path / "new" / "deeper"
    new.mkdir(parents=True)
    shutil.copy(folder / "a" / "0.png", new / "1.png")
    (new / "2.png").write_bytes(b"no image")
    shutil.copy(folder / "a" / "1.png", new / "3.png")
    (new / "notes.txt").write_text("left out")
    found = plain.encode(tmp_path / "new")
    assert found.names == ("deeper/1.png", "deeper/2.png", "deeper/3.png")
    assert found.rows.tolist() == [0, 2]
    assert "new/deeper/2.png: not a readable image" in found.problems[1]
    assert len(found.x) == plain.count(tmp_path / "new") - 1 == 2
    gone = plain.encode([str(new / "1.png"), str(new / "gone.png")])
    assert gone.names == (str(new / "1.png"), str(new / "gone.png"))
    assert "gone.png: no such file" in gone.problems[1]


def test_pieces_come_in_order_whatever_their_size(tmp_path):
    folder = made(tmp_path / "set", photo, count=5)
    plain = data.image_folder(folder).prepare().preprocessing
    whole, parts = plain.encode(folder), list(plain.pieces(folder, rows=3))
    assert [len(part.names) for part in parts] == [3, 3, 3, 1]
    assert np.array_equal(np.concatenate([part.x for part in parts]), whole.x)
    assert sum((part.names for part in parts), ()) == whole.names


def test_archives_arrays_and_open_images(tmp_path):
    folder = made(tmp_path / "set", photo)
    plain = data.image_folder(folder).prepare().preprocessing
    whole = plain.encode(folder).x
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    assert np.array_equal(plain.encode(tmp_path / "new.zip").x, whole)
    files = sorted(folder.rglob("*.png"))
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    assert np.array_equal(plain.encode(arrays).x, whole)
    assert np.array_equal(plain.encode(arrays.astype(np.float64)).x, whole)
    assert np.array_equal(plain.encode(arrays.astype(np.int64)).x, whole)
    assert np.array_equal(plain.encode([Image.open(file) for file in files]).x, whole)
    assert np.array_equal(plain.encode(arrays[0]).x, whole[:1])
    assert np.array_equal(plain.encode(list(arrays)).x, whole)
    assert plain.encode(list(arrays)).names[:2] == ("image 0", "image 1")
    assert plain.encode(files[0]).names == (str(files[0]),)
    assert plain.encode(Image.fromarray(arrays[0])).names == ("image 0",)
    assert plain.encode(np.zeros((3, 12, 16), bool)).x.shape == (3, 12, 16, 3)


def test_what_is_unlike_training_is_said(tmp_path):
    plain = data.image_folder(made(tmp_path / "set", photo)).prepare().preprocessing
    grey = plain.encode(np.zeros((2, 30, 30), np.uint8))
    assert dict(grey.notes) == {
        "the image is grey, all training images were in colour; turned": 2,
        "the image is not of 12 x 16 pixels as all training images; brought to that size": 2,
    }
    wide = plain.encode(np.full((12, 16, 3), 65535, np.uint16))
    assert dict(wide.notes) == {"16 bits a channel, training images had 8; divided by 257": 1}
    assert wide.x.max() == 255


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((12, 16, 3), 0.5), "values from 0.5 to 0.5; expected 0 to 255: multiply by 255"),
        (np.full((12, 16, 3), 300), "values from 300 to 300; expected 0 to 255"),
        (np.full((12, 16, 3), -1.0), "values from -1 to -1; expected 0 to 255"),
        (np.full((12, 16, 3), np.nan), "no finite numbers"),
    ],
)
def test_arrays_of_another_unit_are_a_problem(array, said):
    plain = ImagePreprocessing(image_size=(12, 16), color_mode="rgb")
    assert said in plain.encode(array).problems[0]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (3, "input: got int; expected image files"),
        (np.zeros(3), r"input: an array of shape \(3,\)"),
        (np.zeros((1, 2, 3, 2), np.uint8), "with 1, 3 or 4 channels"),
        (np.array([["a", "b"]]), "input: an array of <U1"),
    ],
)
def test_input_of_another_kind_is_refused(raw, said):
    with pytest.raises(DataError, match=said):
        ImagePreprocessing(image_size=(2, 2), color_mode="rgb").encode(raw)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="no image in it; read are PNG"):
        ImagePreprocessing(image_size=(2, 2), color_mode="rgb").encode(tmp_path)


def test_stored_preprocessing_is_checked():
    plain = ImagePreprocessing(image_size=(2, 3), color_mode="rgb", intensity_range=(0.1, 1 / 3))
    assert parse(plain.model_dump(mode="json"), "here") == plain
    with pytest.raises(DataError, match="here: image_size"):
        parse({**plain.model_dump(mode="json"), "image_size": "big"}, "here")
