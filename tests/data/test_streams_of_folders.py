"""Class folders of pictures as `image_dataset_from_directory` reads them: their classes keep their names."""

import keras
import numpy as np
import pytest

from lepton_kit import data
from lepton_kit.errors import DataError


def pictures(folder, classes=("cat", "dog"), **options):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for one in range(3):
            keras.utils.save_img(
                folder / name / f"{one}.png", np.full((4, 4, 3), 40 * number + one), scale=False
            )
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(4, 4), batch_size=4, verbose=False, **options
    )


@pytest.mark.parametrize("mode", ["int", "categorical"])
def test_the_classes_that_keras_read_from_folders_keep_their_names(tmp_path, mode):
    read = pictures(tmp_path, label_mode=mode)
    for source in (read, read.cache().shuffle(9).prefetch(2)):
        prepared = data.stream(source, validation=read).prepare()
        assert prepared.class_names == ("cat", "dog")
        assert prepared.num_classes == 2
    # Whatever may change the labels leaves them without names; and the copy in the cache is another one.
    assert data.stream(read.map(lambda x, y: (x, 1 - y))).prepare().class_names is None
    assert data.stream(read.map(lambda x, y: (x, y))).prepare().class_names is None


def test_validation_data_of_other_classes_are_refused(tmp_path):
    read = pictures(tmp_path / "one")
    other = pictures(tmp_path / "other", ("cat", "horse"))
    with pytest.raises(DataError, match="its classes are cat, horse where the training data have cat, dog"):
        data.stream(read, validation=other)
