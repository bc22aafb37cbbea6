"""New images become, bit for bit, what they would have become in training; what is unlike training is said."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.data.images import decode
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


def test_deep_colours_lie_on_the_background_and_become_grey():
    values = np.zeros((1, 3, 4), np.uint16)
    values[0, 0] = (1000, 0, 0, 65535)
    values[0, 1] = (1000, 0, 0, 0)
    values[0, 2] = (0, 0, 500, 32768)
    options = {"image_size": (1, 3), "intensity_range": (0, 1000), "background": (10, 20, 30)}
    half = 32768 / 65535

    def encoded(mode):
        return ImagePreprocessing(color_mode=mode, **options).encode(values[None]).x[0, 0]

    blue = [10 * (1 - half), 20 * (1 - half), 127.5 * half + 30 * (1 - half)]
    assert np.allclose(encoded("rgb"), [[255, 0, 0], [10, 20, 30], blue])
    grey = [255 * 0.299, 10 * 0.299 + 20 * 0.587 + 30 * 0.114, np.dot(blue, [0.299, 0.587, 0.114])]
    assert np.allclose(encoded("grayscale")[:, 0], grey)
    assert np.allclose(encoded("rgba"), [[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 127.5, 255 * half]])


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
        (np.full((12, 16, 3), 1.0), "values from 1 to 1; expected 0 to 255: multiply by 255"),
        (np.full((12, 16, 3), 256), "values from 256 to 256; expected 0 to 255"),
        (np.full((12, 16, 3), 300), "values from 300 to 300; expected 0 to 255"),
        (np.full((12, 16, 3), -1.0), "values from -1 to -1; expected 0 to 255"),
        (np.full((12, 16, 3), np.nan), "no finite numbers"),
    ],
)
def test_arrays_of_another_unit_are_a_problem(array, said):
    plain = ImagePreprocessing(image_size=(12, 16), color_mode="rgb")
    assert said in plain.encode(array).problems[0]


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (np.array([[True, False]]), [255, 0]),
        (np.array([[0, 255]]), [0, 255]),
        (np.array([[0, 1]]), [0, 1]),
        (np.array([[0.4, 254.6]]), [0, 255]),
        (np.array([[0.0, 1.5]]), [0, 2]),
        (np.array([[0.0, 0.0]]), [0, 0]),
        (np.array([[128, 129]], np.uint16), [0, 1]),  # 257 to one
        (np.array([[25_900, 65_535]], np.uint16), [101, 255]),
    ],
)
def test_numbers_of_any_type_become_the_nearest_bytes(values, stored):
    found = ImagePreprocessing(image_size=(1, 2), color_mode="grayscale").encode(values)
    assert (found.x[0, 0, :, 0].tolist(), found.x.dtype) == (stored, np.uint8)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((5, 6), 1), ((5, 6, 1), 1), ((5, 6, 3), 1), ((5, 6, 4), 1), ((5, 6, 2), 5), ((5, 6, 5), 5)]
    + [((2, 5, 6, channels), 2) for channels in (1, 3, 4)],
)
def test_the_shape_of_an_array_says_how_many_images_it_is(shape, count):
    plain = ImagePreprocessing(image_size=(5, 6), color_mode="rgb")
    assert plain.count(np.zeros(shape, np.uint8)) == count
    assert plain.count([np.zeros((5, 6), np.uint8)] * 2) == 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_height_and_width_are_not_mixed_up(kind):
    gradient = np.tile(np.arange(8, dtype=kind) * 30 * (257 if kind == np.uint16 else 1), (4, 1))
    found = ImagePreprocessing(image_size=(2, 4), color_mode="grayscale").encode(gradient).x[0, :, :, 0]
    assert np.array_equal(found[0], found[1])
    assert (np.diff(found[0].astype(int)) > 0).all()


@pytest.mark.parametrize(
    ("mode", "color_mode", "stored"),
    [
        ("RGBA", "rgb", [[200, 100, 0], [10, 20, 30]]),
        ("RGBA", "rgba", [[200, 100, 0, 255], [200, 100, 0, 0]]),
        ("RGBA", "grayscale", [[118], [18]]),  # 0.299, 0.587, 0.114
        ("LA", "rgb", [[118, 118, 118], [10, 20, 30]]),
        ("LA", "rgba", [[118, 118, 118, 255], [118, 118, 118, 0]]),
        ("RGB", "rgba", [[200, 100, 0, 255], [200, 100, 0, 255]]),
        ("P", "rgb", [[200, 100, 0], [10, 20, 30]]),
    ],
)
def test_what_is_transparent_shows_the_background(mode, color_mode, stored):
    image = Image.fromarray(np.array([[[200, 100, 0, 255], [200, 100, 0, 0]]], np.uint8))
    if mode == "P":
        image = Image.new("P", (2, 1))
        image.putpalette([200, 100, 0, 1, 2, 3])
        image.putpixel((1, 0), 1)
        image.info["transparency"] = 1
    plain = ImagePreprocessing(image_size=(1, 2), color_mode=color_mode, background=(10, 20, 30))
    found = plain.encode(image if mode == "P" else image.convert(mode))
    assert found.x[0, 0].tolist() == stored


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("color_mode", ["grayscale", "rgb", "rgba"])
@pytest.mark.parametrize("size", [(6, 8), (3, 4), (7, 11)])
def test_an_image_of_16_bits_becomes_what_its_copy_of_8_bits_becomes(size, color_mode, channels):
    shallow = np.random.default_rng(0).integers(0, 256, (6, 8, channels), np.uint8)
    shallow[:2, :4, -1] = 0
    plain = ImagePreprocessing(image_size=size, color_mode=color_mode, background=(10, 200, 90))
    eight, sixteen = (
        plain.encode(one).x[0].astype(int) for one in (shallow, shallow.astype(np.uint16) * 257)
    )
    if color_mode == "rgba" and channels == 4:
        assert np.abs(eight[..., 3] - sixteen[..., 3]).max() <= 1
        seen = eight[..., 3] > 40  # of what is hardly seen bytes know the colour but roughly
        eight, sixteen = eight[seen], sixteen[seen]
    assert np.abs(eight - sixteen).max() <= (4 if channels == 4 else 2)


@pytest.mark.parametrize(
    ("values", "stored", "said"),
    [
        ([0.0, 255.0], [0, 255], "whole numbers of 0 to 255"),
        (np.array([7, 128], np.int32), [7, 128], "whole numbers of 0 to 255"),
        (np.array([0, 255], np.uint16), [0, 1], "16 bits a channel, training images had 8"),
        ([0.0, 256.0], None, "values of float64, from 0 to 256; training images had 8 bits a channel"),
        ([-1.0, 3.0], None, "values of float64, from -1 to 3; training images had 8"),
        ([0.5, 3.0], None, "values of float64, from 0.5 to 3; training images had 8"),
    ],
)
def test_numbers_of_a_file_that_are_bytes_are_taken_as_such_and_others_refused(values, stored, said):
    picture = decode.Picture(decode.Form(1, 2, grey=True, deep=True), values=np.array(values)[None, :, None])
    plain = ImagePreprocessing(image_size=(1, 2), color_mode="grayscale")
    sample, problem, notes = plain._tried(("one", lambda: picture))
    assert (None if sample is None else sample[0, :, 0].tolist()) == stored
    assert said in (problem or notes[0])


@pytest.mark.parametrize(("side", "sizes"), [(2**12, [8, 1]), (2**13, [2, 2, 2, 2, 1]), (2**15, [1] * 9)])
def test_a_piece_of_large_images_is_not_too_large(side, sizes, monkeypatch):
    found = []
    monkeypatch.setattr(ImagePreprocessing, "_piece", lambda _, items, __: found.append(len(items)))
    plain = ImagePreprocessing(image_size=(side, side), color_mode="grayscale")
    list(plain.pieces(np.zeros((9, 2, 2), np.uint8)))
    assert found == sizes


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
