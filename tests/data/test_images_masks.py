"""Images with a mask each: pairs, classes of the masks' values, sizes; and a small model that learns from them."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import lepton_kit as lk
from lepton_kit import data
from lepton_kit.data.images import masks
from lepton_kit.errors import ConfigError, DataError


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8))
    (image.convert(mode) if mode else image).save(path, **options)


@pytest.fixture
def discs(tmp_path):
    """images/0.png … 9.png with a bright square, and masks/ of it in 0 and 255."""
    for i in range(10):
        mask = np.zeros((8, 8), np.uint8)
        mask[i % 4 : i % 4 + 4, 2:6] = 255
        save(tmp_path / "set" / "images" / f"{i}.png", mask // 2 + 40)
        save(tmp_path / "set" / "masks" / f"{i}.png", mask)
    return tmp_path / "set"


def test_a_folder_of_masks(discs):
    prepared = data.image_folder(discs, masks="masks", validation_split=0.3).prepare()
    assert prepared.train.x.shape == (7, 8, 8, 1)
    assert prepared.train.y.shape == (7, 8, 8)
    assert prepared.train.y.dtype == np.int32
    assert (prepared.task, prepared.num_classes, prepared.class_names) == ("other", 2, None)
    for split in (prepared.train, prepared.validation):
        assert np.array_equal(split.x[..., 0] > 100, split.y == 1)


def test_masks_in_a_folder_of_their_own(discs, monkeypatch):
    for masks_name in (str(discs / "masks"), "masks"):
        source = data.image_folder(discs / "images", masks=masks_name, validation_split=0)
        assert len(source.prepare().train) == 10
    old = source.prepare().fingerprint
    save(discs / "masks" / "3.png", np.zeros((8, 8)))
    assert source.prepare().fingerprint != old
    monkeypatch.chdir(discs)
    assert data.image_folder("images", masks="masks").options["masks"] == "masks"


@pytest.mark.parametrize(
    ("names", "given", "pairs"),
    [
        (["a/1.jpg", "a/1_mask.png"], "_mask", [("a/1.jpg", "a/1_mask.png")]),
        (["images/1.jpg", "masks/1_mask.gif"], "masks", [("images/1.jpg", "masks/1_mask.gif")]),
        (["train/images/1.jpg", "train/masks/1.png"], "masks", [("train/images/1.jpg", "train/masks/1.png")]),
        (["img/x/1.jpg", "Labels/x/1.png", "img/y/1.jpg", "Labels/y/1.png"], "labels", None),
        (["images/seg_1.jpg", "gt/mask_seg_1.png"], "gt", None),
        (["JPEGImages/1.jpg", "SegmentationClass/1.png"], "SegmentationClass", None),
        (["images/a.b.jpg", "masks/a.b.png"], "masks", None),
        (["images/1.nii.gz", "masks/1.nii.gz"], "masks", None),
    ],
)
def test_spellings_of_pairs(names, given, pairs):
    found, notes = masks.pairs(names, given, "set")
    assert found == (pairs or list(zip(names[::2], names[1::2], strict=True)))
    assert not notes


def test_pairs_that_are_none():
    names = ["images/1.png", "images/2.png", "masks/1.png", "masks/9.png"]
    with pytest.raises(DataError, match=r"1 of 2 images have no mask in 'masks', such as 'images/2.png'"):
        masks.pairs(names, "masks", "set")
    found, notes = masks.pairs(names, "masks", "set", "skip")
    assert found == [("images/1.png", "masks/1.png")]
    assert len(notes) == 2
    assert "1 masks have no image, such as 'masks/9.png'" in notes[1]
    with pytest.raises(
        DataError, match=r"1 of 1 images have no mask in 'masks', such as 'images/1.png'; expected"
    ):
        masks.pairs(["images/1.png", "masks/9.png"], "masks", "set", "skip")
    with pytest.raises(DataError, match="0 of 0 images have no mask in 'masks'; expected"):
        masks.pairs(["masks/9.png"], "masks", "set", "skip")
    with pytest.raises(DataError, match="no masks: no folder 'nope'"):
        masks.pairs(names, "nope", "set")
    with pytest.raises(DataError, match="are masks of one image"):
        masks.pairs(["images/1.png", "masks/1.png", "masks/1_mask.png"], "masks", "set")


def test_names_alone_do_only_where_each_is_there_once():
    several = [
        "JPEGImages/a/1.jpg",
        "JPEGImages/b/1.jpg",
        "JPEGImages/a/2.jpg",
        "Classes/1.png",
        "Classes/2.png",
    ]
    found, notes = masks.pairs(several, "Classes", "set", "skip")
    assert found == [("JPEGImages/a/2.jpg", "Classes/2.png")]
    assert notes == [
        "set: 2 of 3 images have no mask in 'Classes', such as 'JPEGImages/a/1.jpg'; left out",
        "1 masks have no image, such as 'Classes/1.png'; left out",
    ]


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([[[0.0], [3.0]]], [[0, 3]]),
        ([[[0], [700]]], [[0, 700]]),
        ([[[0.0], [0.5]]], None),
        ([[[1, 1, 1], [2, 2, 2]]], None),
    ],
)
def test_a_mask_of_a_volume_holds_whole_numbers(values, stored, monkeypatch):
    picture = SimpleNamespace(image=None, values=np.array(values))
    monkeypatch.setattr(masks.decode, "decode", lambda *_: picture)
    if stored is None:
        with pytest.raises(
            DataError, match="m: a mask of colours or fractions; expected a whole number a pixel"
        ):
            masks.read(io.BytesIO(), "m")
    else:
        found = masks.read(io.BytesIO(), "m")
        assert (found.tolist(), found.dtype) == (stored, np.int32)


@pytest.mark.parametrize(
    ("mode", "stored"),
    [
        ("1", [0, 0, 1]),
        ("L", [7, 101, 255]),
        ("LA", [7, 101, 255]),
        ("RGB", [7, 2**24 + 200 * 65536 + 60 * 256 + 50, 255]),
        ("RGBA", [7, 2**24 + 200 * 65536 + 60 * 256 + 50, 255]),
    ],
)
def test_a_mask_is_read_as_grey_values_or_colours(mode, stored):
    image = Image.fromarray(np.array([[[7] * 3, [200, 60, 50], [255] * 3]], np.uint8))
    image = (
        image.convert("L").point(lambda grey: 255 * (grey > 200), "1") if mode == "1" else image.convert(mode)
    )
    content = io.BytesIO()
    image.save(content, "PNG")
    content.seek(0)
    found = masks.read(content, "m")
    assert (found.tolist(), found.dtype) == ([stored], np.int32)


def test_palette_places_are_the_classes(tmp_path):
    for i in range(4):
        save(tmp_path / "images" / f"{i}.png", np.full((4, 4), i))
        mask = Image.new("P", (4, 4), 0)
        mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [9] * 759)
        mask.putpixel((1, 1), 1 + i % 2)
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "masks" / f"{i}.png")
    prepared = data.image_folder(
        tmp_path, masks="masks", mask_classes=["ground", "red", "green"], validation_split=0
    ).prepare()
    assert prepared.train.y[:, 1, 1].tolist() == [1, 2, 1, 2]
    assert prepared.class_names == ("ground", "red", "green")
    assert prepared.preprocessing.target.class_names == ("ground", "red", "green")


def test_colours_are_named(tmp_path):
    colours = {"road": [128, 64, 128], "sky": [0, 0, 128], "grey": [128, 128, 128]}
    for i in range(3):
        save(tmp_path / "images" / f"{i}.png", np.full((2, 3), i))
        save(tmp_path / "masks" / f"{i}.png", [[colours["road"], colours["sky"], colours["grey"]]] * 2)
    prepared = data.image_folder(tmp_path, masks="masks", mask_classes=colours, validation_split=0).prepare()
    assert prepared.train.y[0].tolist() == [[0, 1, 2], [0, 1, 2]]
    plain = data.image_folder(tmp_path, masks="masks", validation_split=0).prepare()
    assert (
        "mask values 128, (0, 0, 128), (128, 64, 128) became the classes 0 to 2, in this order" in plain.notes
    )
    del colours["sky"]
    with pytest.raises(DataError, match=r"the masks hold \(0, 0, 128\), which mask_classes doesn't name"):
        data.image_folder(tmp_path, masks="masks", mask_classes=colours).prepare()


@pytest.mark.parametrize(
    ("values", "given", "places"),
    [
        ([0, 1, 2], None, {0: 0, 1: 1, 2: 2}),
        ([0, 255], None, {0: 0, 255: 1}),
        ([1, 2, 3], None, {1: 0, 2: 1, 3: 2}),
        ([0, 3], ["a", "b", "c", "d"], {0: 0, 1: 1, 2: 2, 3: 3}),
        ([0, 255], ["a", "b"], {0: 0, 255: 1}),
        ([0, 2], ["a", "b"], {0: 0, 2: 1}),
        ([0, 9], {"x": 9, "y": 0}, {9: 0, 0: 1}),
    ],
)
def test_classes_of_values(values, given, places):
    found, _, notes = masks.classes_of(values, given, "masks")
    assert found == places
    ordered = given is None or (isinstance(given, list) and len(given) == len(values))
    expected = (
        f"mask values {', '.join(map(str, values))} became the classes 0 to {len(values) - 1}, in this order"
    )
    assert notes == ([expected] if ordered and values not in ([0, 1, 2], [0, 255]) else [])


def test_as_many_values_as_may_be_and_no_more_than_ten_are_told():
    assert masks.classes_of(range(256), None, "masks") == ({k: k for k in range(256)}, None, [])
    assert masks.classes_of([0, 255], None, "masks", lossy=True)[0] == {0: 0, 255: 1}
    for count, shown in ((8, "1, 2, 3, 4, 5, 6, 7, 8 became"), (9, "1, 2, 3, 4, 5, 6, 7, 8, … became")):
        assert shown in masks.classes_of(range(1, count + 1), None, "masks")[2][0]


def test_values_that_are_no_classes():
    with pytest.raises(DataError, match="300 different values; at most 256"):
        masks.classes_of(range(300), None, "masks")
    with pytest.raises(DataError, match=r"has 1 names; the masks hold 2 values: 0, 255"):
        masks.classes_of([0, 255], ["one"], "masks")
    with pytest.raises(DataError, match="JPEG files with 3 different values"):
        masks.classes_of([0, 3, 255], None, "masks", lossy=True)
    with pytest.raises(DataError, match="the mask holds 7, which is no class"):
        masks.labelled(np.array([[7]]), {0: 0}, False, "m")


def test_masks_in_jpeg_go_to_the_nearest_value_named(discs):
    for file in (discs / "masks").glob("*.png"):
        Image.open(file).save(file.with_suffix(".jpg"), quality=60)
        file.unlink()
    prepared = data.image_folder(
        discs, masks="masks", mask_classes={"ground": 0, "disc": 255}, validation_split=0
    ).prepare()
    assert np.mean((prepared.train.x[..., 0] > 100) == (prepared.train.y == 1)) > 0.95


COLOURS = st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=6, unique=True)


@given(COLOURS, COLOURS)
def test_the_nearest_value_named_is_that_of_the_nearest_colour(named, pixels):
    places, _, _ = masks.classes_of([0], {str(k): one for k, one in enumerate(named)}, "masks", lossy=True)
    stored = Image.fromarray(np.array([pixels], np.uint8))
    content = io.BytesIO()
    stored.save(content, "PNG")
    content.seek(0)
    found = masks.labelled(masks.read(content, "m"), places, True, "m")[0]
    far = np.square(np.array(pixels)[:, None] - np.array(named)).sum(axis=-1)
    assert far[range(len(pixels)), found].tolist() == far.min(axis=1).tolist()


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1)
)
def test_resizing_makes_no_new_values(h, w, new_h, new_w, seed):
    mask = np.random.default_rng(seed).integers(0, 5, (h, w)).astype(np.int32)
    found = masks.resized(mask, (new_h, new_w))
    assert found.shape == (new_h, new_w)
    assert set(found.ravel()) <= set(mask.ravel())
    if new_h % h == new_w % w == 0:
        assert np.array_equal(found, mask.repeat(new_h // h, 0).repeat(new_w // w, 1))


def test_the_nearest_is_that_of_the_middle():
    assert masks.resized(np.array([[0, 1, 2, 3, 4, 5]]), (1, 2)).tolist() == [[1, 4]]


def test_masks_are_resized_to_the_nearest_and_turned_as_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = np.zeros((4, 8), np.uint8)
    mask[:2, :2] = 2
    for i in range(3):
        save(tmp_path / "images" / f"{i}.png", mask * 100, exif=exif)
        save(tmp_path / "masks" / f"{i}.png", mask, exif=exif)
    prepared = data.image_folder(tmp_path, masks="masks", image_size=(4, 2), validation_split=0).prepare()
    assert set(np.unique(prepared.train.y)) == {0, 1}  # 0 and 2, as classes
    assert np.array_equal(prepared.train.y[0] == 1, prepared.train.x[0, ..., 0] > 100)


def test_a_mask_of_another_size_than_its_image(discs):
    save(discs / "masks" / "4.png", np.zeros((8, 9)))
    with pytest.raises(DataError, match=r"masks/4\.png: a mask of \(8, 9\) pixels for an image of \(8, 8\)"):
        data.image_folder(discs, masks="masks").prepare()
    prepared = data.image_folder(discs, masks="masks", on_error="skip", validation_split=0).prepare()
    assert len(prepared.train) == 9


def test_a_damaged_mask_is_named_or_left_out(discs):
    (discs / "masks" / "4.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"masks/4\.png: an empty file"):
        data.image_folder(discs, masks="masks").prepare()
    prepared = data.image_folder(discs, masks="masks", on_error="skip", validation_split=0).prepare()
    assert len(prepared.train) == 9
    assert "masks/4.png" in prepared.notes[0]


def test_split_folders_of_images_with_masks(discs):
    for kind in ("images", "masks"):
        for i in range(10):
            split = "Train" if i < 7 else "Val" if i < 9 else "Test"
            (discs / split / kind).mkdir(parents=True, exist_ok=True)
            (discs / kind / f"{i}.png").rename(discs / split / kind / f"{i}.png")
    prepared = data.image_folder(discs, masks="masks").prepare()
    assert (len(prepared.train), len(prepared.validation)) == (7, 2)
    assert "1 test images are left alone" in prepared.notes
    assert (
        len(data.image_folder(discs, masks="masks", splits="none", validation_split=0).prepare().train) == 10
    )


@pytest.mark.parametrize("value", ["names", {"a": "red"}, {"a": [1, 2]}, [1]])
def test_settings_are_checked(tmp_path, value):
    with pytest.raises(ConfigError, match=r"data\.mask_classes"):
        data.image_folder(tmp_path, masks="masks", mask_classes=value)


@pytest.mark.processes
def test_a_small_segmentation_model_trains_on_two_workers(discs, tmp_path):
    import keras
    from keras import layers

    image = keras.Input((8, 8, 1))
    fine = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    coarse = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.MaxPooling2D()(fine))
    both = layers.Concatenate()([layers.UpSampling2D()(coarse), fine])
    model = keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(both))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    source = data.image_folder(discs, masks="masks", mask_classes=["ground", "disc"])
    run = lk.launch(model, source, workers=2, epochs=10, global_batch=4, runs_dir=tmp_path / "runs")
    run.wait()
    assert run.status == "finished"
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
