"""Data and small models that the compression tests share."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

_DIGITS = Path(__file__).parents[2] / "data_samples" / "image_recognition" / "digits.zip"


@pytest.fixture(scope="session")
def digits():
    """Real handwritten digits: (x_train, y_train, x_val, y_val), x float32 (N, 8, 8, 1) from 0 to 1."""
    from PIL import Image

    parts = {"train": ([], []), "val": ([], [])}
    with zipfile.ZipFile(_DIGITS) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                _, part, label, _ = name.split("/")
                parts[part][0].append(np.asarray(Image.open(io.BytesIO(archive.read(name)))))
                parts[part][1].append(int(label))
    rng = np.random.default_rng(0)
    arrays = []
    for x, y in parts.values():
        order = rng.permutation(len(y))
        images = np.stack(x)[order].astype(np.float32)
        arrays += [images[..., None] / images.max(), np.array(y)[order]]
    return tuple(arrays)


@pytest.fixture(scope="session")
def workshop():
    """One process with TensorFlow loaded, forked for every conversion of all these tests."""
    from lepton_kit.compression.isolated import Workshop

    with Workshop() as workshop:
        yield workshop


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """The ``.keras`` file of a text network that ends in logits, and data: (path, x (N, 12) of ids, y)."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(300, 64, name="words"),
            layers.Conv1D(16, 3, activation="relu", name="conv"),
            layers.GlobalMaxPooling1D(name="pool"),
            layers.Dense(8, activation="relu", name="dense"),
            layers.Dense(3, name="dense_1"),
        ]
    )
    x = np.random.default_rng(0).integers(0, 300, (400, 12)).astype(np.int32)
    y = (x % 3 == 0).sum(1) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x, y, epochs=20, verbose=0)
    path = tmp_path_factory.mktemp("words") / "words.keras"
    model.save(path)
    return path, x, y


@pytest.fixture(scope="session")
def digits_cnn(digits, tmp_path_factory):
    """The ``.keras`` file of a small convolutional network, trained on the digits."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", name="conv_a"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Conv2D(16, 3, activation="relu", name="conv_b"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(32, activation="relu", name="dense"),
            layers.Dense(10, activation="softmax", name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    model.fit(digits[0], digits[1], batch_size=64, epochs=4, verbose=0)
    path = tmp_path_factory.mktemp("digits") / "cnn.keras"
    model.save(path)
    return path
