import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

import lepton_kit as lk
from lepton_kit.data.describe.pictures import common_sizes, layout_of, names_of_files


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (["cat/1.png", "dog/1.png"], {}),
        (["1.png", "2.png", "labels.csv"], {"labels": "labels.csv"}),
        (["images/1.png", "images/2.png", "train.csv"], {"labels": "train.csv"}),
        (["1.png", "a.csv", "b.csv"], {}),
        (["cat/1.png", "dog/1.png", "about.csv"], {}),
        (["images/1.png", "images/2.png", "masks/1.png", "masks/2.png"], {"masks": "masks"}),
        (["img/1.jpg", "mask/1_mask.png"], {"masks": "mask"}),
        (["masks/1.png", "hats/2.png"], {}),
        (["train/images/1.png", "train/masks/1.png"], {"masks": "masks"}),
    ],
)
def test_what_the_names_make_plain(names, plain):
    assert layout_of(names)[0] == plain


def test_choices_begin_with_none():
    assert layout_of(["cat/1.png", "a.csv"])[1] == {"labels": (None, "a.csv")}
    assert layout_of(["masks/1.png", "hats/2.png"])[1] == {"masks": (None, "masks")}


def test_names_in_a_folder_a_zip_and_a_tar(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.png").write_bytes(b"")
    (tmp_path / "a" / ".hidden").write_bytes(b"")
    assert names_of_files(tmp_path / "a") == ["b/1.png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b\\1.png", b"")
        archive.writestr("__MACOSX/b/1.png", b"")
    assert names_of_files(tmp_path / "a.zip") == ["b/1.png"]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("b/1.png"), io.BytesIO())
    assert names_of_files(tmp_path / "a.tar") == ["b/1.png"]
    assert common_sizes(tmp_path / "a.tar") == ()


def test_images_with_labels_in_a_table_are_read(tmp_path):
    for k in range(20):
        Image.fromarray(np.full((4, 4), k, np.uint8)).save(tmp_path / f"{k}.png")
    (tmp_path / "labels.csv").write_text(
        "file,label\n" + "".join(f"{k}.png,{'ab'[k % 2]}\n" for k in range(20))
    )
    found = lk.data.describe(tmp_path)
    assert found.failure is None
    assert found.proposed == {"labels": "labels.csv"}
    assert set(found.classes) == {"a", "b"}


def test_images_with_masks_are_read(tmp_path):
    for k in range(12):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 4), 255 * (k % 2), np.uint8)).save(tmp_path / folder / f"{k}.png")
    found = lk.data.describe(tmp_path)
    assert found.failure is None
    assert found.proposed == {"masks": "masks"}
    assert found.preview.count("its mask") > 0


def test_a_turned_photograph_counts_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for k in range(4):
        path = tmp_path / "ab"[k % 2] / f"{k}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 4, 3), np.uint8)).save(path, exif=exif)
    assert common_sizes(tmp_path)[1] == (4, 8)
