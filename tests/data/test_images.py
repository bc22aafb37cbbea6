"""Images in class folders and zip files."""

import io
import os
import pickle
import shutil
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.config import RunConfig
from lepton_kit.data import cache, images
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
        ({"background": 256}, "data.background"),
        ({"background": (1, 2)}, "data.background"),
        ({"intensity_range": (5, 5)}, "data.intensity_range"),
        ({"intensity_range": "wide"}, "data.intensity_range"),
        ({"volume_slice": -1}, "data.volume_slice"),
        ({"volume_slice": "last"}, "data.volume_slice"),
        ({"splits": {"a": "class"}}, "data.splits"),
        ({"splits": "all"}, "data.splits"),
        ({"on_error": "ignore"}, "data.on_error"),
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


def labelled_png(folder, name, array):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def test_damaged_images_are_left_out_when_asked_and_named(two_classes):
    (two_classes / "dog" / "3.png").write_bytes(b"not an image")
    os.truncate(two_classes / "cat" / "4.png", 50)
    (two_classes / "cat" / "x.heic").write_bytes(b"ftyp")
    (two_classes / "cow").mkdir()
    prepared = data.image_folder(two_classes, validation_split=0, on_error="skip").prepare()
    assert len(prepared.train) == 18
    notes = " ".join(prepared.notes)
    assert "2 of 20 images can't be read and are left out" in notes
    assert "dog/3.png" in notes
    assert "cat/4.png" in notes
    assert "1 .heic" in notes
    assert "no image in cow: left out" in notes
    for file in (two_classes / "dog").glob("*.png"):
        file.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no image of class 'dog' can be read: images"):
        data.image_folder(two_classes, on_error="skip").prepare()
    for file in two_classes.rglob("*.png"):
        file.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no image of 20 can be read"):
        data.image_folder(two_classes, on_error="skip").prepare()


def test_files_and_folders_without_images_are_named(two_classes):
    (two_classes / "cat" / "about.txt").write_text("words")
    (two_classes / "bird").mkdir()
    (two_classes / "bird" / "1.txt").write_text("words")
    notes = data.image_folder(two_classes).prepare().notes
    assert notes[:2] == ("files that are no images were left out: 2 .txt", "no image in bird: left out")


def test_mixed_sizes_come_with_a_proposal(two_classes, draw):
    draw("cat/big.png", size=(40, 50))
    with pytest.raises(
        images.MixedSizes, match=r"cat/big.png is 40 x 50 pixels, .*such as \(4, 5\)"
    ) as caught:
        data.image_folder(two_classes).prepare()
    assert caught.value.image_size == (4, 5)
    assert pickle.loads(pickle.dumps(caught.value)).image_size == (4, 5)


def test_a_linked_class_folder_is_read_and_watched(two_classes, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    labelled_png(tmp_path / "elsewhere", "1.png", np.full((4, 5), 9, np.uint8))
    (two_classes / "cow").symlink_to(tmp_path / "elsewhere")
    (two_classes / "cat" / "loop").symlink_to(two_classes)
    source = data.image_folder(two_classes, validation_split=0)
    prepared = source.prepare()
    assert prepared.class_names == ("cat", "cow", "dog")
    labelled_png(tmp_path / "elsewhere", "2.png", np.full((4, 5), 9, np.uint8))
    assert len(source.prepare().train) == len(prepared.train) + 1


@pytest.mark.parametrize("end", [".tar", ".tar.gz"])
def test_a_tar_archive_gives_the_same_as_its_folder(two_classes, tmp_path, end):
    path = tmp_path / f"set{end}"
    with tarfile.open(path, "w:gz" if end.endswith("gz") else "w") as archive:
        archive.add(two_classes, "set")
    one, two = data.image_folder(two_classes).prepare(), data.image_folder(path).prepare()
    assert np.array_equal(one.train.x, two.train.x)
    assert np.array_equal(one.validation.y, two.validation.y)


def test_what_was_done_to_images_is_said(tmp_path):
    folder = tmp_path / "images"
    for label in "ab":
        labelled_png(folder, f"{label}/1.png", np.zeros((4, 5, 4), np.uint8))
        labelled_png(folder, f"{label}/2.png", np.eye(4, 5, dtype=np.uint8))
        frames = [Image.fromarray(np.full((4, 5), v, np.uint8)) for v in (3, 200)]
        frames[0].save(folder / label / "3.gif", save_all=True, append_images=frames[1:])
    notes = data.image_folder(folder, background=(0, 0, 9), intensity_range=(0, 9)).prepare().notes
    assert "2 images with transparency were laid on the colour (0, 0, 9) (background=)" in notes
    assert "2 files hold several frames, the first is used, such as a/3.gif" in notes
    assert any("grey and" in note and note.endswith("colour images were made rgb") for note in notes)
    assert any(note.startswith("4 images are of one colour only") for note in notes)
    assert "intensity_range is not used: all training images have 8 bits a channel" in notes


def test_files_left_beside_images_are_no_change_of_the_data(two_classes):
    source = data.image_folder(two_classes)
    before = source.prepare().fingerprint
    (two_classes / "cat" / ".ipynb_checkpoints").mkdir()
    for name in ("cat/.DS_Store", "dog/Thumbs.db", "notes.txt", "cat/.ipynb_checkpoints/1.png"):
        (two_classes / name).write_text("words")
    assert source.prepare().fingerprint == before
    os.utime(two_classes / "cat" / "1.png", (1, 1))
    assert source.prepare().fingerprint != before


def test_progress_is_told(two_classes):
    seen = []
    data.image_folder(two_classes).prepare(progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, 41))  # looked at, then decoded
    assert {total for _, total in seen} == {40}
    seen.clear()
    data.image_folder(two_classes).prepare(progress=lambda done, total: seen.append((done, total)))
    assert not seen  # from the cache


def test_deep_and_shallow_images_together(tmp_path):
    for label in "ab":
        labelled_png(tmp_path / "s", f"{label}/1.png", np.full((2, 2), 7, np.uint8))
        labelled_png(tmp_path / "s", f"{label}/2.png", np.array([[0, 900], [0, 900]], np.uint16))
    prepared = data.image_folder(tmp_path / "s", validation_split=0).prepare()
    assert prepared.train.x[:2, :, :, 0].tolist() == [[[7, 7], [7, 7]], [[0, 255], [0, 255]]]
    assert prepared.notes[1] == "2 images have 8 bits a channel beside these, and stay as they are"


def test_the_options_come_back_from_a_spec(two_classes):
    source = data.image_folder(
        two_classes,
        image_size=(2, 3),
        background=(1, 2, 3),
        intensity_range=(0, 4095),
        volume_slice="middle",
        splits={"cat": "train", "dog": "ignore"},
        mask_classes={"a": (1, 2, 3)},
    )
    model = {"kind": "lepton", "input_shape": [2, 3, 1], "num_classes": 2}
    config = RunConfig.from_dict({"model": model, "data": source.spec()})
    assert data.Dataset.from_spec(config.data).options == source.options


def test_rows_are_read_one_by_one_as_they_are_prepared(two_classes, monkeypatch):
    monkeypatch.setattr("lepton_kit.data.images.reading.LARGE", 1)
    source = data.image_folder(two_classes, image_size=(3, 3))
    prepared = source.prepare()
    with images.ImageSet(source.path, source.options) as found:
        for split, rows in found.rows.items():
            x = np.stack([found.read(row)[0] for row in rows])
            assert np.array_equal(x, getattr(prepared, split).x)
        assert found.preprocessing == prepared.preprocessing
