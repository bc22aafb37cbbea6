"""Image folders and archives that are decoded whenever they are wanted: the same samples as a decoded copy."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    g = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        for number in range(20):
            path = tmp_path / "animals" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(g.integers(0, 255, (6, 5, 3), np.uint8)).save(path)
    return tmp_path / "animals"


def everything(split):
    return split.rows(np.arange(len(split)))


@pytest.mark.parametrize("packed", [False, True])
def test_the_samples_are_those_of_a_decoded_copy(folder, tmp_path, packed):
    place = folder
    if packed:
        place = tmp_path / "animals.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for file in sorted(folder.rglob("*.png")):
                archive.write(file, file.relative_to(folder.parent))
    by_index = data.image_folder(place, cache=False).prepare()
    copied = data.image_folder(place).prepare()
    assert by_index.train.source is not None
    for one, two in ((by_index.train, copied.train), (by_index.validation, copied.validation)):
        assert all(
            np.array_equal(a, b) for a, b in zip(everything(one)[:2], everything(two)[:2], strict=True)
        )
    assert by_index.class_names == copied.class_names == ("cat", "dog")
    assert by_index.preprocessing == copied.preprocessing
    rows = np.random.default_rng(0).permutation(len(by_index.train))
    by_index.train.prefetch(rows[:20])
    assert np.array_equal(by_index.train.rows(rows)[0], copied.train.rows(rows)[0])


def test_the_index_holds_names_and_no_pixels(folder, tmp_path):
    prepared = data.image_folder(folder, image_size=(300, 300), cache=False).prepare()
    assert prepared.sample_shape == (300, 300, 3)
    index = tmp_path / "cache" / "lepton_kit" / "data" / prepared.fingerprint
    assert sum(file.stat().st_size for file in index.iterdir()) < 30_000


def test_an_exchanged_or_lost_image_is_named(folder):
    prepared = data.image_folder(folder, cache=False, validation_split=0).prepare()
    assert (prepared.train.source.read_again() == prepared.train.hashes).all()
    Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(folder / "cat" / "3.png")
    with pytest.raises(DataError, match=r"cat/3.png: has changed"):
        everything(prepared.train)
    assert (prepared.train.source.read_again() != prepared.train.hashes).sum() == 1
    (folder / "dog" / "7.png").unlink()
    with pytest.raises(DataError, match=r"dog/7.png"):
        prepared.train.rows(np.array([len(prepared.train) - 13, *range(20, 40)]))


def test_masks_need_a_decoded_copy(folder):
    with pytest.raises(ConfigError, match=r"data.cache: got False; expected true: masks"):
        data.image_folder(folder, masks="masks", cache=False)
